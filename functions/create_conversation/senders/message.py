"""The text that a submission becomes in HighLevel, for the people who read the conversation.

A first line names the sender and the form; then each answer is a line `question: answer`. Whatever a visitor types
stays text: it makes no second line, no merge field and no markup of its own. Pure.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import Any

from jmespath.exceptions import JMESPathError

from create_conversation.senders.answers import Answer
from create_conversation.senders.config import Sender
from create_conversation.senders.redaction import secret_members

MAX_CHARACTERS = 5_000
NOT_SHOWN = "(not shown)"
_MAX_LABEL = 300
_MAX_FORM = 150
_INDENT = "    "
# What the stack's own writes make HighLevel send to a Marketplace app.
_OWN_WRITES = {
    *("OutboundMessage", "NoteCreate", "NoteUpdate", "ContactUpdate", "ContactTagUpdate"),
    *("ConversationUnreadUpdate", "ConversationUnreadWebhook"),
}
# Senders whose names are written in another way than their presets'.
_NAMES = {
    "activecampaign": "ActiveCampaign",
    "callrail": "CallRail",
    "clickfunnels": "ClickFunnels",
    "clickfunnels-classic": "ClickFunnels",
    "event": "Event",
    "highlevel-app": "HighLevel app",
    "highlevel-workflow": "HighLevel workflow",
    "hubspot-workflow": "HubSpot",
    "standard-webhooks": "Webhook",
    "standard-webhooks-v1a": "Webhook",
    "token": "Webhook",
    "whatconverts": "WhatConverts",
    "woocommerce": "WooCommerce",
    "wpforms": "WPForms",
}


def render_message(sender: Sender, payload: dict[str, Any], *, reference: str = "") -> str:
    """Render the submission as text, with the reference as its last line; empty if there is nothing to write.

    At most MAX_CHARACTERS: what is too long is cut, and the text says so. Never raises.
    """
    if sender.message is False:
        return ""
    payload = _without_secret_members(sender, payload)
    return _finished(_body(sender, payload), reference)


def own_write(sender: Sender, payload: Any) -> bool:
    """Return whether HighLevel reports what this stack may have written itself: answering it would never end."""
    is_app = sender.name == "highlevel-app" or sender.sig_header == "x-ghl-signature"
    type_ = payload.get("type") if is_app and isinstance(payload, dict) else None
    return isinstance(type_, str) and type_.strip() in _OWN_WRITES


def _body(sender: Sender, payload: dict[str, Any]) -> Iterator[str]:
    """Yield the lines."""
    given = _given(sender, payload)
    if isinstance(given, str):
        return iter([_as_written(given)])
    if "message" in sender.paths:
        try:
            return _of_path(sender.paths["message"].search(payload))
        except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError):
            pass  # a function of JMESPath met a value of another type; the words are not lost for that
    return _of_payload(sender, payload)


def _given(sender: Sender, payload: dict[str, Any]) -> Any:
    """Return the member `message` of a caller that writes the text itself; None where the answers are rendered."""
    if sender.name == "api":
        message = payload.get("message")
        return message if isinstance(message, str) else ""
    detail = payload.get("detail") if sender.scheme == "event" else None
    return detail.get("message") if isinstance(detail, dict) else None


def _of_path(found: Any) -> Iterator[str]:
    """Yield what the user's expression gives: a text as it is, a list line by line, an object by its labels."""
    from create_conversation.senders.answers import text_of, walk

    if isinstance(found, dict):
        yield from _lines(walk(found))
    elif isinstance(found, list):
        for item in found[:_MAX_ITEMS]:
            if isinstance(item, dict):
                yield from _lines(walk(item))
            elif text := _indented(text_of(item)):
                yield text
    elif text := _safe(text_of(found), keeps_lines=True).strip():
        yield text


_MAX_ITEMS = 3_000


def _of_payload(sender: Sender, payload: dict[str, Any]) -> Iterator[str]:
    from create_conversation.senders.message_lines import lines_of

    form = _form(sender, payload)
    lines = _lines(lines_of(payload, sender.format))
    first = next(lines, None)
    if first is None and (not form or sender.scheme == "event"):
        return
    yield f"{_name_of(sender)}: {form}" if form else _name_of(sender)
    if first is not None:
        yield first
        yield from lines


def _name_of(sender: Sender) -> str:
    return _NAMES.get(sender.name) or " ".join(word[:1].upper() + word[1:] for word in sender.name.split("-"))


def _form(sender: Sender, payload: dict[str, Any]) -> str:
    from create_conversation.senders.answers import text_of
    from create_conversation.senders.message_lines import form_of

    if "form" not in sender.paths:
        return ""
    try:
        found = sender.paths["form"].search(payload)
    except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError):
        return ""
    text = form_of(text_of(found)) if isinstance(found, str | int) and not isinstance(found, bool) else ""
    return _safe(text[:1000]).strip()[:_MAX_FORM]


# --- lines ------------------------------------------------------------------------------------------------------------


