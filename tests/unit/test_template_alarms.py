"""What watches the application: every metric, dimension and field that an alarm, a widget or a query names occurs in a
line that is really written, and every alarm has its runbook. AWS's own metrics: tests/data/aws_metrics.json.

The emulator evaluates none of them.
"""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from create_conversation.errors import REASONS
from create_conversation.queues import backoff
from create_conversation.triggers import retry_queue
from rotate_token import rotation_log as rotation
from shared import observability
from tests.unit.conftest import Log
from tests.unit.fakes import refusal
from tests.unit.template import RESOURCES, ROOT, TEMPLATE, of_type
from tests.unit.world import (
    CONTEXT,
    SETTINGS,
    TOKEN,
    World,
    gateway_event,
    request,
    sample,
    sqs_record,
    submission,
    webhook_event,
)

NAMESPACE = SETTINGS.metrics_namespace  # the stack's name
AWS_METRICS = json.loads((ROOT / "tests/data/aws_metrics.json").read_text())
ALARMS = of_type("AWS::CloudWatch::Alarm")
RUNBOOK = (ROOT / "docs/operations.md").read_text()


def resolved(text: str) -> str:
    """A Fn::Sub, with the stack's name as the unit tests have it; what else it refers to is some name."""
    return re.sub(r"\${[\w.:]+}", "some-name", text.replace("${AWS::StackName}", NAMESPACE))


DASHBOARD = json.loads(resolved(RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]))
QUERIES = {name: query["QueryString"] for name, query in of_type("AWS::Logs::QueryDefinition").items()} | {
    widget["properties"]["title"]: widget["properties"]["query"]
    for widget in DASHBOARD["widgets"]
    if widget["type"] == "log"
}


@dataclass(frozen=True)
class Metric:
    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]

    @property
    def names(self) -> list[str]:
        return sorted(name for name, _ in self.dimensions)


# --- What is written --------------------------------------------------------------------------------------------------


def at_every_door(world: World, contact: str) -> None:
    """One submission by each door, and its kept message."""
    body = json.dumps(request(contact=contact))
    world.post(gateway_event(body))
    world.post(webhook_event(request(contact=f"{contact}w")))
    world.events.handle(sample("event_conversation_requested") | {"detail": request(contact=f"{contact}e")}, CONTEXT)
    kept = submission(body=json.dumps(request(contact=f"{contact}r")).encode())
    world.retry(sqs_record(kept.to_message(), receives=90, age=7200))


@pytest.fixture
def lines(world: World, log: Log) -> list[dict[str, Any]]:
    """What the function writes while everything happens to it: canonical lines, warnings, errors and metrics."""
    at_every_door(world, "opened")
    at_every_door(world, "opened")  # existing
    world.highlevel.fail(kind="html")
    at_every_door(world, "deferred")
    world.highlevel.heal()
    world.secrets.texts["HighLevelToken"] = None
    fresh = World(world.highlevel, senders=world.senders, secrets=world.secrets, dynamodb=world.dynamodb, sqs=world.sqs)
    at_every_door(fresh, "rejected")
    world.secrets.texts["HighLevelToken"] = TOKEN
    world.post(gateway_event("{"))
    world.post(gateway_event(authorization="Bearer wrong"))
    world.post(webhook_event(request(), secret="wrong"))
    other = json.dumps({"event_type": "form_abandoned"}).encode()
    world.retry(sqs_record(submission(trigger="webhook", sender="typeform", body=other).to_message()))
    world.highlevel.fail(kind="html")
    world.sqs.error = refusal("ServiceUnavailable")
    world.post(webhook_event(request(contact="notstored")))
    world.sqs.error = None
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as error:
        observability.internal_error(error)
    rotation.RotationLog("finishSecret", "version", "request", outcome="finished").write(NAMESPACE)
    return log.lines + log.troubles + log.metrics


