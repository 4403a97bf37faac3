"""What of a payload a message shows: lines of label and value, from its answers or from an order, a booking, a call.

Most payloads are their answers without what is technical. Those below are not questions and answers, or say things
twice; each of these formats has a function. Pure; none raises, whatever JSON comes.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from create_conversation.senders.answers import Answer, answers, objects_in, value_at
from create_conversation.senders.message_lines import line, scalar, shown, shown_label
from create_conversation.senders.message_orders import shopify_lines, stripe_lines, woocommerce_lines


def lines_of(payload: Any, format: str) -> Iterable[Answer]:
    """List what the message shows of a payload, in its order."""
    own = _LINES.get(format)
    return own(payload) if own else _answers(payload, format, _WITHOUT.get(format, ()))


def form_of(text: str) -> str:
    """Return the form's name as people read it: `checkout.session.completed` is what a sender calls an event."""
    return shown_label(text.replace("/", ".")) if re.fullmatch(r"[a-z0-9]+(?:[./_-][a-z0-9]+)*", text) else text


def _answers(payload: Any, format: str, without: Iterable[str] = ()) -> Iterator[Answer]:
    return shown(answer for answer in answers(payload, format) if answer.label not in without)


# --- orders -----------------------------------------------------------------------------------------------------------


def _stripe(payload: Any) -> Iterable[Answer]:
    is_known = isinstance(value_at(payload, "data.object"), dict)
    return stripe_lines(payload) if is_known else _answers(payload, "stripe")


def _shopify(payload: Any) -> Iterable[Answer]:
    return shopify_lines(payload) if isinstance(payload, dict) else _answers(payload, "shopify")


def _woocommerce(payload: Any) -> Iterable[Answer]:
    is_known = isinstance(value_at(payload, "billing"), dict)
    return woocommerce_lines(payload) if is_known else _answers(payload, "woocommerce")


# --- bookings and calls -----------------------------------------------------------------------------------------------


def _calendly(payload: Any) -> Iterator[Answer]:
    """Read a booking: the invitee, the answers, the time as it was sent."""
    invitee = value_at(payload, "payload")
    if not isinstance(invitee, dict):
        yield from _answers(payload, "calendly")
        return
    yield from line(
        "Name",
        invitee.get("name"),
        " ".join(filter(None, (scalar(invitee.get(name)) for name in ("first_name", "last_name")))),
    )
    yield from line("Email", invitee.get("email"))
    yield from line("Phone", invitee.get("text_reminder_number"))
    for item in objects_in(invitee.get("questions_and_answers")):
        yield from line(scalar(item.get("question")), item.get("answer"))
    event = invitee.get("scheduled_event")
    yield from line("Start", value_at(event, "start_time"))
    yield from line("End", value_at(event, "end_time"))
    yield from line("Time zone", invitee.get("timezone"))
    yield from line("Location", value_at(event, "location.location"), value_at(event, "location.join_url"))
    guests = [scalar(guest.get("email")) for guest in objects_in(value_at(event, "event_guests"))]
    yield from line("Guests", ", ".join(filter(None, guests)))
    yield from line("Cancelled", value_at(invitee, "cancellation.reason"))
    tracking = invitee.get("tracking")
    yield from shown(answer for answer in answers(tracking, "flat") if answer.label.startswith("utm_"))


_CALL = (
    ("Name", "customer_name"),
    ("Phone", "customer_phone_number"),
    ("From", "source_number"),
    ("Text", "content"),
    ("Direction", "direction"),
    ("Answered", "answered"),
    ("Voicemail", "voicemail"),
    ("Duration in seconds", "duration"),
    ("Recording", "recording_player"),
    ("Transcription", "transcription"),
    ("Note", "note"),
    ("Page", "form_url"),
    ("Landing page", "landing_page_url"),
    ("Source", "source"),
    ("Campaign", "campaign"),
    ("Keywords", "keywords"),
)


def _callrail(payload: Any) -> Iterator[Answer]:
    """Read a form's fields, a call or a text message."""
    if value_at(payload, "form_data") is not None:
        yield from _answers({"form_data": payload["form_data"]}, "callrail")
    for label, name in _CALL:
        yield from line(label, value_at(payload, name))


# --- the rest ---------------------------------------------------------------------------------------------------------

_LEAD = (
    ("Name", ("contact_name", "caller_name")),
    ("Company", ("contact_company_name",)),
    ("Email", ("contact_email_address", "email_address")),
    ("Phone", ("contact_phone_number", "phone_number")),
    ("Message", ("message",)),
    ("Chat", ("chat_log",)),
    ("Transcription", ("call_transcription",)),
    ("Recording", ("play_recording", "recording")),
    ("Duration in seconds", ("call_duration_seconds",)),
    ("Quote", ("quote_value",)),
    ("Sale", ("sales_value",)),
    ("Notes", ("notes",)),
    ("City", ("city",)),
    ("Page", ("lead_url",)),
    ("Landing page", ("landing_url",)),
    ("Source", ("lead_source",)),
    ("Medium", ("lead_medium",)),
    ("Campaign", ("lead_campaign",)),
    ("Keyword", ("lead_keyword",)),
)


