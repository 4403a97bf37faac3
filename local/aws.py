"""Run MiniStack, the local AWS, with the corrections this application needs. `local.stack` starts it.

It runs in the emulator's own environment and takes everything from environment variables: MiniStack's own
(GATEWAY_PORT, BIND_HOST, AUTH, TMPDIR, ...), AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (the root user's; new ones for
each run), LOCAL_FUNCTION_PYTHON (the interpreter that runs the functions) and LOCAL_FUNCTION_ENDPOINT (where the
functions find AWS; by default this emulator). It ends when its standard input does, so it cannot outlive the process
that started it, and then removes TMPDIR and kills its process group: both must be its own.

It answers no web page (`local.guard`) and, but for the routes of an HTTP API, nothing without a valid signature.

The corrections replace private functions of one version of MiniStack, hence the check of the version.
"""

import contextvars
import hashlib
import hmac
import importlib.metadata
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

MINISTACK = "1.5.33"
if (found := importlib.metadata.version("ministack")) != MINISTACK:
    sys.exit(f"local/aws.py is written for MiniStack {MINISTACK}, found {found}")
if not Path(os.environ.get("TMPDIR", "")).name.startswith("local-aws-") or os.getpgrp() != os.getpid():
    sys.exit("local/aws.py removes its TMPDIR and kills its process group: let local/stack.py start it")

sys.path.append(str(Path(__file__).resolve().parent.parent))  # `python -I` knows nothing of this repository

from ministack import app  # type: ignore[import-not-found]  # noqa: E402
from ministack.core import (  # type: ignore[import-not-found]  # noqa: E402
    iam_actions,
    iam_evaluator,
    lambda_runtime,
    responses,
    router,
    sigv4,
)
from ministack.core.arn import parse_arn  # type: ignore[import-not-found]  # noqa: E402
from ministack.services import (  # type: ignore[import-not-found]  # noqa: E402
    apigateway,
    cloudformation,
    cloudwatch_logs,
    eventbridge,
    lambda_svc,
    secretsmanager,
    sqs,
    sts,
)
from ministack.services.cloudformation import (  # type: ignore[import-not-found]  # noqa: E402
    changesets,
    engine,
    handlers,
    provisioners,
)

from local.guard import Message, Receive, Send, headers_of, is_scope_allowed, own_hosts, refusal, refuse  # noqa: E402

type Json = dict[str, Any]
type Created = tuple[str, Json]  # what CloudFormation gets from a resource: its physical id and its attributes

RESOURCES: Json = provisioners._RESOURCE_HANDLERS


# --- The process ------------------------------------------------------------------------------------------------------


