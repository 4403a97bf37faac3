"""What of a payload a message shows: lines of label and value, for people, from the answers or from an order.

Most payloads are their answers without what is technical: ids, times of the machinery, addresses of the network.
Orders, bookings and calls are not questions and answers; each has a function of its own.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Any

from create_conversation.senders.answers import Answer, answers, objects_in, text_of, value_at
from create_conversation.senders.contact_details import words_of


def lines_of(payload: Any, format: str) -> Iterable[Answer]:
    """List what the message shows of a payload, in its order; the labels are as people read them."""
    own = _LINES.get(format)
    return own(payload) if own else _shown(answers(payload, format), format)


def form_of(text: str) -> str:
    """Return the form's name as people read it: `checkout.session.completed` is what a sender calls an event."""
    return shown_label(text) if re.fullmatch(r"[a-z0-9]+(?:[._-][a-z0-9]+)+", text) else text


# --- answers ----------------------------------------------------------------------------------------------------------


def _shown(listed: Iterable[Answer], format: str) -> Iterator[Answer]:
    left_out = _LEFT_OUT.get(format, frozenset())
    kept = (one for one in listed if one.value.strip() and one.label not in left_out and not _is_technical(one))
    for parent, group in groupby(kept, _parent):
        some = [*group]
        yield from _joined(parent, some) if parent else some


@lru_cache(maxsize=2048)
def _last_words(label: str) -> tuple[str, ...]:
    """Return the words of a label that looks like a member's name; none of a question's."""
    last = label.rpartition(".")[2]
    return () if re.search(r"\s", last) else tuple(words_of(last).split())


_ID_WORDS = {"id", "ids", "uuid", "guid", "uid", "uvid", "vid", "lid", "gid", "nonce", "cuid"}
# Before such a word: a number that a person has and types.
_OWN_IDS = {
    *("member", "membership", "student", "employee", "patient", "policy", "order", "booking", "reservation", "ticket"),
    *("invoice", "tax", "vat", "license", "vehicle", "property", "skype", "telegram", "discord", "line", "wechat"),
    *("apple", "player", "course", "game", "tracking", "whatsapp", "instagram", "facebook", "twitter"),
}
_TIME_WORDS = {"at", "timestamp", "created", "updated", "modified", "time", "date", "completed"}
_TECHNICAL = {
    *("gclid", "fbclid", "msclkid", "ttclid", "li fat id", "gbraid", "wbraid", "dclid", "fbp", "fbc", "cf uvid"),
    *("user agent", "useragent", "customer user agent", "http user agent", "browser user agent", "utf 8", "utf8"),
    *("g recaptcha response", "h captcha response", "cf turnstile response", "recaptcha", "captcha", "honeypot"),
    *("authenticity token", "csrf token", "csrfmiddlewaretoken", "csrf", "token", "wpnonce", "hs email domain"),
    *("wp http referer", "is starred", "is read", "field type", "object", "api version", "version id", "temp upload"),
    *("verified email", "tax exempt", "admin graphql api id", "lead guid", "leadguid", "webhook url", "webhookurl"),
}
_TECHNICAL_TIMES = re.compile(
    r"(?:date )?(?:created|updated|modified|submitted|landed|received|saved)(?: at| on| time| date| timestamp)?"
    r"|(?:created|updated|modified|submission|submit|event|last updated) ?(?:at|time|date|timestamp)|timestamp"
    r"|(?:last|saved at|deleted changed) ?(?:updated|modified|timestamp)|time submitted|date (?:added|submitted)"
    r"|unsubscribed at"
)
_LIKE_A_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ].*)?|\d{10}(?:\d{3})?|\d\d?:\d\d.*|\d\d?[./]\d\d?[./]\d{4}.*")
_LIKE_AN_IP = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F.]{0,15}")
_OPAQUE = re.compile(r"(?=[^\s]*\d)(?=[^\s]*[A-Za-z])[A-Za-z0-9_-]{16,64}")


def _is_technical(answer: Answer) -> bool:
    """Return whether an answer is one of the machinery: what nobody typed, and nobody reads."""
    if "hidden" in answer.type.lower() and _OPAQUE.fullmatch(answer.value):
        return True
    kind = _technical_kind(answer.label)
    if kind == "time":
        return bool(_LIKE_A_TIME.fullmatch(answer.value.strip()))
    if kind == "ip":
        return bool(_LIKE_AN_IP.fullmatch(answer.value.strip()))
    return kind == "id"


