"""Answers as people read them: without what is technical, the parts of a name on one line, labels in words."""

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import groupby
from typing import Any

from create_conversation.senders.answers import Answer, text_of
from create_conversation.senders.body import json_or_text
from create_conversation.senders.contact_details import Words, bare_label, words_of
from create_conversation.senders.label_words import PRIVATE


def shown(listed: Iterable[Answer]) -> Iterator[Answer]:
    """Leave out answers that are empty or technical; join the parts of a name, an address, a file, a list."""
    chosen = (_readable(answer) for answer in listed if answer.value.strip() and not is_technical(answer))
    for parent, group in groupby(chosen, _parent):
        parts = [*group]
        yield from _joined(parent, parts) if parent else parts


def line(label: str, *values: Any) -> Iterator[Answer]:
    """Yield an answer with the first of these values that is there; none if there is none."""
    if value := next(filter(str.strip, map(scalar, values)), ""):
        yield Answer(label, "", value)


def scalar(value: Any) -> str:
    """Write a scalar as people read it; nothing for an object or a list."""
    return text_of(value) if isinstance(value, str | int | float) else ""


# --- technical --------------------------------------------------------------------------------------------------------

_ID_WORDS = {"id", "ids", "uuid", "guid", "uid", "uvid", "vid", "gid", "cuid", "nonce"}
_IDS = re.compile(r"(?:form|page|entry|user|submission|unique|event|lead|contact|location|app|team|document)id")
# Before such a word: a number that a person has, and types.
_OWN_IDS = {
    *("member", "membership", "student", "employee", "patient", "policy", "order", "booking", "reservation", "ticket"),
    *("invoice", "tax", "vat", "license", "vehicle", "property", "skype", "telegram", "discord", "line", "wechat"),
    *("apple", "player", "course", "game", "tracking", "whatsapp", "instagram", "facebook", "twitter"),
}
_TECHNICAL = {
    *("gclid", "fbclid", "msclkid", "ttclid", "li fat id", "gbraid", "wbraid", "dclid", "fbp", "fbc", "cf uvid"),
    *("user agent", "useragent", "customer user agent", "http user agent", "browser user agent", "utf 8", "utf8"),
    *("g recaptcha response", "h captcha response", "cf turnstile response", "recaptcha", "captcha", "honeypot"),
    *("authenticity token", "csrf token", "csrfmiddlewaretoken", "csrf", "token", "wpnonce", "wp http referer"),
    *("is starred", "is read", "field type", "api version", "admin graphql api id", "lead guid"),
    *("webhook url", "webhookurl", "hs email domain"),
}
_TIMES = re.compile(
    r"(?:date )?(?:created|updated|modified|submitted|landed)(?: at| on| time| date| timestamp)?"
    r"|(?:submission|submit) ?(?:time|date|timestamp)|timestamp|time submitted|date (?:added|submitted)"
    r"|last (?:updated|modified)(?: at| on)?|saved at timestamp|unsubscribed at"
)
_LIKE_A_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ].*)?|\d{10}(?:\d{3})?|\d\d?:\d\d.*|\d\d?[./]\d\d?[./]\d{4}.*")
_LIKE_AN_IP = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F.]{0,15}")
# In a hidden field: an id, or what a form has left unfilled.
_OPAQUE = re.compile(r"(?=\S*\d)(?=\S*[A-Za-z])[A-Za-z0-9_-]{16,64}|x{4,}|undefined|null|\{+[^{}]{0,100}\}+")


def is_technical(answer: Answer) -> bool:
    """Return whether no person has typed the answer, and none reads it: an id, a storage time, an IP address."""
    is_hidden = answer.label.startswith("hidden.") or "hidden" in answer.type.lower()
    if is_hidden and _OPAQUE.fullmatch(answer.value):
        return True
    kind = _technical_kind(answer.label)
    if kind == "time":
        return bool(_LIKE_A_TIME.fullmatch(answer.value.strip()))
    if kind == "ip":
        return bool(_LIKE_AN_IP.fullmatch(answer.value.strip()))
    if kind == "object":  # the kind of an object, where it is not what someone lives in
        return bool(re.fullmatch(r"[a-z_.]{1,64}", answer.value))
    return kind == "id"


