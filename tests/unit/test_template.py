"""What the template wires that the emulator does not prove: permissions, policies, queues, parameters.

The alarms, the dashboard and the queries: test_template_alarms.py."""

import json
import re
from collections.abc import Mapping
from itertools import combinations, product
from typing import Any

import pytest

from create_conversation import result_events
from create_conversation.triggers import retry_queue
from tests.unit.template import RESOURCES, ROOT, TEMPLATE, of_type, resolve, values_of

FUNCTION = RESOURCES["CreateConversation"]["Properties"]


def arn(resource: str) -> dict[str, str]:
    return {"Fn::GetAtt": f"{resource}.Arn"}


def test_each_architecture_has_its_bundle_and_no_other_value_has() -> None:
    for name in of_type("AWS::Serverless::Function"):
        assert RESOURCES[name]["Metadata"]["BuildMethod"] == "makefile"
        assert RESOURCES[name]["Metadata"]["ContextPath"] == {"Fn::Sub": "functions/bundle/${Architecture}"}
        assert RESOURCES[name]["Properties"]["Architectures"] == [{"Ref": "Architecture"}]
    makefiles = {path.parent.name for path in (ROOT / "functions/bundle").glob("*/Makefile")}
    assert makefiles == set(TEMPLATE["Parameters"]["Architecture"]["AllowedValues"])


def test_the_role_allows_exactly_what_the_function_does() -> None:
    [policy] = RESOURCES["CreateConversationRole"]["Properties"]["Policies"]
    allowed = {
        (action, str(resource))
        for statement in policy["PolicyDocument"]["Statement"]
        for action in _list(statement["Action"])
        for resource in _list(statement["Resource"])
    }
    secrets = [{"Fn::GetAtt": "HighLevelToken.Id"}, {"Fn::GetAtt": "SenderSecrets.Id"}]
    queue_actions = ("SendMessage", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility")
    assert allowed == {
        *(("secretsmanager:GetSecretValue", str(secret)) for secret in secrets),
        *((f"dynamodb:{action}", str(arn("Records"))) for action in ("GetItem", "UpdateItem")),
        *((f"sqs:{action}", str(arn("RetryQueue"))) for action in queue_actions),
        ("sqs:SendMessage", str(arn("DeadLetterQueue"))),
        *((f"logs:{action}", str(arn("CreateConversationLogs"))) for action in ("CreateLogStream", "PutLogEvents")),
    }
    assert all(statement["Effect"] == "Allow" for statement in policy["PolicyDocument"]["Statement"])
    assert "ManagedPolicyArns" not in RESOURCES["CreateConversationRole"]["Properties"]
    trust = RESOURCES["CreateConversationRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert [(s["Principal"], s["Action"]) for s in trust] == [({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")]


def test_every_role_takes_the_permissions_boundary() -> None:
    roles = of_type("AWS::IAM::Role")
    assert set(roles) == {"CreateConversationRole", "TokenRotationRole", "DeploymentRole"}
    for role in roles.values():
        boundary = {"Fn::If": ["HasPermissionsBoundary", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]}
        assert role["PermissionsBoundary"] == boundary
    # SAM makes a role of its own, without a boundary, for a function and for CodeDeploy that name none.
    for function in of_type("AWS::Serverless::Function").values():
        assert function["Role"]["Fn::GetAtt"].removesuffix(".Arn") in roles
    role = FUNCTION["DeploymentPreference"]["Role"]
    assert role == {"Fn::If": ["IsStepByStep", arn("DeploymentRole"), {"Ref": "AWS::NoValue"}]}


def test_only_code_deploy_has_a_policy_of_aws() -> None:
    """Which allows on `*`; the reason stands beside it."""
    having = [name for name, role in of_type("AWS::IAM::Role").items() if "ManagedPolicyArns" in role]
    assert having == ["DeploymentRole"]
    before, _, _ = (ROOT / "template.yaml").read_text().partition("      ManagedPolicyArns:")
    assert before.rstrip().splitlines()[-1].strip().startswith("#")


