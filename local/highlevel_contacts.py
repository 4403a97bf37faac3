"""The contacts of the local HighLevel: search, create, upsert, update, tags and notes.

Known and played (highlevel-inbox, issues 64, 262 and 337 of highlevel-api-docs): create and update keep the case of
names; upsert lowercases them, makes a secondary e-mail address the primary one and drops the previous one; tags in an
update or upsert replace all tags; `additionalEmails` are read, and refused in a body.
Unknown and assumed: a search and a create also compare secondary addresses; of several contacts the oldest is found;
notes come newest first; the texts of refusals without a source.
"""

import copy
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from starlette.responses import Response

from local.highlevel_answers import (
    EMAIL,
    FOREIGN_LOCATION,
    Asked,
    Handler,
    Members,
    Refuse,
    Route,
    json_answer,
    new_id,
    nothing_wrong,
    now_iso,
    unknown_members,
    wrong_id,
    wrong_list,
    wrong_texts,
)
from local.highlevel_settings import Settings

# The members of a body, as in HighLevel's document; an update has fewer.
UPDATED_TEXTS = (
    *("email", "phone", "firstName", "lastName", "name", "source", "address1", "city", "state"),
    *("postalCode", "website", "timezone", "country", "assignedTo", "dateOfBirth"),
)
TEXTS = (*UPDATED_TEXTS, "gender", "companyName")
OTHERS = ("tags", "customFields", "dnd", "dndSettings", "inboundDndSettings")
NOTE = ("body", "userId", "title", "color", "pinned")
NOT_FOUND = "Contact not found"  # highlevel-api: the message is not published
DUPLICATE = "This location does not allow duplicated contacts."


