"""The rules for an entry of presets.toml or senders.toml: what a key may be, and what belongs together."""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

from create_conversation.senders.ed25519 import ed25519_key

FIELDS = ("location_id", "contact_id", "email", "phone", "first_name", "last_name", "full_name")
PATHS = (*FIELDS, "when", "form")  # the keys that are JMESPath

# What becomes of the submission in HighLevel: chosen by the user, never by a preset or a payload.
_OWN = {"tags", "source", "custom_fields", "update_contact", "user_id", "mentions"}
_COMMON = {"scheme", "when", "locations", "format", "form", "message", *FIELDS, *_OWN}
_SIGNED = {"sig_header", "sig_format", "sig_label", "prefix", "signed", "key_format", "ts", "ts_unit", "tolerance_s"}
_BODY = {"id", "parse", "strip", "retries"}
# What an entry of each scheme may hold, and what it must.
_KEYS = {
    "token": _COMMON | _BODY | {"where"},
    "mac": _COMMON | _SIGNED | _BODY | {"encoding", "hash", "ping"},
    "pubkey": _COMMON | _SIGNED | _BODY | {"public_keys", "requires", "app_id"},
    "event": _COMMON | {"detail_type"},
}
_NEEDED: dict[str, set[str]] = {
    "token": {"where"},
    "mac": {"sig_header", "signed"},
    "pubkey": {"sig_header", "signed", "key_format"},
    "event": set(),
}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_KEY_FORMATS = {"mac": ("utf8", "whsec_base64"), "pubkey": ("spki_base64", "whpk_base64")}
_PLACE = re.compile(r"bearer|basic|header:[a-z0-9-]+|query:[^\s:]+|body:[^\s:]+")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class SendersError(Exception):
    """A mistake in one of the files; the text names file, entry, key and what would be right."""


type Check = Callable[[Any, str], str]  # of a value and the scheme: what would be right; empty if it is right


def check_entry(file: str, name: str, entry: dict[str, Any]) -> None:
    """Raise SendersError for the first mistake in an entry."""

    def wrong(key: str, right: str) -> SendersError:
        return SendersError(f"{file}: [{name}] {key}: {right}")

    if not _NAME.fullmatch(name):
        raise SendersError(f"{file}: [{name}]: a name has lower-case letters, digits and -, 63 at most")
    scheme = entry.get("scheme")
    if right := _one_of(*_KEYS)(scheme, ""):
        raise wrong("scheme", right)
    scheme = str(scheme)
    for key, value in entry.items():
        if right := _mistake(key, value, scheme):
            raise wrong(key, right)
        is_source_of_event = key == "source" and scheme == "event"
        if file == "presets.toml" and key in _OWN and not is_source_of_event:
            raise wrong(key, "can only be set in senders.toml")
    for key in sorted(_NEEDED[scheme] - entry.keys()):
        raise wrong(key, f"is missing; scheme {scheme} needs it")
    for rule in _RULES:
        if rule.is_broken(name, entry):
            raise wrong(rule.key, rule.right.format(**entry))


def _mistake(key: str, value: Any, scheme: str) -> str:
    """Say what would be right for this key; empty if its value is right."""
    if key not in _KEYS[scheme]:
        return f"is not a key of scheme {scheme}; {_hint(key, _KEYS[scheme])}"
    return next(filter(None, (check(value, scheme) for check in _CHECKS.get(key, (_text,)))), "")


def _close(name: str, known: Iterable[str]) -> list[str]:
    import difflib  # only a mistake needs it

    return difflib.get_close_matches(name, known, 1)


def _hint(key: str, known: set[str]) -> str:
    close = _close(key, known)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"


# --- the value of one key ---------------------------------------------------------------------------------------------


def _text(value: Any, _scheme: str) -> str:
    return "" if isinstance(value, str) and value.strip() else "must be a text"


def _text_or_empty(value: Any, _scheme: str) -> str:
    return "" if isinstance(value, str) else "must be a text"


def _texts(value: Any, _scheme: str) -> str:
    is_list = isinstance(value, list) and value and all(isinstance(item, str) and item.strip() for item in value)
    return "" if is_list else 'must be a list of texts, such as ["…"]'


