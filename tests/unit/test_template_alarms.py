"""What watches the application: every metric, dimension and field that an alarm, a widget or a query names is in a line
that the function writes, and every alarm has its section in docs/alarms.md. AWS's metrics: tests/data/aws_metrics.json.

The emulator evaluates none of them.
"""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from create_conversation.errors import REASONS
from create_conversation.queues import backoff
from create_conversation.triggers import retry_queue
from rotate_token import rotation_log
from shared import observability
from tests.factories import (
    SETTINGS,
    make_http_event,
    make_ids,
    make_sqs_record,
    make_submission,
    make_webhook_event,
    sample,
)
from tests.unit.conftest import Log
from tests.unit.fakes import refusal
from tests.unit.template import RESOURCES, ROOT, TEMPLATE, of_type, resolve
from tests.unit.world import CONTEXT, TOKEN, World

NAMESPACE = SETTINGS.metrics_namespace  # the stack's name
BUSES = ["default", "crm"]
RULE = "CreateConversationConversationRequested"
AWS_METRICS = json.loads((ROOT / "tests/data/aws_metrics.json").read_text())
ALARMS = of_type("AWS::CloudWatch::Alarm")
WITH_METRIC_MATH = [name for name, alarm in ALARMS.items() if "Metrics" in alarm]
FILTERS = of_type("AWS::Logs::MetricFilter")
PAGE = ROOT / "docs/alarms.md"


def deployed(value: Any, bus: str = "default") -> Any:
    """A part of the template as CloudFormation resolves it. Resources that it refers to have the name `some-name`."""
    names = {name: str(parameter["Default"]) for name, parameter in TEMPLATE["Parameters"].items()}
    names |= dict.fromkeys(RESOURCES, "some-name") | {"AWS::StackName": NAMESPACE, "AWS::Region": "eu-west-1"}
    names |= {"EventBusName": bus, RULE: "some-name" if bus == "default" else f"{bus}|some-name"}
    names |= {f"{queue}.QueueName": "some-name" for queue in of_type("AWS::SQS::Queue")}
    return resolve(value, names)


def dashboard(bus: str = "default") -> list[dict[str, Any]]:
    body = deployed(RESOURCES["Dashboard"]["Properties"]["DashboardBody"], bus)
    widgets: list[dict[str, Any]] = json.loads(body)["widgets"]
    return widgets


