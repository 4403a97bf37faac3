"""Only the sender gets in: documented signatures are accepted, and whatever was not made with the secret is refused."""

import base64
import json
import re
import time
import tomllib
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks import Webhook

from create_conversation.senders.config import FUNCTIONS, Sender
from create_conversation.senders.verification import Request, delivery_id, is_authentic, is_ping, refusal, secrets_for
from tests.factories import make_senders

DATA: dict[str, Any] = json.loads((Path(__file__).parent.parent / "data" / "signatures.json").read_text("utf-8"))
NOW = 1_767_225_600  # 2026-01-01T00:00:00Z
APP = "64b0c1f2e4b0a1d2c3e4f5a6"
BODY = '{"data": {"email": "jane@example.com", "name": "Zoë"}}'.encode()
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TEXT_SECRET = "a secret, ünd not ascii"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
SPKI = base64.b64encode(PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
WHPK = "whpk_" + base64.b64encode(PRIVATE.public_key().public_bytes_raw()).decode()
HIGHLEVELS_KEY = "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg="


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


@pytest.fixture(scope="module")
def senders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sender]:
    """The presets; the entries of the documented signatures; the presets that need a key of the tests to sign with."""
    ours = {"highlevel-app": {"public_keys": [SPKI], "app_id": APP}}
    return make_senders(tmp_path_factory.mktemp("functions"), **DATA["senders"] | ours)


# --- documented signatures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", DATA["vectors"], ids=lambda vector: vector["id"])
def test_documented_signature(vector: dict[str, Any], tmp_path: Path) -> None:
    sender = make_senders(tmp_path, **DATA["senders"])[vector["sender"]]
    request = Request(vector["headers"], vector.get("query", ""), vector["body"].encode())
    secrets = secrets_for(json.dumps({vector["sender"]: vector["secret"]}), vector["sender"])
    assert is_authentic(sender, request, secrets, vector.get("now", NOW)) is vector["valid"]


def test_each_preset_has_a_documented_signature_that_is_accepted_and_one_that_is_refused() -> None:
    presets = tomllib.loads((FUNCTIONS / "create_conversation" / "senders" / "presets.toml").read_text("utf-8"))
    webhooks = {name for name, entry in presets.items() if entry["scheme"] != "event"} - {"api"}
    for valid in (True, False):
        assert webhooks <= {vector["sender"] for vector in DATA["vectors"] if vector["valid"] is valid}


# --- a second implementation of each scheme ---------------------------------------------------------------------------


NONE: dict[str, str | None] = {}


@dataclass(frozen=True)
class Signed:
    """A request that its sender has signed: what a test takes apart."""

    sender: Sender
    secret: str
    request: Request

    def accepted(self, *secrets: str, now: float = NOW, headers: Mapping[str, str | None] = NONE) -> bool:
        """Whether it is let in, with these secrets instead of its own, and these headers (None: left out) changed."""
        return is_authentic(self.sender, self.with_headers(headers).request, secrets or (self.secret,), now)

    def with_headers(self, headers: Mapping[str, str | None]) -> "Signed":
        """The same with these headers (None: left out) changed."""
        sent = {name: value for name, value in {**self.request.headers, **headers}.items() if value is not None}
        return replace(self, request=replace(self.request, headers=sent))

    def with_body(self, body: bytes) -> "Signed":
        return replace(self, request=replace(self.request, body=body))


SIGNERS = (
    "standard-webhooks",
    "standard-webhooks-v1a",
    "typeform",
    "tally",
    "github",
    "stripe",
    "calendly",
    "wpforms",
    "webflow",
    "formstack",
    "shopify",
    "woocommerce",
    "callrail",
    "framer",
    "clickfunnels",
    "highlevel-app",
)
TIMED = {
    "standard-webhooks": 300,
    "standard-webhooks-v1a": 300,
    "stripe": 300,
    "calendly": 180,
    "wpforms": 300,
    "webflow": 300,
    "clickfunnels": 600,
    "highlevel-app": 5400,
}


def tag(key: bytes, message: bytes, algorithm: HashAlgorithm | None = None) -> bytes:
    mac = HMAC(key, algorithm or SHA256())
    mac.update(message)
    return mac.finalize()


def app_body(at: float = NOW, **members: object) -> bytes:
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    known = {"type": "ContactCreate", "appId": APP, "locationId": "loc1", "id": "c1", "timestamp": moment}
    return json.dumps({name: value for name, value in (known | members).items() if value is not None}).encode()


