"""The senders: how each proves itself, and where its payload names whom. Read from presets.toml and senders.toml."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

from create_conversation.senders.ed25519 import ed25519_key

FUNCTIONS = Path(__file__).resolve().parents[2]
PRESETS = Path(__file__).with_name("presets.toml")
FIELDS = ("location_id", "contact_id", "email", "phone", "first_name", "last_name", "full_name")

# Callers that are trusted with the location that they name. What all others send, a visitor may have typed.
TRUSTED = frozenset({"api", "event", "highlevel-app", "highlevel-workflow"})

_COMMON = {"scheme", "when", "locations", *FIELDS}
_SIGNED = {"sig_header", "sig_format", "sig_label", "prefix", "signed", "key_format", "ts", "ts_unit", "tolerance_s"}
_BODY = {"id", "parse", "strip"}
# What an entry of each scheme may hold; the values of the keys that take one of a few.
_KEYS = {
    "token": _COMMON | _BODY | {"where"},
    "mac": _COMMON | _SIGNED | _BODY | {"encoding", "hash", "ping"},
    "pubkey": _COMMON | _SIGNED | _BODY | {"public_keys", "requires", "app_id"},
    "event": _COMMON | {"source", "detail_type"},
}
_NEEDED: dict[str, set[str]] = {
    "token": {"where"},
    "mac": {"sig_header", "signed"},
    "pubkey": {"sig_header", "signed", "key_format"},
    "event": set(),
}
_ONE_OF = {
    "scheme": ("token", "mac", "pubkey", "event"),
    "sig_format": ("plain", "kv", "space-list"),
    "encoding": ("hex", "base64"),
    "hash": ("sha256", "sha1"),
    "ts_unit": ("s", "ms", "iso8601"),
}
_KEY_FORMATS = {"mac": ("utf8", "whsec_base64"), "pubkey": ("spki_base64", "whpk_base64")}
_PLACE = re.compile(r"bearer|basic|header:[a-z0-9-]+|query:[^\s:]+|body:[^\s:]+")
_LISTS = {"where", "locations", "public_keys", "requires", "parse", "strip"}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class SendersError(Exception):
    """A mistake in one of the files; the text names file, entry, key and what would be right."""


@dataclass(frozen=True, slots=True)
class Sender:
    """One entry, complete and checked. docs/senders.md explains the keys; an absent text is empty."""

    name: str
    scheme: str
    where: tuple[str, ...] = ()
    sig_header: str = ""
    sig_format: str = "plain"
    sig_label: str = ""
    prefix: str = ""
    encoding: str = "base64"
    hash: str = "sha256"
    signed: str = "{body}"
    key_format: str = "utf8"
    ts: str = ""
    ts_unit: str = "s"
    tolerance_s: int = 300
    id: str = ""
    parse: tuple[str, ...] = ()
    strip: tuple[str, ...] = ()
    ping: str = ""
    public_keys: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    app_id: str = ""
    source: str = ""
    detail_type: str = ""
    locations: tuple[str, ...] = ()
    paths: dict[str, Any] = field(default_factory=dict)  # compiled JMESPath by field, `when` and `id` among them


def load(folder: Path = FUNCTIONS, presets: Path = PRESETS) -> dict[str, Sender]:
    """All senders by name: the presets, changed and completed by the user's file. An entry there that has a `scheme`
    is complete in itself: no preset that comes with an update changes it. Raises SendersError."""
    shipped, own = _read(presets), _read(folder / "senders.toml")
    senders = {name: _sender("presets.toml", name, entry) for name, entry in shipped.items()}
    for name, entry in own.items():
        preset = {} if "scheme" in entry else shipped.get(name, {})
        senders[name] = _sender("senders.toml", name, preset | entry)
    return senders


def of_event(senders: Mapping[str, Sender], source: object, detail_type: object) -> Sender:
    """The entry that maps an event: one that names its source and detail-type, else one of them, else `event`."""
    fitting = [
        sender
        for sender in senders.values()
        if sender.scheme == "event" and sender.source in ("", source) and sender.detail_type in ("", detail_type)
    ]
    return max(fitting, key=lambda sender: (bool(sender.source), bool(sender.detail_type)))


def lacks_locations(sender: Sender, default_location: str | None) -> bool:
    """Whether nothing says which locations this webhook sender may name: then it is closed."""
    is_trusted = sender.scheme == "event" or sender.name in TRUSTED
    return not (is_trusted or sender.locations or default_location)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SendersError(f"{path.name}: {error}") from None
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise SendersError(f"{path.name}: {name}: put every key below the [name] of a sender")
    return entries


def _sender(file: str, name: str, entry: dict[str, Any]) -> Sender:
    def wrong(key: str, right: str) -> SendersError:
        return SendersError(f"{file}: [{name}] {key}: {right}")

    if not _NAME.fullmatch(name):
        raise SendersError(f"{file}: [{name}]: a name has lower-case letters, digits and -, 63 at most")
    scheme = entry.get("scheme")
    if scheme not in _ONE_OF["scheme"]:
        raise wrong("scheme", f"must be one of {', '.join(_ONE_OF['scheme'])}")
    for key, value in entry.items():
        if key not in _KEYS[scheme]:
            close = difflib.get_close_matches(key, _KEYS[scheme], 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(_KEYS[scheme]))}"
            raise wrong(key, f"is not a key of scheme {scheme}; {hint}")
        _check_value(key, value, scheme, wrong)
    for key in sorted(_NEEDED[scheme] - entry.keys()):
        raise wrong(key, f"is missing; scheme {scheme} needs it")
    for part, key in (("{ts}", "ts"), ("{id}", "id")):
        if part in entry.get("signed", "") and not entry.get(key):
            raise wrong(key, f"is missing; signed holds {part}")
    if "{id}" in entry.get("signed", "") and not entry["id"].startswith("header:"):
        raise wrong("id", "must be header:<name>; signed holds {id}")
    if entry.get("ts", "").startswith("kv:") and entry.get("sig_format") != "kv":
        raise wrong("ts", 'can be kv:<label> only with sig_format = "kv"')
    if "{ts}" in entry.get("signed", "") and entry["ts"].startswith("json:"):
        raise wrong("ts", "must be header:<name> or kv:<label>; signed holds {ts}")
    if entry.get("prefix") and entry.get("sig_format", "plain") != "plain":
        raise wrong("prefix", "is only for sig_format plain")
    for public_key in entry.get("public_keys", ()):
        if ed25519_key(public_key, entry["key_format"]) is None:
            raise wrong("public_keys", f"must be Ed25519 keys, as key_format {entry['key_format']} has them")
    if name == "event" and (scheme != "event" or entry.keys() & {"source", "detail_type"}):
        raise wrong("scheme", "the entry event maps all events that no other one does: no source, no detail_type")
    if entry.get("sig_format", "plain") != "plain" and not entry.get("sig_label"):
        raise wrong("sig_label", f"is missing; sig_format {entry['sig_format']} needs it")
    if not any(entry.get(path) for path in ("contact_id", "email", "phone")):
        raise wrong("contact_id", "is missing; name the contact by contact_id, email or phone")

    paths = {key: jmespath.compile(entry[key]) for key in (*FIELDS, "when") if entry.get(key)}
    if entry.get("id", "").startswith("json:"):
        paths["id"] = jmespath.compile(entry["id"].removeprefix("json:"))
    texts: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in entry.items()
        if key not in (*FIELDS, "when")
    }
    return Sender(name=name, paths=paths, **texts)


def _check_value(key: str, value: Any, scheme: str, wrong: Any) -> None:
    if key in _LISTS:
        if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
            raise wrong(key, 'must be a list of texts, such as ["…"]')
    elif key == "tolerance_s":
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 86_400:
            raise wrong(key, "must be a number of seconds from 1 to 86400")
    elif not isinstance(value, str) or not (value or key in ("prefix", "app_id")):
        raise wrong(key, "must be a text")

    if key in _ONE_OF and value not in _ONE_OF[key]:
        raise wrong(key, f"must be one of {', '.join(_ONE_OF[key])}")
    if key == "key_format" and value not in _KEY_FORMATS[scheme]:
        raise wrong(key, f"must be one of {', '.join(_KEY_FORMATS[scheme])}")
    if key == "sig_header" and not re.fullmatch(r"[a-z0-9-]+", value):
        raise wrong(key, "must be a header's name in lower case")
    if key == "signed" and ("{body}" not in value or re.search(r"[{}]", re.sub(r"\{(body|ts|id)\}", "", value))):
        raise wrong(key, "must hold {body}, and may hold {ts}, {id} and plain characters")
    if key == "ping" and not re.fullmatch(r"\w+", value):
        raise wrong(key, "must be the name of the one form field, of letters, digits and _")
    if key == "ts" and not re.fullmatch(r"header:[a-z0-9-]+|kv:\w+|json:\w+", value):
        raise wrong(key, "must be header:<name>, kv:<label> or json:<member>")
    if key == "id" and not re.fullmatch(r"header:[a-z0-9-]+|json:.+", value):
        raise wrong(key, "must be header:<name in lower case> or json:<JMESPath>")
    if key == "where":
        for place in value:
            if not _PLACE.fullmatch(place):
                raise wrong(
                    key, f"{place!r} must be bearer, basic, header:<in lower case>, query:<name> or body:<member>"
                )
    if key == "locations" and value != ["*"] and not all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", item) for item in value):
        raise wrong(key, 'must be location ids, or ["*"] for any')
    if key == "requires" and value != ["app_id"]:
        raise wrong(key, 'can only be ["app_id"]')
    if key in (*FIELDS, "when") or (key == "id" and value.startswith("json:")):
        try:
            compiled = jmespath.compile(value.removeprefix("json:") if key == "id" else value)
        except JMESPathError as error:
            quoted = f"""'"{value}"'"""
            raise wrong(key, f"is not JMESPath: {str(error).splitlines()[0]} A field of that name? {quoted}") from None
        if mistake := _wrong_call(compiled.parsed):
            raise wrong(key, mistake)


def _wrong_call(node: Any) -> str:
    """What is wrong with a function that the parsed JMESPath calls; jmespath itself notices only when it runs."""
    if isinstance(node, list):
        return next(filter(None, map(_wrong_call, node)), "")
    if not isinstance(node, dict):
        return ""
    if node.get("type") == "function_expression":
        name, given = node["value"], len(node["children"])
        if name not in Functions.FUNCTION_TABLE:
            close = difflib.get_close_matches(name, Functions.FUNCTION_TABLE, 1)
            return f"JMESPath has no function {name}{f'; did you mean {close[0]}?' if close else ''}"
        signature = Functions.FUNCTION_TABLE[name]["signature"]
        variadic = bool(signature) and signature[-1].get("variadic", False)
        if given < len(signature) or (given > len(signature) and not variadic):
            return f"{name} takes {len(signature)} arguments, not {given}"
    return _wrong_call(node.get("children", []))
