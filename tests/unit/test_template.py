"""What the template wires that the emulator does not prove: permissions, policies, queues, alarms, parameters."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from create_conversation import retries

ROOT = Path(__file__).parents[2]


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!GetAtt A.B` becomes `{"Fn::GetAtt": "A.B"}`."""


def _short_form(loader: _Loader, name: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _short_form)

TEMPLATE = yaml.load((ROOT / "template.yaml").read_text(), _Loader)
RESOURCES = TEMPLATE["Resources"]
FUNCTION = RESOURCES["CreateConversation"]["Properties"]


def arn(resource: str) -> dict[str, str]:
    return {"Fn::GetAtt": f"{resource}.Arn"}


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
    assert rule["Pattern"]["source"] == [{"anything-but": ["highlevel-conversations"]}]
    assert rule["Pattern"]["detail-type"] == [{"Ref": "EventDetailType"}]
    assert rule["EventBusName"] == {"Ref": "EventBusName"}


def test_queues_keep_fourteen_days_and_are_encrypted() -> None:
    queues = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::SQS::Queue"}
    assert set(queues) == {"RetryQueue", "DeadLetterQueue"}
    for queue in queues.values():
        assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert queue["SqsManagedSseEnabled"] is True


def test_times_fit_each_other() -> None:
    timeout = FUNCTION["Timeout"]
    assert RESOURCES["RetryQueue"]["Properties"]["VisibilityTimeout"] == 6 * timeout
    assert retries.BATCH_SECONDS + retries.ATTEMPT_SECONDS < timeout < retries.LEASE_SECONDS


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


def test_every_environment_variable_has_a_reader_and_is_text() -> None:
    read = set(re.findall(r'"([A-Z_]+)"', (ROOT / "functions/create_conversation/settings.py").read_text()))
    variables = FUNCTION["Environment"]["Variables"]
    assert set(variables) == read
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


def test_alarms_reach_the_topic() -> None:
    of_rotation = ("TokenRotationFailedAlarm", "TokenNotRotatedAlarm")  # see test_rotate_token.py
    alarms = {
        name: r["Properties"]
        for name, r in RESOURCES.items()
        if r["Type"] == "AWS::CloudWatch::Alarm" and name not in of_rotation
    }
    wired = {(alarm["MetricName"], alarm["Dimensions"][0]["Value"]["Fn::GetAtt"]) for alarm in alarms.values()}
    assert wired == {
        ("ApproximateNumberOfMessagesVisible", "DeadLetterQueue.QueueName"),
        ("ApproximateAgeOfOldestMessage", "RetryQueue.QueueName"),
    }
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}]
        assert alarm["AlarmDescription"]
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    dead_letters = alarms["DeadLettersAlarm"]
    assert (dead_letters["Threshold"], dead_letters["EvaluationPeriods"]) == (0, 1)  # a single one rings
    subscription = RESOURCES["AlarmSubscription"]
    assert subscription["Properties"]["TopicArn"] == {"Ref": "AlarmTopic"}
    assert subscription["Condition"] == "HasAlarmEmail"


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
    assert len(TEMPLATE["Parameters"]) <= 12


def test_nothing_has_a_fixed_physical_name() -> None:
    """Two stacks live in one account."""
    names = {"FunctionName", "QueueName", "TableName", "RoleName", "LogGroupName", "TopicName", "AlarmName", "Name"}
    for logical_id, resource in RESOURCES.items():
        given = resource.get("Properties", {})
        assert not [name for name in names & given.keys() if isinstance(given[name], str)], logical_id


def test_the_last_output_is_the_next_command() -> None:
    assert list(TEMPLATE["Outputs"])[-1] == "NextCommand"
    assert TEMPLATE["Outputs"]["NextCommand"]["Value"] == {"Fn::Sub": "make token STACK=${AWS::StackName}"}
    assert all(output["Description"] for output in TEMPLATE["Outputs"].values())


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