def sign(sender: Sender, body: bytes = BODY, at: float = NOW) -> Signed:  # noqa: C901 - one case for each way to sign
    """As each sender's documentation says, without the code of this project."""
    seconds = str(int(at))
    match sender.name:
        case "standard-webhooks" | "standard-webhooks-v1a":
            message = b"msg_1." + seconds.encode() + b"." + body
            secret = WHSEC if sender.name == "standard-webhooks" else WHPK
            key = base64.b64decode(WHSEC.removeprefix("whsec_"))
            one = f"v1,{b64(tag(key, message))}" if secret == WHSEC else f"v1a,{b64(PRIVATE.sign(message))}"
            headers = {"webhook-id": "msg_1", "webhook-timestamp": seconds, "webhook-signature": one}
        case "typeform" | "tally":
            secret, prefix = TEXT_SECRET, "sha256=" if sender.name == "typeform" else ""
            headers = {f"{sender.name}-signature": prefix + b64(tag(secret.encode(), body))}
        case "github" | "formstack":
            secret, name = TEXT_SECRET, "x-fs-signature" if sender.name == "formstack" else "x-hub-signature-256"
            headers = {name: f"sha256={tag(secret.encode(), body).hex()}"}
        case "shopify":
            secret = TEXT_SECRET
            headers = {"x-shopify-hmac-sha256": b64(tag(secret.encode(), body)), "x-shopify-webhook-id": "w-1"}
        case "woocommerce":
            secret = TEXT_SECRET
            headers = {"x-wc-webhook-signature": b64(tag(secret.encode(), body))}
        case "callrail":
            secret = TEXT_SECRET
            headers = {"signature": b64(tag(secret.encode(), body, SHA1()))}
        case "framer":
            secret = TEXT_SECRET
            signature = tag(secret.encode(), body + b"s-1").hex()
            headers = {"framer-webhook-submission-id": "s-1", "framer-signature": f"sha256={signature}"}
        case "clickfunnels":
            secret, name = TEXT_SECRET, "x-webhook-clickfunnels"
            signature = tag(secret.encode(), seconds.encode() + b"." + body).hex()
            headers = {f"{name}-timestamp": seconds, f"{name}-signature": signature}
        case "stripe" | "calendly" | "wpforms":
            secret, label = TEXT_SECRET, "v" if sender.name == "wpforms" else "v1"
            signature = tag(secret.encode(), seconds.encode() + b"." + body).hex()
            headers = {sender.sig_header: f"t={seconds},{label}={signature}"}
        case "webflow":
            secret, millis = TEXT_SECRET, str(int(at * 1000))
            signature = tag(secret.encode(), millis.encode() + b":" + body).hex()
            headers = {"x-webflow-timestamp": millis, "x-webflow-signature": signature}
        case "highlevel-app":
            secret, body = "", body if body != BODY else app_body(at)
            headers = {"x-ghl-signature": b64(PRIVATE.sign(body))}
        case _:
            raise NotImplementedError(sender.name)
    return Signed(sender, secret, Request(headers, "", body))


def app(senders: Mapping[str, Sender], body: bytes) -> Signed:
    return sign(senders["highlevel-app"], body)


def header(signed: Signed) -> str:
    return signed.request.headers[signed.sender.sig_header]


def with_signature(signed: Signed, value: str | None) -> bool:
    return signed.accepted(headers={signed.sender.sig_header: value})


@pytest.mark.parametrize("name", SIGNERS)
@pytest.mark.parametrize("body", [BODY, b'{"a": 1}  \r\n', b"\xff\x00\xfe not text", b"", b"e\xcc\x81" * 40_000])
def test_accepts_what_a_second_implementation_signs(name: str, body: bytes, senders: dict[str, Sender]) -> None:
    body = BODY if name == "highlevel-app" else body
    assert sign(senders[name], body).accepted()


@pytest.mark.parametrize("name", SIGNERS)
def test_refuses_a_body_that_was_parsed_and_written_again(name: str, senders: dict[str, Sender]) -> None:
    signed = sign(senders[name])
    again = json.dumps(json.loads(signed.request.body), separators=(",", ":")).encode()
    assert not signed.with_body(again).accepted()


@pytest.mark.parametrize("secret", [WHSEC, WHSEC.removeprefix("whsec_"), "whsec_" + b64(bytes(31))])
def test_accepts_what_the_standardwebhooks_package_signs(secret: str, senders: dict[str, Sender]) -> None:
    at = datetime.fromtimestamp(NOW, UTC)
    headers = {
        "webhook-id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
        "webhook-timestamp": str(NOW),
        "webhook-signature": Webhook(secret).sign("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", at, BODY.decode()),
    }
    signed = Signed(senders["standard-webhooks"], secret, Request(headers, "", BODY))
    assert signed.accepted()
    assert signed.accepted(secret.rstrip("="))
    assert not signed.accepted(headers={"webhook-id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4X"})


# --- why it is refused ------------------------------------------------------------------------------------------------


def reason(signed: Signed, signature: str | None, now: float = NOW) -> str:
    """The reason code for the log, with this signature in the place of the sender's own (None: without one)."""
    changed = signed.with_headers({signed.sender.sig_header: signature})
    return refusal(signed.sender, changed.request, (signed.secret,), now)


@pytest.mark.parametrize("name", SIGNERS)
def test_the_reason_says_what_is_wrong_with_a_signature(name: str, senders: dict[str, Sender]) -> None:
    signed = sign(senders[name])
    own = header(signed)
    changed = signed.with_body(signed.request.body + b" ")
    assert reason(signed, own) == ""
    assert reason(signed, None) == "credentials_missing"
    assert reason(changed, own) == "credentials_wrong", "it is one, of another body"
    for malformed in ("", own[:-4], f"{own}abcd", "none"):
        assert reason(signed, malformed) == "credentials_malformed", malformed
    late = NOW + 2 * TIMED.get(name, 10**9)
    assert reason(signed, own, late) == ("credentials_stale" if name in TIMED else "")