def emitted(lines: list[dict[str, Any]]) -> set[Metric]:
    """The metrics that CloudWatch makes of these lines: by EMF, and by the template's filters."""
    found = set()
    for line in lines:
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
            for names in directive["Dimensions"]:
                dimensions = frozenset((name, line[name]) for name in names)
                found |= {Metric(directive["Namespace"], each["Name"], dimensions) for each in directive["Metrics"]}
    for properties in of_type("AWS::Logs::MetricFilter").values():
        [made] = properties["MetricTransformations"]
        assert made["MetricNamespace"] == {"Ref": "AWS::StackName"}
        value = made["MetricValue"]
        matching = [line for line in lines if matches(properties["FilterPattern"], line)]
        if any(value == "1" or isinstance(line[value.removeprefix("$.")], int) for line in matching):
            found.add(Metric(NAMESPACE, made["MetricName"], frozenset()))
    return found


def matches(pattern: str, line: dict[str, Any]) -> bool:
    """A CloudWatch Logs filter pattern over JSON, as far as ours go."""
    conditions = re.fullmatch(r"{ (.*) }", pattern)
    assert conditions
    for condition in conditions[1].split(" && "):
        parts = re.fullmatch(r'\$\.(\w+) (=|!=) "([^"]*)"', condition)
        assert parts
        name, operator, value = parts.groups()
        if name not in line or (line[name] == value) != (operator == "="):
            return False
    return True


def test_an_internal_error_and_a_long_retry_are_counted_and_nothing_else_is(lines: list[dict[str, Any]]) -> None:
    patterns = {name: each["FilterPattern"] for name, each in of_type("AWS::Logs::MetricFilter").items()}
    internal = [line for line in lines if matches(patterns["InternalErrors"], line)]
    assert [(line["level"], line["error"]) for line in internal] == [("ERROR", "ZeroDivisionError")]
    [retried] = [line for line in lines if matches(patterns["RetryAge"], line)]
    assert (retried["outcome"], retried["trigger"], retried["age_seconds"]) == ("deferred", "retry", 7200)
    limited = retried | {"reason": "rate_limited"}
    assert not matches(patterns["RetryAge"], limited)


# --- What is watched --------------------------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    return NAMESPACE if value == {"Ref": "AWS::StackName"} else value if isinstance(value, str) else "some-name"


def metric(source: dict[str, Any], dimensions: list[dict[str, Any]]) -> Metric:
    named = frozenset((each["Name"], text_of(each["Value"])) for each in dimensions)
    return Metric(text_of(source["Namespace"]), source["MetricName"], named)


def metrics_of(alarm: dict[str, Any]) -> list[Metric]:
    if "Metrics" in alarm:
        stats = [query["MetricStat"]["Metric"] for query in alarm["Metrics"] if "MetricStat" in query]
        return [metric(stat, stat["Dimensions"]) for stat in stats]
    dimensions = alarm.get("Dimensions", [])
    if isinstance(dimensions, dict):
        _condition, *ways = dimensions["Fn::If"]
        return [metric(alarm, way) for way in ways]
    return [metric(alarm, dimensions)]


def metrics_of_dashboard() -> Iterator[Metric]:
    for widget in DASHBOARD["widgets"]:
        for entry in widget["properties"].get("metrics", []):
            if isinstance(entry[0], dict):
                yield searched(entry[0]["expression"])
            else:
                namespace, name, *dimensions = [part for part in entry if isinstance(part, str)]
                pairs = frozenset(zip(dimensions[::2], dimensions[1::2], strict=True))
                yield Metric(namespace, name, pairs)


def searched(expression: str) -> Metric:
    """What a SEARCH of ours finds; a dimension without a value stands for any."""
    parts = re.fullmatch(
        r"""SUM\(SEARCH\('{"([^"]+)",([\w,]+)} MetricName="(\w+)" (\w+)="(\w+)"', 'Sum', 300\)\)""", expression
    )
    assert parts, expression
    namespace, names, name, dimension, value = parts.groups()
    pairs = dict.fromkeys(names.split(","), "") | {dimension: value}
    return Metric(namespace, name, frozenset(pairs.items()))


