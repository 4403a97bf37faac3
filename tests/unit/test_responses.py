"""Every answer HighLevel is known to give, and every failure of the network, means one thing."""

import inspect
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3
import urllib3.exceptions
from hypothesis import given, settings
from hypothesis import strategies as st

from create_conversation.errors import REASONS
from highlevel.responses import (
    MAX_RETRY_AFTER_SECONDS,
    ApiResult,
    classify_contact,
    classify_contact_search,
    classify_conversation,
    classify_conversation_search,
    classify_new_contact,
    classify_response,
    classify_write,
    found_conversation,
)
from shared.connection_pool import HttpResponse, NotSentError
from tests.factories import CONTACT, LOCATION

HTML = b"<!DOCTYPE html><title>Attention Required! | Cloudflare</title>"
CONVERSATION = {"id": "conv-1", "contactId": CONTACT, "locationId": LOCATION, "deleted": False}


def judge(status: int, body: object = b"", **headers: str) -> ApiResult:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify_response(HttpResponse(status, named, content), LOCATION, CONTACT)


def nest(status: int, message: object) -> dict[str, Any]:
    return {"statusCode": status, "message": message, "error": "Some Phrase", "traceId": "t-1"}


def http_exception(status: int, message: object) -> dict[str, Any]:
    return {"status": status, "message": message, "name": "HttpException", "traceId": "t-1"}


ENVELOPES = pytest.mark.parametrize("envelope", [nest, http_exception])


@ENVELOPES
@pytest.mark.parametrize(
    ("status", "message", "outcome", "reason", "suspect"),
    [
        (401, "Invalid JWT", "deferred", "token_refused", True),
        (401, "Invalid token: access token is invalid", "deferred", "token_refused", True),
        (401, "Invalid Private Integration token", "deferred", "token_refused", True),
        (401, "A text that is not known yet", "deferred", "token_refused", True),
        (401, "version header was not found.", "rejected", "version_refused", False),
        (401, "version header is invalid", "rejected", "version_refused", False),
        (400, "Invalid API version segment 'x' at position 0", "rejected", "version_refused", False),
        (401, "The token is not authorized for this scope.", "rejected", "scope_missing", False),
        (
            401,
            "This authClass type is not allowed to access this scope. Please reach out to your point of contact.",
            "rejected",
            "token_kind_refused",
            False,
        ),
        (401, "This location is not accessible from this token!", "rejected", "location_refused", False),
        (403, "The token does not have access to this location.", "rejected", "location_refused", False),
        (402, "Payment required", "deferred", "upstream_error", False),
        (403, "Forbidden resource", "deferred", "upstream_error", False),
        (403, "Request blocked", "deferred", "upstream_error", False),
        (400, f"Conversation with the contact id:{CONTACT} already exists!", "existing", "", False),
        (400, f"CONVERSATION WITH THE CONTACT ID:{CONTACT} ALREADY EXISTS!", "existing", "", False),
        (400, ["Conversation with the contact id:x already exists!"], "existing", "", False),
        (422, "Conversation with the contact id:x already exists!", "rejected", "ids_refused", False),
        (400, "Location is not active", "deferred", "location_inactive", False),
        (403, "Location is not active", "deferred", "location_inactive", False),
        (400, "Contact not found", "rejected", "ids_refused", False),
        (404, "Contact not found", "rejected", "ids_refused", False),
        (400, ["contactId must be a string", "contactId should not be empty"], "rejected", "ids_refused", False),
        (422, ["contactId must be a string", 7, None], "rejected", "ids_refused", False),
        (404, "Cannot POST /conversations", "rejected", "upstream_refused", False),
        (409, "Conflict", "deferred", "upstream_error", False),
        (409, f"Conversation with the contact id:{CONTACT} already exists!", "existing", "", False),
        (423, "Locked", "deferred", "upstream_error", False),
        (405, "Method Not Allowed", "rejected", "upstream_refused", False),
        (410, "Gone", "rejected", "upstream_refused", False),
        (451, "Unavailable For Legal Reasons", "rejected", "upstream_refused", False),
    ],
)
def test_a_refusal_is_classified_by_status_and_message(
    envelope: Any, status: int, message: object, outcome: str, reason: str, suspect: bool
) -> None:
    judged = judge(status, envelope(status, message))
    assert (judged.outcome, judged.reason, judged.token_suspect) == (outcome, reason, suspect)
    assert (judged.status, judged.trace_id, judged.body) == (status, "t-1", None)


