"""What the template wires and the emulator does not prove: permissions, policies, queues, parameters.

The alarms, the dashboard and the queries: test_template_alarms.py."""

import json
import re
from collections.abc import Mapping
from itertools import combinations, product
from typing import Any

import pytest

from create_conversation import aws_client, result_events
from create_conversation.triggers import retry_queue
from tests.unit.template import RESOURCES, ROOT, TEMPLATE, of_type, resolve, values_of

FUNCTION = RESOURCES["CreateConversation"]["Properties"]
FUNCTIONS = of_type("AWS::Serverless::Function")
QUEUES = of_type("AWS::SQS::Queue")
VARIABLES = FUNCTION["Environment"]["Variables"]
EVENTS = {name: event["Properties"] for name, event in FUNCTION["Events"].items()}
RULE = EVENTS["ConversationRequested"]
PARAMETERS = TEMPLATE["Parameters"]


def arn(resource: str) -> dict[str, str]:
    return {"Fn::GetAtt": f"{resource}.Arn"}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# --- Wiring -----------------------------------------------------------------------------------------------------------

BOUNDARY = {"Fn::If": ["HasPermissionsBoundary", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]}
WIRING = {
    "the retry queue, without Enabled, which ./hlc pause sets": (
        EVENTS["Retry"],
        {
            "Queue": arn("RetryQueue"),
            "BatchSize": 10,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],  # a failed message does not repeat its batch
            "ScalingConfig": {"MaximumConcurrency": {"Ref": "RetryConcurrency"}},
        },
    ),
    "the rule ignores result events": (RULE["Pattern"]["source"], [{"anything-but": [result_events.SOURCE]}]),
    "the rule's detail-type": (RULE["Pattern"]["detail-type"], [{"Ref": "EventDetailType"}]),
    "the rule's bus": (RULE["EventBusName"], {"Ref": "EventBusName"}),
    "EventBridge dead-letters": (RULE["DeadLetterConfig"], {"Arn": arn("DeadLetterQueue")}),
    "Lambda retries twice": (FUNCTION["EventInvokeConfig"]["MaximumRetryAttempts"], 2),
    "Lambda dead-letters": (
        FUNCTION["EventInvokeConfig"]["DestinationConfig"]["OnFailure"],
        {"Type": "SQS", "Destination": arn("DeadLetterQueue")},
    ),
    "SQS dead-letters": (
        QUEUES["RetryQueue"]["RedrivePolicy"],
        {"deadLetterTargetArn": arn("DeadLetterQueue"), "maxReceiveCount": 1000},
    ),
    "result events": (TEMPLATE["Conditions"]["PublishesResults"], {"Fn::Equals": [{"Ref": "ResultEvents"}, "on"]}),
    "the function knows the bus of result events": (
        VARIABLES["RESULT_BUS"],
        {"Fn::If": ["PublishesResults", {"Ref": "EventBusName"}, ""]},
    ),
    "the function's log": (FUNCTION["LoggingConfig"], {"LogGroup": {"Ref": "CreateConversationLogs"}}),
    "access log": (RESOURCES["HttpApi"]["Properties"]["AccessLogSettings"]["DestinationArn"], arn("AccessLogs")),
    # Any change here makes CloudFormation replace the value, which locks every sender out.
    "generated secret": (
        RESOURCES["SenderSecrets"]["Properties"]["GenerateSecretString"],
        {"SecretStringTemplate": "{}", "GenerateStringKey": "api", "PasswordLength": 40, "ExcludePunctuation": True},
    ),
    "the token has no value before ./hlc token set": (set(RESOURCES["HighLevelToken"]["Properties"]), {"Description"}),
    "the default deployment": (PARAMETERS["DeploymentPreference"]["Default"], "AllAtOnce"),
    "gradual": (
        TEMPLATE["Conditions"]["IsGradualDeployment"],
        {"Fn::Not": [{"Fn::Equals": [{"Ref": "DeploymentPreference"}, "AllAtOnce"]}]},
    ),
    "CodeDeploy takes part": (
        TEMPLATE["Mappings"]["GradualDeployment"],
        {
            name: {"Enabled": "false" if name == "AllAtOnce" else "true"}
            for name in PARAMETERS["DeploymentPreference"]["AllowedValues"]
        },
    ),
    "a gradual deployment": (
        FUNCTION["DeploymentPreference"],
        {
            "Enabled": {"Fn::FindInMap": ["GradualDeployment", {"Ref": "DeploymentPreference"}, "Enabled"]},
            "Type": {"Ref": "DeploymentPreference"},
            "Role": {"Fn::If": ["IsGradualDeployment", arn("DeploymentRole"), {"Ref": "AWS::NoValue"}]},
            "Alarms": [{"Ref": "FunctionErrorsAlarm"}],
        },
    ),
    "the deployment role": (RESOURCES["DeploymentRole"]["Condition"], "IsGradualDeployment"),
    "next command": (
        TEMPLATE["Outputs"]["NextCommand"]["Value"],
        {"Fn::Sub": "./hlc token set --stack ${AWS::StackName}"},
    ),
    "the last output": (list(TEMPLATE["Outputs"])[-1], "NextCommand"),
}