def is_known(wanted: Metric, written: set[Metric]) -> bool:
    if wanted.namespace != NAMESPACE:
        known = AWS_METRICS[wanted.namespace]
        return wanted.name in known["metrics"] and wanted.names in known["dimensions"]
    given = {pair for pair in wanted.dimensions if pair[1]}
    return any((each.name, each.names) == (wanted.name, wanted.names) and given <= each.dimensions for each in written)


def test_every_metric_of_an_alarm_is_written(lines: list[dict[str, Any]]) -> None:
    written = emitted(lines)
    wanted = [(name, each) for name, alarm in ALARMS.items() for each in metrics_of(alarm)]
    assert [pair for pair in wanted if not is_known(pair[1], written)] == []


def test_every_metric_of_the_dashboard_is_written(lines: list[dict[str, Any]]) -> None:
    written = emitted(lines)
    wanted = list(metrics_of_dashboard())
    assert len(wanted) > 20
    assert [each for each in wanted if not is_known(each, written)] == []
    outcomes = {value for each in wanted for name, value in each.dimensions if name == "outcome" and each.names[1:]}
    assert outcomes >= {line["outcome"] for line in lines if line.get("message") == "submission"}


def test_what_is_not_written_is_noticed(lines: list[dict[str, Any]]) -> None:
    written = emitted(lines)
    good = Metric(NAMESPACE, "Submissions", frozenset({("outcome", "opened"), ("trigger", "http")}))
    assert is_known(good, written)
    for wrong in (
        Metric(NAMESPACE, "Submission", good.dimensions),
        Metric(NAMESPACE, "Submissions", frozenset({("outcome", "opened")})),
        Metric(NAMESPACE, "Submissions", frozenset({("outcome", "unauthorized"), ("trigger", "event")})),
        Metric("AWS/Lambda", "Error", frozenset({("FunctionName", "x")})),
        Metric("AWS/Lambda", "Errors", frozenset({("Function", "x")})),
    ):
        assert not is_known(wrong, written)
    assert not fields("filter outcom = 'x' | stats count(*) as n by trigger | sort n desc") <= set().union(*lines)


# --- Queries ----------------------------------------------------------------------------------------------------------

WORDS = {"filter", "fields", "stats", "sort", "limit", "by", "as", "in", "asc", "desc", "count", "sum", "min", "max"}
WORDS |= {"ispresent"}


def fields(query: str) -> set[str]:
    """The fields of the log that a Logs Insights query names: neither its words, nor what it names itself."""
    bare = re.sub(r"""SOURCE '[^']*'|"[^"]*"|'[^']*'|bin\(\w+\)""", " ", query)
    named = set(re.findall(r"\bas (\w+)", bare))
    return set(re.findall(r"@?[A-Za-z_]\w*", bare)) - WORDS - named


@pytest.mark.parametrize("name", QUERIES)
def test_every_field_of_a_query_is_written(name: str, lines: list[dict[str, Any]]) -> None:
    line_fields = {name for line in lines if line.get("message") == "submission" for name in line}
    assert fields(QUERIES[name]) <= line_fields | {"@timestamp"}
    outcomes = {line.get("outcome") for line in lines}
    for field, values in re.findall(r"(\w+) in \[([^]]*)\]", QUERIES[name]):
        known = set(REASONS) if field == "reason" else outcomes
        assert set(re.findall(r'"(\w+)"', values)) <= known
    for field, value in re.findall(r"(\w+) = ['\"](\w+)['\"]", QUERIES[name]):
        assert value in {line.get(field) for line in lines}