def test_the_oauth_wording_of_a_bad_token_is_suspect_too() -> None:
    judged = judge(401, {"error": "UnAuthorized!", "error_description": "token expired"})
    assert (judged.outcome, judged.reason, judged.token_suspect) == ("deferred", "token_refused", True)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 520, 529, 599])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        HTML,
        nest(500, "Conversation already exists!"),
        nest(500, "version header is invalid"),
        nest(500, "This location is not accessible from this token!"),
        b"\xff{",
    ],
)
def test_transient_failures_are_deferred_whatever_the_body_says(status: int, body: object) -> None:
    judged = judge(status, body)
    assert judged.outcome == "deferred"
    assert judged.reason == ("rate_limited" if status == 429 else "upstream_error")
    assert not judged.token_suspect


@pytest.mark.parametrize("status", [202, 204, 301, 302, 307, 308, 400, 401, 403, 404, 422])
@pytest.mark.parametrize("body", [b"", HTML, b"[]", b'"already exists"', b'{"message": null}', b'{"message": 5}', b"{"])
def test_what_is_not_highlevels_own_answer_proves_nothing(status: int, body: bytes) -> None:
    judged = judge(status, body)
    assert (judged.outcome, judged.reason, judged.token_suspect) == ("deferred", "upstream_unexpected", False)


@pytest.mark.parametrize("status", [200, 302])
def test_a_message_outside_a_refusal_proves_nothing(status: int) -> None:
    assert judge(status, nest(400, "already exists")).reason == "upstream_unexpected"


@pytest.mark.parametrize("status", [200, 201])
def test_the_body_of_the_right_conversation_is_handed_on(status: int) -> None:
    body = {"success": True, "conversation": CONVERSATION, "traceId": "t-2"}
    judged = judge(status, body)
    assert (judged.outcome, judged.body, judged.trace_id) == ("opened", body, "t-2")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        HTML,
        b'{"success":true,"conversation":{"id',
        b"[]",
        b"null",
        b"[" * 100_000,
        {"success": True},
        {"conversation": None},
        {"conversation": [CONVERSATION]},
        {"conversation": CONVERSATION | {"contactId": "another-contact"}},
        {"conversation": CONVERSATION | {"locationId": "somewhere-else"}},
        {"conversation": CONVERSATION | {"id": ""}},
        {"conversation": CONVERSATION | {"id": "a\nb"}},
        {"conversation": CONVERSATION | {"id": 7}},
    ],
)
def test_201_is_opened_but_names_no_other_conversation(body: object) -> None:
    judged = judge(201, body)
    assert (judged.outcome, judged.body) == ("opened", None)
    assert judge(200, body).reason == "upstream_unexpected"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("99999999999", MAX_RETRY_AFTER_SECONDS),
        ("Fri, 01 Jan 2010 00:00:00 GMT", 0.0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", MAX_RETRY_AFTER_SECONDS),
        *((garbage, None) for garbage in ("", "soon", "-5", "1.5", "1e3", "٣", "NaN", "Fri, 99 Foo 2010")),
        *((garbage, None) for garbage in ("9" * 5000, "Fri, 01 Jan 99999999999 00:00:00 GMT")),
    ],
)
def test_retry_after_is_read_or_passed_over(header: str, seconds: float | None) -> None:
    assert judge(429, HTML, retry_after=header).retry_after == seconds
    assert judge(503, HTML, RETRY_AFTER=header).retry_after == seconds


def test_retry_after_as_a_date_counts_from_now() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    wait = judge(429, retry_after=date).retry_after
    assert wait is not None
    assert 57 < wait <= 60


def test_a_429_without_retry_after_has_none() -> None:
    judged = judge(429, nest(429, "Too Many Requests"))
    assert (judged.reason, judged.retry_after) == ("rate_limited", None)


def test_the_rate_limit_is_read_from_every_answer() -> None:
    limits = {
        "X-RateLimit-Max": "100",
        "x-ratelimit-remaining": "7",
        "X-RateLimit-Interval-Milliseconds": "10000",
        "X-RateLimit-Daily-Remaining": "199999",
    }
    answers = (201, 400, 429, 500)
    for judged in (classify_response(HttpResponse(status, limits, b""), LOCATION, CONTACT) for status in answers):
        assert judged.rate_limit is not None
        limit = judged.rate_limit
        assert (limit.max, limit.remaining, limit.interval_ms, limit.daily_remaining) == (100, 7, 10000, 199999)


def test_the_limit_of_the_day_may_come_alone() -> None:
    limit = judge(429, x_ratelimit_daily_remaining="0").rate_limit
    assert limit is not None
    assert (limit.remaining, limit.daily_remaining) == (None, 0)


@pytest.mark.parametrize("value", ["", "-1", "many", "1e9", "9" * 5000])
def test_a_garbage_rate_limit_is_no_limit(value: str) -> None:
    limit = judge(201, x_ratelimit_remaining=value, x_ratelimit_max="5").rate_limit
    assert limit is not None
    assert (limit.remaining, limit.max) == (None, 5)
    assert judge(201).rate_limit is None