def reset_signals() -> None:
    """Functions run with the default signals, also where this was started with some ignored: by `nohup`, or as a
    shell's background job."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def end_with_parent() -> None:
    """Wait for the end of standard input, then end every process of this group and leave no file."""
    os.read(sys.stdin.fileno(), 1)

    def refuse(_worker: object) -> None:
        raise RuntimeError("the local AWS is stopping")

    lambda_runtime.Worker._spawn = refuse  # a worker started now would survive its temporary directory
    for workers in list(lambda_runtime._workers.values()):
        for worker in list(workers):
            if worker._proc:
                worker._proc.kill()
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


# --- Who may ask ------------------------------------------------------------------------------------------------------

HOSTS = own_hosts(int(os.environ["GATEWAY_PORT"]))
# A fault proxy leaves the Host header as the functions have signed it: its own address.
HOSTS |= {urlsplit(os.environ.get("LOCAL_FUNCTION_ENDPOINT", "")).netloc} - {""}
# The routes of an HTTP API: anybody may call them, by any name, as a tunnel for a real sender does.
ROUTE = re.compile(r"/_aws/execute-api/\w+/\$default/[^@].*", re.DOTALL)


def signature_of(headers: Json, query: Json, *, presigned: bool) -> Any:
    """The signature that a request brings, if it covers the Host and is of now; else why it does not count."""
    if presigned and "X-Amz-Signature" not in query:
        return iam_evaluator.AuthError("MissingAuthenticationToken", "Request is missing Authentication Token")
    signature = sigv4.parse_query_signature(query) if presigned else sigv4.parse_header_signature(headers)
    if isinstance(signature, tuple):
        return iam_evaluator.AuthError(*signature)
    if "host" not in signature.signed_headers.split(";"):
        return iam_evaluator.AuthError("SignatureDoesNotMatch", "The signature must cover the header Host.")
    if not presigned:
        failure = sigv4.request_time_failure(signature)
        return iam_evaluator.AuthError(*failure) if failure else signature
    try:
        expired = sigv4.presigned_request_is_expired(signature.amz_date, query["X-Amz-Expires"][0])
    except (KeyError, ValueError):
        expired = True
    return iam_evaluator.AuthError("AccessDenied", "Request has expired") if expired else signature


def credential_failure(scope: Json, headers: Json, query: Json, body: bytes) -> Any:
    """Why this request is refused, None if a key of this run has signed it. MiniStack trusts the root user's key, and
    asks for none on its own routes."""
    presigned = not headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 ")
    signature = signature_of(headers, query, presigned=presigned)
    if isinstance(signature, iam_evaluator.AuthError):
        return signature
    token = query.get("X-Amz-Security-Token", [""])[0] if presigned else headers.get("x-amz-security-token", "")
    key = signature.access_key_id
    account = responses._account_from_sts_session(key) or iam_evaluator.find_iam_access_key_account(key)
    credential = iam_evaluator.resolve_credential(key, account, token)
    if isinstance(credential, iam_evaluator.CredentialResolutionError):
        return iam_evaluator.AuthError(credential.code, credential.message)
    failure = sigv4.header_signature_failure(
        signature,
        credential.secret_access_key,
        scope["method"],
        scope["raw_path"].decode("latin-1"),
        query,
        headers,
        body,
        presigned=presigned,
    )
    return iam_evaluator.AuthError(*failure) if failure else None


async def body_of(receive: Receive) -> bytes | None:
    """The request's whole body; None if the client has gone."""
    chunks = []
    while (message := await receive())["type"] == "http.request":
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)
    return None


def with_body(body: bytes, receive: Receive) -> Receive:
    """What receives this body, which has been read already, and then goes on."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


def without_cors(send: Send) -> Send:
    """MiniStack lets every origin read its answers: no header of an answer says so any more."""

    async def only(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [each for each in message["headers"] if not each[0].lower().startswith(b"access-control-")]
            message = {**message, "headers": headers}
        await send(message)

    return only


def named_as_itself(scope: Json) -> Json:
    """MiniStack chooses services by the Host: one that a tunnel brings must choose none."""
    host = f"127.0.0.1:{os.environ['GATEWAY_PORT']}".encode()
    headers = [(name, host if name.lower() == b"host" else value) for name, value in scope["headers"]]
    return {**scope, "headers": headers}


async def emulator(scope: Json, receive: Receive, send: Send, run: Callable[..., Any] = app.app) -> None:
    """Let in what the local programs ask, and everybody to the routes of the HTTP API; no web page."""
    if scope["type"] == "lifespan":
        await run(scope, receive, send)
        return
    is_route = bool(ROUTE.fullmatch(scope["path"]))
    if not is_scope_allowed(scope, HOSTS, any_host=is_route):
        await refuse(scope, send, refusal(HOSTS))
        return
    if is_route:
        await run(named_as_itself(scope), receive, without_cors(send))
        return
    if (body := await body_of(receive)) is None:
        return
    headers: Json = {}
    for name, value in headers_of(scope):
        headers[name.lower()] = f"{headers[name.lower()]},{value}" if name.lower() in headers else value
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if failure := credential_failure(scope, headers, query, body):
        service = router.detect_service(scope["method"], scope["path"], headers, query)
        await app._send_response(send, *app._credential_failure(service, "", lambda_svc.new_uuid(), failure, headers))
        return
    await run(scope, with_body(body, receive), without_cors(send))


app.app = emulator


def private(*parts: str) -> str:
    """A text that only this run makes of these parts."""
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    return hmac.new(secret, "\n".join(parts).encode(), hashlib.sha256).hexdigest()


def execution_credentials(
    config: Json, issue: Callable[[Json], Json] = lambda_runtime.execution_credentials
) -> dict[str, str]:
    """What a function signs with: a session of its role. MiniStack's can be computed from the function's name."""
    if not app.AUTH:
        return issue(config)
    function, role = config["FunctionArn"], config["Role"].rpartition("/")[2]
    given = {
        "AWS_ACCESS_KEY_ID": f"ASIA{private('key', function, role)[:16].upper()}",
        "AWS_SECRET_ACCESS_KEY": private("secret", function, role),
        "AWS_SESSION_TOKEN": private("token", function, role),
    }
    name = config["FunctionName"][:64]
    session = {
        "Arn": f"arn:aws:sts::{parse_arn(function).account_id}:assumed-role/{role}/{name}",
        "UserId": f"{role}:{name}",
        "SecretAccessKey": given["AWS_SECRET_ACCESS_KEY"],
        "SessionToken": given["AWS_SESSION_TOKEN"],
    }
    sts.register_session(given["AWS_ACCESS_KEY_ID"], session)
    return given


lambda_runtime.execution_credentials = lambda_svc.execution_credentials = execution_credentials


# --- The functions' interpreter and environment -----------------------------------------------------------------------

# What this process was given is not the functions' business. HOME stays: without it botocore would read the user's own.
NOT_FOR_FUNCTIONS = sorted(set(os.environ) - {"PATH", "HOME", "TMPDIR", "LANG", "TZ"})

# Runs first in every worker. The pid file is for tests that kill a worker.
PRELUDE = """
import os, pathlib
for name in {remove!r}:
    if not name.startswith("AWS_"):  # MiniStack has already set the function's region and credentials
        os.environ.pop(name, None)