def test_it_may_publish_its_own_events_on_its_bus_and_only_if_asked_to() -> None:
    policy = RESOURCES["PublishResults"]
    assert policy["Condition"] == "PublishesResults"
    assert TEMPLATE["Conditions"]["PublishesResults"] == {"Fn::Equals": [{"Ref": "ResultEvents"}, "on"]}
    assert policy["Properties"]["Roles"] == [{"Ref": "CreateConversationRole"}]
    [statement] = policy["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "events:PutEvents")
    bus = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/${EventBusName}"
    assert statement["Resource"] == {"Fn::Sub": bus}
    assert statement["Condition"] == {"StringEquals": {"events:source": result_events.SOURCE}}
    variable = FUNCTION["Environment"]["Variables"]["RESULT_BUS"]
    assert variable == {"Fn::If": ["PublishesResults", {"Ref": "EventBusName"}, ""]}


def test_a_paused_stack_leaves_the_retry_queue_alone() -> None:
    assert TEMPLATE["Conditions"]["IsPaused"] == {"Fn::Equals": [{"Ref": "Paused"}, "true"]}
    assert FUNCTION["Events"]["Retry"]["Properties"]["Enabled"] == {"Fn::If": ["IsPaused", False, True]}
    assert FUNCTION["Environment"]["Variables"]["PAUSED"] == {"Ref": "Paused"}


def test_nothing_is_allowed_on_everything() -> None:
    for properties in (resource.get("Properties", {}) for resource in RESOURCES.values()):
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        for statement in (statement for document in documents for statement in document["Statement"]):
            assert "*" not in str(statement["Action"]) + str(statement["Resource"])
            assert statement.get("Principal") != "*"


def test_only_the_rule_may_send_to_the_dead_letter_queue_from_outside() -> None:
    policy = RESOURCES["DeadLetterQueuePolicy"]["Properties"]
    assert policy["Queues"] == [{"Ref": "DeadLetterQueue"}]
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Allow"
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Resource"] == arn("DeadLetterQueue")
    rule = arn("CreateConversationConversationRequested")  # the name that SAM gives the rule of this event
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": rule}}


def test_every_way_to_fail_ends_in_the_dead_letter_queue() -> None:
    rule = FUNCTION["Events"]["ConversationRequested"]["Properties"]
    assert rule["DeadLetterConfig"] == {"Arn": arn("DeadLetterQueue")}
    on_failure = FUNCTION["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]
    assert on_failure == {"Type": "SQS", "Destination": arn("DeadLetterQueue")}
    assert FUNCTION["EventInvokeConfig"]["MaximumRetryAttempts"] == 2
    redrive = RESOURCES["RetryQueue"]["Properties"]["RedrivePolicy"]
    assert redrive == {"deadLetterTargetArn": arn("DeadLetterQueue"), "maxReceiveCount": 1000}


def test_the_rule_never_takes_our_own_events() -> None:
    rule = FUNCTION["Events"]["ConversationRequested"]["Properties"]
    assert rule["Pattern"]["source"] == [{"anything-but": [result_events.SOURCE]}]
    assert rule["Pattern"]["detail-type"] == [{"Ref": "EventDetailType"}]
    assert rule["EventBusName"] == {"Ref": "EventBusName"}


def test_queues_keep_fourteen_days_and_are_encrypted() -> None:
    queues = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::SQS::Queue"}
    assert set(queues) == {"RetryQueue", "DeadLetterQueue"}
    for queue in queues.values():
        assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert queue["SqsManagedSseEnabled"] is True


def test_a_queue_takes_the_largest_submission() -> None:
    """1 MiB is what SQS offers; a queue of an older stack would stay at 256 KiB without being asked for it."""
    for queue in of_type("AWS::SQS::Queue").values():
        assert queue["MaximumMessageSize"] == 1024 * 1024


OUTLIVES = ("RetainExceptOnCreate", "Retain")
POLICIES = {
    "RetryQueue": OUTLIVES,
    "DeadLetterQueue": OUTLIVES,
    "HighLevelToken": OUTLIVES,
    "SenderSecrets": OUTLIVES,
    "Records": ("Delete", "Delete"),
    "AccessLogs": ("Delete", "Delete"),  # its name is fixed: left behind it would be in the way
    "CreateConversationLogs": ("Delete", "Retain"),
    "TokenRotationLogs": ("Delete", "Retain"),
}


def test_everything_that_holds_data_says_what_becomes_of_it() -> None:
    holding = ("AWS::SQS::Queue", "AWS::SecretsManager::Secret", "AWS::DynamoDB::Table", "AWS::Logs::LogGroup")
    said = {
        name: (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy"))
        for name, resource in RESOURCES.items()
        if resource["Type"] in holding
    }
    assert said == POLICIES


def test_access_logs_need_no_room_in_the_policy_of_the_account() -> None:
    """Which API Gateway extends for a log group of any other name, up to 5120 characters for all of an account."""
    api = RESOURCES["HttpApi"]["Properties"]
    assert api["AccessLogSettings"]["DestinationArn"] == arn("AccessLogs")
    assert RESOURCES["AccessLogs"]["Properties"]["LogGroupName"]["Fn::Sub"].startswith("/aws/vendedlogs/")


def test_times_fit_each_other() -> None:
    timeout = FUNCTION["Timeout"]
    visibility = RESOURCES["RetryQueue"]["Properties"]["VisibilityTimeout"]
    assert visibility >= 6 * timeout
    longest_hours = TEMPLATE["Parameters"]["GiveUpAfterHours"]["MaxValue"]
    receives = RESOURCES["RetryQueue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"]
    assert receives * visibility >= longest_hours * 3600, "also of a function that cannot start"
    longest = retry_queue.BATCH_SECONDS + retry_queue.ATTEMPT_SECONDS + result_events.BACKGROUND_SECONDS
    assert longest < timeout < retry_queue.LEASE_SECONDS


def test_one_bad_message_does_not_repeat_its_batch() -> None:
    retry = FUNCTION["Events"]["Retry"]["Properties"]
    assert retry["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert retry["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "RetryConcurrency"}}
    assert retry["Queue"] == arn("RetryQueue")


def test_the_function_states_what_it_needs() -> None:
    assert {"Timeout", "MemorySize", "Role", "Handler", "Runtime", "Architectures"} <= FUNCTION.keys()
    assert FUNCTION["LoggingConfig"] == {"LogGroup": {"Ref": "CreateConversationLogs"}}
    for resource in RESOURCES.values():
        if resource["Type"] == "AWS::Logs::LogGroup":
            assert resource["Properties"]["RetentionInDays"] > 0


def test_every_door_calls_the_alias_whatever_the_deployment() -> None:
    for function in (each for each in of_type("AWS::Serverless::Function").values() if "Events" in each):
        assert function["AutoPublishAlias"] == "live"
        assert function["AutoPublishAliasAllProperties"] is True
        assert function["VersionDeletionPolicy"] == "Delete"


DEFAULTS = {name: str(parameter["Default"]) for name, parameter in TEMPLATE["Parameters"].items()}
NOT_CONFIGURATION = {"Events", "DeploymentPreference", "EventInvokeConfig", "VersionDescription"}
CONFIGURATION = {name: value for name, value in FUNCTION.items() if name not in NOT_CONFIGURATION}


def states(changed: tuple[str, ...]) -> list[dict[str, str]]:
    """All values of these parameters in all combinations, the others at their defaults."""
    return [DEFAULTS | dict(zip(changed, values, strict=True)) for values in product(*map(values_of, changed))]


def described(parameters: Mapping[str, str]) -> str:
    return str(resolve(FUNCTION["VersionDescription"], parameters))


def assert_one_description_for_each_configuration(changed: tuple[str, ...]) -> None:
    """A description that stayed would leave a change in $LATEST, which nothing calls; one that changed alone would fail
    the update, as there is nothing to publish."""
    pairs = {(json.dumps(resolve(CONFIGURATION, each)), described(each)) for each in states(changed)}
    assert len({configuration for configuration, _ in pairs}) == len(pairs), changed
    assert len({description for _, description in pairs}) == len(pairs), changed


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_the_version_changes_exactly_when_a_parameter_changes_the_configuration(name: str) -> None:
    assert_one_description_for_each_configuration((name,))


def test_the_version_changes_exactly_when_parameters_together_change_the_configuration() -> None:
    for changed in combinations(TEMPLATE["Parameters"], 3):
        assert_one_description_for_each_configuration(changed)


def test_a_description_of_a_version_is_never_too_long() -> None:
    """Lambda takes 256 characters. A parameter of free text that has a part in it needs a MaxLength."""
    choices = [name for name, parameter in TEMPLATE["Parameters"].items() if "AllowedValues" in parameter]
    longest = {
        name: "x" * parameter["MaxLength"]
        for name, parameter in TEMPLATE["Parameters"].items()
        if "MaxLength" in parameter
    } | {
        name: str(parameter["MaxValue"])
        for name, parameter in TEMPLATE["Parameters"].items()
        if "MaxValue" in parameter
    }
    for state in states(tuple(choices)):
        limits = {name: state[name] for name in choices} | longest
        assert "${" not in described(limits)  # nothing in it is without a limit
        assert len(described(limits)) <= 256


def test_a_deployment_goes_at_once_unless_a_parameter_says_otherwise() -> None:
    parameter = TEMPLATE["Parameters"]["DeploymentPreference"]
    assert parameter["Default"] == "AllAtOnce"
    step_by_step = TEMPLATE["Mappings"]["StepByStep"]
    assert list(step_by_step) == parameter["AllowedValues"]
    for name, entry in step_by_step.items():
        assert entry["Enabled"] == ("false" if name == "AllAtOnce" else "true")
    assert TEMPLATE["Conditions"]["IsStepByStep"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "DeploymentPreference"}, "AllAtOnce"]}]
    }
    preference = FUNCTION["DeploymentPreference"]
    assert preference["Enabled"] == {"Fn::FindInMap": ["StepByStep", {"Ref": "DeploymentPreference"}, "Enabled"]}
    assert preference["Type"] == {"Ref": "DeploymentPreference"}
    assert preference["Alarms"] == [{"Ref": "FunctionErrorsAlarm"}, {"Ref": "InternalErrorsAlarm"}]
    assert RESOURCES["DeploymentRole"]["Condition"] == "IsStepByStep"


