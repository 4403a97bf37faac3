"""Secrets Manager: values that a template generates, versions and rotation."""

import contextvars
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from ministack.services import lambda_svc, secretsmanager  # type: ignore[import-not-found]
from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]

from local.emulator.shared import RESOURCES, Created, Json, text


def generated_secret(properties: Json) -> str:
    """Return the value of a secret in a template. MiniStack ignores ExcludePunctuation."""
    generate = properties.get("GenerateSecretString")
    if not generate:
        return str(properties.get("SecretString", ""))
    _status, _headers, body = secretsmanager._get_random_password(generate)
    password = json.loads(body)["RandomPassword"]
    if "SecretStringTemplate" not in generate:
        return str(password)
    return json.dumps({**json.loads(generate["SecretStringTemplate"]), generate["GenerateStringKey"]: password})


provisioners._sm_secret_string = generated_secret


def create_secret(
    logical_id: str, properties: Json, stack: str, create: Callable[..., Created] = provisioners._sm_secret_create
) -> Created:
    """Create a secret without a value if the template has none. MiniStack stores the empty string."""
    created = create(logical_id, properties, stack)
    if not {"SecretString", "GenerateSecretString"} & set(properties):
        secretsmanager._secrets[created[0]]["Versions"].clear()
    return created


RESOURCES["AWS::SecretsManager::Secret"]["create"] = create_secret


ROTATION_STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


def secret_refusal(code: str, message: str) -> Any:
    return secretsmanager.error_response_json(code, message, 400)


def get_secret_value(request: Json, get: Callable[[Json], Any] = secretsmanager._get_secret_value) -> Any:
    """Refuse to read a version that a rotation has only reserved. MiniStack returns an empty answer."""
    _name, secret = secretsmanager._resolve(request.get("SecretId"))
    version = (secret or {}).get("Versions", {}).get(request.get("VersionId"))
    if version and version["SecretString"] is None and version["SecretBinary"] is None:
        return secret_refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret value.")
    return get(request)


def put_secret_value(request: Json, put: Callable[[Json], Any] = secretsmanager._put_secret_value) -> Any:
    """Never change a version's value, and move a label from its previous version. MiniStack does neither."""
    _name, secret = secretsmanager._resolve(request.get("SecretId"))
    version = (secret or {}).get("Versions", {}).get(request.get("ClientRequestToken"))
    if version and version["SecretString"] not in (None, request.get("SecretString")):
        return secret_refusal("ResourceExistsException", "The version has another value already.")
    if version and version["SecretString"] is not None:  # the same value again: nothing changes
        request = {**request, "VersionStages": sorted({*version["Stages"], *request.get("VersionStages", [])})}
    for stage in request.get("VersionStages", []):
        if secret and stage != "AWSCURRENT":
            secretsmanager._remove_stage_everywhere(secret, stage, request.get("ClientRequestToken"))
    status, headers, body = put(request)
    if status == 200:
        for stage in request.get("VersionStages", []):  # MiniStack adds no other label to AWSCURRENT
            secretsmanager._add_stage(secret, json.loads(body)["VersionId"], stage)
    return status, headers, body


def rotate_secret(request: Json) -> Any:
    """Call the four steps of the rotation function in a thread. MiniStack only copies the value.

    There is no timer. An unfinished rotation starts again with its own version id, and the caller gets an error.
    """
    _name, secret = secretsmanager._resolve(request.get("SecretId"))
    if not secret:
        return secret_refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
    secret["RotationLambdaARN"] = request.get("RotationLambdaARN") or secret.get("RotationLambdaARN")
    secret["RotationRules"] = request.get("RotationRules") or secret.get("RotationRules")
    if not secret["RotationLambdaARN"]:
        return secret_refusal(
            "InvalidRequestException", "No Lambda rotation function ARN is associated with this secret."
        )
    secret["RotationEnabled"] = True
    pending, _value = secretsmanager._find_stage_version(secret, "AWSPENDING")
    current, _value = secretsmanager._find_stage_version(secret, "AWSCURRENT")
    unfinished = pending is not None and pending != current
    version = pending if unfinished else request.get("ClientRequestToken") or lambda_svc.new_uuid()
    if request.get("RotateImmediately", True) is not False:
        if not unfinished:
            secretsmanager._remove_stage_everywhere(secret, "AWSPENDING")
            secret["Versions"].setdefault(
                version,
                {"SecretString": None, "SecretBinary": None, "CreatedDate": int(time.time()), "Stages": ["AWSPENDING"]},
            )
        context = contextvars.copy_context()  # account and region
        threading.Thread(target=context.run, args=(run_rotation, secret, version), daemon=True).start()
    if unfinished:
        return secret_refusal(
            "InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted."
        )
    return secretsmanager.json_response({"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": version})


def run_rotation(secret: Json, version: str) -> None:
    """Invoke the steps of a rotation until one fails."""
    function, config, _name = lambda_svc._get_func_record_for_ref(secret["RotationLambdaARN"])
    record = lambda_svc._execution_record_for_config(function, config)
    for step in ROTATION_STEPS:
        event = {"Step": step, "SecretId": secret["ARN"], "ClientRequestToken": version}
        if lambda_svc._execute_function(record, event).get("error"):
            return
    secret["LastRotatedDate"] = int(time.time())


secretsmanager._get_secret_value = get_secret_value
secretsmanager._put_secret_value = put_secret_value
secretsmanager._rotate_secret = rotate_secret


def put_schedule(properties: Json) -> None:
    """Attach a schedule, which rotates immediately unless the template says otherwise. MiniStack has none."""
    status, _headers, body = rotate_secret(
        {
            "SecretId": properties["SecretId"],
            "RotationLambdaARN": properties.get("RotationLambdaARN"),
            "RotationRules": properties.get("RotationRules"),
            "RotateImmediately": text(properties.get("RotateImmediatelyOnUpdate", True)) != "false",
        }
    )
    if status >= 400 and b"isn't complete" not in body:
        raise ValueError(body.decode())


def create_schedule(_logical_id: str, properties: Json, _stack: str) -> Created:
    put_schedule(properties)
    return properties["SecretId"], {}


def update_schedule(physical_id: str, old: Json, new: Json, _stack: str, _logical_id: str | None = None) -> Created:
    if old != new:
        put_schedule(new)
    return physical_id, {}


def delete_schedule(physical_id: str, _properties: Json) -> None:
    _name, secret = secretsmanager._resolve(physical_id)
    if secret:
        secret["RotationEnabled"] = False


RESOURCES["AWS::SecretsManager::RotationSchedule"] = {
    "create": create_schedule,
    "update": update_schedule,
    "delete": delete_schedule,
}