@lru_cache(maxsize=2048)
def _technical_kind(label: str) -> str:
    each = _last_words(label)
    words = " ".join(each)
    if words in ("user agent", "remote ip") or words_of(label).strip() in ("user agent", "remote ip"):
        return "id"
    if not each:
        return ""
    if words in _TECHNICAL or words_of(label).strip() in _TECHNICAL or each[-1].endswith("nonce"):
        return "id"
    if each[-1] in _ID_WORDS or re.fullmatch(r"(?:form|page|entry|user|submission|unique|event)id", each[-1]):
        return "" if len(each) > 1 and each[-2] in _OWN_IDS else "id"
    if _TECHNICAL_TIMES.fullmatch(words):
        return "time"
    return "ip" if "ip" in each or each[-1].endswith("ipaddress") else ""


# --- parts that are one answer ----------------------------------------------------------------------------------------

_NAME = (
    "prefix",
    "title",
    "first",
    "firstname",
    "middle",
    "middlename",
    "middleinitial",
    "initial",
    "last",
    "lastname",
)
_NAMES = {name: place for place, name in enumerate((*_NAME, "suffix"))}
_ADDRESS = {
    *("addrline1", "addrline2", "address1", "address2", "address", "line1", "line2", "street", "street2", "city"),
    *("state", "stateprovince", "province", "region", "zip", "zipcode", "postal", "postalcode", "postcode"),
    *("country", "countrycode", "county", "town"),
}
_FILE = {"url", "name", "filename", "size", "mimetype", "type", "id", "key"}
_ALIKE = {"type", "fieldtype", "firstandlast"}
_PARTS = _NAMES.keys() | _ADDRESS | _FILE | _ALIKE


@lru_cache(maxsize=2048)
def _part(label: str) -> tuple[str, str]:
    parent, _, last = label.rpartition(".")
    part = re.sub(r"[_\s-]", "", last.lower())
    return (parent, part) if part in _PARTS else ("", part)


def _parent(answer: Answer) -> str:
    return _part(answer.label)[0]


def _joined(parent: str, group: list[Answer]) -> Iterator[Answer]:
    """Make one line of the parts of a name, of an address or of a file."""
    by_part = {_part(answer.label)[1]: answer for answer in group}
    parts = by_part.keys() - _ALIKE
    own_parts = [by_part[part] for part in by_part if part not in _ALIKE]
    if parts & {"first", "firstname", "last", "lastname"} and parts <= _NAMES.keys():
        own_parts.sort(key=lambda answer: _NAMES[_part(answer.label)[1]])
        yield Answer(shown_label(parent) or "Name", "", " ".join(answer.value for answer in own_parts))
    elif len(parts) > 1 and parts <= _ADDRESS:
        yield Answer(shown_label(parent) or "Address", "", ", ".join(answer.value for answer in own_parts))
    elif "url" in parts and parts <= _FILE:
        name = by_part.get("name") or by_part.get("filename")
        yield Answer(shown_label(parent), "", by_part["url"].value + (f" ({name.value})" if name else ""))
    else:
        yield from group


# --- labels -----------------------------------------------------------------------------------------------------------

# Members that only hold others.
_WRAPPERS = {
    *("data", "fields", "body", "payload", "attributes", "answers", "submission", "response", "form data", "formdata"),
    *("form fields", "form response", "properties", "user inputs", "additional fields", "custom data", "customdata"),
    *("hidden", "values", "value", "json", "detail", "variables", "metadata", "custom attributes", "identities"),
}
_BRANDS = {"WhatsApp", "LinkedIn", "YouTube", "TikTok", "PayPal", "WeChat", "GitHub", "FaceTime", "WordPress"}
_NAME_OF_MEMBER = re.compile(r"[A-Za-z0-9_.$\[\]-]+\??")


@lru_cache(maxsize=2048)
def shown_label(label: str) -> str:
    """Write a member's name as words, `your-message` as `Your message`; a label for people stays as it is."""
    if not _NAME_OF_MEMBER.fullmatch(label):
        return label
    names = [_as_words(name) for name in label.split(".") if name]
    words = [name for name in names[:-1] if name.lower() not in _WRAPPERS] + names[-1:]
    if len(names) > 1 and names[-1].lower() in _WRAPPERS and len(words) > 1:
        words.pop()
    text = " ".join(words)
    if text.isdecimal() or re.fullmatch(r"(?:\d+ )+\d+", text):
        return f"Field {text.replace(' ', '.')}"
    return text[:1].upper() + (text[1:] if len(words) < 2 else _lower_rest(words)[1:])


