"""What several tests assert of an answer or of dead letters.

An answer is what the function returns (a dictionary) or what the HTTP API answered (`local.application.Answer`).
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from create_conversation.errors import REASONS, MessageStatus
from local.application import Answer

type AnyAnswer = Answer | Mapping[str, Any]


def assert_problem(answer: AnyAnswer, status: int, reason: str) -> dict[str, Any]:
    """It is an RFC 9457 problem with that reason code and everything that docs/openapi.yaml promises. Returns it."""
    found, headers, problem = _parts(answer)
    assert (found, problem["type"]) == (status, f"urn:highlevel-conversations:{reason}")
    assert headers["content-type"] == "application/problem+json"
    assert problem["instance"] == headers["x-request-id"]
    assert (problem["status"], problem["title"]) == (status, REASONS[reason].title)
    assert problem["detail"]
    assert problem.keys() == {"type", "title", "status", "detail", "instance"}
    assert ("www-authenticate" in headers) == (status == 401)
    assert ("retry-after" in headers) == (status in (429, 503))
    assert int(headers.get("retry-after", 5)) >= 5
    return problem


def assert_accepted(answer: AnyAnswer, status: str) -> None:
    """It is a 202 with that status, the request's id and the time after which to ask again."""
    found, headers, body = _parts(answer)
    assert body.pop("messageStatus") in set(MessageStatus)
    assert (found, body) == (202, {"status": status, "requestId": headers["x-request-id"]})
    assert headers["content-type"] == "application/json"
    assert int(headers["retry-after"]) >= 5


def assert_webhook_outcome(answer: AnyAnswer, outcome: str) -> None:
    """It is the 200 that a webhook's sender gets, with that outcome, and with a reason of that outcome or none."""
    status, headers, body = _parts(answer)
    assert (status, body["outcome"], body["requestId"]) == (200, outcome, headers["x-request-id"])
    assert "messageStatus" in body or outcome in ("rejected", "invalid", "ignored")
    assert body.keys() - {"outcome", "requestId", "messageStatus"} in (set(), {"reason", "detail"})
    assert "reason" not in body or REASONS[body["reason"]].outcome == outcome
    assert (headers["content-type"], headers["cache-control"]) == ("application/json", "no-store")


def assert_dead_letter(letters: Iterable[Mapping[str, Any]], **attributes: str) -> None:
    """There is one dead letter, and it has these attributes."""
    [letter] = letters
    assert {name: letter["attributes"].get(name) for name in attributes} == attributes


def _parts(answer: AnyAnswer) -> tuple[int, Mapping[str, str], dict[str, Any]]:
    if isinstance(answer, Answer):
        return answer.status, answer.headers, answer.body
    assert answer["isBase64Encoded"] is False
    return answer["statusCode"], answer["headers"], json.loads(answer["body"])
