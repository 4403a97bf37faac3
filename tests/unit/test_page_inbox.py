"""What the page shows of a submission in HighLevel, from what the local HighLevel says of its state."""

from typing import Any

import pytest

from local.page.inbox import inbox_of

JANE = {"id": "c1", "locationId": "l1", "firstName": "Jane", "lastName": "McDonald", "email": "jane@example.com"}


def conversation(**members: Any) -> dict[str, Any]:
    return {"id": "v1", "contactId": "c1", "locationId": "l1", "unreadCount": 1, "thread": [], **members}


def comment(text: str, second: int) -> dict[str, Any]:
    return {"id": "m", "text": text, "user": None, "mentions": [], "date": f"2026-01-01T00:00:{second:02d}.500Z"}


SINCE = 1767225630.0  # 2026-01-01T00:00:30Z


def test_new_contact_with_its_words() -> None:
    state = {
        "conversations": [conversation(contact={**JANE, "notes": []}, contactBefore=None, thread=[comment("hi", 31)])]
    }
    assert inbox_of(state, "l1", "c1", {"conversations": [], "contacts": []}, SINCE) == {
        "who": "Jane McDonald",
        "unread": 1,
        "unread_before": 0,
        "comments": [{"text": "hi", "at": "2026-01-01T00:00:31.500Z", "is_new": True}],
        "notes": [],
        "is_new": True,
        "contact": [
            {"field": "first name", "before": "", "after": "Jane"},
            {"field": "last name", "before": "", "after": "McDonald"},
            {"field": "e-mail", "before": "", "after": "jane@example.com"},
        ],
    }


def test_known_contact_is_compared_with_the_state_before_the_submission() -> None:
    """`contactBefore` is the contact before its first change, perhaps by an earlier submission."""
    old = comment("old", 10)
    earlier = {"conversations": [conversation(unreadCount=3, thread=[old])], "contacts": [{**JANE, "tags": ["vip"]}]}
    note = {"id": "n", "body": "note", "userId": None, "dateAdded": "2026-01-01T00:00:30.000Z", "contactId": "c1"}
    after = {**JANE, "tags": ["vip", "lead"], "notes": [note]}
    state = {"conversations": [conversation(unreadCount=4, thread=[old, comment("new", 30)], contact=after)]}
    inbox = inbox_of(state, "l1", "c1", earlier, SINCE)
    assert inbox
    assert (inbox["unread_before"], inbox["unread"], inbox["is_new"]) == (3, 4, False)
    assert [(each["text"], each["is_new"]) for each in inbox["comments"]] == [("old", False), ("new", True)]
    assert [each["is_new"] for each in inbox["notes"]] == [True]
    changed = [row for row in inbox["contact"] if row["before"] != row["after"]]
    assert changed == [{"field": "tags", "before": "vip", "after": "vip, lead"}]


def test_submission_of_another_program_is_compared_with_the_first_state() -> None:
    state = {"conversations": [conversation(contact={**JANE, "phone": "+1"}, contactBefore=JANE)]}
    inbox = inbox_of(state, "l1", "c1")
    assert inbox
    assert [row["field"] for row in inbox["contact"] if row["before"] != row["after"]] == ["phone"]


def test_contact_of_which_only_the_id_is_known() -> None:
    inbox = inbox_of({"conversations": [conversation(contact=None, contactBefore=None)]}, "l1", "c1")
    assert inbox
    assert (inbox["who"], inbox["is_new"], inbox["contact"], inbox["notes"]) == ("c1", False, [], [])


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({}, id="another HighLevel"),
        pytest.param({"conversations": [conversation(contactId="c2")]}, id="another contact"),
        pytest.param({"conversations": [conversation(locationId="l2")]}, id="another location"),
        pytest.param({"conversations": [{"contactId": "c1", "locationId": "l1"}]}, id="without a thread"),
    ],
)
def test_nothing_is_shown_where_nothing_is_known(state: dict[str, Any]) -> None:
    assert inbox_of(state, "l1", "c1") is None


def test_members_of_a_contact_are_written_on_one_line() -> None:
    contact = {
        **JANE,
        "additionalEmails": [{"email": "a@example.com"}, {"email": "b@example.com"}],
        "customFields": [{"id": "f1", "value": ["x", "y"]}, {"id": "f2", "value": 3}],
        "source": None,
    }
    inbox = inbox_of({"conversations": [conversation(contact=contact, contactBefore=None)]}, "l1", "c1")
    assert inbox
    written = {row["field"]: row["after"] for row in inbox["contact"]}
    assert written["more e-mails"] == "a@example.com, b@example.com"
    assert written["custom fields"] == "f1: x, y, f2: 3"
    assert "source" not in written