QUERIES = {name: query["QueryString"] for name, query in of_type("AWS::Logs::QueryDefinition").items()} | {
    widget["properties"]["title"]: widget["properties"]["query"] for widget in dashboard() if widget["type"] == "log"
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


def submit_by_every_trigger(world: World, contact: str) -> None:
    body = json.dumps(make_ids(contact=contact))
    world.post(make_http_event(body))
    world.post(make_webhook_event(make_ids(contact=f"{contact}w")))
    world.events.handle(sample("event_conversation_requested") | {"detail": make_ids(contact=f"{contact}e")}, CONTEXT)
    stored = make_submission(body=json.dumps(make_ids(contact=f"{contact}r")).encode())
    world.retry(make_sqs_record(stored.to_message(), receives=90, age=7200))


def submit_messages(world: World) -> None:
    """Write one as a note, one later, and refuse one."""
    settings = replace(world.settings, message="comment")
    writing = World(world.highlevel, settings, senders=world.senders, secrets=world.secrets, dynamodb=world.dynamodb)
    comments, notes = "/conversations/messages", "/contacts/{contactId}/notes"
    for number, faults in enumerate(({comments: 422}, {comments: 503}, {comments: 422, notes: 422})):
        for path, status in faults.items():
            world.highlevel.fail("status", status=status, message="no", path=path)
        writing.post(make_http_event(json.dumps(make_ids(contact=f"writing{number}") | {"message": "Hello"})))
        world.highlevel.heal()
    for claim in [key for key in world.dynamodb.items if key.startswith("message#")]:
        del world.dynamodb.items[claim]  # else it is taken over after 120 seconds
    for queued in writing.queued():
        writing.retry(make_sqs_record(queued["MessageBody"]))


@pytest.fixture
def lines(world: World, log: Log) -> list[dict[str, Any]]:
    """What the function writes when each outcome occurs: canonical lines, warnings, errors and metrics."""
    submit_by_every_trigger(world, "opened")
    submit_by_every_trigger(world, "opened")  # existing
    world.highlevel.fail(kind="html")
    submit_by_every_trigger(world, "deferred")
    world.highlevel.heal()
    world.secrets.texts["HighLevelToken"] = None
    fresh = World(world.highlevel, senders=world.senders, secrets=world.secrets, dynamodb=world.dynamodb, sqs=world.sqs)
    submit_by_every_trigger(fresh, "rejected")
    world.secrets.texts["HighLevelToken"] = TOKEN
    submit_messages(world)
    world.post(make_http_event("{"))
    world.post(make_http_event(authorization="Bearer wrong"))
    world.post(make_webhook_event(make_ids(), secret="wrong"))
    other = json.dumps({"event_type": "form_abandoned"}).encode()
    world.retry(make_sqs_record(make_submission(trigger="webhook", sender="typeform", body=other).to_message()))
    world.highlevel.fail(kind="html")
    world.sqs.error = refusal("ServiceUnavailable")
    world.post(make_webhook_event(make_ids(contact="notstored")))
    world.sqs.error = None
    observability.internal_error(ZeroDivisionError())
    rotation_log.RotationLog("finishSecret", "version", "request", outcome="finished").write(NAMESPACE)
    return [json.loads(line) for line in log.text.splitlines() if line.startswith("{")]


def emitted(lines: list[dict[str, Any]]) -> set[Metric]:
    """The metrics that CloudWatch makes of these lines: by EMF, and by the template's filters."""
    found = set()
    for line in lines:
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
            for names in directive["Dimensions"]:
                dimensions = frozenset((name, line[name]) for name in names)
                found |= {Metric(directive["Namespace"], each["Name"], dimensions) for each in directive["Metrics"]}
    for properties in FILTERS.values():
        [made] = properties["MetricTransformations"]
        assert made["MetricNamespace"] == {"Ref": "AWS::StackName"}
        value = made["MetricValue"]
        matching = [line for line in lines if matches(properties["FilterPattern"], line)]
        if any(value == "1" or isinstance(line[value.removeprefix("$.")], int) for line in matching):
            found.add(Metric(NAMESPACE, made["MetricName"], frozenset()))
    return found


def matches(pattern: str, line: dict[str, Any]) -> bool:
    """A CloudWatch Logs filter pattern over JSON, as far as the template uses them."""
    for condition in pattern.strip("{} ").split(" && "):
        parts = re.fullmatch(r'\$\.(\w+) (=|!=) "([^"]*)"', condition)
        assert parts
        name, operator, value = parts.groups()
        if name not in line or (line[name] == value) != (operator == "="):
            return False
    return True


def test_the_filters_count_internal_errors_and_long_retries_only(lines: list[dict[str, Any]]) -> None:
    internal = [line for line in lines if matches(FILTERS["InternalErrors"]["FilterPattern"], line)]
    assert [(line["level"], line["error"]) for line in internal] == [("ERROR", "ZeroDivisionError")]
    retries = FILTERS["RetryAge"]["FilterPattern"]
    [retried] = [line for line in lines if matches(retries, line)]
    assert (retried["outcome"], retried["trigger"], retried["age_seconds"]) == ("deferred", "retry", 7200)
    assert not matches(retries, retried | {"reason": "rate_limited"})


# --- What is watched --------------------------------------------------------------------------------------------------


def metrics_of(alarm: dict[str, Any], bus: str = "default") -> list[Metric]:
    sources = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    found = []
    for source in deployed(sources or [alarm], bus):
        pairs = frozenset((each["Name"], str(each["Value"])) for each in source.get("Dimensions", []))
        found.append(Metric(source["Namespace"], source["MetricName"], pairs))
    return found


SEARCH = r"""SEARCH\('{"([^"]+)",([\w,]+)} MetricName="(\w+)"(?: (\w+)="(\w+)")?', '\w+', 300\)"""


def metrics_of_dashboard(bus: str) -> Iterator[Metric]:
    """The metrics of each widget. The dimensions that a SEARCH leaves open have no value."""
    for widget in dashboard(bus):
        for entry in widget["properties"].get("metrics", []):
            if isinstance(entry[0], dict):
                search = re.fullmatch(SEARCH, entry[0]["expression"])
                assert search, entry
                namespace, names, name, dimension, value = search.groups()
                pairs = dict.fromkeys(names.split(","), "") | ({dimension: value} if dimension else {})
            else:
                namespace, name, *dimensions = [part for part in entry if isinstance(part, str)]
                pairs = dict(zip(dimensions[::2], dimensions[1::2], strict=True))
            yield Metric(namespace, name, frozenset(pairs.items()))


def is_known(wanted: Metric, written: set[Metric]) -> bool:
    if wanted.namespace != NAMESPACE:
        known = AWS_METRICS[wanted.namespace]
        return wanted.name in known["metrics"] and wanted.names in known["dimensions"]
    given = {pair for pair in wanted.dimensions if pair[1]}
    return any((each.name, each.names) == (wanted.name, wanted.names) and given <= each.dimensions for each in written)


@pytest.mark.parametrize("bus", BUSES)
def test_every_metric_of_an_alarm_or_widget_is_written(bus: str, lines: list[dict[str, Any]]) -> None:
    written = emitted(lines)
    wanted = [(name, each) for name, alarm in ALARMS.items() for each in metrics_of(alarm, bus)]
    shown = [("dashboard", each) for each in metrics_of_dashboard(bus)]
    assert len(shown) > 15
    assert [pair for pair in wanted + shown if not is_known(pair[1], written)] == []


def test_a_metric_that_is_not_written_is_noticed(lines: list[dict[str, Any]]) -> None:
    written = emitted(lines)
    good = Metric(NAMESPACE, "Submissions", frozenset({("outcome", "opened"), ("trigger", "http")}))
    assert is_known(good, written)
    for wrong in (
        Metric(NAMESPACE, "Submission", good.dimensions),
        Metric(NAMESPACE, "Duration", frozenset({("outcome", "opened")})),
        Metric(NAMESPACE, "Submissions", frozenset({("outcome", "unauthorized"), ("trigger", "event")})),
        Metric("AWS/Lambda", "Error", frozenset({("FunctionName", "x")})),
        Metric("AWS/Lambda", "Errors", frozenset({("Function", "x")})),
    ):
        assert not is_known(wrong, written)
    assert not fields("filter outcom = 'x' | stats count(*) as n by trigger | sort n desc") <= set().union(*lines)


@pytest.mark.parametrize(
    ("bus", "dimensions"),
    [("default", {"RuleName": "some-name"}), ("crm", {"EventBusName": "crm", "RuleName": "some-name"})],
    ids=BUSES,
)
def test_a_metric_of_the_rule_names_the_bus_unless_it_is_the_default_one(bus: str, dimensions: dict[str, str]) -> None:
    """EventBridge counts by rule on the default bus, by bus and rule on another one, where Ref is `bus|rule`."""
    found = [*metrics_of(ALARMS["LostEventsAlarm"], bus), *metrics_of_dashboard(bus)]
    of_rule = [dict(each.dimensions) for each in found if each.namespace == "AWS/Events"]
    assert of_rule == [dimensions] * 3


# --- Queries ----------------------------------------------------------------------------------------------------------

WORDS = {"filter", "fields", "stats", "sort", "limit", "by", "as", "in", "or", "asc", "desc", "count", "sum", "min"}
WORDS |= {"max", "ispresent"}


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


def test_the_saved_queries_are_in_the_stack_s_folder() -> None:
    queries = of_type("AWS::Logs::QueryDefinition").values()
    names = [query["Name"]["Fn::Sub"].removeprefix("${AWS::StackName}/") for query in queries]
    assert names == ["one submission", "rejections by reason", "slowest", "tokens"]
    assert all(query["LogGroupNames"] == [{"Ref": "CreateConversationLogs"}] for query in queries)


# --- Alarms -----------------------------------------------------------------------------------------------------------


WATCHED = {
    "DeadLettersAlarm": {"AWS/SQS ApproximateNumberOfMessagesVisible"},
    "DeadLetterAgeAlarm": {"AWS/SQS ApproximateAgeOfOldestMessage"},
    "RetryQueueAgeAlarm": {
        f"{NAMESPACE} RetryAge",
        "AWS/SQS ApproximateAgeOfOldestMessage",
        "AWS/SQS ApproximateNumberOfMessagesVisible",
        "AWS/SQS NumberOfMessagesReceived",
    },
    "FunctionErrorsAlarm": {f"{NAMESPACE} InternalErrors", "AWS/Lambda Errors", "AWS/Lambda Invocations"},
    "ThrottlesAlarm": {"AWS/Lambda Throttles"},
    "NotAcceptedAlarm": {f"{NAMESPACE} Submissions", "AWS/ApiGateway 5xx", "AWS/ApiGateway Count"},
    "ApiLatencyAlarm": {"AWS/ApiGateway IntegrationLatency"},
    "RejectedShareAlarm": {f"{NAMESPACE} Submissions"},
    "TokenRotationAlarm": {f"{NAMESPACE} Rotations", "AWS/Lambda Errors"},
    "LostEventsAlarm": {"AWS/Events InvocationsFailedToBeSentToDlq", "AWS/Lambda DestinationDeliveryFailures"},
}


def test_there_are_these_alarms_and_they_cost_two_dollars_a_month_at_most() -> None:
    metrics = {name: metrics_of(alarm) for name, alarm in ALARMS.items()}
    assert {name: {f"{each.namespace} {each.name}" for each in found} for name, found in metrics.items()} == WATCHED
    assert sum(map(len, metrics.values())) <= 21  # 0.10 $ for each; two of them only with RotateToken


@pytest.mark.parametrize("name", ALARMS)
def test_each_alarm_notifies_the_topic_and_is_ok_when_nothing_happens(name: str) -> None:
    alarm = ALARMS[name]
    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}]
    # The purpose of this one is that a rotation happens.
    expected = "breaching" if name == "TokenRotationAlarm" else "notBreaching"
    assert (alarm["ComparisonOperator"], alarm["TreatMissingData"]) == ("GreaterThanThreshold", expected)
    periods = {query["MetricStat"]["Period"] for query in alarm.get("Metrics", []) if "MetricStat" in query}
    [period] = periods or {alarm["Period"]}
    assert alarm["EvaluationPeriods"] * period <= 86_400  # CloudWatch's limit
    assert alarm.get("DatapointsToAlarm", 1) <= alarm["EvaluationPeriods"]


