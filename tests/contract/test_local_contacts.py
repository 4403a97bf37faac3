"""The local HighLevel's contacts: what each call changes, and what it leaves as it is."""

import time
from typing import Any

import pytest

from local.highlevel import LocalHighLevel
from tests.contract.local_calls import (
    CONTACTS,
    DUPLICATE,
    MINE,
    UPSERT,
    Answer,
    ask,
    create,
    create_contact,
    new_contact,
)

ANN = {
    "email": "ann@example.com",
    "phone": "+1 555-555-0100",
    "firstName": "Ann-Marie",
    "lastName": "McDoe",
    "additionalEmails": [{"email": "ann@work.example"}],
    "tags": ["customer"],
    "source": "fair",
    "customFields": [{"id": "f1", "value": "blue"}],
}


@pytest.fixture
def ann(local: LocalHighLevel) -> dict[str, Any]:
    """A contact that existed before, as it is stored."""
    local.contacts["ann"] = {"id": "ann", "locationId": "mine", **ANN}
    return local.contacts["ann"]


def search(local: LocalHighLevel, query: str) -> Any:
    answer = ask(local, "GET", f"{DUPLICATE}?locationId=mine&{query}")
    assert answer.status == 200
    return answer.json["contact"]


def upsert(local: LocalHighLevel, **members: Any) -> Answer:
    return ask(local, path=UPSERT, body=MINE | members)


# Search


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("email=ann%40example.com", id="email"),
        pytest.param("email=ANN%40Example.com", id="case"),
        pytest.param("email=ann%40work.example", id="secondary"),
        pytest.param("number=%2B15555550100", id="number"),
        pytest.param("email=bob%40example.com&number=%2B15555550100", id="number-after-email"),
    ],
)
def test_a_search_finds_a_contact_and_changes_nothing(local: LocalHighLevel, ann: dict[str, Any], query: str) -> None:
    assert search(local, query) == {"id": "ann", "locationId": "mine", **ANN}
    assert local.contact_before("ann") == local.contact_now("ann") == {**ann, "notes": []}


@pytest.mark.parametrize("query", ["email=bob%40example.com", "number=%2B1999", "number=+15555550100"])
def test_a_search_that_finds_nothing_answers_null(local: LocalHighLevel, ann: dict[str, Any], query: str) -> None:
    assert search(local, query) is None


def test_a_search_prefers_the_email_and_stays_in_its_location(local: LocalHighLevel) -> None:
    by_phone = new_contact(local, phone="+1999")
    by_email = new_contact(local, email="a@b.co")
    new_contact(local, "other", email="c@b.co")
    assert search(local, "email=a%40b.co&number=%2B1999")["id"] == by_email
    assert search(local, "number=%2B1999")["id"] == by_phone
    assert search(local, "email=c%40b.co") is None


def test_a_search_needs_an_address(local: LocalHighLevel) -> None:
    answer = ask(local, "GET", f"{DUPLICATE}?locationId=mine")
    assert (answer.status, answer.json["message"]) == (422, ["email should not be empty", "number should not be empty"])


def test_a_search_can_lag(local: LocalHighLevel, ann: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "contact_lag", 0.3)
    new_contact(local, email="late@example.com")
    assert search(local, "email=late%40example.com") is None
    assert search(local, "email=ann%40example.com"), "existed before"
    assert create_contact(local, email="late@example.com").status == 400, "only the search lags"
    time.sleep(0.35)
    assert search(local, "email=late%40example.com")


# Create


def test_a_new_contact_keeps_the_case_of_its_names(local: LocalHighLevel) -> None:
    answer = create_contact(
        local,
        email="Zoe@Example.com",
        firstName="Zoë",
        lastName="van Dyk-O'Hara",
        tags=["a", "b"],
        source="typeform",
        customFields=[{"id": "f1", "field_value": "x"}],
    )
    assert answer.status == 201
    contact = answer.json["contact"]
    assert contact == contact | {
        "locationId": "mine",
        "email": "Zoe@Example.com",
        "firstName": "Zoë",
        "lastName": "van Dyk-O'Hara",
        "tags": ["a", "b"],
        "source": "typeform",
        "customFields": [{"id": "f1", "value": "x"}],
    }
    assert ask(local, "GET", f"{CONTACTS}{contact['id']}").json["contact"] == contact
    assert local.contact_before(contact["id"]) is None


