"""A stack is deployed, updated with other parameters, not updated by a failed update, and deleted.

The unchanged template, by the real SAM CLI, in an AWS of its own.
"""

import json
import re
import time
from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import Any

import pytest

from local.application import Application
from local.highlevel import LocalHighLevel
from local.stack import LocalAws, LocalAwsError, Stack, deploy
from tests.integration.packaged import deploy_packaged
from tests.integration.world import TOKEN

BOUNDARY = "arn:aws:iam::000000000000:policy/Boundary"
RETAINED = {"RetryQueue", "DeadLetterQueue", "HighLevelToken", "SenderSecrets"}
CODE_DEPLOY = {"DeploymentRole", "ServerlessDeploymentApplication", "CreateConversationDeploymentGroup"}


@pytest.fixture(scope="module")
def deployed() -> Iterator["DeployedStack"]:
    with LocalHighLevel(tokens={TOKEN: "*"}) as highlevel, LocalAws(enforce_iam=True) as aws:
        aws.client("events").create_event_bus(Name="crm")
        yield DeployedStack(aws, highlevel)


class DeployedStack:
    """A stack that is deployed several times; parameters that are not named keep their value."""

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

    def update_packaged(self, **parameters: str) -> None:
        """Update without SAM CLI, where CloudFormation's work is tested."""
        self.application = Application(self.aws, deploy_packaged(self.aws, parameters))

    def status(self) -> str:
        return str(self.formation.describe_stacks(StackName=self.stack.name)["Stacks"][0]["StackStatus"])

    def resources(self) -> set[str]:
        found = self.formation.describe_stack_resources(StackName=self.stack.name)["StackResources"]
        return {resource["LogicalResourceId"] for resource in found}

    def setting(self, name: str) -> str:
        """A variable of the version that the triggers call."""
        function = self.stack.resource("CreateConversation")
        live = self.aws.client("lambda").get_function_configuration(FunctionName=function, Qualifier="live")
        return str(live["Environment"]["Variables"][name])

    def versions(self) -> list[str]:
        function = self.stack.resource("CreateConversation")
        found = self.aws.client("lambda").list_versions_by_function(FunctionName=function)["Versions"]
        return [version["Version"] for version in found if version["Version"] != "$LATEST"]

    def assert_every_trigger_works(self) -> None:
        """A caller, an event and a retried submission each open a conversation."""
        self._contacts += 1
        contact = f"life{self._contacts}"
        self.application.start_function()
        assert self.application.post({"locationId": "life", "contactId": contact}).status == 201
        self.application.put_event({"locationId": "life", "contactId": f"{contact}event"})
        assert self.application.wait_for_line(contact_id=f"{contact}event")["outcome"] == "opened"
        self.highlevel.fail(kind="html", times=1)
        assert self.application.post({"locationId": "life", "contactId": f"{contact}retry"}).status == 202
        assert self.application.wait_for_line(contact_id=f"{contact}retry", trigger="retry")["outcome"] == "opened"


def test_a_stack_is_updated_and_rolled_back(deployed: DeployedStack) -> None:
    deployed.assert_every_trigger_works()
    assert deployed.versions() == ["1"]
    assert not CODE_DEPLOY & deployed.resources()
    url, secret = deployed.stack.url(), deployed.application.api_secret

    # The called version gets other parameters; stored data stays.
    deployed.update(GiveUpAfterHours="24", AlarmEmail="ops@example.com")
    assert deployed.setting("GIVE_UP_AFTER_HOURS") == "24"
    assert deployed.versions() == ["2"]
    assert "AlarmSubscription" in deployed.resources()
    assert (deployed.stack.url(), deployed.application.api_secret) == (url, secret)
    deployed.assert_every_trigger_works()

    # Parameters of other resources publish no version.
    deployed.update_packaged(
        DeploymentPreference="Canary10Percent5Minutes", PermissionsBoundary=BOUNDARY, RetryConcurrency="2"
    )
    assert deployed.resources() >= CODE_DEPLOY
    assert deployed.versions() == ["2"]
    assert_nothing_depends_on_itself(processed(deployed))
    deployed.update_packaged(GiveUpAfterHours="36")
    assert (deployed.setting("GIVE_UP_AFTER_HOURS"), deployed.versions()) == ("36", ["3"])

    # An update that fails changes nothing.
    with pytest.raises(LocalAwsError, match="nosuchbus does not exist"):
        deployed.update(GiveUpAfterHours="1", EventBusName="nosuchbus")
    assert deployed.status() == "UPDATE_ROLLBACK_COMPLETE"
    assert deployed.setting("GIVE_UP_AFTER_HOURS") == "36"
    assert len(deployed.versions()) == 1
    deployed.assert_every_trigger_works()

    # The same update succeeds with a bus that exists, without gradual deployment.
    deployed.update_packaged(GiveUpAfterHours="1", EventBusName="crm", DeploymentPreference="AllAtOnce")
    assert deployed.setting("GIVE_UP_AFTER_HOURS") == "1"
    assert not CODE_DEPLOY & deployed.resources()
    deployed.assert_every_trigger_works()
    [rule] = deployed.aws.client("events").list_rules(EventBusName="crm")["Rules"]
    lost = ["AWS/Events", "InvocationsFailedToBeSentToDlq", "EventBusName", "crm", "RuleName", rule["Name"]]
    assert lost in [metric[:6] for metric in metrics_of_dashboard(deployed)]