def _lower_rest(words: list[str]) -> str:
    first, *rest = words
    return " ".join([first, *(word if word.isupper() else word[:1].lower() + word[1:] for word in rest)])


def _as_words(name: str) -> str:
    text = re.sub(r"\[(\d+)\]", lambda match: f" {int(match[1]) + 1}", name)
    if "_" in text or "$" in text:
        text = re.sub(r"[_$]+", " ", text).strip()
        return text.lower() if text.isupper() else text
    if text.islower():
        return re.sub(r"(?<=\w\w)-(?=\w)", " ", text)
    if text in _BRANDS or "-" in text:
        return text
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return (
        words if words == text else " ".join(w if w.isupper() and len(w) > 1 else w.lower() for w in words.split(" "))
    )


# --- payloads that are no questions and answers -----------------------------------------------------------------------

_OF_ENTRY = frozenset(
    {
        *("id", "form_id", "post_id", "date_created", "date_updated", "is_starred", "is_read", "ip", "user_agent"),
        *("currency", "payment_date", "payment_method", "transaction_id", "is_fulfilled", "created_by"),
        *("transaction_type", "status", "source_id"),
    }
)
_LEFT_OUT = {
    "gravity-forms": _OF_ENTRY,
    "unbounce": frozenset({"page_uuid", "variant", "time_submitted", "date_submitted", "page_name", "ip_address"}),
    "formstack": frozenset({"FormID", "UniqueID"}),
    "activecampaign": frozenset({"owner"}),
    "cognito-forms": frozenset(),
}


def _line(label: str, *values: Any) -> Iterator[Answer]:
    """Yield a line with the first of these values that is there."""
    value = next(filter(None, map(_told, values)), "")
    if value:
        yield Answer(label, "", value)


def _told(value: Any) -> str:
    return text_of(value) if isinstance(value, str | int | float | bool) else ""


def _object(node: Any) -> dict[str, Any]:
    return node if isinstance(node, dict) else {}


def _joined_texts(node: Any, names: Iterable[str], between: str = ", ") -> str:
    return between.join(filter(None, (_told(_object(node).get(name)).strip() for name in names)))


def _person(node: Any) -> str:
    return _joined_texts(node, ("first_name", "last_name"), " ")


def _address(node: Any) -> str:
    """Write an address of Shopify, WooCommerce or Stripe on one line."""
    street = ("company", "address1", "address_1", "line1", "address2", "address_2", "line2")
    zip_and_city = _joined_texts(node, ("zip", "postcode", "postal_code", "city"), " ")
    return ", ".join(
        filter(
            None,
            (
                _joined_texts(node, street),
                zip_and_city,
                _joined_texts(node, ("province", "state")),
                _joined_texts(node, ("country",)),
            ),
        )
    )


def _money(amount: Any, currency: Any) -> str:
    """Write a decimal amount with its currency."""
    text = _told(amount).strip()
    return f"{text} {_told(currency).upper()}".strip() if text else ""


# Currencies without a minor unit, and with one of three digits, as Stripe counts them: UGX and ISK have two digits.
_WITHOUT_MINOR = {
    *("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"),
}
_OF_THREE_DIGITS = {"BHD", "JOD", "KWD", "OMR", "TND"}


def _minor_money(amount: Any, currency: Any) -> str:
    """Write an amount in the currency's smallest unit: 4900 usd is `49.00 USD`, 4900 jpy is `4900 JPY`."""
    if not isinstance(amount, int) or isinstance(amount, bool) or abs(amount) > 10**18:
        return ""
    code = _told(currency).upper()
    digits = 0 if code in _WITHOUT_MINOR else 3 if code in _OF_THREE_DIGITS else 2
    whole, rest = divmod(abs(amount), 10**digits)
    number = f"{whole}.{rest:0{digits}}" if digits else str(whole)
    return f"{'-' if amount < 0 else ''}{number} {code}".strip()


def _items(items: Any, line: Callable[[dict[str, Any]], str]) -> Iterator[Answer]:
    yield from _line("Items", "\n".join(filter(None, map(line, objects_in(items)[:_MAX_ITEMS]))))


