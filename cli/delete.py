"""`./hlc delete`: delete a stack. What exists nowhere else stays."""

import time
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from cli.change_set import POLL_SECONDS
from cli.options import LOCAL, Settings, print_json
from cli.progress import progress
from cli.stack import CLIENT_CONFIG, StackError, aws_session, missing_stack, printable

if TYPE_CHECKING:
    from types_boto3_cloudformation import CloudFormationClient

_STAYING = ("AWS::SQS::Queue", "AWS::SecretsManager::Secret")


def run(settings: Settings) -> int:
    """Ask, delete the stack, and print what stays. Returns 0; raises StackError or an error of AWS."""
    name = settings.stack_name
    if name.lower() == LOCAL:
        raise StackError("the local stack ends with make serve: press Ctrl-C there")
    session = aws_session(settings)
    formation = session.client("cloudformation", config=CLIENT_CONFIG)
    with missing_stack(name, session.region_name or "", settings):
        formation.describe_stacks(StackName=name)
    settings.say(f"{name} in {session.region_name}; its queues and secrets stay")
    settings.confirm(f"Delete the stack {name}?", "nothing was deleted")
    with progress(f"CloudFormation deletes {name}"):
        staying = [physical for _kind, physical in delete_stack(formation, name)]
    if settings.json:
        print_json({"deleted": name, "staying": staying})
        return 0
    print(f"deleted: {name}. These stay (docs/operations.md#uninstall shows how to delete them):")
    for each in staying:
        print(f"  {each}")
    return 0


def delete_stack(formation: "CloudFormationClient", name: str) -> list[tuple[str, str]]:
    """Delete the stack and wait. Returns the type and name of each resource that stays; raises StackError."""
    stack_id = formation.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
    resources = formation.describe_stack_resources(StackName=name)["StackResources"]
    formation.delete_stack(StackName=name)
    while (status := _status(formation, stack_id)) == "DELETE_IN_PROGRESS":
        time.sleep(POLL_SECONDS)
    if status != "DELETE_COMPLETE":
        raise StackError(f"CloudFormation could not delete {printable(name)} ({status}): try again, or see its events")
    return [
        (each["ResourceType"], each["PhysicalResourceId"]) for each in resources if each["ResourceType"] in _STAYING
    ]


def _status(formation: "CloudFormationClient", stack_id: str) -> str:
    """Return the stack's status. CloudFormation shows a deleted stack by its id; the local AWS does not."""
    try:
        return str(formation.describe_stacks(StackName=stack_id)["Stacks"][0]["StackStatus"])
    except ClientError as error:
        if "does not exist" in str(error):
            return "DELETE_COMPLETE"
        raise