@lru_cache(maxsize=2048)
def _technical_kind(label: str) -> str:
    """Return what a member's name says: `id`, `time`, `ip`, `object` or nothing, as of a question of several words."""
    last = label.rpartition(".")[2]
    words = words_of(last).strip()
    if words in ("user agent", "remote ip"):
        return "id"
    if not words or re.search(r"\s", last) or is_private(label):
        return ""
    each = words.split()
    if each[-1] in _ID_WORDS or each[-1].endswith("nonce") or _IDS.fullmatch(each[-1]) or words in _TECHNICAL:
        return "" if len(each) > 1 and each[-2] in _OWN_IDS else "id"
    if _TIMES.fullmatch(words):
        return "time"
    if words == "object":
        return "object"
    return "ip" if "ip" in each or each[-1].endswith("ipaddress") else ""


# --- private ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2048)
def is_private(label: str) -> bool:
    """Return whether a label says that the answer is a password, a card's number or that of a person's document."""
    words = _private_words()
    pieces = (label[at : at + 120] for at in range(0, max(len(label), 1), 60))
    return bare_label(label) in words.whole or any(map(words.are_clearly_in, pieces))


@cache
def _private_words() -> Words:
    return Words(PRIVATE)


# --- parts that are one answer ----------------------------------------------------------------------------------------

# Each in the order in which it is written.
_NAMES = {part: place for place, part in enumerate(["prefix", "first", "middle", "last", "suffix"])} | {
    "title": 0,
    "firstname": 1,
    "middlename": 2,
    "middleinitial": 2,
    "initial": 2,
    "lastname": 3,
}
_STREET = ("address", "addrline1", "address1", "line1", "street", "addrline2", "address2", "line2", "street2")
_AREA = (
    "suburb",
    "district",
    "city",
    "town",
    "county",
    "state",
    "stateprovince",
    "province",
    "region",
    "zip",
    "zipcode",
    "postal",
)
_ADDRESS = {
    part: place for place, part in enumerate((*_STREET, *_AREA, "postalcode", "postcode", "country", "countrycode"))
}
_FILE = {"url", "name", "filename", "size", "mimetype", "type", "id", "key"}
_DATE = {"year", "month", "day"}
_TIME = {"timeinput", "hourselect", "minuteselect", "ampm"}
_NO_PARTS = {"type", "fieldtype", "firstandlast"}
_PARTS = _NAMES.keys() | _ADDRESS.keys() | _FILE | _DATE | _TIME | _NO_PARTS
_SAYS_NOTHING = re.compile(r"(?:field|input)?[ _]?\d+(?:[._]\d+)?", re.IGNORECASE)
_PART_OF_NAME = {"first_name": "Name.first", "last_name": "Name.last"}


def _readable(answer: Answer) -> Answer:
    """Name the parts of a name that are only numbered; write a list of texts, which came as JSON text, with commas."""
    label, type_, value = answer
    if type_ in _PART_OF_NAME and _SAYS_NOTHING.fullmatch(label):
        return Answer(_PART_OF_NAME[type_], "", value)
    if value.startswith('["') and value.endswith('"]') and (texts := _listed(value)):
        return Answer(label, type_, texts)
    return answer


def _listed(value: str) -> str:
    parsed = json_or_text(value)
    is_texts = isinstance(parsed, list) and all(isinstance(item, str) for item in parsed)
    return ", ".join(parsed) if is_texts else ""


@lru_cache(maxsize=2048)
def _part(label: str) -> tuple[str, str]:
    """Split a label into an object and its member, where that may be a part of one answer."""
    parent, _, last = label.rpartition(".")
    part = re.sub(r"[_\s-]", "", last.lower())
    is_choice = part.isdecimal() and not re.search(r"\s", parent)
    is_part = (part in _PARTS or is_choice) and words_of(parent.rpartition(".")[2]).strip() not in WRAPPERS
    return (parent, part) if is_part else ("", part)


def _parent(answer: Answer) -> str:
    return _part(answer.label)[0]


