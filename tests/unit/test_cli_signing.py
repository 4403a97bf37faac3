"""The function, and the sender's own library, accept the requests that `./hlc send` and `make run` send."""

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from cli.signing import FORM, is_usable, sign, sign_event
from cli.stack import StackError
from create_conversation.senders.body import MULTIPART
from create_conversation.senders.config import Sender, load
from create_conversation.senders.mapping import target_of
from create_conversation.senders.verification import Request, is_authentic
from create_conversation.submission import Submission
from tests.unit.world import SENDERS

ROOT = Path(__file__).parents[2]
NOW = 1_795_358_768.5
JSON = "application/json"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WHPK = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
SPKI = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg="
SAMPLES = sorted(
    file.stem.removeprefix("webhook_")
    for file in (ROOT / "events").glob("webhook_*.json")
    if not file.stem.endswith(("_app", "_v1a"))
)
# Samples that name their location. The others use that of the stack or of the entry.
PLACED = (
    *("typeform", "tally", "standard_webhooks", "token", "token_form", "highlevel_workflow"),
    *("wpforms", "formstack", "stripe", "elementor", "paperform"),
)


def token(*where: str) -> Sender:
    return Sender(name="own", scheme="token", where=where)


def mac(**keys: Any) -> Sender:
    return Sender(name="own", scheme="mac", sig_header="x-signature", **keys)


def secret_of(sender: Sender) -> str:
    return WHSEC if sender.key_format == "whsec_base64" else "a-shared-secret"


def authenticates(
    sender: Sender, secret: str, body: bytes, content_type: str = JSON, at: float = NOW, **options: str
) -> bool:
    headers, query, body = sign(sender, secret, body, content_type, NOW, **options)
    return is_authentic(sender, Request({"content-type": content_type, **headers}, query, body), (secret,), at)


@pytest.mark.parametrize("place", ["bearer", "basic", "header:x-key", "query:key", "body:key"])
@pytest.mark.parametrize(("body", "content_type"), [(b'{"a": 1}', JSON), (b"a=1", FORM), (b"", FORM)])
def test_token_in_each_place(place: str, body: bytes, content_type: str) -> None:
    if place != "body:key" or body:
        assert authenticates(
            token(place), "user:pa ss&=ü" if place == "query:key" else "user:password", body, content_type
        )


def test_first_suitable_place_by_default() -> None:
    sender = token("body:key", "header:x-key", "query:key")
    assert sign(sender, "s", b"[]", JSON, NOW) == ({"x-key": "s"}, "", b"[]")
    assert sign(sender, "s", b"[]", JSON, NOW, place="query:key") == ({}, "key=s", b"[]")
    with pytest.raises(StackError, match="no place"):
        sign(token("body:key"), "s", b"[]", JSON, NOW)


@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize(
    "form",
    [{}, {"prefix": "v0="}, {"sig_format": "space-list", "sig_label": "v1"}],
    ids=["plain", "prefix", "list"],
)
@pytest.mark.parametrize("ts", ["", "header:x-time", "json:at"])
@pytest.mark.parametrize("unit", ["s", "ms", "iso8601"])
@pytest.mark.parametrize("key_format", ["utf8", "whsec_base64"])
def test_every_kind_of_signature(encoding: str, form: dict[str, str], ts: str, unit: str, key_format: str) -> None:
    signed = "v0:{ts}:{id}:{body}" if ts else "{id}.{body}"
    sender = mac(encoding=encoding, ts=ts, ts_unit=unit, key_format=key_format, signed=signed, id="header:x-id", **form)
    assert authenticates(sender, secret_of(sender), b'{"email": "a@example.com"}')
    assert authenticates(sender, secret_of(sender), b'{"email": "a@example.com"}', at=NOW + 400) is not bool(ts)


def test_timestamp_beside_the_signature() -> None:
    sender = mac(encoding="hex", sig_format="kv", sig_label="v1", ts="kv:t", signed="{ts}.{body}")
    headers, _, _ = sign(sender, "s", b"{}", JSON, NOW)
    assert re.fullmatch(r"t=1795358768,v1=[0-9a-f]{64}", headers["x-signature"])
    assert authenticates(sender, "s", b"{}")
    assert not authenticates(sender, "s", b"{}", at=NOW - 301)


def test_standard_webhooks_library_accepts_the_signature() -> None:
    body = b'{"type": "lead.created", "data": {}}'
    headers, _, _ = sign(load()["standard-webhooks"], WHSEC, body, JSON, time.time(), delivery="msg_1")
    assert headers["webhook-id"] == "msg_1"
    Webhook(WHSEC).verify(body, headers)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("highlevel-app", "create a contact"),
        ("standard-webhooks-v1a", "trigger a delivery there"),
        ("event", "put-events"),
    ],
)
def test_private_key_senders_cannot_be_imitated(name: str, expected: str) -> None:
    with pytest.raises(StackError, match=expected):
        sign(load()[name], "s", b"{}", JSON, NOW)