def test_a_signature_in_the_other_encoding_is_malformed(senders: dict[str, Sender]) -> None:
    in_hex, in_base64 = sign(senders["github"]), sign(senders["typeform"])
    digest = bytes.fromhex(header(in_hex).removeprefix("sha256="))
    assert reason(in_hex, f"sha256={b64(digest)}") == "credentials_malformed"
    assert reason(in_base64, f"sha256={digest.hex()}") == "credentials_malformed"


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in SIGNERS if name != "highlevel-app"])
def test_two_secrets_at_a_time(name: str, senders: dict[str, Sender]) -> None:
    signed = sign(senders[name])
    other = "whpk_" + b64(bytes(32)) if name.endswith("v1a") else "whsec_" + b64(b"another secret, long enough")
    assert signed.accepted(other, signed.secret)
    assert signed.accepted(signed.secret, other)
    assert not signed.accepted(other)


@pytest.mark.parametrize("name", [name for name in SIGNERS if name != "highlevel-app"])
def test_without_a_secret_no_one_gets_in(name: str, senders: dict[str, Sender]) -> None:
    signed = sign(senders[name])
    assert not is_authentic(signed.sender, signed.request, (), NOW)
    for empty in ("", " ", "whsec_", "whpk_", "=", "===="):
        assert not signed.accepted(empty)


@pytest.mark.parametrize("empty", ["", "whsec_", "whsec_=", "whsec_===="])
def test_an_empty_key_lets_no_request_in_even_if_signed_with_it(empty: str, senders: dict[str, Sender]) -> None:
    message = b"msg_1." + str(NOW).encode() + b"." + BODY
    signed = sign(senders["standard-webhooks"])
    assert not signed.accepted(empty, headers={"webhook-signature": f"v1,{b64(tag(b'', message))}"})
    assert not sign(senders["tally"]).accepted("", headers={"tally-signature": b64(tag(b"", BODY))})


@pytest.mark.parametrize(
    "secret", ["whsec_not base64!", "whsec_ünicode", "whsec_a", "whsec_\ud800", "whsec_Mf-_9r8G", "whsec_M\nfKQ"]
)
def test_a_shared_secret_that_is_not_base64_lets_no_one_in(secret: str, senders: dict[str, Sender]) -> None:
    assert not sign(senders["standard-webhooks"]).accepted(secret)
    assert sign(senders["standard-webhooks"]).accepted(secret, WHSEC), "and does not hinder the right one"


@pytest.mark.parametrize(
    "key",
    [
        WHPK.removeprefix("whpk_"),
        "whsec_" + WHPK.removeprefix("whpk_"),
        WHPK[:-5],
        "whpk_" + b64(bytes(33)),
        "whpk_ü",
        "whpk_" + SPKI,
        SPKI,
    ],
)
def test_a_malformed_public_key_lets_no_one_in(key: str, senders: dict[str, Sender]) -> None:
    assert not sign(senders["standard-webhooks-v1a"]).accepted(key)
    assert sign(senders["standard-webhooks-v1a"]).accepted(key, WHPK)
    assert sign(senders["standard-webhooks-v1a"]).accepted(WHPK.rstrip("="))


def test_a_public_key_of_small_order_lets_no_one_in(senders: dict[str, Sender]) -> None:
    identity = (1).to_bytes(32, "little")
    forged = f"v1a,{b64(identity + bytes(32))}"
    signed = sign(senders["standard-webhooks-v1a"])
    assert not signed.accepted("whpk_" + b64(identity), headers={"webhook-signature": forged})


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ('{"tally": "one"}', ("one",)),
        ('{"tally": ["new", "old"]}', ("new", "old")),
        ('{"tally": ["new", "", null, 1, ["x"], "old"]}', ("new", "old")),
        *((text, ()) for text in ("", "{", "null", "1", '"tally"', "[]", '["tally"]', "{}", '{"other": "one"}')),
        *((f'{{"tally": {value}}}', ()) for value in ('""', "null", "1", "true", "{}", '{"a": "b"}', "[]", '[""]')),
        ("[" * 100_000, ()),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_secrets_of_a_sender(text: str, secrets: tuple[str, ...]) -> None:
    assert secrets_for(text, "tally") == secrets


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "tolerance"), [*TIMED.items()])
def test_a_timestamp_is_in_time_in_both_directions(name: str, tolerance: int, senders: dict[str, Sender]) -> None:
    signed = sign(senders[name])
    for apart in (-tolerance, -1, 0.5, tolerance):
        assert signed.accepted(now=NOW + apart)
    for apart in (-10 * tolerance, -tolerance - 1, tolerance + 0.01, tolerance + 1, 1000 * tolerance):
        assert not signed.accepted(now=NOW + apart)