def _seconds(value: Any, _scheme: str) -> str:
    is_right = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 86_400
    return "" if is_right else "must be a number of seconds from 1 to 86400"


def _truth(value: Any, _scheme: str) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _message(value: Any, scheme: str) -> str:
    if isinstance(value, bool):
        return ""
    return _path(value, scheme) if isinstance(value, str) and value else "must be true, false or a JMESPath"


def _custom_fields(value: Any, scheme: str) -> str:
    if not isinstance(value, dict) or not value:
        return 'must be paths by the id of a custom field, such as { "yVbmUM5aWtAJ1cgPh2tF" = "budget" }'
    for field, path in value.items():
        if not _ID.fullmatch(field):
            return f"{field!r} is not the id of a custom field: 1 to 64 letters, digits, _ or -"
        if right := _text(path, scheme) or _path(path, scheme):
            return f"{field}: {right}"
    return ""


def _user_ids(value: Any, _scheme: str) -> str:
    return "" if all(map(_ID.fullmatch, value)) else "must be ids of HighLevel users: 1 to 64 letters, digits, _ or -"


def _format_name(value: Any, scheme: str) -> str:
    from create_conversation.senders.answers import FORMATS  # only the check needs them

    return _one_of(*sorted(FORMATS))(value, scheme)


def _one_of(*known: str) -> Check:
    return lambda value, _scheme: "" if value in known else f"must be one of {', '.join(known)}"


def _like(pattern: str, right: str) -> Check:
    expression = re.compile(pattern)
    return lambda value, _scheme: "" if expression.fullmatch(value) else right


def _key_format(value: Any, scheme: str) -> str:
    return _one_of(*_KEY_FORMATS[scheme])(value, scheme)


def _signed(value: Any, _scheme: str) -> str:
    rest = re.sub(r"\{(body|ts|id)\}", "", value)
    is_right = "{body}" in value and not re.search(r"[{}]", rest)
    return "" if is_right else "must hold {body}, and may hold {ts}, {id} and plain characters"


def _places(value: Any, _scheme: str) -> str:
    wrong = next((place for place in value if not _PLACE.fullmatch(place)), None)
    right = "must be bearer, basic, header:<in lower case>, query:<name> or body:<member>"
    return "" if wrong is None else f"{wrong!r} {right}"


def _locations(value: Any, _scheme: str) -> str:
    is_right = value == ["*"] or all(map(_ID.fullmatch, value))
    return "" if is_right else 'must be location ids, or ["*"] for any'


def _requires(value: Any, _scheme: str) -> str:
    return "" if value == ["app_id"] else 'can only be ["app_id"]'


def _path(value: Any, _scheme: str) -> str:
    try:
        compiled = jmespath.compile(value)
    except JMESPathError as error:
        quoted = f"""'"{value}"'"""
        return f"is not JMESPath: {str(error).splitlines()[0]} A field of that name? {quoted}"
    return _wrong_call(compiled.parsed)


def _id_path(value: Any, scheme: str) -> str:
    return _path(value.removeprefix("json:"), scheme) if value.startswith("json:") else ""


def _wrong_call(node: Any) -> str:
    """Describe a wrong function call in the parsed JMESPath; jmespath itself notices only when it runs."""
    if isinstance(node, list):
        return next(filter(None, map(_wrong_call, node)), "")
    if not isinstance(node, dict):
        return ""
    mistake = _wrong_function(node) if node.get("type") == "function_expression" else ""
    return mistake or _wrong_call(node.get("children", []))


def _wrong_function(node: dict[str, Any]) -> str:
    name, given = node["value"], len(node["children"])
    if name not in Functions.FUNCTION_TABLE:
        close = _close(name, Functions.FUNCTION_TABLE)
        return f"JMESPath has no function {name}{f'; did you mean {close[0]}?' if close else ''}"
    signature = Functions.FUNCTION_TABLE[name]["signature"]
    variadic = bool(signature) and signature[-1].get("variadic", False)
    if given < len(signature) or (given > len(signature) and not variadic):
        return f"{name} takes {len(signature)} arguments, not {given}"
    return ""


