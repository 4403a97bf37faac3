"""The text that a submission becomes in HighLevel, for the people who read the conversation.

A first line names the sender and the form; then each answer is a line `question: answer`. Whatever a visitor types
stays text: it makes no second line, no merge field and no markup of its own. Pure.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from jmespath.exceptions import JMESPathError

from create_conversation.senders.answers import Answer
from create_conversation.senders.config import Sender
from create_conversation.senders.redaction import secret_members

MAX_CHARACTERS = 5_000
NOT_SHOWN = "(not shown)"
FILE_NOT_SHOWN = "(file, not shown)"
_MAX_LABEL = 300
_MAX_FORM = 150
_MAX_ITEMS = 3_000
_INDENT = "    "
# What a JMESPath may raise: a function of it met a value of another type.
_FAILED = (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError)
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


type _Part = str | Answer  # a line as it is, or an answer to be written


def render_message(sender: Sender, payload: Any, *, reference: str = "") -> str:
    """Render the submission as text, with the reference as its last line; empty if there is nothing to write.

    At most MAX_CHARACTERS: what is too long is cut, and the text says so. Never raises.
    """
    if sender.message is False:
        return ""
    return _text(_parts(sender, _without_secret_members(sender, payload)), reference)


def own_write(sender: Sender, payload: Any) -> bool:
    """Return whether HighLevel reports what this stack may have written itself: answering it would never end."""
    is_app = sender.name == "highlevel-app" or sender.sig_header == "x-ghl-signature"
    type_ = payload.get("type") if is_app and isinstance(payload, dict) else None
    return isinstance(type_, str) and type_.strip() in _OWN_WRITES


def _parts(sender: Sender, payload: Any) -> Iterable[_Part]:
    if "message" in sender.paths:
        try:
            return _of_path(sender.paths["message"].search(payload))
        except _FAILED:
            pass  # the answers instead: the words are not lost for that
    given = _given(sender, payload)
    return _of_payload(sender, payload) if given is None else [_as_written(given)]


def _given(sender: Sender, payload: Any) -> str | None:
    """Return the member `message` of a caller that writes the text itself; None where the answers are rendered."""
    if sender.scheme == "event":
        payload = payload.get("detail") if isinstance(payload, dict) else None
    elif sender.name != "api":
        return None
    message = payload.get("message") if isinstance(payload, dict) else None
    if isinstance(message, str):
        return message
    return "" if sender.name == "api" else None


def _of_path(found: Any) -> Iterator[_Part]:
    """Yield what the user's expression gives: a text as it is, a list line by line, an object by its labels."""
    from create_conversation.senders.answers import text_of, walk

    for item in found[:_MAX_ITEMS] if isinstance(found, list) else [found]:
        if isinstance(item, dict):
            yield from walk(item)
        elif isinstance(item, list):
            yield _indented(", ".join(answer.value for answer in walk(item) if answer.value))
        elif isinstance(found, list):
            yield _indented(text_of(item))
        else:
            yield _safe(text_of(item), keeps_lines=True).strip()


def _of_payload(sender: Sender, payload: Any) -> Iterator[_Part]:
    from create_conversation.senders.message_formats import lines_of

    form, ids = _form(sender, payload), _members_of_ids(sender)
    shown = (answer for answer in lines_of(payload, sender.format) if answer.label not in ids)
    answers = (answer for answer in shown if not (form and _is_form(answer, form)))
    first = next(answers, None)
    if first is None and (not form or sender.scheme == "event"):
        return
    yield f"{_name_of(sender)}: {form}" if form else _name_of(sender)
    if first is not None:
        yield first
        yield from answers


def _members_of_ids(sender: Sender) -> set[str]:
    """Name the members in which the sender's entry finds HighLevel's ids, whatever they are called."""
    found = [sender.paths[name] for name in ("location_id", "contact_id") if name in sender.paths]
    return {each.expression.replace('"', "") for path in found for each in path.alternatives}


def _name_of(sender: Sender) -> str:
    return _NAMES.get(sender.name) or " ".join(word[:1].upper() + word[1:] for word in sender.name.split("-"))


def _form(sender: Sender, payload: dict[str, Any]) -> str:
    """Return the form's name, where the payload has it."""
    from create_conversation.senders.answers import text_of
    from create_conversation.senders.message_formats import form_of

    if "form" not in sender.paths:
        return ""
    try:
        found = sender.paths["form"].search(payload)
    except _FAILED:
        return ""
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    text = text_of(found)[:1000] if isinstance(found, str | int) and not isinstance(found, bool) else ""
    return _safe(form_of(text)).strip()[:_MAX_FORM].strip()


def _is_form(answer: Answer, form: str) -> bool:
    """Return whether an answer only repeats the form's name."""
    from create_conversation.senders.message_lines import shown_label

    return answer.value.strip() == form and shown_label(answer.label).lower() in _FORM_LABELS