class ContactBook(dict[str, dict[str, Any]]):
    """The contacts by id, found by address without reading all.

    A contact is written by `book[id] = contact`, also after a change of its addresses; `update` does not do.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ids: defaultdict[tuple[str, str], list[str]] = defaultdict(list)

    def __setitem__(self, contact_id: str, contact: dict[str, Any]) -> None:
        super().__setitem__(contact_id, contact)
        for address in _addresses(contact):
            ids = self._ids[contact["locationId"], address]
            if contact_id not in ids:
                ids.append(contact_id)

    def clear(self) -> None:
        super().clear()
        self._ids.clear()

    def find(self, location: str, address: str | None) -> Iterator[dict[str, Any]]:
        """Find the contacts of the location that have this e-mail address or phone number, the oldest first."""
        wanted = comparable(address)
        for contact_id in self._ids.get((location, wanted), []) if wanted else []:
            contact = self.get(contact_id)
            if contact and contact["locationId"] == location and wanted in _addresses(contact):
                yield contact


class Contacts:
    """The contacts and their notes. `is_known`: whether a contact id without a record may be used.

    A test may write a record into `book`; it then counts as a contact that existed before.
    """

    def __init__(self, settings: Settings, refuse: Refuse, is_known: Callable[[str], bool]) -> None:
        self._settings = settings
        self._refuse = refuse
        self._is_known = is_known
        self.book = ContactBook()
        self._notes: dict[str, list[tuple[float, dict[str, Any]]]] = {}
        self._created_at: dict[str, float] = {}
        self._before: dict[str, dict[str, Any] | None] = {}
        one = "/contacts/{contactId}"
        self.routes = [
            Route(
                "POST", "/contacts/upsert", "contacts.write", _wrong_upsert, self._valid(self._upsert), FOREIGN_LOCATION
            ),
            Route("GET", "/contacts/search/duplicate", "contacts.readonly", _wrong_search, self._search),
            Route("POST", "/contacts/", "contacts.write", _wrong_create, self._valid(self._create)),
            Route("GET", one, "contacts.readonly", nothing_wrong, self._existing(self._get)),
            Route("PUT", one, "contacts.write", _wrong_update, self._existing(self._valid(self._update))),
            Route("POST", f"{one}/tags", "contacts.write", _wrong_tags, self._known(self._add_tags)),
            Route("GET", f"{one}/notes", "contacts.readonly", nothing_wrong, self._known(self._list_notes)),
            Route("POST", f"{one}/notes", "contacts.write", _wrong_note, self._known(self._add_note)),
        ]

    def clear(self) -> None:
        """Delete the contacts and notes."""
        for stored in (self.book, self._notes, self._created_at, self._before):
            stored.clear()

    def described(self, contact_id: str) -> dict[str, Any] | None:
        """Return the contact's record with its notes, oldest first; None if there is neither."""
        notes = [note for _at, note in self._notes.get(contact_id, [])]
        contact = self.book.get(contact_id)
        if contact is None and not notes:
            return None
        return copy.deepcopy((contact or {"id": contact_id}) | {"notes": notes})

    def before(self, contact_id: str) -> dict[str, Any] | None:
        """Return the contact as it was before the first change; None if it did not exist then."""
        return self._before[contact_id] if contact_id in self._before else self.described(contact_id)

    # Routes

    def _existing(self, handle: Handler) -> Handler:
        """Refuse an id without a record."""
        return lambda asked: handle(asked) if asked.identifier in self.book else self._refuse(400, NOT_FOUND)

    def _known(self, handle: Handler) -> Handler:
        """Refuse an id without a record and without a conversation."""
        return lambda asked: (
            handle(asked)
            if asked.identifier in self.book or self._is_known(asked.identifier)
            else self._refuse(400, NOT_FOUND)
        )

    def _valid(self, handle: Handler) -> Handler:
        """Refuse the `refused_details`."""

        def checked(asked: Asked) -> Response:
            refused = self._settings.refused_details
            names = [name for name in ("email", "phone") if asked.members.get(name) in refused]
            wrong = [refused[asked.members[name]] or f"{name} must be valid" for name in names]
            return self._refuse(422, wrong[:1]) if wrong else handle(asked)

        return checked

    def _get(self, asked: Asked) -> Response:
        return json_answer(200, {"contact": self.book[asked.identifier]})

    def _search(self, asked: Asked) -> Response:
        """Handle `GET /contacts/search/duplicate`: the e-mail address is searched first (documented)."""
        seen = time.monotonic() - self._settings.contact_lag
        for address in (asked.members.get("email"), asked.members.get("number")):
            for contact in self.book.find(asked.members["locationId"], address):
                if self._created_at.get(contact["id"], seen) <= seen:
                    return json_answer(200, {"contact": contact})
        return json_answer(200, {"contact": None})

    def _create(self, asked: Asked) -> Response:
        given = _stored(asked.members)
        if refusal := self._duplicate(given["locationId"], given):
            return refusal
        return json_answer(201, {"contact": self._new(_with_names(given))})

    def _update(self, asked: Asked) -> Response:
        given = _stored(asked.members)
        if refusal := self._duplicate(self.book[asked.identifier]["locationId"], given, but=asked.identifier):
            return refusal
        return json_answer(200, {"succeded": True, "contact": self._change(asked.identifier, _with_names(given))})

    def _upsert(self, asked: Asked) -> Response:
        given = _stored(asked.members)
        creates = given.pop("createNewIfDuplicateAllowed", False) and self._settings.allow_duplicates
        location = given["locationId"]
        by_email = next(self.book.find(location, given.get("email")), None)
        by_phone = next(self.book.find(location, given.get("phone")), None)
        # highlevel-api: if e-mail and phone belong to two contacts, one of them is silently ignored.
        if by_email and by_phone and by_email is not by_phone:
            del given["phone"]
        given = _lowercased(_with_names(given, name_wins=True))
        known = None if creates else by_email or by_phone
        contact = self._change(known["id"], given) if known else self._new(given)
        return json_answer(200, {"new": known is None, "contact": contact})

    def _add_tags(self, asked: Asked) -> Response:
        self._save_before(asked.identifier)
        contact = self.book.get(asked.identifier) or {"id": asked.identifier, "locationId": asked.location}
        contact["tags"] = list(dict.fromkeys([*contact.get("tags", []), *asked.members["tags"]]))
        self.book[asked.identifier] = contact
        return json_answer(201, {"tags": contact["tags"]})

    def _add_note(self, asked: Asked) -> Response:
        self._save_before(asked.identifier)
        note = {"id": new_id(), "dateAdded": now_iso(), "contactId": asked.identifier} | _stored(asked.members)
        self._notes.setdefault(asked.identifier, []).append((time.monotonic(), note))
        return json_answer(201, {"note": note})

    def _list_notes(self, asked: Asked) -> Response:
        seen = time.monotonic() - self._settings.thread_lag
        notes = [note for at, note in self._notes.get(asked.identifier, []) if at <= seen]
        return json_answer(200, {"notes": notes[::-1]})

    # Changes

    def _new(self, given: dict[str, Any]) -> dict[str, Any]:
        contact = {"id": new_id(), "dateAdded": now_iso()} | given
        self._before[contact["id"]] = None
        self._created_at[contact["id"]] = time.monotonic()
        self.book[contact["id"]] = contact
        return contact

    def _change(self, contact_id: str, given: dict[str, Any]) -> dict[str, Any]:
        self._save_before(contact_id)
        contact = self.book[contact_id]
        fields = {each["id"]: each for each in [*contact.get("customFields", []), *given.get("customFields", [])]}
        contact.update(given)
        if fields:
            contact["customFields"] = list(fields.values())
        if "additionalEmails" in contact:  # a promoted address is no longer a secondary one
            primary = comparable(contact.get("email"))
            others = [each for each in contact["additionalEmails"] if comparable(each["email"]) != primary]
            contact["additionalEmails"] = others
        self.book[contact_id] = contact
        return contact

    def _save_before(self, contact_id: str) -> None:
        if contact_id not in self._before:
            self._before[contact_id] = self.described(contact_id)

    def _duplicate(self, location: str, given: dict[str, Any], but: str = "") -> Response | None:
        """Refuse an address of another contact, if the location allows no duplicates."""
        if self._settings.allow_duplicates:
            return None
        for name in ("email", "phone"):
            for other in self.book.find(location, given.get(name)):
                if other["id"] != but:
                    full_name = " ".join(filter(None, (other.get("firstName"), other.get("lastName"))))
                    meta = {"contactId": other["id"], "contactName": full_name, "matchingField": name}
                    return self._refuse(400, DUPLICATE, meta=meta)
        return None