def odd_timestamps() -> Iterator[str]:
    yield from (
        "",
        " ",
        "N/A",
        "NaN",
        "nan",
        "inf",
        "-inf",
        "1e9",
        "0x1",
        "None",
        "9" * 17,
        "9" * 5000,
        "9" * 1_000_000,
    )
    yield from (f" {NOW}", f"{NOW} ", f"+{NOW}", f"-{NOW}", f"{NOW}.0", "1_767_225_600", f"{NOW},{NOW}", f"{NOW}\n")
    yield from ("\uff11\uff17\uff16\uff17", "١٧٦٧٢٢٥٦٠٠", "\ud800", str(NOW * 1000))


@pytest.mark.parametrize("text", [*odd_timestamps()], ids=lambda text: ascii(text)[:24])
def test_a_timestamp_that_is_not_a_plain_number_is_refused_though_signed(text: str, senders: dict[str, Sender]) -> None:
    stamped = text.encode("utf-8", "surrogatepass")
    key = base64.b64decode(WHSEC.removeprefix("whsec_"))
    standard = f"v1,{b64(tag(key, b'msg_1.' + stamped + b'.' + BODY))}"
    signed = sign(senders["standard-webhooks"])
    assert not signed.accepted(headers={"webhook-timestamp": text, "webhook-signature": standard})
    stripe = tag(TEXT_SECRET.encode(), stamped + b"." + BODY).hex()
    assert not sign(senders["stripe"]).accepted(headers={"stripe-signature": f"t={text},v1={stripe}"})


@pytest.mark.parametrize("name", [name for name in SIGNERS if name in TIMED and name != "highlevel-app"])
def test_a_missing_timestamp_is_refused(name: str, senders: dict[str, Sender]) -> None:
    signed = sign(senders[name])
    if signed.sender.ts.startswith("kv:"):
        assert not with_signature(signed, header(signed).partition(",")[2])
    else:
        assert not signed.accepted(headers={signed.sender.ts.removeprefix("header:"): None})


def test_of_two_timestamps_the_one_that_was_signed_counts(senders: dict[str, Sender]) -> None:
    signed = sign(senders["stripe"], at=NOW - 3600)
    assert not with_signature(signed, f"{header(signed)},t={NOW}")
    assert not with_signature(signed, f"t={NOW},{header(signed)}")


# --- a HighLevel app --------------------------------------------------------------------------------------------------


def test_a_highlevel_app_authenticates_itself_by_highlevels_key_and_its_own_id(senders: dict[str, Sender]) -> None:
    assert app(senders, app_body()).accepted()
    assert app(senders, app_body()).accepted("", "not a key", SPKI[:-4])


@pytest.mark.parametrize("minutes", [-75, 75, 0, 89.98])
def test_a_repeat_of_highlevel_bears_its_first_timestamp(minutes: float, senders: dict[str, Sender]) -> None:
    assert app(senders, app_body(NOW + 60 * minutes)).accepted()


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        *((moment, "") for moment in (NOW, NOW - 300, str(NOW))),
        *((moment, "credentials_stale") for moment in (0, NOW - 301, -NOW, True, 1.5, float(NOW), 10**16, None, [NOW])),
    ],
    ids=ascii,
)
def test_a_number_in_the_signed_body_may_be_its_timestamp(moment: object, expected: str, tmp_path: Path) -> None:
    entry = {"scheme": "mac", "sig_header": "x-signature", "encoding": "hex", "signed": "{body}"}
    own = make_senders(tmp_path, own=entry | {"ts": "json:at", "tolerance_s": 300, "email": "email"})["own"]
    body = json.dumps({"at": moment}).encode()
    request = Request({"x-signature": tag(TEXT_SECRET.encode(), body).hex()}, "", body)
    assert refusal(own, request, (TEXT_SECRET,), NOW) == expected


@pytest.mark.parametrize(
    "moment",
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:00",
        "2026-01-01",
        "2026-01-01T02:00:00+02:00",
        "2025-12-31T22:30:00.123456-01:00",
    ],
)
def test_iso_timestamps(moment: str, senders: dict[str, Sender]) -> None:
    assert app(senders, app_body(timestamp=moment)).accepted()


@pytest.mark.parametrize(
    "moment",
    [
        *(None, "", "N/A", "NaN", "now", 0, NOW, NOW * 1000, 1e999, True, [], {}, ["2026-01-01T00:00:00Z"]),
        *("2026-01-02", "2025-12-31T22:29:59Z", "2026-01-01T01:30:01Z", "2026-01-01T00:00:00+12:00", "\ud800"),
        *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "٢٠٢٦-01-01T00:00:00Z", str(NOW), "9" * 5000),
    ],
    ids=lambda moment: ascii(moment)[:24],
)
def test_a_highlevel_app_without_a_timestamp_near_now_is_refused(moment: object, senders: dict[str, Sender]) -> None:
    assert not app(senders, app_body(timestamp=moment)).accepted()


@pytest.mark.parametrize(
    "app_id",
    [
        None,
        "",
        "N/A",
        APP[:-1],
        APP + "0",
        APP.upper(),
        f" {APP}",
        f"{APP}\n",
        0,
        True,
        [APP],
        {"appId": APP},
        "\ud800",
    ],
)
def test_another_app_of_highlevel_is_refused(app_id: object, senders: dict[str, Sender]) -> None:
    assert not app(senders, app_body(appId=app_id)).accepted()