@pytest.mark.parametrize("trace_id", [7, "", "a b", "a\nb", "x" * 65, ["x"]])
def test_a_strange_trace_id_is_left_out(trace_id: object) -> None:
    assert judge(500, {"traceId": trace_id}).trace_id is None


POOL = urllib3.HTTPConnectionPool("127.0.0.1")
EXCEPTIONS = sorted(
    {
        kind
        for kind in vars(urllib3.exceptions).values()
        if inspect.isclass(kind) and issubclass(kind, urllib3.exceptions.HTTPError)
    },
    key=lambda kind: kind.__name__,
)
REASON_OF: dict[str, str] = {
    "SSLError": "upstream_unreachable",
    "ConnectTimeoutError": "upstream_unreachable",
    "NewConnectionError": "upstream_unreachable",
    "NameResolutionError": "upstream_unreachable",
    "ReadTimeoutError": "upstream_timeout",
    "ProtocolError": "upstream_connection_lost",
    "IncompleteRead": "upstream_connection_lost",
}


def instance(kind: type[Exception]) -> Exception:
    """An exception as urllib3 makes it: a value for each parameter, by its name."""
    answer = SimpleNamespace(tell=lambda: 1, length_remaining=2)
    values = {"pool": POOL, "conn": POOL, "url": "/", "partial": 1, "expected": 2, "response": answer, "length": b"x"}
    values |= {"error": OSError(), "reason": OSError(), "defects": []}
    _, *parameters = inspect.signature(kind.__init__).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    return kind(*(values.get(parameter.name, "text") for parameter in required))


def test_the_enumeration_sees_them_all() -> None:
    assert len(EXCEPTIONS) >= 30
    assert {kind.__name__ for kind in EXCEPTIONS} >= REASON_OF.keys()


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_each_exception_of_urllib3_is_deferred_but_an_unusable_address(kind: type[Exception]) -> None:
    judged = classify_response(instance(kind), LOCATION, CONTACT)
    if issubclass(kind, urllib3.exceptions.LocationValueError):
        assert (judged.outcome, judged.reason) == ("rejected", "base_url_refused")
    else:
        assert judged.outcome == "deferred"
        assert judged.reason == REASON_OF.get(kind.__name__, judged.reason)
    assert judged.reason in REASONS
    assert (judged.status, judged.retry_after, judged.token_suspect) == (None, None, False)


def test_exceptions_that_are_not_urllib3s_are_deferred() -> None:
    assert classify_response(TimeoutError(), LOCATION, CONTACT).reason == "upstream_timeout"
    assert classify_response(ValueError(), LOCATION, CONTACT).reason == "internal_error"


def search(status: int, body: object) -> dict[str, Any] | None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return found_conversation(HttpResponse(status, {}, content), LOCATION, CONTACT)


def test_a_search_gives_the_contacts_conversation_wherever_it_stands() -> None:
    other = CONVERSATION | {"id": "conv-0", "contactId": "another-contact"}
    expected = {"id": "conv-1", "contactId": CONTACT, "locationId": LOCATION}
    assert search(200, {"conversations": [None, 7, other, CONVERSATION], "total": 4}) == expected


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, HTML),
        (200, {"conversations": None}),
        (200, {"conversations": {}}),
        (200, {"conversations": []}),
        (200, {"conversations": [CONVERSATION | {"contactId": "another-contact"}]}),
        (200, {"conversations": [CONVERSATION | {"locationId": "somewhere-else"}]}),
        (401, {"conversations": [CONVERSATION]}),
        (500, {"conversations": [CONVERSATION]}),
    ],
)
def test_a_search_that_does_not_show_it_gives_none(status: int, body: object) -> None:
    assert search(status, body) is None


def test_a_search_that_failed_gives_none() -> None:
    assert found_conversation(urllib3.exceptions.ProtocolError(), LOCATION, CONTACT) is None


