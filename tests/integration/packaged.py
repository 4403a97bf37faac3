"""Deploy the application by CloudFormation's API, with what SAM CLI has packaged: each run of SAM CLI takes 3 s of
processor time.

Tests about deploying itself use `local.stack.deploy`, which runs SAM CLI each time.
"""

import fcntl
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.stack import ARCHITECTURE, BUCKET, LocalAws, LocalAwsError, Stack, build, deploy

NAME = "highlevel-conversations"
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]


def deploy_packaged(
    aws: LocalAws, parameters: Mapping[str, str] | None = None, *, name: str = NAME, built: Path | None = None
) -> Stack:
    """Deploy a built template (by default `build()`) as `deploy` does. Deploying again updates the stack.

    Only the first deployment of a build runs SAM CLI. What it uploads (the code and the template) is stored beside the
    build, and is what the others upload.
    """
    built = built or build()
    packaged = built.parent.parent / "packaged"
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    with (packaged.parent / "packaging").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes the first one runs SAM CLI
        if not packaged.exists():
            for key in _keys(s3):  # of another build
                s3.delete_object(Bucket=BUCKET, Key=key)
            stack = deploy(aws, parameters, name=name, built=built)
            _download(s3, packaged)
            return stack
    for file in packaged.iterdir():
        s3.put_object(Bucket=BUCKET, Key=file.name, Body=file.read_bytes())
    [template] = packaged.glob("*.template")
    _apply(aws, name, f"{aws.endpoint}/{BUCKET}/{template.name}", {"Architecture": ARCHITECTURE, **(parameters or {})})
    return Stack(aws, name)


def _keys(s3: Any) -> list[str]:
    return [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def _download(s3: Any, packaged: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=packaged.parent))
    for key in _keys(s3):
        (unfinished / key).write_bytes(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    unfinished.rename(packaged)


def _apply(aws: LocalAws, name: str, template: str, parameters: Mapping[str, str]) -> None:
    """Create and execute a change set as SAM CLI does. Raises LocalAwsError with the reasons."""
    formation = aws.client("cloudformation")
    present = next((each for each in formation.describe_stacks()["Stacks"] if each["StackName"] == name), None)
    previous = {each["ParameterKey"] for each in present["Parameters"]} - parameters.keys() if present else set()
    change = {"StackName": name, "ChangeSetName": f"test{uuid.uuid4().hex}"}
    formation.create_change_set(
        **change,
        ChangeSetType="UPDATE" if present else "CREATE",
        TemplateURL=template,
        Parameters=[
            *({"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()),
            *({"ParameterKey": key, "UsePreviousValue": True} for key in sorted(previous)),
        ],
        Capabilities=CAPABILITIES,
    )
    described = formation.describe_change_set(**change)
    if described["Status"] == "FAILED" and not described["Changes"]:
        return  # nothing is changed
    formation.execute_change_set(**change)
    while (status := _status(formation, name)).endswith("IN_PROGRESS"):
        time.sleep(0.02)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        events = formation.describe_stack_events(StackName=name)["StackEvents"]
        failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
        reasons = [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in failed]
        raise LocalAwsError("\n".join([f"{name}: {status}", *reasons]))


def _status(formation: Any, name: str) -> str:
    return str(formation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