def test_a_name_is_split(local: LocalHighLevel) -> None:
    contact = create_contact(local, email="a@b.co", name="Ann-Marie van Dyk").json["contact"]
    assert (contact["firstName"], contact["lastName"], "name" in contact) == ("Ann-Marie", "van Dyk", False)
    assert create_contact(local, name="Cher").json["contact"]["firstName"] == "Cher"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        pytest.param({"email": "ANN@example.com"}, "email", id="email"),
        pytest.param({"email": "ann@work.example"}, "email", id="secondary"),
        pytest.param({"email": "new@example.com", "phone": "+15555550100"}, "phone", id="phone"),
    ],
)
def test_a_duplicate_is_refused_with_the_contact_that_has_it(
    local: LocalHighLevel, ann: dict[str, Any], members: dict[str, str], field: str
) -> None:
    answer = create_contact(local, **members)
    assert answer.status == 400
    assert answer.json["message"] == "This location does not allow duplicated contacts."
    assert answer.json["meta"].items() >= {"contactId": "ann", "matchingField": field}.items()
    assert local.contact_now("ann") == {"id": "ann", "locationId": "mine", **ANN, "notes": []}
    assert len(local.contacts) == 1


def test_duplicates_can_be_allowed(local: LocalHighLevel, ann: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "allow_duplicates", True)
    second = new_contact(local, email=ANN["email"])
    assert second != "ann"
    assert search(local, "email=ann%40example.com")["id"] == "ann", "the oldest"
    assert upsert(local, email=ANN["email"]).json["contact"]["id"] == "ann"
    third = upsert(local, email=ANN["email"], createNewIfDuplicateAllowed=True).json
    assert third["new"]
    assert len(local.contacts) == 3


def test_a_second_contact_is_never_created_unless_allowed(local: LocalHighLevel, ann: dict[str, Any]) -> None:
    assert upsert(local, email=ANN["email"], createNewIfDuplicateAllowed=True).json["new"] is False


@pytest.mark.parametrize("kind", ["commit_then_status", "commit_then_drop"])
def test_a_create_may_fail_and_create_all_the_same(local: LocalHighLevel, kind: str) -> None:
    local.fail(kind, path=CONTACTS, method="POST", times=1)
    if kind == "commit_then_status":
        assert create_contact(local, email="a@b.co").status == 422
    else:
        with pytest.raises(ConnectionResetError):
            create_contact(local, email="a@b.co")
    assert search(local, "email=a%40b.co")
    assert create_contact(local, email="a@b.co").status == 400


# Change


def test_an_upsert_changes_what_a_careful_caller_would_not(local: LocalHighLevel, ann: dict[str, Any]) -> None:
    answer = upsert(local, email="ann@work.example", firstName="Ann", lastName="Doe", tags=["lead"])
    assert (answer.status, answer.json["new"]) == (200, False)
    now = local.contacts["ann"]
    assert (now["firstName"], now["lastName"]) == ("ann", "doe")
    assert (now["email"], now["additionalEmails"]) == ("ann@work.example", []), "the previous primary one is lost"
    assert now["tags"] == ["lead"]
    assert local.contact_before("ann") == {"id": "ann", "locationId": "mine", **ANN, "notes": []}


def test_the_name_of_an_upsert_wins_and_is_split(local: LocalHighLevel) -> None:
    contact = upsert(local, email="a@b.co", name="Jane Van Dyk", firstName="J", lastName="D").json["contact"]
    assert (contact["firstName"], contact["lastName"]) == ("jane", "van dyk")


def test_an_update_keeps_case_and_replaces_tags(local: LocalHighLevel, ann: dict[str, Any]) -> None:
    body = {"firstName": "Zoë", "tags": ["x"], "customFields": [{"id": "f2", "field_value": "y"}]}
    answer = ask(local, "PUT", "/contacts/ann", body)
    assert (answer.status, answer.json["succeded"]) == (200, True)
    now = local.contacts["ann"]
    assert (now["firstName"], now["lastName"], now["tags"]) == ("Zoë", "McDoe", ["x"])
    assert now["customFields"] == [{"id": "f1", "value": "blue"}, {"id": "f2", "value": "y"}]
    assert now["additionalEmails"] == ANN["additionalEmails"]


def test_an_update_cannot_take_the_address_of_another_contact(local: LocalHighLevel, ann: dict[str, Any]) -> None:
    bob = new_contact(local, email="bob@example.com")
    assert ask(local, "PUT", f"/contacts/{bob}", {"email": ANN["email"]}).status == 400
    assert ask(local, "PUT", f"/contacts/{bob}", {"email": "bob@example.com"}).status == 200


def test_tags_are_added_and_twice_is_once(local: LocalHighLevel, ann: dict[str, Any]) -> None:
    for _ in range(2):
        answer = ask(local, path="/contacts/ann/tags", body={"tags": ["lead", "customer"]})
        assert (answer.status, answer.json["tags"]) == (201, ["customer", "lead"])
    assert local.contacts["ann"] == {"id": "ann", "locationId": "mine", **ANN, "tags": ["customer", "lead"]}