@pytest.mark.parametrize(
    ("status", "body", "outcome", "reason"),
    [
        (200, {"conversations": [CONVERSATION | {"unreadCount": 2}]}, "found", ""),
        (200, {"conversations": []}, "missing", ""),
        (200, {"conversations": [None, CONVERSATION | {"contactId": "another"}]}, "missing", ""),
        (200, {"conversations": None}, "deferred", "upstream_unexpected"),
        (200, {}, "deferred", "upstream_unexpected"),
        (200, HTML, "deferred", "upstream_unexpected"),
        (429, b"", "deferred", "rate_limited"),
        (503, b"", "deferred", "upstream_error"),
        (401, nest(401, "Invalid JWT"), "deferred", "token_refused"),
        (401, nest(401, "The token is not authorized for this scope."), "rejected", "scope_missing"),
    ],
    ids=str,
)
def test_a_search_says_why_it_shows_no_conversation(status: int, body: object, outcome: str, reason: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    result = classify_conversation_search(HttpResponse(status, {}, content), LOCATION, CONTACT)
    assert (result.outcome, result.reason) == (outcome, reason)
    assert (result.conversation, result.unread_count) == (("conv-1", 2) if outcome == "found" else (None, None))


# A new contact


def judge_new_contact(status: int, body: object = b"", **headers: str) -> ApiResult:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify_new_contact(HttpResponse(status, named, content), LOCATION)


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    "contact",
    [
        {"id": CONTACT, "locationId": LOCATION},
        {"id": CONTACT, "locationId": LOCATION, "tags": ["a"], "email": None},
        {"id": CONTACT},
    ],
)
def test_an_upsert_finds_the_contact_new_or_not(status: int, contact: dict[str, Any]) -> None:
    headers = {"x_ratelimit_remaining": "7"}
    for new in (True, False):
        judged = judge_new_contact(status, {"new": new, "contact": contact, "traceId": "t-1"}, **headers)
        assert (judged.outcome, judged.reason, judged.contact) == ("found", "", CONTACT)
        assert (judged.status, judged.trace_id, judged.body) == (status, "t-1", None)
        assert judged.rate_limit is not None
        assert judged.rate_limit.remaining == 7


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        HTML,
        b"[]",
        b"null",
        b'{"contact": {"id"',
        b"[" * 100_000,
        {},
        {"contact": None},
        {"contact": []},
        {"contact": CONTACT},
        {"contact": {}},
        {"contact": {"id": None}},
        {"contact": {"id": 7}},
        {"contact": {"id": ""}},
        {"contact": {"id": "a b"}},
        {"contact": {"id": f"{CONTACT}\n"}},
        {"contact": {"id": "x" * 65}},
        {"contact": {"id": CONTACT, "locationId": "another"}},
        {"contact": {"id": CONTACT, "locationId": None}},
        {"message": "Conversation with the contact id:x already exists!"},
    ],
    ids=lambda body: str(body)[:40],
)
def test_an_upsert_that_names_no_contact_of_this_location_is_deferred(status: int, body: object) -> None:
    judged = judge_new_contact(status, body)
    assert (judged.outcome, judged.reason, judged.contact) == ("deferred", "upstream_unexpected", None)
    assert judged.status == status


@ENVELOPES
@pytest.mark.parametrize(
    ("status", "message", "outcome", "reason", "suspect"),
    [
        (400, "email must be an email", "rejected", "contact_refused", False),
        (422, ["email must be an email", "phone should not be empty"], "rejected", "contact_refused", False),
        (404, "Contact not found", "rejected", "contact_refused", False),
        (400, "Contact with this phone already exists", "rejected", "contact_refused", False),
        (400, "Location is not active", "deferred", "location_inactive", False),
        (401, "Invalid JWT", "deferred", "token_refused", True),
        (401, "Invalid Private Integration token", "deferred", "token_refused", True),
        (401, "The token is not authorized for this scope.", "rejected", "scope_missing", False),
        (401, "version header is invalid", "rejected", "version_refused", False),
        (401, "This location is not accessible from this token!", "rejected", "location_refused", False),
        (403, "The token does not have access to this location.", "rejected", "location_refused", False),
        (404, "Cannot POST /contacts/upsert", "rejected", "upstream_refused", False),
        (402, "Payment required", "deferred", "upstream_error", False),
        (403, "Forbidden resource", "deferred", "upstream_error", False),
        (409, "Conflict", "deferred", "upstream_error", False),
        (409, "Contact already exists", "deferred", "upstream_error", False),
        (423, "Locked", "deferred", "upstream_error", False),
        (408, "Request Timeout", "deferred", "upstream_error", False),
        (429, "Too Many Requests", "deferred", "rate_limited", False),
        (500, "Internal Server Error", "deferred", "upstream_error", False),
        (503, "Service Unavailable", "deferred", "upstream_error", False),
    ],
)
def test_a_refused_upsert_is_classified_by_status_and_message(
    envelope: Any, status: int, message: object, outcome: str, reason: str, suspect: bool
) -> None:
    judged = judge_new_contact(status, envelope(status, message), retry_after="17")
    assert (judged.outcome, judged.reason, judged.token_suspect) == (outcome, reason, suspect)
    assert (judged.status, judged.trace_id, judged.contact, judged.body) == (status, "t-1", None, None)
    assert judged.retry_after == (17 if outcome == "deferred" else None)
    assert judged.reason in REASONS


