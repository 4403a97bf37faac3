"""The life of a stack: deployed, updated with other parameters, a failed update, deleted.

The unchanged template, by the real SAM CLI, in an AWS of its own.
"""

import re
import time
from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import Any

import pytest

from local.application import Application
from local.highlevel import LocalHighLevel
from local.stack import LocalAws, LocalAwsError, Stack, deploy
from tests.integration.world import TOKEN

BOUNDARY = "arn:aws:iam::000000000000:policy/Boundary"
OUTLIVE = {"RetryQueue", "DeadLetterQueue", "HighLevelToken", "SenderSecrets"}
CODE_DEPLOY = {"DeploymentRole", "ServerlessDeploymentApplication", "CreateConversationDeploymentGroup"}


@pytest.fixture(scope="module")
def life() -> Iterator["Life"]:
    with LocalHighLevel(tokens={TOKEN: "*"}) as highlevel, LocalAws(enforce_iam=True) as aws:
        aws.client("events").create_event_bus(Name="crm")
        yield Life(aws, highlevel)


class Life:
    """A stack that is deployed again and again; parameters that are not named keep their value."""

    def __init__(self, aws: LocalAws, highlevel: LocalHighLevel) -> None:
        self.aws, self.highlevel = aws, highlevel
        self.formation = aws.client("cloudformation")
        self.application = Application(aws, deploy(aws, {"HighLevelBaseUrl": highlevel.url}))
        self.application.store_token(TOKEN)
        self._contacts = 0

    @property
    def stack(self) -> Stack:
        return self.application.stack

    def update(self, **parameters: str) -> None:
        self.application = Application(self.aws, deploy(self.aws, parameters))

    def status(self) -> str:
        return str(self.formation.describe_stacks(StackName=self.stack.name)["Stacks"][0]["StackStatus"])

    def resources(self) -> set[str]:
        found = self.formation.describe_stack_resources(StackName=self.stack.name)["StackResources"]
        return {resource["LogicalResourceId"] for resource in found}

    def setting(self, name: str) -> str:
        """What the function that the doors call has in its environment."""
        function = self.stack.resource("CreateConversation")
        live = self.aws.client("lambda").get_function_configuration(FunctionName=function, Qualifier="live")
        return str(live["Environment"]["Variables"][name])

    def versions(self) -> list[str]:
        function = self.stack.resource("CreateConversation")
        found = self.aws.client("lambda").list_versions_by_function(FunctionName=function)["Versions"]
        return [version["Version"] for version in found if version["Version"] != "$LATEST"]

    def every_door_works(self) -> None:
        """A caller, an event and a kept submission each open a conversation."""
        self._contacts += 1
        contact = f"life{self._contacts}"
        assert self.application.post({"locationId": "life", "contactId": contact}).status == 201
        self.application.put_event({"locationId": "life", "contactId": f"{contact}event"})
        assert self.application.wait_for_line(contact_id=f"{contact}event")["outcome"] == "opened"
        self.highlevel.fail(kind="html", times=1)
        assert self.application.post({"locationId": "life", "contactId": f"{contact}retry"}).status == 202
        assert self.application.wait_for_line(contact_id=f"{contact}retry", trigger="retry")["outcome"] == "opened"


def test_the_life_of_a_stack(life: Life) -> None:
    life.every_door_works()
    assert life.versions() == ["1"]
    assert not CODE_DEPLOY & life.resources()
    url, secret = life.stack.url(), life.application.api_secret

    # Other parameters: what the doors call has them, and what is kept stays.
    life.update(GiveUpAfterHours="24", AlarmEmail="ops@example.com")
    assert life.setting("GIVE_UP_AFTER_HOURS") == "24"
    assert life.versions() == ["2"]
    assert "AlarmSubscription" in life.resources()
    assert (life.stack.url(), life.application.api_secret) == (url, secret)
    life.every_door_works()

    # Parameters that are not the function's publish nothing.
    life.update(DeploymentPreference="Canary10Percent5Minutes", PermissionsBoundary=BOUNDARY, RetryConcurrency="2")
    assert life.resources() >= CODE_DEPLOY
    assert life.versions() == ["2"]
    assert_nothing_depends_on_itself(processed(life))
    life.update(GiveUpAfterHours="36")
    assert (life.setting("GIVE_UP_AFTER_HOURS"), life.versions()) == ("36", ["3"])

    # An update that fails changes nothing.
    with pytest.raises(LocalAwsError, match="nosuchbus does not exist"):
        life.update(GiveUpAfterHours="1", EventBusName="nosuchbus")
    assert life.status() == "UPDATE_ROLLBACK_COMPLETE"
    assert life.setting("GIVE_UP_AFTER_HOURS") == "36"
    assert len(life.versions()) == 1
    life.every_door_works()

    # The same once more, now that it can: and back to all at once, on another bus.
    life.update(GiveUpAfterHours="1", EventBusName="crm", DeploymentPreference="AllAtOnce")
    assert life.setting("GIVE_UP_AFTER_HOURS") == "1"
    assert not CODE_DEPLOY & life.resources()
    life.every_door_works()
    dimensions = {each["Name"]: each["Value"] for each in alarm(life, "FailedRuleAlarm")["Dimensions"]}
    assert dimensions["EventBusName"] == "crm"
    rules = life.aws.client("events").list_rules(EventBusName="crm")["Rules"]
    assert [dimensions["RuleName"]] == [rule["Name"] for rule in rules]