def test_every_environment_variable_has_a_reader_and_is_text() -> None:
    read = set(re.findall(r'"([A-Z_]+)"', (ROOT / "functions/create_conversation/settings.py").read_text()))
    variables = FUNCTION["Environment"]["Variables"]
    assert set(variables) == read | {"URL_SUFFIX"}  # the latter: aws.py
    assert all(isinstance(value, str | dict) for value in variables.values())


def test_secrets_are_closed_by_default_and_never_in_the_template() -> None:
    assert set(RESOURCES["HighLevelToken"]["Properties"]) == {"Description"}  # without a value until make token
    generated = RESOURCES["SenderSecrets"]["Properties"]["GenerateSecretString"]
    # Pinned: any change here makes CloudFormation replace the value, and locks every sender out.
    assert generated == {
        "SecretStringTemplate": "{}",
        "GenerateStringKey": "api",
        "PasswordLength": 40,
        "ExcludePunctuation": True,
    }


def test_the_api_throttles_and_logs_no_query_string() -> None:
    api = RESOURCES["HttpApi"]["Properties"]
    assert api["DefaultRouteSettings"]["ThrottlingRateLimit"] > 0
    assert api["DefaultRouteSettings"]["ThrottlingBurstLimit"] > 0
    logged = api["AccessLogSettings"]["Format"]
    assert "$context.requestId" in logged
    assert not re.search(r"query|\$context\.path|sourceIp|authorizer", logged)


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_each_parameter_is_checked_labelled_and_explained(name: str) -> None:
    parameter = TEMPLATE["Parameters"][name]
    assert parameter["Description"]
    assert parameter["ConstraintDescription"]
    assert {"AllowedPattern", "AllowedValues", "MinValue"} & parameter.keys()
    interface = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]
    assert interface["ParameterLabels"][name]["default"]
    assert sum(name in group["Parameters"] for group in interface["ParameterGroups"]) == 1
    if "AllowedPattern" in parameter:
        assert re.fullmatch(parameter["AllowedPattern"], str(parameter["Default"]))


def test_there_are_few_parameters() -> None:
    assert len(TEMPLATE["Parameters"]) <= 14


def test_nothing_has_a_fixed_physical_name() -> None:
    """Two stacks live in one account."""
    names = {"FunctionName", "QueueName", "TableName", "RoleName", "LogGroupName", "TopicName", "AlarmName", "Name"}
    names |= {"DashboardName"}
    for logical_id, resource in RESOURCES.items():
        for name in names & resource.get("Properties", {}).keys():
            value = resource["Properties"][name]
            is_ours = "Ref" in value and value["Ref"] in RESOURCES  # a reference, of a metric filter
            assert is_ours or "${AWS::StackName}/" in value["Fn::Sub"], logical_id


def test_the_last_output_is_the_next_command() -> None:
    assert list(TEMPLATE["Outputs"])[-1] == "NextCommand"
    assert TEMPLATE["Outputs"]["NextCommand"]["Value"] == {"Fn::Sub": "make token STACK=${AWS::StackName}"}
    assert all(output["Description"] for output in TEMPLATE["Outputs"].values())


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
