"""Every payload file through the real webhook handler, signed as its sender signs it, to the local HighLevel.

`tests/data/payloads` are collected deliveries, `tests/data/reports` those of public bug reports and of new senders.
"""

import base64
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.signing import sign
from create_conversation.senders.config import Sender, load
from tests.factories import make_webhook_event
from tests.payloads import FOLDER, on_the_wire
from tests.samples import LOCATION, secret_of
from tests.unit.conftest import Log
from tests.unit.world import World

SENDERS = load()
FILES = [*sorted(FOLDER.glob("*--*.json")), *sorted(FOLDER.with_name("reports").glob("*.json"))]
# Deliveries that carry ids only: the lead is at its vendor's API, which this stack does not call. docs/senders.md says
# what to do, and there is no such sender.
NOT_SERVED = {
    "senders--meta-lead-ads--leadgen-ids-only",
    "senders--squarespace--order-create-ids-only",
}


def sender_of(name: str) -> Sender:
    """The sender; one that signs with a private key takes a token here."""
    sender = SENDERS[name]
    return replace(sender, scheme="token", where=("query:token",)) if sender.scheme == "pubkey" else sender


def event_of(spec: dict[str, Any]) -> dict[str, Any]:
    """Build API Gateway's event of the delivery."""
    sender, secret = sender_of(spec["sender"]), secret_of(spec["sender"])
    body, content_type = on_the_wire(spec)
    given = {name.lower(): value for name, value in spec["headers"].items() if "<" not in str(value)}
    headers: dict[str, str] = {}
    query = ""
    if b'"<secret>"' in body or b"\r\n<secret>\r\n" in body:
        body = body.replace(b"<secret>", secret.encode())
    elif not (sender.ping and body.startswith(f"{sender.ping}=".encode())):
        headers, query, body = sign(sender, secret, body, content_type, time.time())
    event = make_webhook_event("", sender.name, secret=None)
    event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True, "rawQueryString": query}
    kind = {"content-type": content_type} if content_type else {}
    return event | {"headers": given | kind | headers}


def digits(phone: str | None) -> str | None:
    """A phone number as numbers are compared: its digits and a leading +."""
    return re.sub(r"(?!^\+)\D", "", phone) if phone else None


def person_in(world: World) -> dict[str, str | None]:
    (contact,) = world.highlevel.contacts.values()
    # As they were sent: an upsert stores them in lower case.
    sent = json.loads(
        [call.body for call in world.highlevel.calls if call.path in ("/contacts/", "/contacts/upsert")][-1]
    )
    name = " ".join(filter(None, [sent.get("firstName"), sent.get("lastName")])) or sent.get("name")
    return {"email": contact.get("email"), "phone": digits(contact.get("phone")), "name": name}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_payload_ends_as_its_file_expects(path: Path, world: World, log: Log) -> None:
    spec = json.loads(path.read_text("utf-8"))
    expected = spec["expected"]
    if path.stem in NOT_SERVED:
        assert spec["sender"] not in SENDERS
        return
    world.settings = replace(world.settings, location_id=LOCATION)
    world.senders = load() | {spec["sender"]: sender_of(spec["sender"])}
    world.secrets.texts["SenderSecrets"] = json.dumps({spec["sender"]: [secret_of(spec["sender"])]})
    if "contact" in expected:  # its contact, which a visitor's id must be
        email = (spec.get("json") or {}).get("email")
        known = {"id": expected["contact"], "locationId": expected["location"], "email": email}
        world.highlevel.contacts[expected["contact"]] = known
    answer = world.post(event_of(spec))
    assert answer["statusCode"] == 200, answer["body"]
    outcome = json.loads(answer["body"])["outcome"]
    if "outcome" in expected:
        assert outcome == expected["outcome"]
        assert log.line["reason"] == expected.get("reason", log.line["reason"])
        assert world.reasons() == ([log.line["reason"]] if outcome == "invalid" else [])
    elif "contact" in expected:
        assert outcome == "opened"
        assert (expected["location"], expected["contact"]) in world.highlevel.conversations
    else:
        assert outcome == "opened", answer["body"]
        assert person_in(world) == expected | {"phone": digits(expected["phone"])}
    private = [value for name, value in expected.items() if name in ("email", "phone") and value]
    assert not [value for value in private if value in log.text]


def test_all_files_are_here() -> None:
    """So that a file that is renamed does not leave the test silently."""
    assert len(FILES) >= 250