@pytest.mark.parametrize(("actual", "expected"), WIRING.values(), ids=WIRING)
def test_it_is_wired(actual: Any, expected: Any) -> None:
    assert actual == expected


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_architecture_has_its_makefile(name: str) -> None:
    assert RESOURCES[name]["Metadata"]["BuildMethod"] == "makefile"
    assert RESOURCES[name]["Metadata"]["ContextPath"] == {"Fn::Sub": "packaging/${Architecture}"}
    assert FUNCTIONS[name]["Architectures"] == [{"Ref": "Architecture"}]
    makefiles = {path.parent.name for path in (ROOT / "packaging").glob("*/Makefile")}
    assert makefiles == set(PARAMETERS["Architecture"]["AllowedValues"])


# --- Permissions ------------------------------------------------------------------------------------------------------


def test_the_role_allows_exactly_what_the_function_does() -> None:
    [policy] = RESOURCES["CreateConversationRole"]["Properties"]["Policies"]
    allowed = {
        (action, str(resource))
        for statement in policy["PolicyDocument"]["Statement"]
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }
    secrets = [{"Fn::GetAtt": "HighLevelToken.Id"}, {"Fn::GetAtt": "SenderSecrets.Id"}]
    queue_actions = ("SendMessage", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility")
    assert allowed == {
        *(("secretsmanager:GetSecretValue", str(secret)) for secret in secrets),
        *((f"dynamodb:{action}", str(arn("IdempotencyTable"))) for action in ("GetItem", "BatchGetItem", "UpdateItem")),
        *((f"sqs:{action}", str(arn("RetryQueue"))) for action in queue_actions),
        ("sqs:SendMessage", str(arn("DeadLetterQueue"))),
        *((f"logs:{action}", str(arn("CreateConversationLogs"))) for action in ("CreateLogStream", "PutLogEvents")),
    }
    assert all(statement["Effect"] == "Allow" for statement in policy["PolicyDocument"]["Statement"])
    trust = RESOURCES["CreateConversationRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert [(s["Principal"], s["Action"]) for s in trust] == [({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")]


def test_every_role_has_the_permissions_boundary() -> None:
    roles = of_type("AWS::IAM::Role")
    assert set(roles) == {"CreateConversationRole", "TokenRotationRole", "DeploymentRole"}
    assert all(role["PermissionsBoundary"] == BOUNDARY for role in roles.values())
    # SAM makes a role of its own, without a boundary, for a function that names none.
    assert {function["Role"]["Fn::GetAtt"].removesuffix(".Arn") for function in FUNCTIONS.values()} <= set(roles)


def test_only_code_deploy_has_a_policy_of_aws() -> None:
    having = [name for name, role in of_type("AWS::IAM::Role").items() if "ManagedPolicyArns" in role]
    assert having == ["DeploymentRole"]