def test_the_app_id_counts_where_it_is_signed_and_read_only(senders: dict[str, Sender]) -> None:
    assert not app(senders, app_body(appId=None, data={"appId": APP})).accepted()
    twice = (
        app_body()
        .replace(b"{", f'{{"appId": "{APP}", '.encode(), 1)
        .replace(APP.encode() + b'", "loc', b'other", "loc')
    )
    assert twice.count(b"appId") == 2
    assert not app(senders, twice).accepted(), "the last one counts, as in the mapping"


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"text"', b"{", b"\xff", b"[" * 100_000, b'[{"appId": "x"}]'])
def test_a_signed_body_that_is_not_an_object_is_refused(body: bytes, senders: dict[str, Sender]) -> None:
    assert not app(senders, body or b" ").accepted()


@pytest.mark.parametrize("app_id", [None, "", 12345])
def test_without_its_app_id_the_preset_is_closed(app_id: object, tmp_path: Path) -> None:
    closed = make_senders(tmp_path, highlevel_app={"public_keys": [SPKI]})["highlevel-app"]
    assert not sign(closed, app_body(appId=app_id)).accepted()
    assert not sign(replace(closed, app_id=""), app_body(appId="")).accepted()


def test_an_app_id_is_compared_even_if_the_entry_does_not_require_one(tmp_path: Path) -> None:
    entry = {
        "scheme": "pubkey",
        "sig_header": "x-ghl-signature",
        "signed": "{body}",
        "key_format": "spki_base64",
        "public_keys": [SPKI],
        "app_id": APP,
        "contact_id": "id",
    }
    own = replace(make_senders(tmp_path, my_app=entry)["my-app"], name="highlevel-app")
    assert sign(own, app_body()).accepted()
    assert not sign(own, app_body(appId="another")).accepted()


def test_the_shipped_key_is_highlevels(tmp_path: Path) -> None:
    shipped = make_senders(tmp_path, highlevel_app={"app_id": APP})["highlevel-app"]
    assert shipped.public_keys == (HIGHLEVELS_KEY,)
    assert not sign(shipped, app_body()).accepted(), "signed with another key"


def test_a_public_key_may_be_pem_and_stand_beside_the_old_one(tmp_path: Path) -> None:
    pem = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    entry = {"highlevel-app": {"public_keys": [HIGHLEVELS_KEY, pem], "app_id": APP}}
    assert sign(make_senders(tmp_path, **entry)["highlevel-app"], app_body()).accepted()


# --- a check of the URL -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"webhook_id=7", b"webhook_id=" + b"9" * 20])
def test_a_ping_is_known_by_its_one_field(body: bytes, senders: dict[str, Sender]) -> None:
    for content_type in ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=UTF-8"):
        request = Request({"content-type": content_type}, "", body)
        assert is_ping(senders["woocommerce"], request)
        assert not is_authentic(senders["woocommerce"], request, (TEXT_SECRET,), NOW)
        assert not is_ping(senders["shopify"], request)
        assert not is_ping(senders["token"], request)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"webhook_id", b"webhook_id=", b"webhook_id=x", b"webhook_id=7\n", b"webhook_id=7&", b"&webhook_id=7"),
        *(b"webhook_id=7&email=a@example.com", b"webhook_id=-7", b"webhook_id=7.0", b"webhook_id=" + b"9" * 21),
        *(b"Webhook_id=7", b"webhook_id=%37", "webhook_id=\u0667".encode(), b'{"webhook_id": 7}', b"webhook.id=7"),
    ],
)
def test_a_form_with_more_than_that_is_not_a_ping(body: bytes, senders: dict[str, Sender]) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert not is_ping(senders["woocommerce"], Request(headers, "", body))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded", "x-wc-webhook-signature": ""},
        {"content-type": "application/x-www-form-urlencoded", "x-wc-webhook-signature": "wrong"},
    ],
    ids=str,
)
def test_a_ping_is_an_unsigned_form(headers: dict[str, str], senders: dict[str, Sender]) -> None:
    assert not is_ping(senders["woocommerce"], Request(headers, "", b"webhook_id=7"))


# --- the signature's header -------------------------------------------------------------------------------------------


def odd_headers() -> Iterator[str | None]:
    yield from (None, "", " ", ",", "=", "N/A", "null", "v1", "v1,", "v1a,", "t=", "v1=", "sha256=", "sha256", "\x00")
    yield from ("Ünïcödé", "v1,é", "v1a,\ud800", "sha256=\udfff", "t=1,v1=\ud800", "\uff1d", "\ufeff", "💥")
    yield from (
        "A" * 1_000_000,
        "," * 1_000_000,
        " " * 1_000_000,
        "v1, " * 250_000,
        "t=,v1=" * 100_000,
        "=" * 1_000_000,
    )


@pytest.mark.parametrize("name", SIGNERS)
@pytest.mark.parametrize("value", [*odd_headers()], ids=lambda value: ascii(value)[:24])
def test_a_header_of_any_kind_is_refused(name: str, value: str | None, senders: dict[str, Sender]) -> None:
    assert not with_signature(sign(senders[name]), value)


