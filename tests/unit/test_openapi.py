"""docs/openapi.yaml names every reason that a caller can read, under its status, and no other."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

from create_conversation.errors import REASONS

DOCUMENT = yaml.load((Path(__file__).parents[2] / "docs/openapi.yaml").read_text(), yaml.CSafeLoader)
URN = "urn:highlevel-conversations:"
# These end as dead letters, or come only from the queue or a webhook.
NEVER_ON_CONVERSATIONS = {
    "invalid_form",
    "too_many_submissions",
    "unreadable",
    "mapping_failed",
    "contact_refused",
    "unknown_sender",
    "expired",
    "message_refused",
    "message_failed",
    "own_write",
    "other_event",
    "sender_has_no_secret",
    "credentials_wrong",
    "credentials_stale",
    "credentials_malformed",
    "credentials_missing",
}
# A webhook is refused only if nothing of it can be stored; its NotStored is 429.
ON_WEBHOOKS = {
    400: {"invalid_encoding", "invalid_json", "invalid_form"},
    401: {"unauthorized"},
    413: {"body_too_large", "too_many_submissions"},
    415: {"unsupported_media_type"},
    429: {reason for reason, entry in REASONS.items() if entry.status == 503},
}


def follow(node: Any) -> Any:
    while isinstance(node, dict) and "$ref" in node:
        target: Any = DOCUMENT
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        node = target
    return node


def reasons(schema: Any) -> set[str]:
    """The reasons that a schema allows as a problem's type."""
    schema = follow(schema)
    member = schema.get("properties", {}).get("type", {})
    named = member.get("enum", [member["const"]] if "const" in member else [])
    found = {name.removeprefix(URN) for name in named if name.startswith(URN)}
    return found.union(*(reasons(part) for part in schema.get("allOf", [])))


def documented(path: str) -> dict[int, set[str]]:
    answers = DOCUMENT["paths"][path]["post"]["responses"].items()
    problems = {
        status: follow(answer)["content"].get("application/problem+json", {}).get("schema", {})
        for status, answer in answers
    }
    return {int(status): reasons(schema) for status, schema in problems.items() if schema}


def test_a_caller_reads_every_reason_in_the_document_and_no_other() -> None:
    expected: dict[int, set[str]] = {}
    for name, reason in REASONS.items():
        if reason.status >= 400 and name not in NEVER_ON_CONVERSATIONS:
            expected.setdefault(reason.status, set()).add(name)
    assert documented("/conversations") == expected


def test_a_webhook_reads_these() -> None:
    assert documented("/webhooks/{sender}") == ON_WEBHOOKS


def test_each_status_says_itself() -> None:
    for path in DOCUMENT["paths"].values():
        for status, answer in path["post"]["responses"].items():
            problem = follow(answer)["content"].get("application/problem+json")
            if problem:
                statuses = [part.get("properties", {}).get("status") for part in problem["schema"]["allOf"]]
                assert {"const": int(status)} in statuses


def test_each_example_is_what_its_schema_says() -> None:
    found = 0
    for path in DOCUMENT["paths"].values():
        for answer in (path["post"]["requestBody"], *path["post"]["responses"].values()):
            for content in follow(answer)["content"].values():
                schema = content["schema"]
                inside = {} if schema is True else {**schema, "components": DOCUMENT["components"]}
                for example in content.get("examples", {}).values():
                    jsonschema_rs.validator_for(inside).validate(example["value"])
                    found += 1
    assert found >= 12


def test_the_examples_of_problems_are_what_the_function_says() -> None:
    found = 0
    for path in DOCUMENT["paths"].values():
        for answer in path["post"]["responses"].values():
            problem = follow(answer)["content"].get("application/problem+json", {})
            for example in problem.get("examples", {}).values():
                reason = REASONS[example["value"]["type"].removeprefix(URN)]
                assert (example["value"]["title"], example["value"]["status"]) == (reason.title, reason.status)
                found += 1
    assert found >= 4
