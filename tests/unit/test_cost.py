"""The dollars a month in docs/cost.md, computed from the template and from what one submission does."""

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.factories import LOCATION, TOKEN_SECRET, sample
from tests.unit.conftest import Log
from tests.unit.template import RESOURCES, ROOT, of_type
from tests.unit.world import World

PAGE = (ROOT / "docs" / "cost.md").read_text()
VOLUMES = (1_000, 10_000, 100_000)  # submissions a month
MILLION = 1e6
# Prices of us-east-1 in dollars, as the page names them.
API_REQUEST, LAMBDA_REQUEST, GB_SECOND = 1.00 / MILLION, 0.20 / MILLION, 0.0000133334
READ_UNIT, WRITE_UNIT, SECRET_CALL, LOG_GB = 0.125 / MILLION, 0.625 / MILLION, 0.05 / 10_000, 0.50
SQS_REQUEST, FAIR_QUEUE_REQUEST = 0.40 / MILLION, 0.50 / MILLION
SECRET, ALARM_METRIC, METRIC, DASHBOARD = 0.40, 0.10, 0.30, 3.00
# What is assumed, as the page says.
HIGHLEVEL_SECONDS = 0.2  # each call
OWN_SECONDS = 0.05  # with DynamoDB's answers
COLD_START_SECONDS = 0.65  # each submission, as if none followed soon
LAMBDA_LINES_BYTES, ACCESS_LOG_BYTES = 300, 200  # START, END, REPORT; the access log
DEFERRED_SHARE, SQS_REQUESTS_OF_ONE = 0.1, 4
# Every 60 and 300 seconds at most, in an environment that is always busy.
MAX_SECRET_CALLS = 30 * 86_400 / 60 + 30 * 86_400 / 300
POLLS = 5 * 30 * 86_400 / 20


@dataclass(frozen=True)
class Use:
    """What one submission with a new e-mail address uses, message and badge on, in an environment that starts."""

    highlevel_calls: int
    read_units: float
    write_units: int
    secret_calls: int
    log_bytes: int
    metrics: int


@pytest.fixture
def use(world: World, log: Log) -> Use:
    world.settings = replace(world.settings, message="comment", mark_unread=True)
    world.flow = world.environment(world.token)
    event = sample("webhook_token")
    event["headers"]["authorization"] = f"Bearer {TOKEN_SECRET}"
    event["body"] = json.dumps({"locationId": LOCATION, "email": "ada@example.com", "question": "What does it cost?"})
    answer = json.loads(world.http.handle(event, None)["body"])
    assert (answer["outcome"], answer["messageStatus"]) == ("opened", "written")
    return Use(
        len(world.highlevel.calls),
        sum(_read_units(call) for name in ("GetItem", "BatchGetItem") for call in world.dynamodb.named(name)),
        len(world.dynamodb.named("UpdateItem")),
        len(world.secrets.named("GetSecretValue")),
        round(len(log.text) + LAMBDA_LINES_BYTES + ACCESS_LOG_BYTES, -2),
        sum(_metrics(line) for line in log.metrics),
    )


def _read_units(call: dict[str, Any]) -> float:
    keys = [key for table in call.get("RequestItems", {}).values() for key in table["Keys"]]
    return 0.5 * (len(keys) or 1) * (2 if call.get("ConsistentRead") else 1)


def _metrics(line: dict[str, Any]) -> int:
    written = line["_aws"]["CloudWatchMetrics"]
    return sum(len(each["Metrics"]) * len(each["Dimensions"]) for each in written)


def by_use(use: Use, submissions: int) -> dict[str, float]:
    """Dollars a month, by what they are paid for."""
    memory_gb = of_type("AWS::Serverless::Function")["CreateConversation"]["MemorySize"] / 1024
    seconds = COLD_START_SECONDS + OWN_SECONDS + use.highlevel_calls * HIGHLEVEL_SECONDS
    return {
        "API Gateway": submissions * API_REQUEST,
        "Lambda": submissions * (LAMBDA_REQUEST + seconds * memory_gb * GB_SECOND),
        "DynamoDB": submissions * (use.read_units * READ_UNIT + use.write_units * WRITE_UNIT),
        "Secrets Manager, calls": min(submissions * use.secret_calls, MAX_SECRET_CALLS) * SECRET_CALL,
        "logs": submissions * use.log_bytes / 1e9 * LOG_GB,
        "SQS, a tenth deferred once": submissions * DEFERRED_SHARE * SQS_REQUESTS_OF_ONE * FAIR_QUEUE_REQUEST,
    }


def fixed(use: Use) -> dict[str, float]:
    """Dollars a month, whatever arrives, without the parts that only exist with RotateToken."""
    always = {name: resource for name, resource in RESOURCES.items() if "Condition" not in resource}

    def count(kind: str) -> int:
        return sum(resource["Type"] == kind for resource in always.values())

    alarms = [each["Properties"] for each in always.values() if each["Type"] == "AWS::CloudWatch::Alarm"]
    watched = sum("MetricStat" in each for alarm in alarms for each in alarm.get("Metrics", [{"MetricStat": {}}]))
    return {
        "alarms": watched * ALARM_METRIC,
        "secrets": count("AWS::SecretsManager::Secret") * SECRET,
        "dashboard": count("AWS::CloudWatch::Dashboard") * DASHBOARD,
        "SQS, polls of the retry queue": POLLS * SQS_REQUEST,
        "metrics": use.metrics * METRIC,
    }


def row(title: str, values: list[float]) -> str:
    return f"| {title} | " + " | ".join(f"{value:,.2f}" for value in values) + " |"


def test_the_page_has_the_dollars_of_each_part(use: Use) -> None:
    months = [fixed(use) | by_use(use, submissions) for submissions in VOLUMES]
    expected = [row(part, [month[part] for month in months]) for part in months[0]]
    expected.append(row("**highlevel-conversations**", [sum(month.values()) for month in months]))
    table = PAGE.partition("## A month")[2]
    assert [line for line in table.splitlines() if line in expected] == expected, "\n".join(expected)


def test_the_page_says_what_a_submission_uses(use: Use) -> None:
    text = " ".join(PAGE.split())
    assert f"{use.highlevel_calls} calls to HighLevel" in text
    assert f"{use.read_units:g} read and {use.write_units} write units of DynamoDB" in text
    assert f"{use.log_bytes / 1000:.1f} kB of log and {use.metrics} metrics" in text


@pytest.mark.parametrize(("submissions", "price"), [(1_000, "9"), (10_000, "99"), (100_000, "999")])
def test_the_price_of_highlevels_own_trigger(submissions: int, price: str) -> None:
    """A cent each, after a hundred free ones in each sub-account."""
    assert f"{(submissions - 100) * 0.01:.0f}" == price
    assert f"| {price} |" in next(line for line in PAGE.splitlines() if line.startswith("| HighLevel's own trigger"))