def test_the_saved_queries_are_those_that_were_promised() -> None:
    names = [query["Name"]["Fn::Sub"] for query in of_type("AWS::Logs::QueryDefinition").values()]
    assert names == [
        f"${{AWS::StackName}}/{name}"
        for name in ("one request", "one contact", "rejections by reason", "slowest", "tokens")
    ]
    for query in of_type("AWS::Logs::QueryDefinition").values():
        assert query["LogGroupNames"] == [{"Ref": "CreateConversationLogs"}]


# --- Alarms -----------------------------------------------------------------------------------------------------------


def test_these_alarms_are_there() -> None:
    watched = {(each.namespace, each.name) for alarm in ALARMS.values() for each in metrics_of(alarm)}
    assert watched == {
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage"),
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Invocations"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/Lambda", "Duration"),
        ("AWS/Lambda", "AsyncEventsDropped"),
        ("AWS/Lambda", "DestinationDeliveryFailures"),
        ("AWS/Events", "FailedInvocations"),
        ("AWS/Events", "InvocationsFailedToBeSentToDlq"),
        ("AWS/ApiGateway", "5xx"),
        ("AWS/ApiGateway", "Count"),
        ("AWS/ApiGateway", "IntegrationLatency"),
        (NAMESPACE, "Submissions"),
        (NAMESPACE, "RetryAge"),
        (NAMESPACE, "InternalErrors"),
        (NAMESPACE, "Rotations"),
    }


QUIET = ("GreaterThanThreshold", "notBreaching")


@pytest.mark.parametrize("name", ALARMS)
def test_each_alarm_reaches_the_topic_and_is_quiet_where_nothing_happens(name: str) -> None:
    alarm = ALARMS[name]
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}]
    # The one whose business is that something happens rings where nothing does.
    rings = ("LessThanThreshold", "breaching") if name == "TokenNotRotatedAlarm" else QUIET
    assert (alarm["ComparisonOperator"], alarm["TreatMissingData"]) == rings
    assert alarm["EvaluationPeriods"] * alarm.get("Period", 900) <= 86_400  # CloudWatch's limit
    assert alarm.get("DatapointsToAlarm", 1) <= alarm["EvaluationPeriods"]


@pytest.mark.parametrize("name", [name for name, alarm in ALARMS.items() if "Metrics" in alarm])
def test_the_formula_of_a_rate_uses_every_metric_that_it_names(name: str) -> None:
    formula, *stats = ALARMS[name]["Metrics"]
    words = set(re.findall(r"[A-Za-z_]\w*", formula["Expression"]))
    ids = {stat["Id"] for stat in stats}
    assert words - {"SUM", "FILL", "METRICS"} <= ids
    assert ids <= words or "METRICS" in words
    assert len(stats) <= 10  # CloudWatch's limit
    assert len({stat["MetricStat"]["Period"] for stat in stats}) == 1
    assert all(stat["ReturnData"] is False for stat in stats)
    assert "ReturnData" not in formula


def test_one_dead_letter_rings() -> None:
    alarm = ALARMS["DeadLettersAlarm"]
    assert (alarm["Threshold"], alarm["EvaluationPeriods"], alarm["Period"]) == (0, 1, 60)
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": "DeadLetterQueue.QueueName"}}]


def test_an_old_dead_letter_rings_while_there_is_time() -> None:
    alarm = ALARMS["OldDeadLetterAlarm"]
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": "DeadLetterQueue.QueueName"}}]
    kept = RESOURCES["DeadLetterQueue"]["Properties"]["MessageRetentionPeriod"]
    assert alarm["Threshold"] == 10 * 86_400 < kept


def test_an_old_retry_rings_only_while_something_that_old_is_tried() -> None:
    alarm = ALARMS["PersistentRetryAlarm"]
    rng = random.Random(1)
    longest = max(backoff(alarm["Threshold"], 900.0, None, rng) for _ in range(500))
    assert alarm["Threshold"] == 3600
    assert longest < alarm["Period"], "it does not go off between two tries"