def test_other_tests_deploy_what_sam_cli_deploys(deployed: DeployedStack) -> None:
    def state() -> tuple[Any, int]:
        events = deployed.formation.describe_stack_events(StackName=deployed.stack.name)["StackEvents"]
        return deployed.formation.get_template(StackName=deployed.stack.name)["TemplateBody"], len(events)

    deploy_packaged(deployed.aws)  # if it is this build's first deployment, by SAM CLI
    before = state()
    deploy_packaged(deployed.aws)
    assert state() == before


def test_a_failed_first_deployment_leaves_nothing(deployed: DeployedStack) -> None:
    deployed.aws.client("logs").create_log_group(logGroupName="/aws/vendedlogs/failing/access")
    before = existing_resources(deployed.aws)
    with pytest.raises(LocalAwsError, match="already exists"):
        deploy(deployed.aws, name="failing")
    delete(deployed.aws, "failing")
    assert existing_resources(deployed.aws) == before


def test_a_deleted_stack_leaves_only_unique_data_and_can_be_deployed_again(deployed: DeployedStack) -> None:
    deployed.update_packaged(HighLevelBaseUrl=deployed.highlevel.url)
    deployed.application.store_token(TOKEN)
    deployed.highlevel.fail(kind="html")
    assert deployed.application.post({"locationId": "life", "contactId": "waiting"}).status == 202
    queue, secret = deployed.stack.resource("RetryQueue"), deployed.stack.resource("SenderSecrets")
    delete(deployed.aws, deployed.stack.name)
    deployed.highlevel.heal()
    attributes = deployed.aws.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert sum(int(attributes[f"ApproximateNumberOfMessages{kind}"]) for kind in ("", "NotVisible", "Delayed")) == 1
    found = deployed.aws.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"]
    assert deployed.application.api_secret in found

    # The remaining resources do not prevent a stack of the same name.
    left = existing_resources(deployed.aws)
    deployed.update(HighLevelBaseUrl=deployed.highlevel.url)
    deployed.application.store_token(TOKEN)
    deployed.assert_every_trigger_works()
    left |= {deployed.stack.resource(name) for name in RETAINED}
    delete(deployed.aws, deployed.stack.name)
    assert existing_resources(deployed.aws) == left


def metrics_of_dashboard(deployed: DeployedStack) -> list[Any]:
    name = deployed.stack.resource("Dashboard")
    body = json.loads(deployed.aws.client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"])
    return [metric for widget in body["widgets"] for metric in widget["properties"].get("metrics", [])]


def processed(deployed: DeployedStack) -> Any:
    """The template as SAM expanded it."""
    return deployed.formation.get_template(StackName=deployed.stack.name, TemplateStage="Processed")["TemplateBody"]


def assert_nothing_depends_on_itself(template: Any) -> None:
    """CloudFormation refuses a cycle; the emulator ignores the update policy of an alias. Raises CycleError."""
    resources = template["Resources"]
    assert "UpdatePolicy" in resources["CreateConversationAliaslive"]
    graph = {name: referred(resource) & resources.keys() for name, resource in resources.items()}
    assert "FunctionErrorsAlarm" in graph["CreateConversationDeploymentGroup"]
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


def existing_resources(aws: LocalAws) -> set[str]:
    """Physical ids or ARNs of all resources of the kinds that a stack creates."""
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