os.environ.update({add!r})
pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
"""


def interpreter(runtime: str) -> tuple[str, str]:
    """MiniStack runs every function on its own interpreter, with its own packages: take the named one."""
    binary = os.environ.get("LOCAL_FUNCTION_PYTHON", "")
    if not runtime.startswith("python") or not Path(binary).is_file():
        raise RuntimeError(f"cannot run {runtime}: LOCAL_FUNCTION_PYTHON={binary!r} is not a Python interpreter")
    environment = {"AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}
    if endpoint := os.environ.get("LOCAL_FUNCTION_ENDPOINT"):
        environment["AWS_ENDPOINT_URL"] = endpoint
    prelude = PRELUDE.format(remove=NOT_FOR_FUNCTIONS, add=environment)
    return binary, prelude + lambda_runtime._PYTHON_WORKER_SCRIPT


lambda_runtime._detect_runtime_binary = interpreter


def text(value: object) -> str:
    """An environment variable as CloudFormation makes it: `7` and `true` are text."""
    return value if isinstance(value, str) else json.dumps(value)


def with_text_environment(properties: Json) -> Json:
    variables = (properties.get("Environment") or {}).get("Variables") or {}
    return {**properties, "Environment": {"Variables": {name: text(value) for name, value in variables.items()}}}


def reserve_concurrency(name: str, properties: Json) -> None:
    reserved = properties.get("ReservedConcurrentExecutions")
    lambda_svc._functions[name]["concurrency"] = None if reserved is None else int(reserved)


def create_function(
    logical_id: str, properties: Json, stack: str, create: Callable[..., Created] = provisioners._lambda_create
) -> Created:
    created = create(logical_id, with_text_environment(properties), stack)
    reserve_concurrency(created[0], properties)
    return created


def update_function(
    physical_id: str,
    old: Json,
    new: Json,
    stack: str,
    logical_id: str | None = None,
    update: Callable[..., Created] = provisioners._lambda_update,
) -> Created:
    updated = update(physical_id, with_text_environment(old), with_text_environment(new), stack, logical_id)
    reserve_concurrency(updated[0], new)
    return updated


RESOURCES["AWS::Lambda::Function"].update(create=create_function, update=update_function)


# --- Invocations ------------------------------------------------------------------------------------------------------


def invoke(worker: Any, *arguments: Any, run: Callable[..., Json] = lambda_runtime.Worker.invoke, **named: Any) -> Json:
    """A process that fails to start (an import that fails, a kill) ends alone, and the log tells why. MiniStack ends
    every process of the function with it, those at work included, and tells only the caller."""
    try:
        return run(worker, *arguments, **named)
    except Exception as error:  # noqa: BLE001 whatever it is, MiniStack would only pass it on
        process, worker._proc = worker._proc, None
        if process:
            process.kill()
            process.wait()
        return {"status": "error", "error": str(error), "trace": f"[ERROR] {error}"}


lambda_runtime.Worker.invoke = invoke


def http_reply(
    result: Json, shape: Callable[..., tuple[Json, None]] = lambda_svc.lambda_execute_result_to_api_proxy_response
) -> tuple[Json, None]:
    """An HTTP API never tells the caller what went wrong inside a function."""
    if result.get("error"):
        body = json.dumps({"message": "Internal Server Error"})
        return {"statusCode": 500, "headers": {"content-type": "application/json"}, "body": body}, None
    return shape(result)


lambda_svc.lambda_execute_result_to_api_proxy_response = http_reply


def send_event_to_function(arn: str, payload: str) -> None:
    """EventBridge invokes asynchronously: retries, then the failure destination. MiniStack tries once."""
    version, config, name = lambda_svc._get_func_record_for_ref(arn)
    if version and config:
        _name, qualifier = lambda_svc._lambda_function_name_and_qualifier_from_arn(arn)
        rules = (lambda_svc._functions[name].get("event_invoke_configs") or {}).get(qualifier or "$LATEST")
        record = lambda_svc._execution_record_for_config(
            version, config
        )  # MiniStack looks for an alias's rules nowhere
        lambda_svc.invoke_async_with_retry({**record, "event_invoke_config": rules}, json.loads(payload))
    else:
        eventbridge.logger.error("EventBridge: no function %s", name)


eventbridge._dispatch_to_lambda = send_event_to_function


def send_failure_record(destination: str, name: str, event: Json, result: Json) -> None:
    """What Lambda sends to an OnFailure queue. MiniStack's record lacks the time, the version and the request id."""
    function = lambda_svc._functions[name]
    # The rules that named this destination: of $LATEST or of an alias. A function of ours has them once.
    [(qualifier, rules)] = (function.get("event_invoke_configs") or {"$LATEST": {}}).items()
    executed = function["aliases"].get(qualifier, {}).get("FunctionVersion", qualifier)
    retries = rules.get("MaximumRetryAttempts")
    record = {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": lambda_svc.new_uuid(),
            "functionArn": f"{function['config']['FunctionArn']}:{qualifier}",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 1 + (2 if retries is None else retries),
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": executed, "functionError": "Unhandled"},
        "responsePayload": result.get("body"),
    }
    eventbridge._dispatch_to_sqs(parse_arn(destination), json.dumps(record))