def comparable(value: str | None) -> str:
    """Normalise an e-mail address or phone number for a comparison."""
    return re.sub(r"[\s().-]", "", value) if value and "@" not in value else (value or "").lower()


def _addresses(contact: dict[str, Any]) -> set[str]:
    values = [
        contact.get("email"),
        contact.get("phone"),
        *(each["email"] for each in contact.get("additionalEmails", [])),
    ]
    return {comparable(value) for value in values if value}


def _stored(members: Members) -> dict[str, Any]:
    """Return the members that have a value. Custom fields are written with `field_value` and read with `value`."""
    given = {name: value for name, value in members.items() if value not in (None, "")}
    if "customFields" in given:
        given["customFields"] = [
            {"id": each["id"], "value": each.get("field_value", each.get("value"))} for each in given["customFields"]
        ]
    return given


def _with_names(given: dict[str, Any], *, name_wins: bool = False) -> dict[str, Any]:
    """Split `name` into first and last name: where they are missing, or always."""
    name = given.pop("name", "")
    has_parts = "firstName" in given or "lastName" in given
    if not name or (has_parts and not name_wins):
        return given
    first, _, last = name.strip().partition(" ")
    others = {key: value for key, value in given.items() if key not in ("firstName", "lastName")}
    return others | {"firstName": first} | ({"lastName": last.strip()} if last else {})


def _lowercased(given: dict[str, Any]) -> dict[str, Any]:
    return given | {name: given[name].lower() for name in ("firstName", "lastName") if name in given}


def _wrong_members(members: Members) -> list[str]:
    wrong = wrong_texts(members, TEXTS) + wrong_list(members, "tags")
    email = members.get("email")
    if isinstance(email, str) and email and not EMAIL.fullmatch(email):
        wrong.append("email must be an email")
    custom = members.get("customFields", [])
    if not (isinstance(custom, list) and all(isinstance(each, dict) and each.get("id") for each in custom)):
        wrong.append("each value in customFields must have an id")
    return wrong


def _wrong_create(members: Members) -> list[str]:
    return (
        unknown_members(members, ("locationId", *TEXTS, *OTHERS))
        + wrong_id(members, "locationId")
        + _wrong_members(members)
    )


def _wrong_update(members: Members) -> list[str]:
    return unknown_members(members, (*UPDATED_TEXTS, *OTHERS)) + _wrong_members(members)


def _wrong_upsert(members: Members) -> list[str]:
    wrong = _wrong_create({name: value for name, value in members.items() if name != "createNewIfDuplicateAllowed"})
    if not (members.get("email") or members.get("phone")):
        wrong += ["email should not be empty", "phone should not be empty"]
    return wrong


def _wrong_search(members: Members) -> list[str]:
    wrong = wrong_id(members, "locationId")
    if not (members.get("email") or members.get("number")):
        wrong += ["email should not be empty", "number should not be empty"]
    return wrong


def _wrong_tags(members: Members) -> list[str]:
    if not members.get("tags"):
        return ["tags should not be empty"]
    return unknown_members(members, ("tags",)) + wrong_list(members, "tags")


def _wrong_note(members: Members) -> list[str]:
    empty = [] if members.get("body") else ["body should not be empty"]
    return unknown_members(members, NOTE) + wrong_texts(members, ("body", "userId", "title", "color")) + empty