@pytest.mark.parametrize("name", WITH_METRIC_MATH)
def test_an_expression_uses_every_metric_of_its_alarm(name: str) -> None:
    expression, *stats = ALARMS[name]["Metrics"]
    words = set(re.findall(r"\b[A-Za-z]\w*", deployed(expression["Expression"])))
    ids = {stat["Id"] for stat in stats}
    assert words - {"SUM", "MAX", "FILL", "IF", "OR", "AND", "METRICS"} <= ids
    assert ids <= words or "METRICS" in words
    assert all(stat["ReturnData"] is False for stat in stats)
    assert "ReturnData" not in expression


def evaluated(name: str, **values: float) -> bool:
    """Whether the alarm's expression is over its threshold for one value of each metric."""
    text = str(deployed(ALARMS[name]["Metrics"][0]["Expression"])).replace(" OR ", " or ").replace(" AND ", " and ")
    text = text.replace("METRICS()", f"[{', '.join(values)}]")
    functions: dict[str, Any] = {"IF": lambda met, yes, no: yes if met else no, "FILL": lambda value, _: value}
    functions |= {"SUM": sum, "MAX": max}
    return bool(eval(text, {"__builtins__": {}}, functions | values) > ALARMS[name]["Threshold"])


DAY = 86_400
OLDEST_AT_MOVE = 11 * DAY
READ = {"retried": 0, "queued": 0, "visible": 5, "received": 5}  # the retry queue is not paused
CASES = {
    "a dead letter of 2 days, sent up to 11 days before": ("DeadLetterAgeAlarm", {"since_move": 2 * DAY}, False),
    "an older dead letter": ("DeadLetterAgeAlarm", {"since_move": 2 * DAY + 1}, True),
    "retried for an hour": ("RetryQueueAgeAlarm", READ | {"retried": 3601}, True),
    "not read for an hour": ("RetryQueueAgeAlarm", READ | {"queued": 3601}, True),
    "waiting for less than an hour": ("RetryQueueAgeAlarm", READ | {"retried": 3599, "queued": 3599}, False),
    "a pause, and all were received before": ("RetryQueueAgeAlarm", READ | {"received": 0}, True),
    "a pause while none waits": ("RetryQueueAgeAlarm", READ | {"visible": 0, "received": 0}, False),
    "a backlog that is read": ("RetryQueueAgeAlarm", READ | {"visible": 9000}, False),
    "one internal error of many": ("FunctionErrorsAlarm", {"internal": 1, "errors": 0, "invocations": 1000}, True),
    "1 % errors": ("FunctionErrorsAlarm", {"internal": 0, "errors": 1, "invocations": 100}, False),
    "2 % errors": ("FunctionErrorsAlarm", {"internal": 0, "errors": 2, "invocations": 100}, True),
    "one not stored of many": ("NotAcceptedAlarm", {"not_stored": 1, "failed": 0, "requests": 1000}, True),
    "5 % failed": ("NotAcceptedAlarm", {"not_stored": 0, "failed": 5, "requests": 100}, False),
    "6 % failed": ("NotAcceptedAlarm", {"not_stored": 0, "failed": 6, "requests": 100}, True),
    "half rejected": ("RejectedShareAlarm", {"rejected": 2, "unauthorized": 0, "opened": 2}, False),
    "most rejected": ("RejectedShareAlarm", {"rejected": 3, "unauthorized": 0, "opened": 2}, True),
    "most unauthorized": ("RejectedShareAlarm", {"rejected": 0, "unauthorized": 3, "opened": 2}, True),
    "rotated": ("TokenRotationAlarm", {"failed": 0, "finished": 1}, False),
    "not rotated": ("TokenRotationAlarm", {"failed": 0, "finished": 0}, True),
    "a rotation failed": ("TokenRotationAlarm", {"failed": 1, "finished": 2}, True),
    "EventBridge lost one": ("LostEventsAlarm", {"by_rule": 1, "by_lambda": 0}, True),
    "Lambda lost one": ("LostEventsAlarm", {"by_rule": 0, "by_lambda": 1}, True),
}