@pytest.mark.parametrize("status", [202, 204, 302, 401, 403, 404, 422, 500])
def test_an_upsert_that_another_server_answers_is_deferred(status: int) -> None:
    assert judge_new_contact(status, HTML).outcome == "deferred"
    assert judge_new_contact(status).outcome == "deferred"


@pytest.mark.parametrize(
    "error",
    [
        urllib3.exceptions.ProtocolError("x"),
        urllib3.exceptions.SSLError("x"),
        TimeoutError(),
        urllib3.exceptions.LocationValueError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_new_contact_fails_as_a_conversation_does(error: Exception) -> None:
    assert classify_new_contact(error, LOCATION) == classify_response(error, LOCATION, CONTACT)


# --- whatever comes ---------------------------------------------------------------------------------------------------

EXAMPLES = settings(derandomize=True, database=None, deadline=None, max_examples=500)
WORDS = st.sampled_from(
    [
        "already exists",
        "Location is not active",
        "version header",
        "api version",
        "not authorized for this scope",
        "authClass",
        "this location",
        "Cannot POST /x",
        "Invalid JWT",
        "email",
    ]
)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | WORDS
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "id": VALUES,
        "contactId": st.sampled_from([CONTACT, "another"]),
        "locationId": st.sampled_from([LOCATION, "another"]),
        "email": VALUES,
    },
)
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "message": VALUES | st.lists(VALUES, max_size=3),
        "error": VALUES,
        "traceId": VALUES,
        "conversation": VALUES | OBJECTS,
        "conversations": VALUES | st.lists(VALUES | OBJECTS, max_size=3),
        "contact": VALUES | OBJECTS,
    },
)
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "x-ratelimit-max", "X-RateLimit-Remaining", "x-ratelimit-daily-remaining"]),
    st.text(max_size=10) | st.integers(-5, 10**12).map(str) | st.just("Sat, 01 Jan 2022 00:00:00 GMT"),
)
RESPONSES = st.builds(
    HttpResponse,
    st.sampled_from([200, 201, 202, 302, 400, 401, 402, 403, 404, 405, 408, 409, 422, 423, 425, 429, 500, 503, 520])
    | st.integers(200, 599),
    HEADERS,
    PAYLOADS.map(lambda payload: json.dumps(payload).encode()) | st.binary(max_size=30) | st.just(HTML),
)


@given(response=RESPONSES)
@EXAMPLES
def test_any_response_is_one_of_the_outcomes(response: HttpResponse) -> None:
    each = {
        "create": classify_response(response, LOCATION, CONTACT),
        "contact": classify_new_contact(response, LOCATION),
        "read": classify_contact(response, LOCATION, CONTACT),
    }
    for call, result in each.items():
        assert not result.reason or result.reason in REASONS
        assert bool(result.reason) == (result.outcome in ("deferred", "rejected"))
        assert result.retry_after is None or 0 <= result.retry_after <= MAX_RETRY_AFTER_SECONDS
        assert result.status == response.status
        if response.status in (408, 425, 429) or response.status >= 500:
            assert result.outcome == "deferred", call
        if result.outcome == "rejected":
            assert response.status in range(400, 500) or (call, response.status) == ("read", 200)
        if result.outcome == "found":
            assert call != "create"
            assert result.contact
    opened = each["create"]
    assert response.status != 201 or opened.outcome == "opened"
    if opened.body is not None:
        assert opened.body["conversation"]["contactId"] == CONTACT
        assert opened.body["conversation"]["locationId"] == LOCATION
    assert opened.outcome != "existing" or b"already exists" in response.body.lower()


@given(response=RESPONSES)
@EXAMPLES
def test_any_search_shows_the_contacts_conversation_or_none(response: HttpResponse) -> None:
    found = found_conversation(response, LOCATION, CONTACT)
    assert found is None or (found["contactId"], found["locationId"]) == (CONTACT, LOCATION)


# Messages, notes, tags and updates


def response(status: int, body: object = b"", **headers: str) -> HttpResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


REFUSED = pytest.mark.parametrize("refused", ["message_refused", "contact_refused", "ids_refused"])


@REFUSED
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (201, {"conversationId": "conv-1", "messageId": "m", "status": "delivered", "traceId": "t-1"}),
        (200, {"conversationId": "conv-1", "traceId": "t-1"}),
        (202, {"conversationId": "conv-1", "traceId": "t-1"}),
    ],
)
def test_a_write_that_highlevel_confirms_is_written(refused: str, status: int, body: object) -> None:
    result = classify_write(response(status, body, x_ratelimit_remaining="7"), refused)
    assert (result.outcome, result.reason, result.status, result.trace_id) == ("written", "", status, "t-1")
    assert result.conversation == "conv-1"
    assert result.rate_limit is not None