_MAX_ITEMS = 500


_TIMES = "\u00d7"


def _item(quantity: Any, name: Any, price: str, *details: str) -> str:
    times = f"{_told(quantity)} {_TIMES} " if _told(quantity) else ""
    more = "; ".join(filter(None, details))
    text = f"{times}{_told(name) or 'item'}{f' ({more})' if more else ''}"
    return f"{text}, {price}" if price else text


def _pairs(node: Any) -> Iterator[tuple[str, str]]:
    """Read a list of names and values, without those that a shop's software keeps for itself."""
    for item in objects_in(node):
        name = _told(item.get("name") or item.get("display_key") or item.get("key"))
        value = _told(item.get("display_value") or item.get("value"))
        if name and value and not name.startswith("_") and not _is_technical(Answer(name, "", value)):
            yield name, value


def _details(node: Any) -> str:
    return "; ".join(f"{name}: {value}" for name, value in _pairs(node))


def _stripe(payload: Any) -> Iterator[Answer]:
    """Read a checkout, or another object with an amount or a customer."""
    data = value_at(payload, "data.object")
    if not isinstance(data, dict):
        yield from _shown(answers(payload, "stripe"), "stripe")
        return
    currency = data.get("currency")
    amounts = [data.get(name) for name in ("amount_total", "amount_paid", "amount_due", "amount", "total")]
    yield from _line("Amount", *(_minor_money(amount, currency) for amount in amounts))
    yield from _items(
        value_at(data, "line_items.data") or value_at(data, "lines.data"),
        lambda item: _item(
            item.get("quantity"),
            item.get("description") or value_at(item, "price.nickname"),
            _minor_money(item.get("amount_total", item.get("amount")), item.get("currency", currency)),
        ),
    )
    for label, name in (("Discount", "amount_discount"), ("Shipping", "amount_shipping"), ("Tax", "amount_tax")):
        if value_at(data, f"total_details.{name}"):
            yield from _line(label, _minor_money(value_at(data, f"total_details.{name}"), currency))
    yield from _line("Payment", data.get("payment_status"), data.get("status"))
    yield from _line("Description", data.get("description"))
    customer = _object(data.get("customer_details"))
    yield from _line("Name", *(_of(customer, data, "name")), customer.get("individual_name"))
    yield from _line("Company", customer.get("business_name"))
    yield from _line("Email", *(_of(customer, data, "email")), data.get("receipt_email"))
    yield from _line("Phone", *(_of(customer, data, "phone")))
    yield from _line("Address", _address(customer.get("address") or data.get("address")))
    shipping = value_at(data, "collected_information.shipping_details") or data.get("shipping_details")
    yield from _line(
        "Ship to", _joined_texts({"n": value_at(shipping, "name"), "a": _address(value_at(shipping, "address"))}, "na")
    )
    for field in objects_in(data.get("custom_fields")):
        yield from _stripe_field(field)
    yield from _shown(_of_metadata(data.get("metadata")), "")


def _of(customer: dict[str, Any], data: dict[str, Any], name: str) -> tuple[Any, Any, Any]:
    return customer.get(name), data.get(f"customer_{name}"), data.get(name)


def _of_metadata(node: Any) -> Iterator[Answer]:
    for name, value in _object(node).items():
        yield Answer(name, "", _told(value))


def _stripe_field(field: dict[str, Any]) -> Iterator[Answer]:
    """Read a field that the shop has added to the checkout."""
    label = _told(value_at(field, "label.custom")) or _told(field.get("key"))
    kind = _told(field.get("type"))
    value = _told(value_at(field, f"{kind}.value"))
    chosen = [one.get("label") for one in objects_in(value_at(field, f"{kind}.options")) if one.get("value") == value]
    yield from _line(label, *chosen, value)