@pytest.mark.parametrize(("name", "values", "in_alarm"), CASES.values(), ids=CASES)
def test_an_expression_is_over_its_threshold(name: str, values: dict[str, float], in_alarm: bool) -> None:
    assert evaluated(name, **values) is in_alarm


def test_one_dead_letter_is_enough_and_an_old_one_has_a_day_left() -> None:
    """SQS counts the 14 days from the first send, its metric from the move to this queue."""
    alarm = ALARMS["DeadLettersAlarm"]
    assert (alarm["Threshold"], alarm["EvaluationPeriods"], alarm["Period"]) == (0, 1, 60)
    alarm, queue = ALARMS["DeadLetterAgeAlarm"], RESOURCES["DeadLetterQueue"]["Properties"]
    assert alarm["Threshold"] == queue["MessageRetentionPeriod"] - DAY
    assert alarm["Metrics"][0]["Expression"] == f"since_move + {OLDEST_AT_MOVE}"
    assert all("DeadLetterQueue.QueueName" in str(ALARMS[name]) for name in ("DeadLettersAlarm", "DeadLetterAgeAlarm"))


@pytest.mark.parametrize("between", ["after its backoff", "after lease and backoff", "after the queue's visibility"])
def test_sqs_moves_no_message_later_than_the_alarm_assumes(between: str) -> None:
    """Deferred each time (429 is never given up); crashing the function each time; the function cannot start."""
    rng, age = random.Random(1), 0.0
    lease = retry_queue.LEASE_SECONDS + retry_queue.LEASE_JITTER_SECONDS
    for _ in range(RESOURCES["RetryQueue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"]):
        age += {
            "after its backoff": backoff(age, 900.0, None, rng),
            "after lease and backoff": lease + min(1.3 * backoff(age, 900.0, None, rng), 900.0),
            "after the queue's visibility": RESOURCES["RetryQueue"]["Properties"]["VisibilityTimeout"],
        }[between]
    assert age < OLDEST_AT_MOVE