def _joined(parent: str, group: list[Answer]) -> Iterator[Answer]:
    """Make one answer of the parts of a name, of an address, of a file or of the choices of a list."""
    by_part = {_part(answer.label)[1]: answer.value for answer in group}
    parts = by_part.keys() - _NO_PARTS
    if len(by_part) < len(group) or not parts:
        yield from group
    elif parts & {"first", "firstname", "last", "lastname"} and parts <= _NAMES.keys():
        yield Answer(parent, "", " ".join(by_part[part] for part in sorted(parts, key=_NAMES.__getitem__)))
    elif len(parts) > 1 and parts <= _ADDRESS.keys():
        yield Answer(parent, "", ", ".join(by_part[part] for part in sorted(parts, key=_ADDRESS.__getitem__)))
    elif parts == _DATE:
        yield Answer(parent, "", "-".join(by_part[part] for part in ("year", "month", "day")))
    elif "timeinput" in parts and parts <= _TIME:
        yield Answer(parent, "", " ".join(by_part[part] for part in ("timeinput", "ampm") if part in parts))
    elif all(map(str.isdecimal, parts)):
        yield Answer(parent, "", ", ".join(by_part[part] for part in by_part if part in parts))
    elif "url" in parts and parts <= _FILE:
        yield _file(parent, by_part)
    else:
        yield from group


def _file(parent: str, by_part: dict[str, str]) -> Answer:
    name = by_part.get("name") or by_part.get("filename")
    return Answer(_numbered(parent), "", f"{by_part['url']} ({name})" if name else by_part["url"])


def _numbered(label: str) -> str:
    """Write the place in a list as people count: `Photos of the roof[0]` is the first."""
    return re.sub(r"\[(\d+)\]$", lambda match: f" {int(match[1]) + 1}", label) if " " in label else label


# --- labels -----------------------------------------------------------------------------------------------------------

# Members that only hold others.
WRAPPERS = {
    *("data", "fields", "body", "payload", "attributes", "answers", "submission", "response", "form data", "formdata"),
    *("form fields", "form response", "properties", "user inputs", "additional fields", "custom data", "customdata"),
    *("hidden", "values", "value", "json", "detail", "variables", "metadata", "custom attributes", "identities"),
}
_WRITTEN = {
    "firstname": "first name",
    "fname": "first name",
    "lastname": "last name",
    "lname": "last name",
    "fullname": "full name",
    "mobilephone": "mobile phone",
    "lifecyclestage": "lifecycle stage",
    "dealname": "deal name",
    "jobtitle": "job title",
    "utm": "UTM",
    "url": "URL",
    "uri": "URI",
    "sms": "SMS",
}
_BRANDS = {"WhatsApp", "LinkedIn", "YouTube", "TikTok", "PayPal", "WeChat", "GitHub", "FaceTime", "WordPress"}
_NAME_OF_MEMBER = re.compile(r"[A-Za-z0-9_.$\[\]-]+\??")


@lru_cache(maxsize=2048)
def shown_label(label: str) -> str:
    """Write a member's name as words, `your-message` as `Your message`; a label for people stays as it is."""
    if not _NAME_OF_MEMBER.fullmatch(label):
        return label
    if re.fullmatch(r"(?:field_?)?\d+(?:\.\d+)*", label, re.IGNORECASE):
        return f"Field {re.sub(r'^[A-Za-z_]+', '', label)}"
    names = [_as_words(name) for name in label.split(".") if name]
    inner = [name for name in names if name.lower() not in WRAPPERS]
    text = " ".join(inner or names[-1:])
    if text.isdecimal():
        return f"Field {text}"
    text = "name" if text == "names" else text
    return text[:1].upper() + text[1:]


def _as_words(name: str) -> str:
    """Write `firstName`, `first_name` and `first-name` as `first name`; `E-Mail` and `WhatsApp` as they are."""
    text = re.sub(r"\[(\d+)\]", lambda match: f" {int(match[1]) + 1}", name)
    if "_" in text or "$" in text:
        text = re.sub(r"[_$]+", " ", text).strip()
        text = text.lower() if text.isupper() else text
    elif text.islower():
        text = re.sub(r"(?<=\w\w)-(?=\w)", " ", text)
    elif text not in _BRANDS and "-" not in text:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
        text = text if words == text else re.sub(r"\b[A-Z](?=[a-z]|\b)", lambda match: match[0].lower(), words)
    return " ".join(_WRITTEN.get(word, word) for word in text.split(" "))