def test_notes_are_added_and_listed(local: LocalHighLevel, ann: dict[str, Any]) -> None:
    for text in ("one", "two"):
        answer = ask(local, path="/contacts/ann/notes", body={"body": text, "userId": "u1"})
        assert answer.status == 201
    note = answer.json["note"]
    assert note.items() >= {"body": "two", "userId": "u1", "contactId": "ann"}.items()
    listed = ask(local, "GET", "/contacts/ann/notes").json["notes"]
    assert [each["body"] for each in listed] == ["two", "one"]
    assert listed[0] == note
    assert ann == {"id": "ann", "locationId": "mine", **ANN}, "a note changes no member"


def test_notes_can_lag(local: LocalHighLevel, ann: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "thread_lag", 60)
    ask(local, path="/contacts/ann/notes", body={"body": "late"})
    assert ask(local, "GET", "/contacts/ann/notes").json["notes"] == []


def test_a_contact_that_is_only_an_id_gets_tags_and_notes_after_its_conversation(local: LocalHighLevel) -> None:
    for path, body in (("/contacts/c1/tags", {"tags": ["a"]}), ("/contacts/c1/notes", {"body": "x"})):
        assert ask(local, path=path, body=body).json["message"] == "Contact not found"
    create(local)
    for path, body in (("/contacts/c1/notes", {"body": "x"}), ("/contacts/c1/tags", {"tags": ["a"]})):
        assert ask(local, path=path, body=body).status == 201
    now = local.contact_now("c1")
    assert now
    assert (now["locationId"], now["tags"], [note["body"] for note in now["notes"]]) == ("mine", ["a"], ["x"])


# What it refuses

WRONG: dict[str, tuple[str, str, Any, list[str]]] = {
    "create-no-location": ("POST", CONTACTS, {"email": "a@b.co"}, ["locationId must be a string"]),
    "create-wrong-email": ("POST", CONTACTS, MINE | {"email": "nonsense"}, ["email must be an email"]),
    "create-second-email": (
        "POST",
        CONTACTS,
        MINE | {"additionalEmails": [{"email": "a@b.co"}]},
        ["property additionalEmails should not exist"],
    ),
    "create-custom-field": (
        "POST",
        CONTACTS,
        MINE | {"customFields": [{"field_value": "x"}]},
        ["each value in customFields must have an id"],
    ),
    "update-location": ("PUT", "/contacts/ann", MINE, ["property locationId should not exist"]),
    "tags-text": ("POST", "/contacts/ann/tags", {"tags": "x"}, ["each value in tags must be a string"]),
    "tags-none": ("POST", "/contacts/ann/tags", {}, ["tags should not be empty"]),
    "note-none": ("POST", "/contacts/ann/notes", {}, ["body should not be empty"]),
    "note-number": ("POST", "/contacts/ann/notes", {"body": 5}, ["body must be a string"]),
}


@pytest.mark.parametrize(("method", "path", "body", "wrong"), WRONG.values(), ids=WRONG)
def test_a_wrong_body_is_422_and_changes_nothing(
    local: LocalHighLevel, ann: dict[str, Any], method: str, path: str, body: Any, wrong: list[str]
) -> None:
    answer = ask(local, method, path, body)
    assert answer.status == 422
    assert answer.json["message"][: len(wrong)] == wrong
    assert local.contact_now("ann") == {"id": "ann", "locationId": "mine", **ANN, "notes": []}
    assert len(local.contacts) == 1


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_unknown_contact_is_refused(local: LocalHighLevel, method: str) -> None:
    answer = ask(local, method, "/contacts/unknown", {} if method == "PUT" else None)
    assert (answer.status, answer.json["message"]) == (400, "Contact not found")


@pytest.mark.parametrize(
    ("message", "shown"),
    [pytest.param("", "phone must be valid", id="usual"), pytest.param("no such country", "no such country", id="own")],
)
@pytest.mark.parametrize("path", [CONTACTS, UPSERT, "/contacts/ann"])
def test_a_detail_can_be_refused(
    local: LocalHighLevel,
    ann: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    message: str,
    shown: str,
) -> None:
    monkeypatch.setattr(local, "refused_details", {"+1999": message})
    body = {"email": "bob@example.com", "phone": "+1999"} | ({} if path == "/contacts/ann" else MINE)
    answer = ask(local, "PUT" if path == "/contacts/ann" else "POST", path, body)
    assert (answer.status, answer.json["message"]) == (422, [shown])
    assert ann["email"] == ANN["email"]
    assert len(local.contacts) == 1