def raw_signature(signed: Signed) -> tuple[str, str]:
    """The header before its signature, and the signature."""
    match = re.fullmatch(
        r"(.*?)([0-9a-f]{64}|[A-Za-z0-9+/]{27}=|[A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{86}==)", header(signed)
    )
    assert match
    return match[1], match[2]


def respelled(signature: str) -> Iterator[str]:
    """The same bytes, spelled as the sender does not."""
    yield from (
        signature + " ",
        " " + signature,
        signature + "\n",
        signature + "\x00",
        f'"{signature}"',
        signature + "=",
    )
    if signature.endswith("="):
        bare = signature.rstrip("=")
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        last = alphabet.index(bare[-1])
        padding = signature[len(bare) :]
        yield from (bare, bare + "=" * (len(padding) + 1), bare + "\n" + padding, f"{bare[:8]} {bare[8:]}{padding}")
        yield bare[:-1] + alphabet[last + 1] + padding  # other trailing bits: decodes to the same bytes
        raw = base64.b64decode(signature)
        yield from (raw.hex(), base64.urlsafe_b64encode(raw + b"\xff").decode(), base64.b32encode(raw).decode())
        if "+" in signature or "/" in signature:
            yield signature.replace("+", "-").replace("/", "_")
    else:
        yield from (signature.upper(), b64(bytes.fromhex(signature)), f"0x{signature}", signature[:-1], signature[:32])


@pytest.mark.parametrize("name", SIGNERS)
def test_a_signature_in_another_spelling_is_refused(name: str, senders: dict[str, Sender]) -> None:
    bodies = [app_body(webhookId=str(n)) if name == "highlevel-app" else b"%d" % n for n in range(4)]
    for signed in (sign(senders[name], body) for body in bodies):
        before, signature = raw_signature(signed)
        assert with_signature(signed, before + signature)
        for spelling in respelled(signature):
            if spelling == signature + " " and signed.sender.sig_format == "space-list":
                continue  # the space ends the signature there
            if spelling != signature:
                assert not with_signature(signed, before + spelling)


@pytest.mark.parametrize("name", ["standard-webhooks", "standard-webhooks-v1a", "stripe"])
def test_the_right_signature_may_stand_among_ten(name: str, senders: dict[str, Sender]) -> None:
    signed = sign(senders[name])
    before, signature = raw_signature(signed)
    joint, label = (",", "v1=") if name == "stripe" else (" ", before)
    wrong = ("A" if signature[0] != "A" else "B") + signature[1:]
    clock = before.removesuffix(label)
    for place in range(12):
        row = [label + wrong] * 11
        row.insert(place, label + signature)
        assert with_signature(signed, clock + joint.join(row)) is (place < 10)
    unknown = [f"v{n},{wrong}" if joint == " " else f"v{n}={wrong}" for n in range(2, 50)]
    assert with_signature(signed, clock + joint.join([*unknown, label + signature])), "other labels do not count"


@pytest.mark.parametrize("name", ["standard-webhooks", "standard-webhooks-v1a", "stripe", "wpforms"])
def test_the_right_signature_under_another_label_is_refused(name: str, senders: dict[str, Sender]) -> None:
    signed = sign(senders[name])
    before, signature = raw_signature(signed)
    for label in ("v2", "v0", "V1", "v11", "", "1", "v1b", "vv"):
        right = "v1a" if name.endswith("v1a") else "v" if name == "wpforms" else "v1"
        assert not with_signature(signed, f"{before[: -len(right) - 1]}{label}{before[-1]}{signature}")


def test_neither_algorithm_is_taken_for_the_other(senders: dict[str, Sender]) -> None:
    mac, ed25519 = sign(senders["standard-webhooks"]), sign(senders["standard-webhooks-v1a"])
    message = b"msg_1." + str(NOW).encode() + b"." + BODY
    forged = b64(tag(PRIVATE.public_key().public_bytes_raw(), message))  # the public key is public
    for signature in (f"v1a,{forged}", f"v1,{forged}"):
        assert not ed25519.accepted(headers={"webhook-signature": signature})
    both = f"{header(mac)} {header(ed25519)}"
    assert mac.accepted(headers={"webhook-signature": both})
    assert ed25519.accepted(headers={"webhook-signature": both})
    assert not mac.accepted(headers={"webhook-signature": header(ed25519)})
    assert not ed25519.accepted(headers={"webhook-signature": header(mac)})


def test_the_prefix_is_asked_for_once_and_only_where_it_belongs(senders: dict[str, Sender]) -> None:
    typeform, tally = sign(senders["typeform"]), sign(senders["tally"])
    assert not with_signature(typeform, header(tally))
    assert not with_signature(typeform, "sha256=" + header(typeform))
    assert not with_signature(typeform, header(typeform).replace("sha256", "SHA256"))
    assert not with_signature(tally, header(typeform))