def test_near_the_timeout_is_between_the_plan_and_the_timeout() -> None:
    function = RESOURCES["CreateConversation"]["Properties"]
    slow = ALARMS["SlowFunctionAlarm"]["Threshold"] / 1000
    assert retry_queue.BATCH_SECONDS + retry_queue.ATTEMPT_SECONDS < slow < function["Timeout"]
    for event in ("PostConversations", "PostWebhooks"):
        assert (
            4000 < ALARMS["SlowAnswersAlarm"]["Threshold"] < function["Events"][event]["Properties"]["TimeoutInMillis"]
        )
    for name in ("SlowFunctionAlarm", "SlowAnswersAlarm"):
        assert ALARMS[name]["ExtendedStatistic"] == "p99"


def test_an_alarm_of_the_rule_names_the_bus_unless_it_is_the_default_one() -> None:
    """EventBridge counts by rule on the default bus, by bus and rule on another. There Ref is `bus|rule`."""
    rule = "CreateConversationConversationRequested"
    name = {"Fn::Select": [1, {"Fn::Split": ["|", {"Fn::Sub": f"${{{rule}}}|${{{rule}}}"}]}]}
    for alarm in (ALARMS["FailedRuleAlarm"], ALARMS["LostEventsAlarm"]):
        condition, default, other = alarm["Dimensions"]["Fn::If"]
        assert TEMPLATE["Conditions"][condition] == {"Fn::Equals": [{"Ref": "EventBusName"}, "default"]}
        assert default == [{"Name": "RuleName", "Value": name}]
        assert other == [{"Name": "EventBusName", "Value": {"Ref": "EventBusName"}}, *default]


def test_the_topic_has_the_subscription_that_was_asked_for() -> None:
    subscription = RESOURCES["AlarmSubscription"]
    assert subscription["Properties"]["TopicArn"] == {"Ref": "AlarmTopic"}
    assert subscription["Condition"] == "HasAlarmEmail"


# --- Runbook ----------------------------------------------------------------------------------------------------------


def heading(alarm: str) -> str:
    """DeadLettersAlarm: `Dead letters`."""
    return re.sub(r"(?<!^)([A-Z])", r" \1", alarm.removesuffix("Alarm")).capitalize()


@pytest.mark.parametrize("name", ALARMS)
def test_each_alarm_says_what_it_means_and_names_its_runbook(name: str) -> None:
    anchor = heading(name).lower().replace(" ", "-")
    meaning, _, place = ALARMS[name]["AlarmDescription"].partition(" Steps: ")
    assert place == f"docs/operations.md#{anchor}"
    assert 40 < len(meaning) < 300
    row = rf"^\| `{name}` \| [^|]{{20,}} \| \[[^|]+\]\(#{anchor}\) \|$"
    assert len(re.findall(row, RUNBOOK, re.MULTILINE)) == 1
    [section] = re.findall(rf"^### {heading(name)}$\n(.*?)(?=^##)", RUNBOOK + "\n##", re.MULTILINE | re.DOTALL)
    for part in ("**Means:**", "**See it:**", "**Steps:**", "**Over when:**"):
        assert section.count(part) == 1, part


def test_the_runbook_has_no_alarm_that_is_not_there() -> None:
    assert set(re.findall(r"^\| `(\w+Alarm)` \|", RUNBOOK, re.MULTILINE)) == set(ALARMS)


def test_every_command_of_the_runbook_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", RUNBOOK)) <= targets
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", RUNBOOK))
    assert {name for name in named if name.endswith("Alarm")} <= set(ALARMS)


def test_the_runbook_counts_what_is_billed() -> None:
    watched = sum(
        len([each for each in alarm.get("Metrics", [alarm]) if "Expression" not in each]) for alarm in ALARMS.values()
    )
    assert f"{len(ALARMS)} alarms over {watched} metrics" in RUNBOOK
    assert f"{watched / 10:.2f} $" in RUNBOOK