lambda_svc._route_async_failure = send_failure_record


# --- SQS --------------------------------------------------------------------------------------------------------------


def locked(action: Callable[[Json, str], Json]) -> Callable[[Json, str], Json]:
    """MiniStack deletes by replacing a queue's list, from several threads: a message sent meanwhile would be lost."""

    def run(request: Json, url: str) -> Json:
        with sqs._queues_lock:
            return action(request, url)

    return run


def send_message(request: Json, url: str, send: Callable[[Json, str], Json] = sqs._act_send_message) -> Json:
    """Refuse what SQS refuses and MiniStack takes."""
    group = request.get("MessageGroupId")
    if group is not None and not re.fullmatch(r"[!-~]{1,128}", group):
        raise sqs._Err(
            "InvalidParameterValue", "MessageGroupId can only include alphanumeric and punctuation characters."
        )
    size = len(request.get("MessageBody", "").encode())
    for name, attribute in (request.get("MessageAttributes") or {}).items():
        value = attribute.get("StringValue") or attribute.get("BinaryValue") or ""
        if not value:
            raise sqs._Err(
                "InvalidParameterValue",
                f"Message (user) attribute '{name}' must contain a non-empty value of type '{attribute['DataType']}'.",
            )
        size += len(name) + len(attribute["DataType"]) + len(value.encode() if isinstance(value, str) else value)
    if size > 1_048_576:
        raise sqs._Err("InvalidParameterValue", "Message must be shorter than 1048576 bytes.")
    return send(request, url)


def change_visibility(
    request: Json, url: str, change: Callable[[Json, str], Json] = sqs._act_change_visibility
) -> Json:
    if not 0 <= int(request.get("VisibilityTimeout", 30)) <= 43_200:
        raise sqs._Err("InvalidParameterValue", "VisibilityTimeout must be between 0 and 43200 seconds.")
    return change(request, url)