def _shopify(payload: Any) -> Iterator[Answer]:
    """Read an order, a checkout or a customer."""
    if not isinstance(payload, dict):
        yield from _shown(answers(payload, "shopify"), "shopify")
        return
    customer = _object(payload.get("customer"))
    billing, shipping = payload.get("billing_address"), payload.get("shipping_address")
    address = payload.get("default_address")
    currency = payload.get("currency")
    is_order = "line_items" in payload
    if is_order:
        yield from _line("Order", payload.get("name"), payload.get("order_number"))
        yield from _items(payload.get("line_items"), lambda item: _shopify_item(item, currency))
        yield from _line(
            "Discount",
            _joined_texts(
                {
                    "a": _nonzero(payload.get("total_discounts"), currency),
                    "c": ", ".join(_told(c.get("code")) for c in objects_in(payload.get("discount_codes"))),
                },
                "ac",
            ),
        )
        yield from _line(
            "Shipping",
            ", ".join(filter(None, (_told(one.get("title")) for one in objects_in(payload.get("shipping_lines"))))),
        )
        yield from _line("Tax", _nonzero(payload.get("total_tax"), currency))
        yield from _line("Total", _money(payload.get("total_price"), currency))
        yield from _line("Payment", payload.get("financial_status"))
    yield from _line("Name", _person(payload), _person(customer), *map(_person, (billing, shipping, address)))
    yield from _line("Company", value_at(address, "company"))
    yield from _line("Email", payload.get("email"), payload.get("contact_email"), customer.get("email"))
    nodes = (payload, customer, address, billing, shipping)
    yield from _line("Phone", *(value_at(node, "phone") for node in nodes))
    yield from _line("Address", _address(address))
    yield from _line("Billing address", _address(billing))
    ship_to = _joined_texts({"n": _person(shipping), "a": _address(shipping), "p": value_at(shipping, "phone")}, "nap")
    yield from _line("Ship to", ship_to)
    yield from _line("Note", payload.get("note"), customer.get("note"))
    for name, value in _pairs(payload.get("note_attributes")):
        yield from _line(name, value)
    yield from _line("Tags", payload.get("tags"), customer.get("tags"))


def _nonzero(amount: Any, currency: Any) -> str:
    return _money(amount, currency) if re.search("[1-9]", _told(amount)) else ""


def _shopify_item(item: dict[str, Any], currency: Any) -> str:
    name = item.get("name") or _joined_texts(item, ("title", "variant_title"), " - ")
    return _item(item.get("quantity"), name, _money(item.get("price"), currency), _details(item.get("properties")))


def _woocommerce(payload: Any) -> Iterator[Answer]:
    """Read an order or a customer."""
    if not isinstance(payload, dict) or not isinstance(payload.get("billing"), dict):
        yield from _shown(answers(payload, "woocommerce"), "woocommerce")
        return
    billing, shipping = payload["billing"], payload.get("shipping")
    currency = payload.get("currency")
    if "line_items" in payload or "total" in payload:
        yield from _line("Order", payload.get("number"), payload.get("id"))
        yield from _items(
            payload.get("line_items"),
            lambda item: _item(
                item.get("quantity"),
                item.get("name"),
                _money(item.get("total"), currency),
                _details(item.get("meta_data")),
            ),
        )
        coupons = ", ".join(filter(None, (_told(one.get("code")) for one in objects_in(payload.get("coupon_lines")))))
        yield from _line(
            "Discount", _joined_texts({"a": _nonzero(payload.get("discount_total"), currency), "c": coupons}, "ac")
        )
        yield from _line("Shipping", _nonzero(payload.get("shipping_total"), currency))
        yield from _line("Tax", _nonzero(payload.get("total_tax"), currency))
        yield from _line("Total", _money(payload.get("total"), currency))
        yield from _line("Payment", payload.get("payment_method_title"))
        yield from _line("Status", payload.get("status"))
    yield from _line("Name", _person(billing), _person(payload), payload.get("username"))
    yield from _line("Email", billing.get("email"), payload.get("email"))
    yield from _line("Phone", billing.get("phone"))
    yield from _line("Billing address", _address(billing))
    ship_to = _joined_texts({"n": _person(shipping), "a": _address(shipping), "p": value_at(shipping, "phone")}, "nap")
    is_same = _address(shipping) == _address(billing) and _person(shipping) == _person(billing)
    yield from _line("Ship to", "" if is_same else ship_to)
    yield from _line("Note", payload.get("customer_note"))
    for name, value in _pairs(payload.get("meta_data")):
        yield from _line(name, value)


