"""Each parameter of the template can be changed alone, and back, on a stack that is there.

By CloudFormation's own API: SAM CLI takes seconds for each update.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from local.highlevel import LocalHighLevel
from local.stack import LocalAws, Stack
from tests.integration.packaged import deploy_packaged
from tests.unit.template import TEMPLATE, values_of

PAIRS = [  # of parameters that share a part of the function's configuration, each with the values to go through
    [{"ResultEvents": "on", "EventBusName": "crm"}, {"ResultEvents": "off", "EventBusName": "default"}],
    [{"ResultEvents": "on"}, {"EventBusName": "crm"}, {"EventBusName": "default"}, {"ResultEvents": "off"}],
    [{"EventBusName": "crm"}, {"ResultEvents": "on"}, {"ResultEvents": "off", "EventBusName": "crm2"}],
    [{"EventBusName": "crm", "GiveUpAfterHours": "24"}, {"EventBusName": "default"}, {"GiveUpAfterHours": "72"}],
]


@dataclass(frozen=True)
class Changing:
    """A stack and what calls reach: `live`; the function as it is configured now: `latest`."""

    aws: LocalAws
    stack: Stack

    def change(self, changed: dict[str, str]) -> None:
        """Update these parameters alone; the others keep their value."""
        formation = self.aws.client("cloudformation")
        parameters = [
            {"ParameterKey": name, "ParameterValue": changed[name]}
            if name in changed
            else {"ParameterKey": name, "UsePreviousValue": True}
            for name in TEMPLATE["Parameters"]
        ]
        formation.update_stack(
            StackName=self.stack.name,
            UsePreviousTemplate=True,
            Parameters=parameters,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        until = time.monotonic() + 30
        while (status := self._described()["StackStatus"]) in ("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert status.startswith("UPDATE_COMPLETE"), self._reasons()

    def values(self) -> dict[str, str]:
        return {each["ParameterKey"]: each["ParameterValue"] for each in self._described()["Parameters"]}

    def configuration(self, qualifier: str) -> dict[str, Any]:
        """What a parameter can change of the function, as it is there."""
        function = self.stack.resource("CreateConversation")
        found = self.aws.client("lambda").get_function_configuration(FunctionName=function, Qualifier=qualifier)
        return {
            name: found[name] for name in ("Environment", "Architectures", "MemorySize", "Timeout", "LoggingConfig")
        }

    def _described(self) -> Any:
        return self.aws.client("cloudformation").describe_stacks(StackName=self.stack.name)["Stacks"][0]

    def _reasons(self) -> list[str]:
        events = self.aws.client("cloudformation").describe_stack_events(StackName=self.stack.name)["StackEvents"]
        failed = (event for event in events if event["ResourceStatus"].endswith("FAILED"))
        return [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in failed]


@pytest.fixture(scope="module")
def changing() -> Iterator[Changing]:
    with LocalHighLevel() as highlevel, LocalAws(enforce_iam=True) as aws:
        for bus in ("crm", "crm2"):
            aws.client("events").create_event_bus(Name=bus)
        yield Changing(aws, deploy_packaged(aws, {"HighLevelBaseUrl": highlevel.url}))


def changes(name: str) -> list[dict[str, str]]:
    """The other values of a parameter, then its default again, or what this stack was deployed with."""
    default, *others = values_of(name)
    return [{name: value} for value in [*others, default]]


SEQUENCES = {name: changes(name) for name in TEMPLATE["Parameters"]}
SEQUENCES |= {f"pair{number}": pair for number, pair in enumerate(PAIRS, 1)}


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_a_parameter_is_changed_alone_and_back(changing: Changing, sequence: list[dict[str, str]]) -> None:
    before = changing.values()
    back = {name: before[name] for step in sequence for name in step}
    for step in [*sequence, back]:
        if all(changing.values()[name] == value for name, value in step.items()):
            continue
        changing.change(step)
        assert changing.values().items() >= step.items()
        assert changing.configuration("live") == changing.configuration("$LATEST")
    assert changing.values() == before