sqs._act_send_message = send_message  # also what SendMessageBatch calls
sqs._HANDLERS.update(SendMessage=send_message, ChangeMessageVisibility=change_visibility)
for operation, handler in sqs._HANDLERS.items():
    if operation != "ReceiveMessage":  # the only asynchronous one
        sqs._HANDLERS[operation] = locked(handler)


def iam_action(
    service: str, *arguments: Any, extract: Callable[..., str | None] = iam_actions.extract_iam_action
) -> str | None:
    """IAM knows no SendMessageBatch and the like: the permission for the single action allows them."""
    action = extract(service, *arguments)
    return action.removesuffix("Batch") if action and service == "sqs" else action


iam_actions.extract_iam_action = iam_action


def request_context(
    service: str, action: str, body: bytes, params: Json, read: Callable[..., Json] = iam_actions.request_tag_context
) -> Json:
    """The condition key events:source, which MiniStack does not know: the sources of the entries of PutEvents."""
    context = read(service, action, body, params)
    if action != "events:PutEvents":
        return context
    sources = sorted({str(entry.get("Source")) for entry in json.loads(body)["Entries"]})
    return {**context, "events:source": sources[0] if len(sources) == 1 else sources}


iam_actions.request_tag_context = request_context


def failed_messages(answer: object, batch: set[str]) -> set[str]:
    """The message ids that a handler with ReportBatchItemFailures names.

    As on AWS an answer without failures means that all succeeded, and one that makes no sense that all failed.
    """
    try:
        failures = (answer or {}).get("batchItemFailures") or []  # type: ignore[attr-defined]
        named = {failure["itemIdentifier"] for failure in failures}
    except (AttributeError, KeyError, TypeError):
        return batch
    return named if named <= batch else batch


def run_batch(mapping: Json, function: Json, event: Json, _batch: list[Json], queue_url: str, queue: str) -> None:
    """Invoke a function for messages of a queue and delete those it has done."""
    receipts = {record["messageId"]: record["receiptHandle"] for record in event["Records"]}
    result = lambda_svc._execute_function(function, event)
    if result.get("error"):
        failed = set(receipts)
        lambda_svc.logger.warning("%s failed with a batch from %s: %s", mapping["FunctionName"], queue, result["body"])
        lambda_svc._esm_backoff_until[mapping["UUID"]] = time.time() + lambda_svc._ESM_BACKOFF_SECONDS
    elif "ReportBatchItemFailures" in mapping["FunctionResponseTypes"]:
        failed = failed_messages(result.get("body"), set(receipts))
    else:
        failed = set()
    sqs._delete_messages_for_esm(queue_url, {receipts[message] for message in set(receipts) - failed})


lambda_svc._run_sqs_batch = run_batch


class PromptWake:
    """The poller looks once a second for messages that have become visible; on AWS a waiting one gets them at once."""

    def __init__(self, event: threading.Event) -> None:
        self.set, self.clear, self._wait = event.set, event.clear, event.wait

    def wait(self, _seconds: float) -> bool:
        return self._wait(0.1)


lambda_svc._esm_wake = PromptWake(lambda_svc._esm_wake)


def create_mapping(
    logical_id: str, properties: Json, stack: str, create: Callable[..., Created] = provisioners._lambda_esm_create
) -> Created:
    """Lambda refuses a queue that shows a message again while the function may still be working on it."""
    queue = sqs._queue_by_arn(properties["EventSourceArn"])
    function, _name, _arn, _qualifier = provisioners._lambda_function_for_cfn_ref(properties["FunctionName"])
    if queue and function:
        visibility, timeout = int(queue["attributes"]["VisibilityTimeout"]), int(function["config"]["Timeout"])
        if visibility < timeout:
            raise ValueError(
                f"Queue visibility timeout: {visibility} seconds is less than Function timeout: {timeout} seconds"
            )
    return create(logical_id, with_numbers(properties), stack)


def update_mapping(
    physical_id: str,
    old: Json,
    new: Json,
    stack: str,
    update: Callable[..., Created] = provisioners._lambda_esm_update,
) -> Created:
    return update(physical_id, with_numbers(old), with_numbers(new), stack)