def _calendly(payload: Any) -> Iterator[Answer]:
    """Read a booking: the invitee, the answers, the time as it was sent."""
    invitee = value_at(payload, "payload")
    if not isinstance(invitee, dict):
        yield from _shown(answers(payload, "calendly"), "calendly")
        return
    yield from _line("Name", invitee.get("name"), _person(invitee))
    yield from _line("Email", invitee.get("email"))
    yield from _line("Phone", invitee.get("text_reminder_number"))
    for item in objects_in(invitee.get("questions_and_answers")):
        yield from _line(_told(item.get("question")), item.get("answer"))
    event = invitee.get("scheduled_event")
    yield from _line("Start", value_at(event, "start_time"))
    yield from _line("End", value_at(event, "end_time"))
    yield from _line("Time zone", invitee.get("timezone"))
    yield from _line("Location", value_at(event, "location.location"), value_at(event, "location.join_url"))
    guests = [_told(guest.get("email")) for guest in objects_in(value_at(event, "event_guests"))]
    yield from _line("Guests", ", ".join(filter(None, guests)))
    yield from _line("Cancelled", value_at(invitee, "cancellation.reason"))
    yield from _of_tracking(invitee.get("tracking"))


def _of_tracking(node: Any) -> Iterator[Answer]:
    for name, value in _object(node).items():
        if name.startswith("utm_"):
            yield from _line(name, value)


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
        yield from _shown(answers({"form_data": payload["form_data"]}, "callrail"), "callrail")
    for label, name in _CALL:
        yield from _line(label, value_at(payload, name))


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
    """Read the fields of the form, then what WhatConverts has found out itself."""
    fields = value_at(payload, "additional_fields")
    if not isinstance(payload, dict) or not (isinstance(fields, dict) or "lead_type" in payload):
        yield from _shown(answers(payload, "whatconverts"), "whatconverts")
        return
    of_form = [*_shown(answers(fields, "flat"), "flat")] if isinstance(fields, dict) else []
    yield from of_form
    typed = {answer.value for answer in of_form}
    for label, names in _LEAD:
        yield from (line for line in _line(label, *map(payload.get, names)) if line.value not in typed)


def _wpforms(payload: Any) -> Iterator[Answer]:
    """Read the fields; several choices of one come joined by `||`."""
    for label, type_, value in _shown(answers(payload, "wpforms"), "wpforms"):
        yield Answer(label, type_, value.replace("||", ", "))


def _tally(payload: Any) -> Iterator[Answer]:
    """Read the answers; each choice of a checkbox comes again as a field of its own."""
    question = None
    for answer in _shown(answers(payload, "tally"), "tally"):
        if answer.type == "CHECKBOXES" and question and answer.label.startswith(f"{question} ("):
            continue
        question = answer.label if answer.type == "CHECKBOXES" else None
        yield answer


# What Elementor adds after the answers, where its "Advanced data" are off. The page is worth reading.
_OF_ELEMENTOR = {"Date", "Time", "User Agent", "Remote IP", "Powered by", "Credit"}


def _elementor(payload: Any) -> Iterator[Answer]:
    listed = answers(payload, "elementor")
    end = len(listed)
    while end and listed[end - 1].label in {*_OF_ELEMENTOR, "Page URL"}:
        end -= 1
    yield from _shown(listed[:end], "elementor")
    yield from (answer for answer in listed[end:] if answer.label == "Page URL")


def _hubspot(payload: Any) -> Iterator[Answer]:
    """Read the properties that people fill in, not those that HubSpot computes."""
    for answer in _shown(answers(payload, "hubspot-workflow"), "hubspot-workflow"):
        if not re.match(
            r"hs_|hubspot_|num_|identities|.*analytics|saved-at|deleted-changed|.*identities\[", answer.label
        ):
            yield answer


def _classic(payload: Any) -> Iterator[Answer]:
    """Read a contact or a purchase; `contact_profile` may be older."""
    for answer in _shown(answers(payload, "clickfunnels-classic"), "clickfunnels-classic"):
        if not re.search(r"contact[_-]profile|cf_uvid|additional_info\.(?:time_zone|webinar)|webinar_", answer.label):
            yield answer


_LINES: dict[str, Callable[[Any], Iterable[Answer]]] = {
    "calendly": _calendly,
    "callrail": _callrail,
    "clickfunnels-classic": _classic,
    "elementor": _elementor,
    "hubspot-workflow": _hubspot,
    "shopify": _shopify,
    "stripe": _stripe,
    "tally": _tally,
    "whatconverts": _whatconverts,
    "woocommerce": _woocommerce,
    "wpforms": _wpforms,
}