@pytest.mark.parametrize("part", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("name", ["standard-webhooks", "standard-webhooks-v1a"])
def test_every_header_that_is_signed_is_needed(name: str, part: str, senders: dict[str, Sender]) -> None:
    signed = sign(senders[name])
    for value in (None, "", " ", "1"):
        assert not signed.accepted(headers={part: value})


def test_delivery_id_is_what_the_header_says(senders: dict[str, Sender]) -> None:
    assert delivery_id(senders["standard-webhooks"], sign(senders["standard-webhooks"]).request) == "msg_1"
    assert delivery_id(senders["standard-webhooks"], Request({}, "", b"")) is None
    assert delivery_id(senders["typeform"], Request({"event_id": "x"}, "", b'{"event_id": "x"}')) is None


# --- a constant token -------------------------------------------------------------------------------------------------

FORM = "application/x-www-form-urlencoded"
TOKEN = "s3cr3t-tök+n/=="
IN_QUERY = "s3cr3t-t%C3%B6k%2Bn%2F%3D%3D"


def bears(sender: Sender, *secrets: str, query: str = "", body: bytes = b"", **headers: str) -> bool:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return is_authentic(sender, Request(named, query, body), secrets or (TOKEN,), NOW)


def test_a_token_in_each_of_its_places(senders: dict[str, Sender]) -> None:
    token = senders["token"]
    assert bears(token, authorization=f"Bearer {TOKEN}")
    assert bears(token, authorization=f"bearer  {TOKEN} ")
    assert bears(token, authorization=f"BASIC {b64(TOKEN.encode())}")
    assert bears(token, x_webhook_token=TOKEN)
    assert bears(token, query=f"a=b&token={IN_QUERY}")
    assert bears(token, body=json.dumps({"token": TOKEN}).encode())
    assert bears(token, body=f"a=b&token={IN_QUERY}".encode(), content_type=f"{FORM}; charset=utf-8")
    assert bears(token, "old", TOKEN, x_webhook_token=TOKEN)
    assert bears(token, TOKEN, x_webhook_token="wrong", query=f"token=wrong&token={IN_QUERY}")


@pytest.mark.parametrize("name", ["api", "highlevel-workflow"])
def test_a_token_is_read_at_the_places_of_the_entry_alone(name: str, senders: dict[str, Sender]) -> None:
    sender = senders[name]
    assert bears(sender, authorization=f"Bearer {TOKEN}")
    assert not bears(sender, authorization=f"Basic {b64(TOKEN.encode())}")
    assert not bears(sender, body=json.dumps({"token": TOKEN}).encode())
    assert not bears(sender, body=f"token={IN_QUERY}".encode(), content_type=FORM)
    assert bears(sender, query=f"token={IN_QUERY}") is (name == "highlevel-workflow")
    assert bears(sender, x_webhook_token=TOKEN) is (name == "highlevel-workflow")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        *(
            {"authorization": value}
            for value in ("", " ", "Bearer", "Bearer ", "Bearer\t" + TOKEN, "Basic ", "Basic é")
        ),
        *({"authorization": f"{scheme} {TOKEN}"} for scheme in ("", "Basic", "Digest", "Bearer Bearer", "Bearer:")),
        {"authorization": TOKEN},
        {"authorization": f"Bearer {TOKEN},Bearer {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}\x00"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Bearer {TOKEN.upper()}"},
        {"authorization": "Bearer \ud800"},
        {"authorization": f"Basic {b64(TOKEN.encode()).rstrip('=')}"},
        {"authorization": f"Basic {b64(b'user:' + TOKEN.encode())}"},
        {"x-webhook-token": ""},
        {"x-webhook-token": f"{TOKEN} "},
        {"x-webhook-token": f"{TOKEN},{TOKEN}"},
        {"x-webhook-token": TOKEN * 100_000},
        {"token": TOKEN},
        {"x-token": TOKEN},
        {"content-type": f"{FORM}; token={TOKEN}"},
    ],
)
def test_a_token_that_is_not_quite_right_is_refused(headers: dict[str, str], senders: dict[str, Sender]) -> None:
    assert not is_authentic(senders["token"], Request(headers, "", b"{}"), (TOKEN,), NOW)


@pytest.mark.parametrize(
    "query",
    [
        *("", "token", "token=", "&token=&", "Token=" + IN_QUERY, "token%00=" + IN_QUERY, "token[]=" + IN_QUERY),
        *("x=1;token=" + IN_QUERY, "?token=" + IN_QUERY, "a=token=" + IN_QUERY, f"token={IN_QUERY}%00"),
        *(f"token={IN_QUERY}+", "token=" + IN_QUERY.replace("%", "%25"), "token=%ff", "token=%zz", "%=%&%%%&=&&"),
        *("&".join(["a=b"] * 1000 + ["token=" + IN_QUERY]), "\ud800=\udfff", "token=" + "%" * 100_000),
    ],
    ids=lambda query: ascii(query)[:30],
)
def test_a_query_without_the_token_is_refused(query: str, senders: dict[str, Sender]) -> None:
    assert not bears(senders["token"], query=query)
    form = query.encode("utf-8", "surrogatepass")
    assert not bears(senders["token"], body=form, content_type=FORM)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'"' + TOKEN.encode() + b'"', b'{"a": ' * 50_000),
        *(json.dumps(value).encode() for value in ([{"token": TOKEN}], {"token": [TOKEN]}, {"data": {"token": TOKEN}})),
        *(json.dumps({"token": value}).encode() for value in (None, "", 0, True, {"token": TOKEN}, "\ud800")),
        json.dumps({"token": TOKEN}).encode() + b"x",
        b'{"token": "' + TOKEN.encode() + b'", "token": "wrong"}',
        b'{"token": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: ascii(body)[:40],
)
def test_a_json_body_without_the_token_is_refused(body: bytes, senders: dict[str, Sender]) -> None:
    assert not bears(senders["token"], body=body)
    assert not bears(senders["token"], body=body, content_type="application/json")


