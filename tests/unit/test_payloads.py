"""The payload files: complete, invented, and each let in as its sender signs it."""

import json
import re
from dataclasses import replace

import pytest

from cli.signing import sign
from create_conversation.senders.config import Sender, load
from create_conversation.senders.verification import Request, is_authentic
from tests.payloads import FOLDER, NAMES, delivery, on_the_wire
from tests.samples import secret_of

SENDERS = load()
NOW = 1_795_358_768.0
BODIES = {"json", "form", "multipart", "body"}
MEMBERS = {"sender", "variant", "content_type", "headers", "expected", "note", "source"}
EXPECTED = ({"email", "phone", "name"}, {"contact", "location"}, {"outcome"}, {"outcome", "reason"})
# Domains that no one can own, or that only name a format's own server.
INVENTED = re.compile(r"(?:[\w-]+\.)*(?:example\.com|example)")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_all_that_is_needed(name: str) -> None:
    spec = delivery(name)
    assert name == f"{spec['sender']}--{spec['variant']}"
    assert len(spec.keys() & BODIES) == 1
    assert spec.keys() <= MEMBERS | BODIES
    assert spec["expected"].keys() in EXPECTED
    assert spec["source"]
    assert spec["sender"] in SENDERS


@pytest.mark.parametrize("name", NAMES)
def test_every_address_is_invented(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text("utf-8")
    for domain in re.findall(r"[\w.+-]@([\w-]+(?:\.[\w-]+)+)", text):
        assert INVENTED.fullmatch(domain) or "." + domain.rpartition(".")[2] in (".png", ".jpg", ".pdf", ".b"), domain


def our(sender: Sender) -> Sender:
    """The sender, or one whose key a test can sign with: the real private key is not here."""
    return replace(sender, scheme="token", where=("query:token",)) if sender.scheme == "pubkey" else sender


@pytest.mark.parametrize("name", [name for name in NAMES if name != "woocommerce--activation-ping"])
def test_it_is_let_in_as_its_sender_signs_it(name: str) -> None:
    spec = delivery(name)
    sender, secret = our(SENDERS[spec["sender"]]), secret_of(spec["sender"])
    body, content_type = on_the_wire(spec)
    headers, query, body = sign(sender, secret, body, content_type, NOW)
    request = Request({"content-type": content_type, **headers}, query, body)
    assert is_authentic(sender, request, (secret,), NOW)
    assert not is_authentic(sender, request, (secret + "x",), NOW)


def test_there_are_some_for_every_preset_of_a_webhook() -> None:
    senders = {json.loads(file.read_text("utf-8"))["sender"] for file in FOLDER.glob("*--*.json")}
    webhooks = {name for name, sender in SENDERS.items() if sender.scheme != "event"} - {"api"}
    assert webhooks - {"standard-webhooks-v1a"} == senders


@pytest.mark.parametrize(
    ("spec", "content_type", "payload"),
    [
        ({"rawRequest": {"q4_email": "a@example.com"}}, "multipart/form-data", "a@example.com"),
        ({"form": [["email", "a@example.com"]]}, "application/x-www-form-urlencoded", "a%40example.com"),
        ({"json": {"email": "a@example.com"}}, "application/json", "a@example.com"),
        ({"body_b64": "YUBleGFtcGxlLmNvbQ=="}, "application/json", "a@example.com"),
    ],
    ids=["rawRequest", "form", "json", "body_b64"],
)
def test_a_report_of_a_body_alone_can_be_replayed(spec: dict[str, object], content_type: str, payload: str) -> None:
    body, given = on_the_wire(spec)
    assert given.partition(";")[0] == content_type
    assert payload in body.decode()
