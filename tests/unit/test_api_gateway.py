"""API Gateway's event and answer: any piece may be missing or malformed."""

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from create_conversation.errors import REASONS
from create_conversation.outcome import Outcome
from create_conversation.senders.verification import Request
from create_conversation.triggers import api_gateway
from create_conversation.triggers.api_gateway import ANSWER_SECONDS, STORE_SECONDS
from tests.factories import make_http_event, sample
from tests.unit.fakes import Clock
from tests.unit.world import CONTEXT

SAMPLE: dict[str, Any] = sample("http_conversation")


# How much time is left


@pytest.mark.parametrize(
    ("age_ms", "left"),
    [
        (0, 4.0),
        (1, 3.999),
        (250, 3.75),
        (1500, 2.5),
        (3000, 1.0),
        (3001, STORE_SECONDS),
        (4000, STORE_SECONDS),
        (9999, STORE_SECONDS),
        (10_000, STORE_SECONDS),
        (10_001, ANSWER_SECONDS),
        (3_600_000, ANSWER_SECONDS),
        (10**12, ANSWER_SECONDS),
        (-1, ANSWER_SECONDS),
        (-60_000, ANSWER_SECONDS),
    ],
)
def test_what_the_gateway_and_a_cold_start_took_is_gone(clock: Clock, age_ms: int, left: float) -> None:
    taken = int(1000 * clock.time()) - age_ms
    for epoch in (taken, float(taken)):
        assert api_gateway.seconds_left({"requestContext": {"timeEpoch": epoch}}, clock) == pytest.approx(left)


@pytest.mark.parametrize(
    "epoch",
    [None, "1000000000", [], {}, True, False, 0, -1, 10**400, -(10**400), float("nan"), float("inf"), float("-inf")],
    ids=lambda epoch: str(epoch)[:12],
)
def test_a_time_that_cannot_be_right_is_not_believed(clock: Clock, epoch: object) -> None:
    assert api_gateway.seconds_left({"requestContext": {"timeEpoch": epoch}}, clock) == ANSWER_SECONDS


@pytest.mark.parametrize("event", [{}, {"requestContext": None}, {"requestContext": []}, {"requestContext": {}}])
def test_without_a_time_there_is_all_of_it(clock: Clock, event: dict[str, Any]) -> None:
    assert api_gateway.seconds_left(event, clock) == ANSWER_SECONDS


# The request


def request_of(event: dict[str, Any]) -> Request:
    return api_gateway.read_request(event, CONTEXT, Clock())


def test_a_request_is_read_as_it_came() -> None:
    event = {"headers": {"X-Signature": "AbC=", "accept": "*/*"}, "rawQueryString": "a=1&a=2&b=%C3%BC", "body": "ü{"}
    request = request_of(event)
    assert dict(request.headers) == {"x-signature": "AbC=", "accept": "*/*"}
    assert (request.query, request.body) == ("a=1&a=2&b=%C3%BC", "ü{".encode())


def test_a_body_in_base64_is_its_bytes() -> None:
    assert request_of({"body": "/+7bAA==", "isBase64Encoded": True}).body == b"\xff\xee\xdb\0"
    assert request_of({"body": "/+7bAA==", "isBase64Encoded": False}).body == b"/+7bAA=="
    assert request_of({"body": "/+7bAA==", "isBase64Encoded": "true"}).body == b"/+7bAA=="


@pytest.mark.parametrize("body", [None, 7, True, [], {}, b"bytes"])
def test_a_body_that_is_not_a_text_is_empty(body: object) -> None:
    assert request_of({"body": body}).body == b""


@pytest.mark.parametrize("body", ["not base64!", "YQ", "ü", "Y\nQ==", "_-7bAA=="])
def test_invalid_base64_is_empty(body: str) -> None:
    assert request_of({"body": body, "isBase64Encoded": True}).body == b""


def test_a_lone_surrogate_does_not_raise() -> None:
    assert request_of({"body": "\ud800"}).body == b"\xed\xa0\x80"


@pytest.mark.parametrize("odd", [None, 7, "text", [], ["a"]])
def test_missing_and_odd_members_are_empty(odd: object) -> None:
    request = request_of({"headers": odd, "rawQueryString": odd if not isinstance(odd, str) else None})
    assert (dict(request.headers), request.query, request.body) == ({}, "", b"")
    for path in ({"pathParameters": odd}, {"pathParameters": {"sender": None}}, {}):
        assert request_of({"routeKey": "POST /webhooks/{sender}", **path}).sender == ""


def test_the_sender_is_what_the_route_says() -> None:
    path = {"pathParameters": {"sender": "typeform"}}
    assert request_of({"routeKey": "POST /webhooks/{sender}", **path}).sender == "typeform"
    assert request_of({"routeKey": "POST /conversations", **path}).sender == "api"


# The request's id


@pytest.mark.parametrize("given", ["UZ1hXjYbFiAEPvw=", "a", "A-_9=+/", "x" * 128])
def test_the_gateways_id_is_the_requests(given: str) -> None:
    assert api_gateway.request_id({"requestContext": {"requestId": given}}, CONTEXT) == given


@pytest.mark.parametrize("given", [None, "", 7, [], "a b", "a\n", "a\r\nset-cookie: x", "ü", "x" * 129])
def test_an_id_that_fits_no_header_is_replaced_by_lambdas(given: object) -> None:
    found = api_gateway.request_id(
        {"requestContext": {"requestId": given}}, SimpleNamespace(aws_request_id="of-lambda")
    )
    assert found == "of-lambda"


# The answer


def test_a_reply_is_json_that_no_one_keeps() -> None:
    answer = api_gateway.reply(202, "request-1", {"status": "deferred"}, retry_after="5")
    assert answer == {
        "statusCode": 202,
        "headers": {
            "x-request-id": "request-1",
            "content-type": "application/json",
            "cache-control": "no-store",
            "retry-after": "5",
        },
        "body": '{"status": "deferred"}',
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize("reason", sorted(REASONS))
@pytest.mark.parametrize("status", [None, 429])
def test_a_problem_is_complete_for_each_reason(reason: str, status: int | None) -> None:
    answer = api_gateway.problem(Outcome("rejected", reason, retry_after=17.0), "request-1", status)
    body = json.loads(answer["body"])
    shown = status or REASONS[reason].status
    assert answer["statusCode"] == body["status"] == shown
    assert body["type"] == f"urn:highlevel-conversations:{reason}"
    assert body["title"] == REASONS[reason].title
    assert body["detail"].endswith(".")
    assert body["instance"] == answer["headers"]["x-request-id"] == "request-1"
    assert answer["headers"]["content-type"] == "application/problem+json"
    assert answer["headers"].get("www-authenticate") == ("Bearer" if shown == 401 else None)
    assert answer["headers"].get("retry-after") == ("17" if shown in (429, 503) else None)


@pytest.mark.parametrize(
    ("retry_after", "shown"), [(None, "5"), (0.0, "5"), (0.4, "5"), (5.0, "5"), (42.0, "42"), (3600.0, "3600")]
)
def test_retry_after_is_whole_seconds_and_at_least_one(retry_after: float | None, shown: str) -> None:
    assert api_gateway.whole_seconds(retry_after) == shown


def test_the_sample_has_what_is_read() -> None:
    assert api_gateway.request_id(SAMPLE, CONTEXT) == SAMPLE["requestContext"]["requestId"]
    assert api_gateway.seconds_left(make_http_event(age=1.0), time) == pytest.approx(3.0, abs=0.2)