@pytest.mark.parametrize(
    "body", [b"", HTML, b"[]", b"null", b"{", {}, {"conversationId": "a/b"}, {"conversationId": 7}]
)
def test_a_201_is_written_whatever_its_body(body: object) -> None:
    result = classify_write(response(201, body), "message_refused")
    assert (result.outcome, result.conversation) == ("written", None)


@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize("body", [b"", HTML, b"[]", b"null", b"{"])
def test_an_edge_page_is_not_a_written_message(status: int, body: bytes) -> None:
    result = classify_write(response(status, body), "message_refused")
    assert (result.outcome, result.reason, result.is_sent) == ("deferred", "upstream_unexpected", True)


@ENVELOPES
@REFUSED
@pytest.mark.parametrize(
    ("status", "message", "outcome", "reason"),
    [
        (401, "Auth channel OAUTH is not supported", "rejected", "scope_missing"),
        (403, "Auth channel OAUTH is not supported for this route", "rejected", "scope_missing"),
        (401, "The token is not authorized for this scope.", "rejected", "scope_missing"),
        (403, "The token is not authorized for this scope.", "rejected", "scope_missing"),
        (401, "This authClass type is not allowed to access this scope.", "rejected", "token_kind_refused"),
        (401, "This location is not accessible from this token!", "rejected", "location_refused"),
        (401, "version header is invalid", "rejected", "version_refused"),
        (401, "Invalid JWT", "deferred", "token_refused"),
        (401, "A text that is not known yet", "deferred", "token_refused"),
        (400, "Location is not active", "deferred", "location_inactive"),
        (402, "Payment required", "deferred", "upstream_error"),
        (403, "Forbidden resource", "deferred", "upstream_error"),
        (409, "Note already exists", "deferred", "upstream_error"),
        (423, "Locked", "deferred", "upstream_error"),
        (429, "Too Many Requests", "deferred", "rate_limited"),
        (500, "Internal Server Error", "deferred", "upstream_error"),
        (404, "Cannot POST /conversations/messages", "rejected", "upstream_refused"),
        (410, "Gone", "rejected", "upstream_refused"),
        (400, ["type must be one of the following values: SMS, Email"], "rejected", ""),
        (400, "Conversation with the contact id:x already exists!", "rejected", ""),
        (404, "Contact not found", "rejected", ""),
        (422, ["message must be a string"], "rejected", ""),
    ],
)
def test_a_refused_write_is_classified_by_status_and_message(
    envelope: Any, refused: str, status: int, message: object, outcome: str, reason: str
) -> None:
    result = classify_write(response(status, envelope(status, message), retry_after="17"), refused)
    assert (result.outcome, result.reason) == (outcome, reason or refused)
    assert result.token_suspect == (result.reason == "token_refused")
    assert result.retry_after == (17 if outcome == "deferred" else None)
    assert (result.status, result.trace_id, result.is_sent) == (status, "t-1", True)


def test_why_a_message_is_refused_is_shown_without_addresses_and_numbers() -> None:
    message = ["message must be shorter", "a@example.com is wrong", "+49 30 1234567 is wrong"]
    assert classify_write(response(422, nest(422, message)), "message_refused").message == "message must be shorter"


# A new contact


@pytest.mark.parametrize("status", [200, 201])
def test_a_created_contact_is_new(status: int) -> None:
    result = classify_new_contact(response(status, {"contact": {"id": CONTACT, "locationId": LOCATION}}), LOCATION)
    assert (result.outcome, result.contact, result.is_new) == ("found", CONTACT, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        HTML,
        b"{",
        {},
        {"contact": None},
        {"contact": {"id": "a/b"}},
        {"contact": {"id": CONTACT, "locationId": "x"}},
    ],
    ids=str,
)
def test_a_created_contact_without_a_usable_id_is_deferred(body: object) -> None:
    result = classify_new_contact(response(201, body), LOCATION)
    assert (result.outcome, result.reason, result.contact, result.is_sent) == (
        "deferred",
        "upstream_unexpected",
        None,
        True,
    )


@pytest.mark.parametrize("status", [400, 409, 422])
@pytest.mark.parametrize(
    "message", ["This location does not allow duplicated contacts.", ["Duplicate contacts are not allowed"]]
)
def test_a_duplicate_that_highlevel_names_is_found(status: int, message: object) -> None:
    body = nest(status, message) | {"meta": {"matchingField": "email", "contactName": "x", "contactId": CONTACT}}
    result = classify_new_contact(response(status, body), LOCATION)
    assert (result.outcome, result.contact, result.is_new) == ("found", CONTACT, False)


