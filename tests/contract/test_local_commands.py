"""`/_local`: the read-out of the local HighLevel's state, and its settings."""

from typing import Any

import pytest

from local.highlevel import Limits, LocalHighLevel
from local.highlevel_commands import conversation_read_out, read_out
from tests.contract.local_calls import MINE, UPSERT, ask, comment, create, new_contact, remaining

ANN = {"id": "ann", "locationId": "mine", "email": "ann@example.com", "firstName": "Ann", "tags": ["customer"]}


def state(local: LocalHighLevel) -> Any:
    answer = ask(local, "GET", "/_local")
    assert answer.status == 200
    assert answer.json == read_out(local), "the same in Python"
    return answer.json


def test_a_conversation_shows_its_thread_its_badge_and_its_contact_before_and_after(local: LocalHighLevel) -> None:
    local.contacts["ann"] = dict(ANN)
    conversation = create(local, contact="ann").json["conversation"]
    comment(local, "ann", "first", userId="u1", mentions=["u2"])
    comment(local, "ann", "second")
    ask(local, "PUT", f"/conversations/{conversation['id']}", MINE | {"unreadCount": 2, "starred": True})
    ask(local, path="/contacts/ann/tags", body={"tags": ["lead"]})
    ask(local, path=UPSERT, body=MINE | {"email": "ann@example.com", "lastName": "Doe"})
    ask(local, path="/contacts/ann/notes", body={"body": "a note", "userId": "u3"})
    [shown] = state(local)["conversations"]
    assert shown == shown | conversation
    assert (shown["unreadCount"], shown["starred"]) == (2, True)
    assert [(each["text"], each["user"], each["mentions"]) for each in shown["thread"]] == [
        ("first", "u1", ["u2"]),
        ("second", None, []),
    ]
    assert all(each["id"] and each["date"].endswith("Z") for each in shown["thread"])
    after = shown["contact"]
    assert after == after | ANN | {"tags": ["customer", "lead"], "lastName": "doe"}
    assert [(note["body"], note["userId"]) for note in after["notes"]] == [("a note", "u3")]
    assert shown["contactBefore"] == ANN | {"notes": []}
    assert state(local)["contacts"] == [after | {"before": ANN | {"notes": []}}]
    assert conversation_read_out(local, local.conversations["mine", "ann"]) == shown


def test_a_contact_that_was_not_changed_is_the_same_before_and_after(local: LocalHighLevel) -> None:
    local.contacts["ann"] = dict(ANN)
    create(local, contact="ann")
    ask(local, "GET", "/contacts/ann")
    ask(local, "GET", "/contacts/search/duplicate?locationId=mine&email=ann@example.com")
    [shown] = state(local)["conversations"]
    assert shown["contact"] == shown["contactBefore"] == ANN | {"notes": []}


def test_a_contact_that_was_created_did_not_exist_before(local: LocalHighLevel) -> None:
    create(local, contact=new_contact(local, email="a@b.co"))
    create(local, contact="only-an-id")
    created, unknown = state(local)["conversations"]
    assert (created["contact"]["email"], created["contactBefore"]) == ("a@b.co", None)
    assert (unknown["contact"], unknown["contactBefore"], unknown["thread"]) == (None, None, [])


def test_the_before_of_a_contact_is_a_copy(local: LocalHighLevel) -> None:
    local.contacts["ann"] = dict(ANN, additionalEmails=[{"email": "ann@work.example"}])
    ask(local, path=UPSERT, body=MINE | {"email": "ann@work.example", "tags": ["lead"]})
    [contact] = state(local)["contacts"]
    assert (contact["additionalEmails"], contact["tags"]) == ([], ["lead"])
    assert contact["before"]["additionalEmails"] == [{"email": "ann@work.example"}]
    assert contact["before"]["tags"] == ["customer"]