_FORM_LABELS = {"form", "form name", "form title", "page name"}


# --- lines ------------------------------------------------------------------------------------------------------------

_DATA_URL = re.compile(r"data:[\w.+-]{0,60}/?[\w.+-]{0,60}[;,]", re.IGNORECASE)


def _line(answer: Answer) -> str:
    from create_conversation.senders.message_lines import is_private

    label, is_not_shown = _label(answer.label)
    if is_not_shown or (answer.type and is_private(answer.type)):
        return f"{label}: {NOT_SHOWN}"
    if _DATA_URL.match(answer.value):
        return f"{label}: {FILE_NOT_SHOWN}"
    value = _indented(answer.value[:MAX_CHARACTERS]) or _indented(answer.value)
    return f"{label}: {value}" if value else ""


@lru_cache(maxsize=2048)
def _label(label: str) -> tuple[str, bool]:
    """Return a label as it is shown, and whether its answer is not."""
    from create_conversation.senders.message_lines import is_private, shown_label

    text = _safe(shown_label(label)).strip()
    if len(text) > _MAX_LABEL:
        text = f"{text[:_MAX_LABEL]}…"
    return text.rstrip(":").strip() or "Answer", is_private(label)


def _indented(value: str) -> str:
    """Indent all lines of a value but the first, so that none looks like the next question."""
    text = _safe(value, keeps_lines=True).strip()
    return re.sub(r"\n\s*\n", "\n\n", text).replace("\n", f"\n{_INDENT}") if "\n" in text else text


# --- what a visitor types stays text ----------------------------------------------------------------------------------

_JOINERS = "\u200c\u200d"
_BREAKS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_LOOKS_LIKE_MARKUP = re.compile(r"<(?=[A-Za-z/!?])")
_OPENS = re.compile(r"\{(?=[{%#])")
_CLOSES = re.compile(r"(?<=[}%#])\}")
_LIKE_THE_REFERENCE = re.compile(r"\b(ref)(?=[\s:#]{1,3}[0-9a-f]{4})", re.IGNORECASE)


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
    f"(?<=[\\x00-\\x7f])[{_JOINERS}\ufe0f]+|^[{_JOINERS}\ufe0f]+|[{_JOINERS}]+(?=[\\x00-\\x7f]|$)"
    f"|(?<=[{_JOINERS}])[{_JOINERS}]+"
)


def _shown_character(character: str) -> str:
    if character == "\n" or character.isprintable() or character in _JOINERS:
        return character
    if (unicodedata.category(character) in ("Zs", "Cc") and character in "\t\xa0") or character.isspace():
        return " "
    return "" if unicodedata.category(character)[0] == "C" else character


_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def _as_written(text: str) -> str:
    """Leave a caller's own text as it is, but for merge fields and characters that no text has."""
    return _unforged(_NO_TEXT.sub("", text.replace("\r\n", "\n"))).strip()


# --- the whole text ---------------------------------------------------------------------------------------------------


def _text(parts: Iterable[_Part], reference: str) -> str:
    """Join the lines, as many as there is room for; the rest is only counted."""
    end = f"\n\n{reference}" if reference else ""
    room = MAX_CHARACTERS - len(end)
    lines: list[str] = []
    length = left = 0
    for part in parts:
        if length > room:
            left += len(part) + 1 if isinstance(part, str) else len(part.label) + len(part.value) + 3
        elif line := part if isinstance(part, str) else _line(part):
            lines.append(line)
            length += len(line) + 1
            if isinstance(part, Answer) and len(line) > MAX_CHARACTERS:
                left += max(len(part.value) - MAX_CHARACTERS, 0)
    text = "\n".join(lines)
    if reference and reference in text:
        text = text.replace(reference, f"{reference[:3]} {reference[3:]}")
    if not text:
        return ""
    return (text if len(text) <= room and not left else _cut(text, room, left)) + end


def _cut(text: str, room: int, left: int) -> str:
    at = room - len(_note(len(text) + left))
    stop = at - 40
    while stop < at < len(text) and (
        unicodedata.combining(text[at]) or text[at] in _JOINERS or text[at - 1] in _JOINERS
    ):
        at -= 1
    shown = text[:at].rstrip()
    return shown + _note(len(text) - len(shown) + left)


def _note(count: int) -> str:
    return f"\n… (cut: {count:,} more characters)"


def _without_secret_members(sender: Sender, payload: Any) -> Any:
    """Leave out what authenticates the delivery and what `strip` names, in case they are still there."""
    names = secret_members(sender)
    if not isinstance(payload, dict) or names.isdisjoint(payload):
        return payload
    return {name: value for name, value in payload.items() if name not in names}