@pytest.mark.parametrize(
    ("status", "body", "outcome", "reason"),
    [
        (400, nest(400, "This location does not allow duplicated contacts."), "rejected", "contact_refused"),
        (400, nest(400, "duplicated contacts") | {"meta": {"contactId": "a/b"}}, "rejected", "contact_refused"),
        (400, nest(400, "duplicated contacts") | {"meta": [CONTACT]}, "rejected", "contact_refused"),
        (400, nest(400, "email must be an email") | {"meta": {"contactId": CONTACT}}, "rejected", "contact_refused"),
        (422, nest(422, ["phone is invalid"]), "rejected", "contact_refused"),
        (429, nest(429, "duplicated contacts") | {"meta": {"contactId": CONTACT}}, "deferred", "rate_limited"),
        (500, nest(500, "duplicated contacts") | {"meta": {"contactId": CONTACT}}, "deferred", "upstream_error"),
        (401, nest(401, "The token is not authorized for this scope."), "rejected", "scope_missing"),
        (401, nest(401, "Invalid JWT"), "deferred", "token_refused"),
        (404, nest(404, "Cannot POST /contacts/"), "rejected", "upstream_refused"),
        (302, b"", "deferred", "upstream_unexpected"),
        (400, HTML, "deferred", "upstream_unexpected"),
    ],
)
def test_another_refusal_of_a_new_contact_finds_none(status: int, body: object, outcome: str, reason: str) -> None:
    result = classify_new_contact(response(status, body), LOCATION)
    assert (result.outcome, result.reason, result.contact) == (outcome, reason, None)
    if reason == "contact_refused":
        assert result.message


# The search for a contact


def test_a_search_finds_a_contact_with_its_addresses() -> None:
    members = {"id": CONTACT, "locationId": LOCATION, "email": "a@example.com", "phone": "+4930123"}
    result = classify_contact_search(response(200, {"contact": members, "traceId": "t-1"}), LOCATION)
    assert (result.outcome, result.contact, result.email, result.phone, result.is_new) == (
        "found",
        CONTACT,
        "a@example.com",
        "+4930123",
        False,
    )
    assert "example.com" not in repr(result)


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, {"contact": None}, {}),
        (200, {}, {}),
        (200, {"traceId": "t-1"}, {}),
        (200, b"", {"x_ratelimit_remaining": "7"}),
        (200, b"null", {"x_ratelimit_remaining": "7"}),
        (404, nest(404, "Contact not found"), {}),
        (404, http_exception(404, ["No contact"]), {}),
    ],
    ids=str,
)
def test_a_search_without_a_contact_says_that_it_is_missing(status: int, body: object, headers: dict[str, str]) -> None:
    result = classify_contact_search(response(status, body, **headers), LOCATION)
    assert (result.outcome, result.reason, result.contact, result.status) == ("missing", "", None, status)


@pytest.mark.parametrize(
    ("status", "body", "outcome", "reason"),
    [
        (200, b"", "deferred", "upstream_unexpected"),
        (200, b"null", "deferred", "upstream_unexpected"),
        (200, HTML, "deferred", "upstream_unexpected"),
        (200, b'{"contact": nul', "deferred", "upstream_unexpected"),
        (200, [], "deferred", "upstream_unexpected"),
        (200, {"contact": []}, "deferred", "upstream_unexpected"),
        (200, {"contact": {}}, "deferred", "upstream_unexpected"),
        (200, {"contact": {"id": "a/b"}}, "deferred", "upstream_unexpected"),
        (200, {"contact": {"id": CONTACT, "locationId": "another"}}, "deferred", "upstream_unexpected"),
        (200, {"message": "Something went wrong"}, "deferred", "upstream_unexpected"),
        (204, b"", "deferred", "upstream_unexpected"),
        (302, b"", "deferred", "upstream_unexpected"),
        (404, b"", "deferred", "upstream_unexpected"),
        (404, HTML, "deferred", "upstream_unexpected"),
        (404, nest(404, "Cannot GET /contacts/search/duplicate"), "rejected", "upstream_refused"),
        (400, nest(400, "email must be an email"), "rejected", "contact_refused"),
        (422, nest(422, ["number is invalid"]), "rejected", "contact_refused"),
        (401, nest(401, "The token is not authorized for this scope."), "rejected", "scope_missing"),
        (401, nest(401, "Invalid JWT"), "deferred", "token_refused"),
        (403, nest(403, "Forbidden resource"), "deferred", "upstream_error"),
        (429, b"", "deferred", "rate_limited"),
        (500, nest(500, "Contact not found"), "deferred", "upstream_error"),
    ],
    ids=str,
)
def test_whatever_else_a_search_gets_does_not_say_that_the_contact_is_missing(
    status: int, body: object, outcome: str, reason: str
) -> None:
    result = classify_contact_search(response(status, body), LOCATION)
    assert (result.outcome, result.reason, result.contact) == (outcome, reason, None)