def test_a_first_deployment_that_fails_leaves_nothing(life: Life) -> None:
    life.aws.client("logs").create_log_group(logGroupName="/aws/vendedlogs/failing/access")
    before = there(life.aws)
    with pytest.raises(LocalAwsError, match="already exists"):
        deploy(life.aws, name="failing")
    delete(life.aws, "failing")
    assert there(life.aws) == before


def test_a_deleted_stack_leaves_what_exists_nowhere_else_and_is_deployed_again(life: Life) -> None:
    life.update(HighLevelBaseUrl=life.highlevel.url)
    life.application.store_token(TOKEN)
    life.highlevel.fail(kind="html")
    assert life.application.post({"locationId": "life", "contactId": "waiting"}).status == 202
    queue, secret = life.stack.resource("RetryQueue"), life.stack.resource("SenderSecrets")
    delete(life.aws, life.stack.name)
    life.highlevel.heal()
    attributes = life.aws.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert sum(int(attributes[f"ApproximateNumberOfMessages{kind}"]) for kind in ("", "NotVisible", "Delayed")) == 1
    found = life.aws.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"]
    assert life.application.api_secret in found

    # What it has left is not in the way of the next one of its name.
    left = there(life.aws)
    life.update(HighLevelBaseUrl=life.highlevel.url)
    life.application.store_token(TOKEN)
    life.every_door_works()
    left |= {life.stack.resource(name) for name in OUTLIVE}
    delete(life.aws, life.stack.name)
    assert there(life.aws) == left


def alarm(life: Life, name: str) -> Any:
    physical = life.stack.resource(name)
    [found] = life.aws.client("cloudwatch").describe_alarms(AlarmNames=[physical])["MetricAlarms"]
    return found


def processed(life: Life) -> Any:
    """The template as SAM expanded it."""
    return life.formation.get_template(StackName=life.stack.name, TemplateStage="Processed")["TemplateBody"]


def assert_nothing_depends_on_itself(template: Any) -> None:
    """CloudFormation refuses a circle; the emulator does not look at an alias's update policy. Raises CycleError."""
    resources = template["Resources"]
    assert "UpdatePolicy" in resources["CreateConversationAliaslive"]
    graph = {name: referred(resource) & resources.keys() for name, resource in resources.items()}
    assert graph["CreateConversationDeploymentGroup"] >= {"FunctionErrorsAlarm", "InternalErrorsAlarm"}
    TopologicalSorter(graph).prepare()


def referred(value: Any) -> set[str]:
    """The logical ids to which a part of the template refers, and some other names."""
    if isinstance(value, list):
        return set().union(*(referred(each) for each in value))
    if not isinstance(value, dict):
        return set()
    named = {str(value["Ref"])} if "Ref" in value else set()
    if "Fn::GetAtt" in value:
        target = value["Fn::GetAtt"]
        named.add(target.split(".")[0] if isinstance(target, str) else target[0])
    if "Fn::Sub" in value:
        named |= set(re.findall(r"\${(\w+)", str(value["Fn::Sub"])))
    return named.union(*(referred(each) for each in value.values()))


def delete(aws: LocalAws, name: str) -> None:
    formation = aws.client("cloudformation")
    formation.delete_stack(StackName=name)
    until = time.monotonic() + 30
    while any(stack["StackName"] == name for stack in formation.describe_stacks()["Stacks"]):
        assert time.monotonic() < until
        time.sleep(0.1)


def there(aws: LocalAws) -> set[str]:
    """Everything that is there of the kinds that a stack makes: their physical ids or ARNs."""
    events, functions, logs, watch = (aws.client(name) for name in ("events", "lambda", "logs", "cloudwatch"))
    return {
        *(each["FunctionName"] for each in functions.list_functions()["Functions"]),
        *(each["UUID"] for each in functions.list_event_source_mappings()["EventSourceMappings"]),
        *aws.client("sqs").list_queues().get("QueueUrls", []),
        *aws.client("dynamodb").list_tables()["TableNames"],
        *(each["Name"] for each in aws.client("secretsmanager").list_secrets()["SecretList"]),
        *(each["ApiId"] for each in aws.client("apigatewayv2").get_apis()["Items"]),
        *(each["Arn"] for bus in ("default", "crm") for each in events.list_rules(EventBusName=bus)["Rules"]),
        *(each["TopicArn"] for each in aws.client("sns").list_topics()["Topics"]),
        *(each["Arn"] for each in aws.client("iam").list_roles()["Roles"]),
        *(each["logGroupName"] for each in logs.describe_log_groups()["logGroups"]),
        *(each["AlarmName"] for each in watch.describe_alarms()["MetricAlarms"]),
        *(each["DashboardName"] for each in watch.list_dashboards()["DashboardEntries"]),
    }