@pytest.mark.parametrize(
    ("sender", "secret", "usable"),
    [
        (token("bearer"), "s3cret", True),
        (token("bearer"), " s3cret", False),
        (token("header:x-key"), "s3cret\n", False),
        (token("header:x-key"), "gehéim", False),
        (token("query:key"), "gehéim", True),
        (token("bearer"), "", False),
        (mac(), "any thing", True),
        (mac(key_format="whsec_base64"), WHSEC, True),
        (mac(key_format="whsec_base64"), "whsec_!", False),
        (mac(key_format="whsec_base64"), "whsec_", False),
        (mac(ts="json:at", signed="{ts}.{body}"), "s", True),
        (Sender("own", "pubkey", key_format="whpk_base64"), WHPK, True),
        (Sender("own", "pubkey", key_format="whpk_base64"), WHPK.removeprefix("whpk_"), False),
        (Sender("own", "pubkey", key_format="whpk_base64"), "whpk_c2hvcnQ=", False),
        (Sender("own", "pubkey", key_format="spki_base64"), SPKI, True),
        (Sender("own", "pubkey", key_format="spki_base64"), f"-----BEGIN PUBLIC KEY-----\n{SPKI}\n", True),
        (Sender("own", "pubkey", key_format="spki_base64"), SPKI[:-8], False),
        (Sender("own", "event"), "s", False),
    ],
    ids=[
        "bearer token",
        "blank in a token",
        "line end in a header",
        "other characters in a header",
        "other characters in a query",
        "empty",
        "MAC key",
        "base64 MAC key",
        "invalid base64",
        "empty key",
        "timestamp in the body",
        "whpk",
        "whpk without prefix",
        "short whpk",
        "SPKI",
        "SPKI in PEM",
        "short SPKI",
        "events",
    ],
)
def test_usable_secrets(sender: Sender, secret: str, usable: bool) -> None:
    assert is_usable(sender, secret) is usable


@pytest.mark.parametrize("name", SAMPLES)
def test_signed_samples_are_authentic_and_mapped(name: str) -> None:
    event = json.loads((ROOT / "events" / f"webhook_{name}.json").read_text())
    sender = SENDERS[event["pathParameters"]["sender"]]
    headers, query, body = sign_event(sender, secret_of(sender), event, NOW, location="elsewhere")
    assert is_authentic(sender, Request(headers, query, body), (secret_of(sender),), NOW)
    assert "<" not in f"{headers}{query}"
    assert not headers.keys() & {"host", "content-length", "x-forwarded-for"}
    assert bool(query) is ("rawQueryString" in event and event["rawQueryString"] != "")
    submission = Submission("webhook", sender.name, "r", NOW, headers["content-type"], body)
    assert target_of(submission, SENDERS, None if name in PLACED else "elsewhere").location == "elsewhere"


@pytest.mark.parametrize("file", sorted((ROOT / "events").glob("webhook_*.json")), ids=lambda file: file.stem)
def test_samples_are_api_gateway_events(file: Path) -> None:
    event = json.loads(file.read_text())
    body = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    assert int(event["headers"]["content-length"]) == len(body)
    assert event["rawPath"] == event["requestContext"]["http"]["path"]
    assert event["rawPath"] == f"/webhooks/{event['pathParameters']['sender']}"
    assert event["isBase64Encoded"] is event["headers"]["content-type"].startswith((FORM, MULTIPART))


# --- docs/senders.md --------------------------------------------------------------------------------------------------


@pytest.fixture
def documented(tmp_path: Path) -> dict[str, Sender]:
    """The presets, and a senders.toml of all entries that docs/senders.md shows."""
    page = (ROOT / "docs" / "senders.md").read_text()
    entries = re.findall(r"^ *```toml\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "senders.toml").write_text("\n".join(entries))
    return load(tmp_path)


def test_documented_entries_work(documented: dict[str, Sender]) -> None:
    """Each entry works with the payload that the page shows beside it."""
    page = (ROOT / "docs" / "senders.md").read_text()
    crm, shop = (text.encode() for text in re.findall(r"^```json\n(.*?)\n```", page, re.MULTILINE | re.DOTALL))
    for name, body, email in (("our-crm", crm, "jane@example.com"), ("our-shop", shop, "jane@example.com")):
        assert authenticates(documented[name], "a-shared-secret", body)
        target = target_of(Submission("webhook", name, "r", NOW, JSON, body), documented, None)
        assert target.location == "ve9EPM428h8vShlRW1KT"
        assert target.person is not None
        assert target.person.email == email
    assert documented["highlevel-app"].app_id
    event = {
        "source": "my.shop",
        "detail-type": "OrderPlaced",
        "detail": {"total": 5, "customer": {"email": "a@example.com"}, "shop": {"location": "berlin"}},
    }
    assert target_of(Submission.from_event(event), documented, None).location == "berlin"


def test_every_key_is_documented() -> None:
    page = (ROOT / "docs" / "senders.md").read_text()
    keys = page[page.index("### Keys") : page.index("### Try it")]
    known = {"scheme", "when", "where", "locations", "source", "detail_type", "requires", "app_id", "public_keys"}
    known |= {name for name in Sender.__dataclass_fields__ if name not in ("name", "paths")}
    assert [key for key in sorted(known) if f"`{key}`" not in keys] == []
    page_names = set(re.findall(r"^### ([a-z0-9-]+)$", page, re.MULTILINE))
    undocumented = {name for name in load() if name not in page_names}
    assert undocumented <= {"api", "event", "standard-webhooks-v1a"}