def with_numbers(properties: Json) -> Json:
    """A mapping's properties; a parameter's value is text, which MiniStack would compare with numbers."""
    scaling = properties.get("ScalingConfig")
    if not scaling:
        return properties
    return {**properties, "ScalingConfig": {"MaximumConcurrency": int(scaling["MaximumConcurrency"])}}


RESOURCES["AWS::Lambda::EventSourceMapping"].update(create=create_mapping, update=update_mapping)


# --- HTTP API ---------------------------------------------------------------------------------------------------------


def import_routes(api_id: str, properties: Json) -> None:
    """The routes of the OpenAPI document that SAM writes for an HttpApi; MiniStack ignores it."""
    if "Body" not in properties:
        return
    apigateway._routes[api_id], apigateway._integrations[api_id] = {}, {}
    for path, operations in properties["Body"]["paths"].items():
        for method, definition in operations.items():
            integration = definition["x-amazon-apigateway-integration"]
            _status, _headers, body = apigateway._create_integration(
                api_id,
                {
                    "integrationType": "AWS_PROXY",
                    "integrationUri": integration["uri"],
                    "payloadFormatVersion": integration["payloadFormatVersion"],
                },
            )
            target = f"integrations/{json.loads(body)['integrationId']}"
            verb = "ANY" if method.startswith("x-") else method.upper()
            key = "$default" if path == "/$default" else f"{verb} {path}"
            status, _headers, body = apigateway._create_route(api_id, {"routeKey": key, "target": target})
            if status >= 400:
                raise ValueError(f"route {key}: {body!r}")


def create_api(
    logical_id: str, properties: Json, stack: str, create: Callable[..., Created] = provisioners._apigw_v2_api_create
) -> Created:
    created = create(logical_id, properties, stack)
    import_routes(created[0], properties)
    return created


def update_api(
    physical_id: str,
    old: Json,
    new: Json,
    stack: str,
    logical_id: str | None = None,
    update: Callable[..., Created] = provisioners._apigw_v2_api_update,
) -> Created:
    updated = update(physical_id, old, new, stack, logical_id)
    import_routes(updated[0], new)
    return updated


RESOURCES["AWS::ApiGatewayV2::Api"].update(create=create_api, update=update_api)


# --- Secrets Manager --------------------------------------------------------------------------------------------------


def generated_secret(properties: Json) -> str:
    """A template's secret value; MiniStack's own ignores ExcludePunctuation."""
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
    """A secret that a template gives no value has none; MiniStack's would be the empty string."""
    created = create(logical_id, properties, stack)
    if not {"SecretString", "GenerateSecretString"} & set(properties):
        secretsmanager._secrets[created[0]]["Versions"].clear()
    return created


RESOURCES["AWS::SecretsManager::Secret"]["create"] = create_secret


ROTATION_STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


def secret_refusal(code: str, message: str) -> Any:
    return secretsmanager.error_response_json(code, message, 400)


def get_secret_value(request: Json, get: Callable[[Json], Any] = secretsmanager._get_secret_value) -> Any:
    """A version that a rotation has only reserved has no value."""
    _name, secret = secretsmanager._resolve(request.get("SecretId"))
    version = (secret or {}).get("Versions", {}).get(request.get("VersionId"))
    if version and version["SecretString"] is None and version["SecretBinary"] is None:
        return secret_refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret value.")
    return get(request)


def put_secret_value(request: Json, put: Callable[[Json], Any] = secretsmanager._put_secret_value) -> Any:
    """A version that has a value never gets another, and a label is on one version at a time."""
    _name, secret = secretsmanager._resolve(request.get("SecretId"))
    version = (secret or {}).get("Versions", {}).get(request.get("ClientRequestToken"))
    if version and version["SecretString"] not in (None, request.get("SecretString")):
        return secret_refusal("ResourceExistsException", "The version has another value already.")
    if version and version["SecretString"] is not None:  # again, with the same value: nothing changes
        request = {**request, "VersionStages": sorted({*version["Stages"], *request.get("VersionStages", [])})}
    for stage in request.get("VersionStages", []):
        if secret and stage != "AWSCURRENT":
            secretsmanager._remove_stage_everywhere(secret, stage, request.get("ClientRequestToken"))
    status, headers, body = put(request)
    if status == 200:
        for stage in request.get("VersionStages", []):  # MiniStack gives a version nothing beside AWSCURRENT
            secretsmanager._add_stage(secret, json.loads(body)["VersionId"], stage)
    return status, headers, body