# A contact, and a conversation, by its id


@ENVELOPES
@pytest.mark.parametrize(
    ("status", "message", "outcome", "reason"),
    [
        (403, "Forbidden resource", "rejected", "ids_refused"),
        (405, "Method Not Allowed", "rejected", "ids_refused"),
        (410, "Gone", "rejected", "ids_refused"),
        (404, "Cannot GET /contacts/x", "rejected", "ids_refused"),
        (404, "Contact not found", "rejected", "ids_refused"),
        (400, "Contact already exists", "rejected", "ids_refused"),
        (402, "Payment required", "deferred", "upstream_error"),
        (409, "Conflict", "deferred", "upstream_error"),
        (401, "Invalid JWT", "deferred", "token_refused"),
        (401, "The token is not authorized for this scope.", "rejected", "scope_missing"),
        (403, "The token does not have access to this location.", "rejected", "location_refused"),
        (500, "Internal Server Error", "deferred", "upstream_error"),
    ],
)
def test_a_contact_that_may_not_be_read_is_refused(
    envelope: Any, status: int, message: str, outcome: str, reason: str
) -> None:
    result = classify_contact(response(status, envelope(status, message)), LOCATION, CONTACT)
    assert (result.outcome, result.reason) == (outcome, reason)


@pytest.mark.parametrize(
    ("members", "outcome", "reason"),
    [
        ({"id": CONTACT, "locationId": LOCATION}, "found", ""),
        ({"id": CONTACT}, "found", ""),
        ({"id": CONTACT, "locationId": "another"}, "rejected", "ids_refused"),
        ({"id": "another", "locationId": LOCATION}, "deferred", "upstream_unexpected"),
        ({}, "deferred", "upstream_unexpected"),
        (None, "deferred", "upstream_unexpected"),
    ],
)
def test_only_the_contact_that_was_asked_for_is_found(members: object, outcome: str, reason: str) -> None:
    result = classify_contact(response(200, {"contact": members}), LOCATION, CONTACT)
    assert (result.outcome, result.reason) == (outcome, reason)


@pytest.mark.parametrize("is_nested", [True, False])
@pytest.mark.parametrize(
    ("count", "unread"),
    [(0, 0), (3, 3), (None, None), (-1, None), ("3", None), (True, None), (1.5, None), ([], None)],
)
def test_a_conversation_says_how_many_messages_are_unread(is_nested: bool, count: object, unread: int | None) -> None:
    members = CONVERSATION | {"unreadCount": count}
    result = classify_conversation(response(200, {"conversation": members} if is_nested else members), "conv-1")
    assert (result.outcome, result.unread_count, result.conversation) == ("found", unread, "conv-1")


@pytest.mark.parametrize(
    ("status", "body", "outcome", "reason"),
    [
        (200, b"", "deferred", "upstream_unexpected"),
        (200, HTML, "deferred", "upstream_unexpected"),
        (200, {}, "deferred", "upstream_unexpected"),
        (200, {"conversation": None}, "deferred", "upstream_unexpected"),
        (200, CONVERSATION | {"id": "another"}, "deferred", "upstream_unexpected"),
        (404, nest(404, "Conversation not found"), "rejected", "ids_refused"),
        (401, nest(401, "The token is not authorized for this scope."), "rejected", "scope_missing"),
        (429, b"", "deferred", "rate_limited"),
    ],
    ids=str,
)
def test_another_answer_is_not_the_conversation(status: int, body: object, outcome: str, reason: str) -> None:
    result = classify_conversation(response(status, body), "conv-1")
    assert (result.outcome, result.reason, result.unread_count) == (outcome, reason, None)


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_each_exception_means_the_same_for_every_call(kind: type[Exception]) -> None:
    error = instance(kind)
    expected = classify_response(error, LOCATION, CONTACT)
    others = [
        classify_write(error, "message_refused"),
        classify_new_contact(error, LOCATION),
        classify_contact_search(error, LOCATION),
        classify_contact(error, LOCATION, CONTACT),
        classify_conversation(error, "conv-1"),
        classify_conversation_search(error, LOCATION, CONTACT),
    ]
    assert others == [expected] * 6
    assert expected.is_sent


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_an_exception_before_the_first_byte_differs_only_in_that(kind: type[Exception]) -> None:
    error = instance(kind)
    result = classify_write(NotSentError(error), "message_refused")
    assert result == replace(classify_write(error, "message_refused"), is_sent=False)