def test_it_may_publish_its_own_events_on_its_bus_and_only_with_result_events() -> None:
    policy = RESOURCES["ResultEventsPolicy"]
    assert policy["Condition"] == "PublishesResults"
    assert policy["Properties"]["Roles"] == [{"Ref": "CreateConversationRole"}]
    [statement] = policy["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "events:PutEvents")
    bus = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/${EventBusName}"
    assert statement["Resource"] == {"Fn::Sub": bus}
    assert statement["Condition"] == {"StringEquals": {"events:source": result_events.SOURCE}}


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


def test_no_statement_allows_everything() -> None:
    for properties in (resource.get("Properties", {}) for resource in RESOURCES.values()):
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        for statement in (statement for document in documents for statement in document["Statement"]):
            assert "*" not in str(statement["Action"]) + str(statement["Resource"])
            assert statement.get("Principal") != "*"


# --- Storage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RetryQueue", "DeadLetterQueue"])
def test_a_queue_stores_the_largest_submission_encrypted_for_fourteen_days(name: str) -> None:
    assert set(QUEUES) == {"RetryQueue", "DeadLetterQueue"}
    assert QUEUES[name]["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert QUEUES[name]["SqsManagedSseEnabled"] is True
    # SQS's greatest. A queue of an older stack stays at 256 KiB unless the template says otherwise.
    assert QUEUES[name]["MaximumMessageSize"] == 1024 * 1024


def test_everything_that_holds_data_has_deletion_policies() -> None:
    holding = ("AWS::SQS::Queue", "AWS::SecretsManager::Secret", "AWS::DynamoDB::Table", "AWS::Logs::LogGroup")
    policies = {
        name: (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy"))
        for name, resource in RESOURCES.items()
        if resource["Type"] in holding
    }
    outlives = ("RetainExceptOnCreate", "Retain")
    assert policies == {
        "RetryQueue": outlives,
        "DeadLetterQueue": outlives,
        "HighLevelToken": outlives,
        "SenderSecrets": outlives,
        "IdempotencyTable": ("Delete", "Delete"),
        "AccessLogs": ("Delete", "Delete"),  # its name is fixed: a group that stays would block the next stack
        "CreateConversationLogs": ("Delete", "Retain"),
        "TokenRotationLogs": ("Delete", "Retain"),
    }


def test_times_fit_each_other() -> None:
    timeout, visibility = FUNCTION["Timeout"], QUEUES["RetryQueue"]["VisibilityTimeout"]
    assert visibility >= 6 * timeout
    longest_hours = PARAMETERS["GiveUpAfterHours"]["MaxValue"]
    receives = QUEUES["RetryQueue"]["RedrivePolicy"]["maxReceiveCount"]
    assert receives * visibility >= longest_hours * 3600, "also of a function that cannot start"
    call = aws_client.CONNECT_SECONDS + aws_client.ANSWER_SECONDS
    sqs_seconds = aws_client.SQS.attempts * call + aws_client.MAX_PAUSE_SECONDS
    attempts = retry_queue.BATCH_SECONDS + retry_queue.ATTEMPT_SECONDS
    longest = attempts + retry_queue.STORE_SECONDS + sqs_seconds + result_events.BACKGROUND_SECONDS
    assert longest < timeout < retry_queue.LEASE_SECONDS


def test_the_api_throttles_and_logs_no_query_string() -> None:
    api = RESOURCES["HttpApi"]["Properties"]
    assert api["DefaultRouteSettings"]["ThrottlingRateLimit"] > 0
    assert api["DefaultRouteSettings"]["ThrottlingBurstLimit"] > 0
    logged = api["AccessLogSettings"]["Format"]
    assert "$context.requestId" in logged
    assert not re.search(r"query|\$context\.path|sourceIp|authorizer", logged)


@pytest.mark.parametrize("name", of_type("AWS::Logs::LogGroup"))
def test_a_log_group_expires_and_needs_no_room_in_the_account_s_policy(name: str) -> None:
    """API Gateway adds a log group of any other name to a policy of at most 5120 characters for the account."""
    group = RESOURCES[name]["Properties"]
    assert group["RetentionInDays"] > 0
    if name == "AccessLogs":
        assert group["LogGroupName"]["Fn::Sub"].startswith("/aws/vendedlogs/")


def test_no_resource_has_a_fixed_physical_name() -> None:
    """Two stacks may be in one account."""
    names = {"FunctionName", "QueueName", "TableName", "RoleName", "LogGroupName", "TopicName", "AlarmName", "Name"}
    names |= {"DashboardName"}
    for logical_id, resource in RESOURCES.items():
        for name in names & resource.get("Properties", {}).keys():
            value = resource["Properties"][name]
            is_reference = "Ref" in value and value["Ref"] in RESOURCES  # of a metric filter
            assert is_reference or "${AWS::StackName}/" in value["Fn::Sub"], logical_id


# --- Versions ---------------------------------------------------------------------------------------------------------

DEFAULTS = {name: str(parameter["Default"]) for name, parameter in PARAMETERS.items()}
NOT_CONFIGURATION = {"Events", "DeploymentPreference", "EventInvokeConfig", "VersionDescription"}
CONFIGURATION = {name: value for name, value in FUNCTION.items() if name not in NOT_CONFIGURATION}


def states(changed: tuple[str, ...]) -> list[dict[str, str]]:
    """All values of these parameters in all combinations, the others at their defaults."""
    return [DEFAULTS | dict(zip(changed, values, strict=True)) for values in product(*map(values_of, changed))]


def described(parameters: Mapping[str, str]) -> str:
    return str(resolve(FUNCTION["VersionDescription"], parameters))


def assert_one_description_for_each_configuration(changed: tuple[str, ...]) -> None:
    """With the same description a change would reach $LATEST only, which no trigger calls; with another description for
    the same configuration Lambda would publish no version, and the update would fail."""
    pairs = {(json.dumps(resolve(CONFIGURATION, each)), described(each)) for each in states(changed)}
    assert len({configuration for configuration, _ in pairs}) == len(pairs), changed
    assert len({description for _, description in pairs}) == len(pairs), changed


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_version_changes_exactly_when_a_parameter_changes_the_configuration(name: str) -> None:
    assert_one_description_for_each_configuration((name,))


def test_the_version_changes_exactly_when_parameters_together_change_the_configuration() -> None:
    for changed in combinations(PARAMETERS, 3):
        assert_one_description_for_each_configuration(changed)


def test_a_version_s_description_is_never_too_long() -> None:
    """Lambda's limit is 256 characters. A parameter of free text that is in it needs a MaxLength."""
    choices = tuple(name for name, parameter in PARAMETERS.items() if "AllowedValues" in parameter)
    longest = {name: "x" * each["MaxLength"] for name, each in PARAMETERS.items() if "MaxLength" in each}
    longest |= {name: str(each["MaxValue"]) for name, each in PARAMETERS.items() if "MaxValue" in each}
    for state in states(choices):
        limits = {name: state[name] for name in choices} | longest
        assert "${" not in described(limits), "a parameter without a limit is in it"
        assert len(described(limits)) <= 256


@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if "Events" in function])
def test_every_trigger_calls_the_alias_whatever_the_deployment(name: str) -> None:
    assert FUNCTIONS[name]["AutoPublishAlias"] == "live"
    assert FUNCTIONS[name]["AutoPublishAliasAllProperties"] is True
    assert FUNCTIONS[name]["VersionDeletionPolicy"] == "Delete"


# --- Parameters and outputs -------------------------------------------------------------------------------------------


def test_every_environment_variable_is_read_and_is_text() -> None:
    read = set(re.findall(r'"([A-Z_]+)"', (ROOT / "functions/create_conversation/settings.py").read_text()))
    assert set(VARIABLES) == read | {"URL_SUFFIX"}  # aws_client.py reads the latter
    assert all(isinstance(value, str | dict) for value in VARIABLES.values())


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_parameter_is_checked_labelled_and_explained(name: str) -> None:
    parameter = PARAMETERS[name]
    assert parameter["Description"]
    assert parameter["ConstraintDescription"]
    assert {"AllowedPattern", "AllowedValues", "MinValue"} & parameter.keys()
    interface = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]
    assert interface["ParameterLabels"][name]["default"]
    assert sum(name in group["Parameters"] for group in interface["ParameterGroups"]) == 1
    if "AllowedPattern" in parameter:
        assert re.fullmatch(parameter["AllowedPattern"], str(parameter["Default"]))


def test_there_are_few_parameters() -> None:
    assert len(PARAMETERS) <= 15


def test_a_new_account_has_concurrency_left_for_callers() -> None:
    """An account begins with 10 concurrent executions. 2 is the least that Lambda lets SQS have."""
    assert PARAMETERS["RetryConcurrency"]["Default"] == PARAMETERS["RetryConcurrency"]["MinValue"] == 2


@pytest.mark.parametrize("name", TEMPLATE["Outputs"])
def test_each_output_is_explained(name: str) -> None:
    assert TEMPLATE["Outputs"][name]["Description"]