def rotate_secret(request: Json) -> Any:
    """Call the rotation function's four steps, in a thread, as Secrets Manager does; MiniStack only copies the value.

    There is no timer. A rotation that did not end is begun again under its own version id, and the caller told so.
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
    """Attaching a schedule rotates at once, unless the template says otherwise."""
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


# --- CloudFormation ---------------------------------------------------------------------------------------------------


def with_conditions_met(
    template: Json, parameters: Json, *names: str, resolve: Callable[..., Json] = changesets._resolve_props_for_diff
) -> Json:
    """What a change set compares. A resource whose condition a parameter switches on is added, off: removed; MiniStack
    compares the templates only, and finds no change."""
    conditions = changesets._evaluate_conditions(template, parameters)
    resources = template.get("Resources", {})
    met = {name: each for name, each in resources.items() if conditions.get(each.get("Condition"), True)}
    return resolve({**template, "Resources": met}, parameters, *names)


changesets._resolve_props_for_diff = with_conditions_met


def generated_name(
    stack: str, logical_id: str, *, generate: Callable[..., str] = provisioners._physical_name, **options: Any
) -> str:
    """A stack that is deployed again after its deletion gets other names; from MiniStack it gets the same, and so takes
    over the queues and secrets that the deleted one has left."""
    own = cloudformation._stacks.get(stack, {}).get("StackId", "")
    seed = provisioners._NAME_SEED.set(own + provisioners._NAME_SEED.get())
    try:
        return generate(stack, logical_id, **options)
    finally:
        provisioners._NAME_SEED.reset(seed)


provisioners._physical_name = generated_name


def create_log_group(
    logical_id: str, properties: Json, stack: str, create: Callable[..., Created] = provisioners._cwlogs_create
) -> Created:
    """A name of the template's own that is taken fails the deployment; MiniStack empties that group."""
    if (name := properties.get("LogGroupName")) in cloudwatch_logs._log_groups:
        raise ValueError(f"{name} already exists")
    return create(logical_id, properties, stack)


RESOURCES["AWS::Logs::LogGroup"]["create"] = provisioners._cwlogs_create = create_log_group


# --- SAM --------------------------------------------------------------------------------------------------------------


def expand(
    template: Json, given: Any = None, previous: Any = None, apply: Callable[..., Json] = engine._apply_transforms
) -> Json:
    """SAM expands a template with its parameters' values; MiniStack lets it know the defaults only."""
    values = engine._transform_parameters(template, given, previous)
    declared = template.get("Parameters", {})
    valued = {name: {**declared[name], "Default": values.get(name, declared[name].get("Default"))} for name in declared}
    if not declared:
        return apply(template, given, previous)
    expanded = apply({**template, "Parameters": valued}, given, previous)
    expanded["Parameters"] = declared
    return expanded


changesets._apply_transforms = handlers._apply_transforms = expand


# --- Recorded, without effect -----------------------------------------------------------------------------------------


def put_alarm(name: str, properties: Json, put: Callable[..., Created] = provisioners._cw_metric_alarm_put) -> Created:
    """Take an alarm over metric math, which MiniStack refuses; it watches nothing."""
    if "Metrics" not in properties:
        return put(name, properties)
    return name, {"Arn": f"arn:aws:cloudwatch:{provisioners.get_region()}:{provisioners.get_account_id()}:alarm:{name}"}


provisioners._cw_metric_alarm_put = put_alarm


def create_query(_logical_id: str, properties: Json, _stack: str) -> Created:
    return properties["Name"], {"QueryDefinitionId": properties["Name"]}


RESOURCES["AWS::Logs::QueryDefinition"] = {"create": create_query, "delete": lambda _physical_id, _properties: None}


def create_nothing(logical_id: str, _properties: Json, stack: str) -> Created:
    """CodeDeploy: an alias that it should shift moves at once."""
    return f"{stack}-{logical_id}", {}


for kind in ("AWS::CodeDeploy::Application", "AWS::CodeDeploy::DeploymentGroup"):
    RESOURCES[kind] = {"create": create_nothing, "delete": lambda _physical_id, _properties: None}


reset_signals()
threading.Thread(target=end_with_parent, daemon=True).start()
app.main()