_CHECKS: dict[str, tuple[Check, ...]] = {
    "sig_format": (_text, _one_of("plain", "kv", "space-list")),
    "encoding": (_text, _one_of("hex", "base64")),
    "hash": (_text, _one_of("sha256", "sha1")),
    "ts_unit": (_text, _one_of("s", "ms", "iso8601")),
    "key_format": (_text, _key_format),
    "sig_header": (_text, _like(r"[a-z0-9-]+", "must be a header's name in lower case")),
    "signed": (_text, _signed),
    "ping": (_text, _like(r"\w+", "must be the name of the one form field, of letters, digits and _")),
    "ts": (
        _text,
        _like(r"header:[a-z0-9-]+|kv:\w+|json:\w+", "must be header:<name>, kv:<label> or json:<member>"),
    ),
    "id": (
        _text,
        _like(r"header:[a-z0-9-]+|json:.+", "must be header:<name in lower case> or json:<JMESPath>"),
        _id_path,
    ),
    "tolerance_s": (_seconds,),
    "where": (_texts, _places),
    "locations": (_texts, _locations),
    "public_keys": (_texts,),
    "requires": (_texts, _requires),
    "format": (_text, _format_name),
    "retries": (_truth,),
    "parse": (_texts,),
    "strip": (_texts,),
    "prefix": (_text_or_empty,),
    "app_id": (_text_or_empty,),
    "message": (_message,),
    "tags": (_texts,),
    "custom_fields": (_custom_fields,),
    "update_contact": (_truth,),
    "user_id": (_text, _like(_ID.pattern, "must be the id of a HighLevel user: 1 to 64 letters, digits, _ or -")),
    "mentions": (_texts, _user_ids),
    **dict.fromkeys(PATHS, (_text, _path)),
}


# --- what belongs together --------------------------------------------------------------------------------------------


class _Rule(NamedTuple):
    """`is_broken` is asked about an entry whose keys are all right; `right` may name them in braces."""

    key: str
    right: str
    is_broken: Callable[[str, dict[str, Any]], bool]


def _lacks(part: str, key: str) -> Callable[[str, dict[str, Any]], bool]:
    return lambda _name, entry: f"{{{part}}}" in entry.get("signed", "") and not entry.get(key)


def _has_wrong_keys(_name: str, entry: dict[str, Any]) -> bool:
    return any(ed25519_key(key, entry["key_format"]) is None for key in entry.get("public_keys", ()))


def _is_wrong_event(name: str, entry: dict[str, Any]) -> bool:
    return name == "event" and (entry["scheme"] != "event" or bool(entry.keys() & {"source", "detail_type"}))


def _format(entry: dict[str, Any]) -> str:
    return str(entry.get("sig_format", "plain"))


_RULES = (
    _Rule("ts", "is missing; signed holds {{ts}}", _lacks("ts", "ts")),
    _Rule("id", "is missing; signed holds {{id}}", _lacks("id", "id")),
    _Rule(
        "id",
        "must be header:<name>; signed holds {{id}}",
        lambda _name, entry: "{id}" in entry.get("signed", "") and not entry["id"].startswith("header:"),
    ),
    _Rule(
        "ts",
        'can be kv:<label> only with sig_format = "kv"',
        lambda _name, entry: entry.get("ts", "").startswith("kv:") and _format(entry) != "kv",
    ),
    _Rule(
        "ts",
        "must be header:<name> or kv:<label>; signed holds {{ts}}",
        lambda _name, entry: "{ts}" in entry.get("signed", "") and entry["ts"].startswith("json:"),
    ),
    _Rule(
        "prefix",
        "is only for sig_format plain",
        lambda _name, entry: bool(entry.get("prefix")) and _format(entry) != "plain",
    ),
    _Rule("public_keys", "must be Ed25519 keys, as key_format {key_format} has them", _has_wrong_keys),
    _Rule(
        "scheme", "the entry event maps all events that no other one does: no source, no detail_type", _is_wrong_event
    ),
    _Rule(
        "sig_label",
        "is missing; sig_format {sig_format} needs it",
        lambda _name, entry: _format(entry) != "plain" and not entry.get("sig_label"),
    ),
    _Rule(
        "contact_id",
        "is missing; name the contact by contact_id, email or phone, or name the payload's format",
        lambda _name, entry: not any(entry.get(path) for path in ("contact_id", "email", "phone", "format")),
    ),
)
