"""What a deployment changes: SAM creates the change set, this reads it, executes it and waits."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from cli.progress import progress
from cli.stack import StackError, printable

if TYPE_CHECKING:
    from types_boto3_cloudformation import CloudFormationClient

POLL_SECONDS = 2.0
# To replace one of these loses what it holds.
_HOLD_DATA = ("AWS::SQS::Queue", "AWS::SecretsManager::Secret", "AWS::DynamoDB::Table")
_VERBS = {"Add": "create", "Modify": "change", "Remove": "delete", "Import": "import"}


@dataclass(frozen=True, slots=True)
class Change:
    """One resource. `verb`: create, change, replace, delete, import."""

    verb: str
    resource: str
    kind: str

    @property
    def loses_data(self) -> bool:
        """Whether a queue, secret or table is replaced or deleted."""
        return self.verb in ("replace", "delete") and self.kind in _HOLD_DATA


def changes_of(formation: "CloudFormationClient", arn: str) -> list[Change]:
    """Return what the change set changes."""
    return [_change(each["ResourceChange"]) for each in _pages(formation, arn) if "ResourceChange" in each]


def _pages(formation: "CloudFormationClient", arn: str) -> Iterator[Any]:
    token: dict[str, str] = {}
    while True:
        page = formation.describe_change_set(ChangeSetName=arn, **token)  # type: ignore[arg-type]
        yield from page.get("Changes", [])
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def _change(resource: Any) -> Change:
    is_replaced = resource.get("Action") == "Modify" and resource.get("Replacement") == "True"
    verb = "replace" if is_replaced else _VERBS.get(resource.get("Action", ""), str(resource.get("Action")).lower())
    return Change(verb, resource["LogicalResourceId"], resource["ResourceType"])


def execute(formation: "CloudFormationClient", stack: str, arn: str, number: int) -> None:
    """Execute the change set and wait until CloudFormation has ended. Raises StackError with its reasons."""
    began = time.time() - 60  # clocks differ
    formation.execute_change_set(ChangeSetName=arn, StackName=stack)
    done = 0
    with progress(lambda: f"CloudFormation works on {stack}: {done} of about {number} resources"):
        while True:
            status = formation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
            if not status.endswith("_IN_PROGRESS") or status == "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS":
                break
            done = sum(event["ResourceStatus"].endswith("_COMPLETE") for event in _events(formation, stack, began))
            time.sleep(POLL_SECONDS)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"):
        raise StackError(f"CloudFormation could not deploy {stack} ({status}): {_reasons(formation, stack, began)}")


def discard(formation: "CloudFormationClient", stack: str, arn: str, *, is_new: bool) -> None:
    """Delete a change set that is not wanted, and the empty stack that it made of a new name."""
    formation.delete_change_set(ChangeSetName=arn, StackName=stack)
    if is_new:
        formation.delete_stack(StackName=stack)


def _events(formation: "CloudFormationClient", stack: str, since: float) -> list[Any]:
    try:
        events = formation.describe_stack_events(StackName=stack)["StackEvents"]
    except ClientError:
        return []
    return [event for event in events if event["Timestamp"].timestamp() >= since]


def _reasons(formation: "CloudFormationClient", stack: str, since: float) -> str:
    """Return what failed first; later failures are usually its consequences."""
    failed = [event for event in _events(formation, stack, since) if event["ResourceStatus"].endswith("FAILED")]
    first = sorted(failed, key=lambda event: event["Timestamp"])[:3]
    texts = [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '?')}" for event in first]
    return printable("; ".join(texts) or "see the stack's events in the CloudFormation console")