def test_an_old_submission_is_retried_in_each_period_of_its_alarm() -> None:
    alarm = ALARMS["RetryQueueAgeAlarm"]
    rng = random.Random(1)
    longest = max(backoff(alarm["Threshold"], 900.0, None, rng) for _ in range(500))
    assert longest < alarm["Metrics"][1]["MetricStat"]["Period"], "the alarm would be OK between two attempts"


@pytest.mark.parametrize("event", ["PostConversations", "PostWebhooks"])
def test_slow_is_between_the_planned_time_and_the_timeout(event: str) -> None:
    timeout = RESOURCES["CreateConversation"]["Properties"]["Events"][event]["Properties"]["TimeoutInMillis"]
    assert 4000 < ALARMS["ApiLatencyAlarm"]["Threshold"] < timeout
    assert ALARMS["ApiLatencyAlarm"]["ExtendedStatistic"] == "p99"


def test_the_topic_has_the_subscription_of_the_parameter() -> None:
    assert RESOURCES["AlarmSubscription"]["Properties"]["TopicArn"] == {"Ref": "AlarmTopic"}
    assert RESOURCES["AlarmSubscription"]["Condition"] == "HasAlarmEmail"


# --- docs/alarms.md ---------------------------------------------------------------------------------------------------


def anchor(alarm: str) -> str:
    """DeadLettersAlarm: `dead-letters`."""
    return re.sub(r"(?<!^)([A-Z])", r"-\1", alarm.removesuffix("Alarm")).lower()


@pytest.mark.parametrize("name", ALARMS)
def test_a_description_says_what_happened_what_to_run_and_where_to_read(name: str) -> None:
    description = ALARMS[name]["AlarmDescription"]["Fn::Sub"]
    happened, _, place = description.partition(" See ")
    assert place == f"docs/alarms.md#{anchor(name)}"
    assert 80 < len(happened) < 300
    commands = re.findall(r"`\./hlc ([a-z-]+(?: list)?) --stack \${AWS::StackName}`", description)
    assert commands
    assert description.count("./hlc ") == len(commands), "each names the stack"


@pytest.mark.skipif(not PAGE.exists(), reason="docs/alarms.md is written in another change")
def test_the_page_has_a_section_for_each_alarm_and_no_other() -> None:
    page = PAGE.read_text()
    sections = [title.lower().replace(" ", "-") for title in re.findall(r"^## (.*)$", page, re.MULTILINE)]
    assert sections == [anchor(name) for name in ALARMS]
    assert set(re.findall(r"`([A-Za-z]+Alarm)`", page)) == set(ALARMS)