def test_a_reset_deletes_threads_and_notes(local: LocalHighLevel) -> None:
    create(local)
    comment(local)
    ask(local, path="/contacts/c1/notes", body={"body": "x"})
    assert ask(local, "POST", "/_local/reset").status == 204
    assert (state(local)["conversations"], state(local)["contacts"]) == ([], [])
    create(local)
    [shown] = state(local)["conversations"]
    assert (shown["thread"], shown["contact"]) == ([], None)


# Settings


def test_settings_are_read_changed_and_reset(local: LocalHighLevel) -> None:
    at_start = state(local)["settings"]
    changed = {
        "limits": {"max": 2, "interval_ms": 10_000, "daily": 100},
        "search_lag": 1.5,
        "contact_lag": 1,
        "thread_lag": 2,
        "allow_duplicates": True,
        "missing_scopes": ["contacts.readonly"],
        "refused_details": {"+1999": ""},
        "refuse_comments": {"*": "channel"},
        "thread_format": "flat",
        "envelope": "alternate",
        "retry_after": 7,
        "dates": "epoch",
    }
    assert changed.keys() == at_start.keys()
    answer = ask(local, "POST", "/_local/settings", changed)
    assert (answer.status, answer.json) == (200, changed)
    assert (local.thread_lag, local.allow_duplicates, local.limits) == (2, True, Limits(2, 10_000, 100))
    assert remaining(create(local)) == (1, 99)
    refused = ask(local, "GET", "/contacts/c1")
    assert (refused.status, refused.json["message"]) == (401, "The token is not authorized for this scope.")
    local.reset()
    assert state(local)["settings"] == changed, "a reset keeps the settings"
    assert ask(local, "DELETE", "/_local/settings").status == 204
    assert state(local)["settings"] == at_start


WRONG_SETTINGS: dict[str, tuple[Any, str]] = {
    "not-json": (b"{", "Expecting property name"),
    "list": ([], "settings are a JSON object"),
    "unknown": ({"tokens": {}}, "there is no setting tokens"),
    "limits-number": ({"limits": 5}, "limits cannot be 5"),
    "limits-unknown": ({"limits": {"maximum": 5}}, "limits cannot be"),
    "lag-negative": ({"thread_lag": -1}, "thread_lag cannot be -1"),
    "lag-text": ({"search_lag": "1"}, "search_lag cannot be '1'"),
    "duplicates-number": ({"allow_duplicates": 1}, "allow_duplicates cannot be 1"),
    "refusal-unknown": ({"refuse_comments": {"*": "never"}}, "refuse_comments cannot be"),
    "refusal-text": ({"refuse_comments": "type"}, "refuse_comments cannot be 'type'"),
    "scope": ({"missing_scopes": ["contacts.read"]}, "missing_scopes cannot be"),
    "details": ({"refused_details": {"+1999": 5}}, "refused_details cannot be"),
    "format": ({"thread_format": "deep"}, "thread_format cannot be 'deep'"),
    "retry-after": ({"retry_after": 1.5}, "retry_after cannot be 1.5"),
}


@pytest.mark.parametrize(("given", "wrong"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_wrong_settings_change_nothing(local: LocalHighLevel, given: Any, wrong: str) -> None:
    body = {"contact_lag": 5} | given if isinstance(given, dict) else given
    answer = ask(local, "POST", "/_local/settings", body)
    assert answer.status == 422
    assert wrong in answer.json["error"]
    assert local.contact_lag == 0


def test_settings_may_be_given_at_the_start() -> None:
    local = LocalHighLevel(search_lag=1.0, allow_duplicates=True)
    local.set({"search_lag": 5, "allow_duplicates": False})
    for _ in range(2):
        local.missing_scopes.append("contacts.write")
        local.refused_details["+1999"] = ""
        local.reset_settings()
        assert (local.search_lag, local.allow_duplicates) == (1.0, True)
        assert (local.missing_scopes, local.refused_details) == ([], {})