def test_a_body_is_read_as_what_it_is(senders: dict[str, Sender]) -> None:
    as_json, as_form = json.dumps({"token": TOKEN}).encode(), f"token={IN_QUERY}".encode()
    assert bears(senders["token"], body=as_json, content_type=FORM)
    assert bears(senders["token"], body=as_form, content_type="text/plain")
    assert bears(senders["token"], body=as_form, content_type="application/json")
    assert not bears(senders["token"], body=as_json, content_type="multipart/form-data; boundary=x")


MULTIPART = "multipart/form-data; boundary=B-b"


def parts(*fields: tuple[str, str], end: str = "--B-b--\r\n") -> bytes:
    heads = (f'--B-b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields)
    return "".join([*heads, end]).encode()


def test_a_token_in_a_multipart_body(senders: dict[str, Sender]) -> None:
    token = senders["token"]
    body = parts(("email", "a@example.com"), ("token", TOKEN), ("token", "wrong"))
    assert bears(token, body=body, content_type=MULTIPART)
    assert bears(token, body=body, content_type='Multipart/Form-Data ;charset=utf-8; boundary="B-b"')
    assert bears(senders["wufoo"], body=parts(("HandshakeKey", TOKEN)), content_type=MULTIPART)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (parts(("token", TOKEN[:-1])), MULTIPART),
        (parts(("Token", TOKEN)), MULTIPART),
        (parts(("token", "")), MULTIPART),
        (parts(('token"; filename="t', TOKEN)), MULTIPART),
        (parts(("token", TOKEN), end=""), MULTIPART),
        (parts(("token", TOKEN)), "multipart/form-data"),
        (parts(("token", TOKEN)), MULTIPART.lower()),
        (parts(("token", TOKEN)), MULTIPART.replace("form-data", "mixed")),
        (parts(("token", TOKEN)), FORM),
        (parts(*[("token", "guess")] * 10, ("token", TOKEN)), MULTIPART),
        (parts(*[("a", "b")] * 1000, ("token", TOKEN)), MULTIPART),
        (parts(("a", "b" * 737_280), ("token", TOKEN)), MULTIPART),
        (b"", MULTIPART),
    ],
    ids=[
        *("wrong", "another name", "empty", "a file", "cut off", "no boundary", "another boundary", "another type"),
        *("said to be a form", "the eleventh guess", "too many parts", "too large", "nothing"),
    ],
)
def test_a_multipart_body_without_the_token_is_refused(
    body: bytes, content_type: str, senders: dict[str, Sender]
) -> None:
    assert not bears(senders["token"], body=body, content_type=content_type)


def test_without_a_token_stored_no_one_gets_in(senders: dict[str, Sender]) -> None:
    empty = Request({"authorization": "Bearer ", "x-webhook-token": ""}, "token=", b'{"token": ""}')
    assert not is_authentic(senders["token"], empty, (), NOW)
    for text in ("", "{}", '{"token": ""}', '{"token": [""]}'):
        assert not is_authentic(senders["token"], empty, secrets_for(text, "token"), NOW)


def test_what_looks_alike_is_not_the_same(senders: dict[str, Sender]) -> None:
    for given, secret in (
        ("\ud800", "?"),
        ("\ud800", "\ufffd"),
        ("\ud800", "\udc00"),
        ("e\u0301", "\xe9"),
        ("K", "\u212a"),
    ):
        assert not bears(senders["token"], secret, x_webhook_token=given)


def test_one_request_is_not_a_list_of_guesses(senders: dict[str, Sender]) -> None:
    guesses = "&".join([f"token=guess{n}" for n in range(10)] + ["token=" + IN_QUERY])
    assert not bears(senders["token"], query=guesses)


def test_the_entry_of_events_lets_no_request_in(senders: dict[str, Sender]) -> None:
    assert not bears(senders["event"], authorization=f"Bearer {TOKEN}", query=f"token={IN_QUERY}")


def test_an_unauthenticated_body_costs_no_memory(senders: dict[str, Sender]) -> None:
    body = b"[" + b"[]," * 1_500_000 + b"[]]"
    tracemalloc.start()
    try:
        assert not bears(senders["token"], body=body)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_time_zone_of_the_machine_changes_nothing(
    senders: dict[str, Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert app(senders, app_body(timestamp="2026-01-01T00:00:00")).accepted()
    finally:
        monkeypatch.undo()
        time.tzset()