def _lines(shown: Iterable[Answer]) -> Iterator[str]:
    for answer in shown:
        label, is_secret = _label(answer.label)
        if is_secret or (answer.type and _is_secret(answer.type)):
            yield f"{label}: {NOT_SHOWN}"
        elif value := _indented(_FILE_DATA if answer.value.startswith("data:") else answer.value):
            yield f"{label}: {value}"


_FILE_DATA = "(file, not shown)"


@lru_cache(maxsize=2048)
def _label(label: str) -> tuple[str, bool]:
    """Return a label as it is shown, and whether its answer is not."""
    from create_conversation.senders.message_lines import shown_label

    text = _safe(shown_label(label)).strip()
    if len(text) > _MAX_LABEL:
        text = f"{text[:_MAX_LABEL]}…"
    return text.rstrip(":").strip() or "Answer", _is_secret(label)


@lru_cache(maxsize=2048)
def _is_secret(label: str) -> bool:
    """Return whether a label says that the answer is a password, a number of a card or of a person's document."""
    from create_conversation.senders.contact_details import bare_label

    words = _secret_words()
    pieces = [label[at : at + 120] for at in range(0, max(len(label), 1), 60)]
    return bare_label(label) in words.whole or any(map(words.are_clearly_in, pieces))


@cache
def _secret_words() -> Any:
    from create_conversation.senders.contact_details import Words
    from create_conversation.senders.label_words import PRIVATE

    return Words(PRIVATE)


def _indented(value: str) -> str:
    """Indent all lines of a value but the first, so that none looks like the next question."""
    text = _safe(value, keeps_lines=True).strip()
    if "\n" not in text:
        return text
    first, *rest = text.split("\n")
    return "\n".join([first, *(f"{_INDENT}{line.strip()}" if line.strip() else "" for line in rest)])


# --- what a visitor types stays text ----------------------------------------------------------------------------------

_JOINERS = "\u200c\u200d"
_BREAKS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_LOOKS_LIKE_MARKUP = re.compile(r"<(?=[A-Za-z/!?])")
_OPENS = re.compile(r"\{(?=[{%#])")
_CLOSES = re.compile(r"(?<=[}%#])\}")
_LIKE_THE_REFERENCE = re.compile(r"\b(ref)(?=[\s:#]{1,3}[0-9a-f]{6})", re.IGNORECASE)


def _safe(text: str, *, keeps_lines: bool = False) -> str:
    text = _BREAKS.sub("\n", text)
    if not keeps_lines:
        text = " ".join(text.split())
    return _unforged(_LOOKS_LIKE_MARKUP.sub("< ", _visible(text)))


def _unforged(text: str) -> str:
    """Break up merge fields and what looks like the reference."""
    if "{" in text or "}" in text:
        text = _CLOSES.sub(" }", _OPENS.sub("{ ", text))
    return _LIKE_THE_REFERENCE.sub(r"\1.", text)


def _visible(text: str) -> str:
    """Remove control characters and what is invisible; joiners stay where a script or an emoji needs them."""
    if text.isascii() and text.isprintable():
        return text
    from create_conversation.senders.contact_details import INVISIBLE

    text = "".join(map(_shown_character, text)) if not text.replace("\n", "").isprintable() else text
    text = INVISIBLE.sub(lambda match: match[0] if match[0] in _JOINERS or match[0] == "\ufe0f" else "", text)
    return _LOOSE_JOINERS.sub("", text)


_LOOSE_JOINERS = re.compile(
    f"(?<=[\\x00-\\x7f])[{_JOINERS}\ufe0f]+|[{_JOINERS}\ufe0f]+(?=[\\x00-\\x7f])"
    f"|^[{_JOINERS}\ufe0f]+|[{_JOINERS}]+$|(?<=[{_JOINERS}])[{_JOINERS}]+"
)


def _shown_character(character: str) -> str:
    if character == "\n" or character.isprintable() or character in _JOINERS:
        return character
    if (unicodedata.category(character) in ("Zs", "Cc") and character in "\t\xa0") or character.isspace():
        return " "
    return "" if unicodedata.category(character)[0] == "C" else character


def _as_written(text: str) -> str:
    """Leave a caller's own text as it is, but for merge fields and characters that no text has."""
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    return _unforged(text.replace("\r\n", "\n").strip())


# --- the whole text ---------------------------------------------------------------------------------------------------


def _finished(lines: Iterable[str], reference: str) -> str:
    end = f"\n\n{reference}" if reference else ""
    text = "\n".join(lines)
    if not text:
        return ""
    room = MAX_CHARACTERS - len(end)
    return (text if len(text) <= room else _cut(text, room)) + end


def _cut(text: str, room: int) -> str:
    longest = f"\n… (cut: {len(text):,} more characters)"
    at = room - len(longest)
    while at > room - 40 - len(longest) and (unicodedata.combining(text[at]) or text[at - 1] in _JOINERS):
        at -= 1
    shown = text[:at].rstrip()
    return f"{shown}\n… (cut: {len(text) - len(shown):,} more characters)"


def _without_secret_members(sender: Sender, payload: dict[str, Any]) -> dict[str, Any]:
    """Leave out what authenticates the delivery and what `strip` names, in case they are still there."""
    names = secret_members(sender)
    return {name: value for name, value in payload.items() if name not in names} if names & payload.keys() else payload