def _whatconverts(payload: Any) -> Iterator[Answer]:
    """Read the form's fields, then what WhatConverts has found out itself."""
    if not isinstance(payload, dict) or not payload.keys() & {"additional_fields", "lead_type", "lead_id"}:
        yield from _answers(payload, "whatconverts")
        return
    typed: set[str] = set()
    for answer in _answers(payload.get("additional_fields") or {}, "flat"):
        typed.add(_compared(answer.value))
        yield answer
    for label, names in _LEAD:
        yield from (line for line in line(label, *map(payload.get, names)) if _compared(line.value) not in typed)


def _compared(value: str) -> str:
    """Write a phone number as its last digits, anything else as it is."""
    digits = re.sub(r"\D", "", value)
    return digits[-10:] if len(digits) > 6 and not re.search(r"[A-Za-z@]", value) else value


def _wpforms(payload: Any) -> Iterator[Answer]:
    """Read the fields; several choices of one come joined by `||`."""
    for label, type_, value in _answers(payload, "wpforms"):
        yield Answer(label, type_, value.replace("||", ", "))


def _tally(payload: Any) -> Iterator[Answer]:
    """Read the answers; each choice of a checkbox comes again as a field of its own."""
    question = None
    for answer in _answers(payload, "tally"):
        if answer.type == "CHECKBOXES":
            if question and answer.label.startswith(f"{question} ("):
                continue
            question = answer.label
        yield answer


# What Elementor adds after the answers, where its "Advanced data" are off. The page is worth reading.
_OF_ELEMENTOR = ("Date", "Time", "Page URL", "User Agent", "Remote IP", "Powered by")


def _elementor(payload: Any) -> Iterator[Answer]:
    listed = answers(payload, "elementor")
    end = len(listed)
    while end and listed[end - 1].label in _OF_ELEMENTOR:
        end -= 1
    added = listed[end:]
    if not {"User Agent", "Remote IP", "Powered by"} & {answer.label for answer in added}:
        end, added = len(listed), []
    yield from shown(listed[:end])
    yield from (answer for answer in added if answer.label == "Page URL")


_COMPUTED = re.compile(
    r"hs_|hubspot_|num_|identities|.*analytics|saved-at|deleted-changed|createdate|.*lastmodified"
    r"|recent_|first_conversion|currentlyinworkflow|ip_"
)


def _hubspot(payload: Any) -> Iterator[Answer]:
    """Read the properties that people fill in, not those that HubSpot computes."""
    return (answer for answer in _answers(payload, "hubspot-workflow") if not _COMPUTED.match(answer.label))


_OLDER = re.compile(r"contact[_-]profile|cf_uvid|additional_info\.(?:time_zone|webinar)|webinar_|^time_zone")


def _classic(payload: Any) -> Iterator[Answer]:
    """Read a contact or a purchase; `contact_profile` may be older."""
    listed = answers(payload, "clickfunnels-classic")
    return shown(answer for answer in listed if not _OLDER.search(answer.label))


def _cognito(payload: Any) -> Iterator[Answer]:
    listed = answers(payload, "cognito-forms")
    return shown(answer for answer in listed if not answer.label.endswith(".ItemNumber"))


def _jotform(payload: Any) -> Iterator[Answer]:
    """Read the answers; uploads have links, and come a second time by their names."""
    listed = answers(payload, "jotform")
    return shown(answer for answer in listed if not answer.label.startswith("temp_upload"))


_RANDOM_KEY = re.compile(r"(?=[a-z]*\d)(?=\d*[a-z])[a-z0-9]{5,8}")


def _formidable(payload: Any) -> Iterator[Answer]:
    """Read the entry; its keys are random, and a choice with a value of its own comes twice."""
    values: dict[str, str] = {}
    for label, type_, value in _answers(payload, "formidable-forms"):
        values[label] = value
        if values.get(label.removesuffix("-value")) != value or not label.endswith("-value"):
            yield Answer(f"Field {label}" if _RANDOM_KEY.fullmatch(label) else label, type_, value)


# Members beside the answers that are the sender's own.
_WITHOUT = {
    "activecampaign": {"owner"},
    "clickfunnels": {"anonymous"},
    "gravity-forms": {"currency", "is_fulfilled", "transaction_type", "created_by", "status", "payment_date"},
    "unbounce": {"variant", "time_submitted", "date_submitted"},
}
_LINES: dict[str, Callable[[Any], Iterable[Answer]]] = {
    "calendly": _calendly,
    "callrail": _callrail,
    "clickfunnels-classic": _classic,
    "cognito-forms": _cognito,
    "elementor": _elementor,
    "formidable-forms": _formidable,
    "hubspot-workflow": _hubspot,
    "jotform": _jotform,
    "shopify": _shopify,
    "stripe": _stripe,
    "tally": _tally,
    "whatconverts": _whatconverts,
    "woocommerce": _woocommerce,
    "wpforms": _wpforms,
}
