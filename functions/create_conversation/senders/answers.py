"""A submission's answers: what its payload says, as label, type and value, in the form's order.

One pure function per payload format; most formats are the generic one (`walk`) from another root. Nothing here
decides what an answer is good for: `contact_details` finds the contact in the list, the message shows it.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

MAX_ANSWERS = 3_000  # no form has more; a malicious body has
MAX_NODES = 12_000  # of objects, lists and scalars
MAX_LISTED = 1_000  # scalars in one list
MAX_LABEL = 500
MAX_ABOUT = 24  # members of an object that is one question
NOT_SHOWN = "(file, not shown)"

_BRACKETED = re.compile(r"([^\s\[\]]{1,100})((?:\[[^\[\]]{0,100}\]){1,20})")
_BARE_FILE = re.compile(r"[A-Za-z0-9+/=_-]{20000}")

# In the order of preference: which members of an object are its label, and which its value.
_LABELS = (
    "question",
    "label",
    "title",
    "column_name",
    "fieldName",
    "name",
    "variable",
    "custom_key",
    "key",
    "column_id",
)
_QUESTIONS = {"question", "label", "title"}
_VALUES = ("answer", "value", "string_value", "values", "text", "response")
# Members of such an object that say how it was asked, not what was answered.
_ABOUT = {
    *("type", "field_type", "fieldType", "kind", "id", "ref", "slug", "position", "index", "order", "required"),
    *("description", "placeholder", "raw_value", "versions", "options", "choices", "question_uuid", "display_key"),
    *("display_value", "field_id", "hidden", "timestamp", "is-primary", "item_id", "optional", "unix"),
}
_NAME_PARTS = {"first": "first_name", "last": "last_name"}
_NAME_OTHERS = {"middle", "middleinitial", "prefix", "suffix", "firstandlast", "initial", "type", "fieldtype"}
_DIAL_CODES = ("country", "countrycode", "code", "dialcode", "callingcode")
_AREA_CODES = ("area", "areacode")
_PHONE_NUMBERS = ("full", "phone", "number", "phonenumber", "nationalnumber", "value")
_PHONE_OTHERS = {"extension", "ext", "type", "fieldtype", "iso", "countryiso"}


class Answer(NamedTuple):
    """One answer.

    `label` is the one in the payload (a question, or the path to a member), `type` what the payload says of the field,
    or empty; `value` may have several lines, or none.
    """

    label: str
    type: str
    value: str


def answers(payload: Any, format: str) -> list[Answer]:
    """List the answers in a parsed payload. A format that has no function of its own is read as `flat`."""
    return [*islice(FORMATS.get(format, _flat)(payload), MAX_ANSWERS)]


def texts_in(node: Any) -> list[str]:
    """List the first texts in a small part of a payload."""
    return [answer.value for answer in walk([node], nodes=200)]


# --- the generic format -----------------------------------------------------------------------------------------------


def _flat(payload: Any) -> Iterator[Answer]:
    """Read the generic format, also where a field holds the answers as JSON text."""
    payload = _nested(payload)
    if isinstance(payload, dict) and len(payload) <= MAX_ANSWERS:
        payload = {name: _opened(value) for name, value in payload.items()}
    return walk(payload)


def _opened(value: Any) -> Any:
    """Parse JSON text of an object or a list of objects; return anything else as it is."""
    is_json = isinstance(value, str) and value[:1] in ("{", "[") and value[-1:] in ("}", "]")
    parsed = _parsed(value) if is_json else None
    return parsed if isinstance(parsed, dict) or (isinstance(parsed, list) and objects_in(parsed)) else value


def _from(*roots: str, skip: Iterable[str] = ()) -> Callable[[Any], Iterator[Answer]]:
    """Read the generic format below these paths, as far as they are there.

    If none of them exists, read the payload itself without the members `skip`: the sender's own, not the form's.
    """
    skipped = frozenset(skip)

    def read(payload: Any) -> Iterator[Answer]:
        payload = _nested(payload)
        found = [(root, node) for root in roots if (node := value_at(payload, root)) is not None]
        if not found and isinstance(payload, dict):
            found = [("", {name: node for name, node in payload.items() if name not in skipped})]
        for root, node in found or [("", payload)]:
            yield from walk(node, "" if isinstance(node, dict | list) else root)

    return read


type _Part = tuple[str, str, Any]  # label, type, and what is there


def walk(root: Any, prefix: str = "", nodes: int = MAX_NODES) -> Iterator[Answer]:
    """Read every scalar below `root`.

    Without recursion: bodies are nested as deep as their sender likes. The root itself is not a question with its
    answer: {"name": …, "value": …} may be a form of two fields.
    """
    below = [_members(prefix, root) if isinstance(root, dict) else iter([(prefix, "", root)])]
    for _ in range(nodes):
        if not below:
            return
        part = next(below[-1], None)
        if part is None:
            below.pop()
            continue
        label, type_, node = part
        if isinstance(node, dict):
            below.append(_of_object(label, node))
        elif isinstance(node, list) and not _is_plain(node):
            below.append(_items(label, type_, node))
        else:
            yield Answer(_string(label[:MAX_LABEL]), _string(type_[:MAX_LABEL]), text_of(node))


def _is_plain(items: list[Any]) -> bool:
    return not any(isinstance(item, (dict, list)) for item in items)


def _items(label: str, type_: str, items: list[Any]) -> Iterator[_Part]:
    for index, item in enumerate(items):
        yield f"{label}[{index}]" if len(items) > 1 else label, type_, item


def _members(label: str, node: dict[str, Any]) -> Iterator[_Part]:
    start = f"{label[-100:]}." if label else ""
    for name, child in node.items():
        yield f"{start}{name[:MAX_LABEL]}", "", child


def _of_object(label: str, node: dict[str, Any]) -> Iterator[_Part]:
    """Read an object below the root: one answer, the parts of a name or of a phone number, or its members."""
    if len(node) > MAX_ABOUT:
        return _members(label, node)
    by_part = {name.lower().replace("_", ""): child for name, child in node.items()}
    if _NAME_PARTS.keys() & by_part.keys() and by_part.keys() <= _NAME_PARTS.keys() | _NAME_OTHERS:
        parts = {name: child for name, child in node.items() if name not in ("type", "field_type")}
        return iter([(f"{label[-100:]}.{name}", _NAME_PARTS.get(name.lower(), ""), parts[name]) for name in parts])
    if (number := _phone(by_part)) is not None:
        return iter([(label, "phone", number)])
    if (entry := _entry(label, node)) is not None:
        return iter([entry])
    return _members(label, node)


def _phone(by_part: dict[str, Any]) -> str | None:
    """Join a phone number whose country code, area code and rest are members of one object."""
    is_phone = "full" in by_part or any(name in by_part for name in (*_DIAL_CODES, *_AREA_CODES))
    if not is_phone or not by_part.keys() <= {*_DIAL_CODES, *_AREA_CODES, *_PHONE_NUMBERS, *_PHONE_OTHERS}:
        return None
    parts = {name: text_of(part) for name, part in by_part.items() if isinstance(part, str | int)}
    number = next((parts[name] for name in _PHONE_NUMBERS if parts.get(name)), "")
    if sum(map(str.isdecimal, number)) < 5:
        return None
    if parts.get("full"):
        return number
    area = next((parts[name] for name in _AREA_CODES if parts.get(name)), "")
    codes = (re.sub(r"\D", "", parts[name])[:4] for name in _DIAL_CODES if name in parts)
    country = next(filter(None, codes), "")
    text = f"{area} {number}".strip()
    if not country or text.startswith(("+", "00")):
        return text
    return f"+{country} {text if country == '39' else text.removeprefix('0')}"  # Italy keeps the zero


def _entry(label: str, node: dict[str, Any]) -> _Part | None:
    """Read an object that is one question with its answer, or a value with what its sender knows about it."""
    value_key = next((name for name in _VALUES if name in node), None)
    if value_key is None or (value_key in ("text", "response") and not _QUESTIONS & node.keys()):
        return None
    label_keys = [name for name in _LABELS if name in node]
    others = node.keys() - {value_key, *label_keys, *_ABOUT}
    is_question = label_keys or node.keys() & _ABOUT or len(node) == 1
    if not is_question or not all(name.lower().endswith(("id", "type")) for name in others):
        return None
    type_ = _first_text(*(node.get(name) for name in ("type", "field_type", "fieldType", "column_id")))
    own = _first_text(*(node[name] for name in label_keys))
    own = own or (f"{label}.{type_}" if type_ and _is_indexed(label) else label)
    return own, type_, _chosen(node[value_key], node.get("options"))


def is_text(node: Any) -> bool:
    return isinstance(node, str) and bool(node.strip())


def _first_text(*nodes: Any) -> str:
    return next(filter(is_text, nodes), "")


def _is_indexed(label: str) -> bool:
    return not label or label.endswith(("]", "identities"))


def _chosen(value: Any, options: Any) -> Any:
    """Return what was chosen, by its text: some senders give the options' ids, or objects with id and label."""
    items = value if isinstance(value, list) else [value]
    if items and all(isinstance(item, dict) and item.keys() <= {"id", "label"} for item in items):
        return [item.get("label") or item.get("id") for item in items]
    if not isinstance(options, list) or not all(isinstance(item, str) for item in items):
        return value
    texts = {
        option["id"]: option.get("text") or option.get("label") or option["id"]
        for option in options
        if isinstance(option, dict) and isinstance(option.get("id"), str)
    }
    return [texts.get(item, item) for item in items] if isinstance(value, list) else texts.get(value, value)


def text_of(node: Any) -> str:
    """Write a scalar, or a list of them, as people read it."""
    if isinstance(node, str):
        return _string(node)
    if isinstance(node, bool):
        return "yes" if node else "no"
    if isinstance(node, list):
        return ", ".join(filter(None, map(text_of, node[:MAX_LISTED])))
    if isinstance(node, float) and node.is_integer() and abs(node) < 1e15:
        return str(int(node))
    is_too_long = isinstance(node, int) and abs(node) >= 10**40  # Python refuses to write out the longest
    return "" if node is None or isinstance(node, dict) or is_too_long else str(node)


def _string(text: str) -> str:
    if len(text) > 1000 and (text.startswith("data:") or _BARE_FILE.match(text)):
        return NOT_SHOWN
    return text if text.isascii() else text.encode("utf-8", "replace").decode()  # no lone surrogate goes further


def value_at(payload: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(payload, dict) or name not in payload:
            return None
        payload = payload[name]
    return payload


def _nested(payload: Any) -> Any:
    """Build the object that a form's names with brackets stand for: `contact[email]`, `tags[]`."""
    if not isinstance(payload, dict) or not any("[" in name for name in payload):
        return payload
    tree: dict[str, Any] = {}
    for name, value in payload.items():
        match = _BRACKETED.fullmatch(name)
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])] if match else [name]
        if len(path) > 1 and not path[-1]:
            path.pop()
        if not _put(tree, path, value):
            tree[name] = value
    return tree


def _put(tree: dict[str, Any], path: list[str], value: Any) -> bool:
    """Put the value there; return whether the place was free."""
    for name in path[:-1]:
        node = tree.setdefault(name, {})
        if not isinstance(node, dict):
            return False
        tree = node
    if path[-1] in tree:
        return False
    tree[path[-1]] = value
    return True


def _parsed(value: Any) -> Any:
    """Parse JSON text inside a form's field; None if it is not JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


# --- formats of their own ---------------------------------------------------------------------------------------------


def _in_field(*names: str) -> Callable[[Any], Iterator[Answer]]:
    """Read JSON text in one of these fields of a form, or in its only one; else the generic format."""

    def read(payload: Any) -> Iterator[Answer]:
        if isinstance(payload, dict):
            only = [text for text in payload.values() if isinstance(text, str)] if len(payload) == 1 else []
            for value in (*(payload.get(name) for name in names), *only):
                if isinstance(parsed := _parsed(value), dict | list):
                    return _flat(parsed)
        return _flat(payload)

    return read


def _typeform(payload: Any) -> Iterator[Answer]:
    response = value_at(payload, "form_response")
    if not isinstance(response, dict):
        yield from _flat(payload)
        return
    titles = _typeform_titles(value_at(response, "definition.fields"))
    for item in objects_in(response.get("answers")):
        field = item["field"] if isinstance(item.get("field"), dict) else {}
        kind = item["type"] if is_text(item.get("type")) else ""
        own = titles.get(str(field.get("id")), {})
        label = _first_text(own.get("title"), field.get("ref"), field.get("type"), kind)
        type_ = _first_text(own.get("subfield_key"), field.get("type"), kind)
        yield Answer(label[:MAX_LABEL], type_[:MAX_LABEL], _typeform_value(item.get(kind)))
    yield from walk(response.get("hidden") or {}, "hidden")
    for item in objects_in(response.get("variables")):
        value = item.get("text", item.get("number", item.get("value")))
        yield Answer(f"variables.{text_of(item.get('key'))}"[:MAX_LABEL], "", _scalar(value))


def _typeform_titles(fields: Any) -> dict[str, dict[str, Any]]:
    """Index the definition's fields by id; the fields of a block (contact info, group) are in its properties."""
    titles: dict[str, dict[str, Any]] = {}
    waiting = [fields]
    while waiting and len(titles) < MAX_ANSWERS:
        for field in objects_in(waiting.pop()):
            titles[str(field.get("id"))] = field
            waiting += [field.get("fields"), value_at(field, "properties.fields")]
    return titles


def _typeform_value(value: Any) -> str:
    if not isinstance(value, dict):
        return _scalar(value)
    parts = (value.get("label"), value.get("labels"), value.get("other"), value.get("amount"), value.get("url"))
    if any(parts):
        return ", ".join(filter(None, map(_scalar, parts)))
    return "\n".join(f"{answer.label}: {answer.value}" for answer in _flat(value) if answer.value)


def _scalar(node: Any) -> str:
    return (
        text_of(node)
        if not isinstance(node, list) or _is_plain(node)
        else ", ".join(answer.value for answer in walk(node) if answer.value)
    )


def objects_in(node: Any) -> list[dict[str, Any]]:
    return [item for item in node if isinstance(item, dict)] if isinstance(node, list) else []


_JOTFORM_OWN = {
    *("slug", "jsExecutionTracker", "submitSource", "submitDate", "buildDate", "uploadServerUrl", "eventObserver"),
    *("event_id", "timeToSubmit", "path", "validatedNewRequiredFieldIDs", "visitedPages", "preview", "embedUrl"),
}


def _jotform(payload: Any) -> Iterator[Answer]:
    """Read the JSON text in `rawRequest`, with keys such as `q4_email`; the questions are in `pretty`."""
    raw = _parsed(value_at(payload, "rawRequest"))
    if not isinstance(raw, dict):
        yield from _flat(payload)
        return
    pretty, start, is_behind = value_at(payload, "pretty"), 0, False
    for name, node in raw.items():
        if name in _JOTFORM_OWN:
            continue
        slug = re.sub(r"^q\d+_", "", name) or name
        of_question = [*walk({slug: node})]
        values = _in_written_order(of_question)
        question, start = _in_pretty(pretty, start, values)
        if question and (is_behind or ":" in question):  # an answer before it is written in another way
            question = question.rpartition(", ")[2]
        is_behind = not question and (is_behind or bool(values))
        for label, type_, value in of_question:
            yield Answer(f"{question}{label[len(slug) :]}" if question else label, type_, value)


_WRITTEN = ("prefix", "first", "middle", "last", "suffix")


def _in_written_order(of_question: list[Answer]) -> list[str]:
    """List the values; the parts of a name as people write them."""
    by_part = {answer.label.rpartition(".")[2]: answer.value for answer in of_question if answer.value}
    if len(by_part) > 1 and by_part.keys() <= {*_WRITTEN}:
        return [by_part[part] for part in _WRITTEN if part in by_part]
    return [answer.value for answer in of_question if answer.value]


def _in_pretty(pretty: Any, start: int, values: list[str]) -> tuple[str, int]:
    """Find the question before these values in `Name:Ana Lind, Email:ana@example.com, …`, and where to go on."""
    text = " ".join(values)
    if not isinstance(pretty, str) or not text or len(text) > 2000 or start >= len(pretty):
        return "", start
    at = pretty.find(f":{text}", start, start + 1000 + len(text))
    question = pretty[start:at].removeprefix(",").strip() if at >= 0 else ""
    return (question, at + 1 + len(text)) if 0 < len(question) <= 200 else ("", start)


def _tally(payload: Any) -> Iterator[Answer]:
    """Read the fields; a matrix holds ids, and its rows and columns beside them."""
    fields = value_at(payload, "data.fields")
    if not isinstance(fields, list):
        return _from("data.fields")(payload)
    return walk([_tally_matrix(field) if _is_matrix(field) else field for field in fields])


def _is_matrix(field: Any) -> bool:
    return isinstance(field, dict) and isinstance(field.get("rows"), list) and isinstance(field.get("columns"), list)


def _tally_matrix(field: dict[str, Any]) -> dict[str, Any]:
    texts = {
        text_of(one.get("id")): text_of(one.get("text")) for one in objects_in([*field["rows"], *field["columns"]])
    }
    value = field["value"] if isinstance(field.get("value"), dict) else {}
    lines = []
    for row, chosen in value.items():
        columns = (text_of(column) for column in _as_list(chosen))
        lines.append(f"{texts.get(row) or row}: {', '.join(texts.get(column) or column for column in columns)}")
    return {"label": field.get("label"), "type": field.get("type"), "value": "\n".join(lines)}


def _as_list(node: Any) -> list[Any]:
    return node[:MAX_LISTED] if isinstance(node, list) else [node]


_FORMSTACK_PARTS = re.compile(r"(first|last|middle|initial|prefix|suffix|value|field_type|[a-z]\w{2,20}) = (.*)")


def _formstack(payload: Any) -> Iterator[Answer]:
    """Read the published format: parts of an answer are lines `first = Ana`, or members of an object."""
    if isinstance(payload, dict):
        payload = {name: _formstack_parts(value) for name, value in payload.items()}
    return _flat(payload)


def _formstack_parts(value: Any) -> Any:
    if not isinstance(value, str) or " = " not in value:
        return value
    lines = [_FORMSTACK_PARTS.fullmatch(line.strip()) for line in value.splitlines() if line.strip()]
    parts = {match[1]: match[2] for match in lines if match}
    is_parts = len(parts) == len(lines) and parts.keys() & {"first", "last", "value", "field_type", "address"}
    return parts if is_parts else value


_NUMBERED = re.compile(r"((?:input_)?\d+)[._]([36])")
_NUMBERED_NAMES = {"3": "first_name", "6": "last_name"}


def _gravity_forms(payload: Any) -> Iterator[Answer]:
    return _numbered(_flat(payload))


def _callrail(payload: Any) -> Iterator[Answer]:
    """Read a form's fields, which the site often names by numbers; or a call or text message."""
    of_call = ("customer_name", "customer_phone_number", "source_number", "content")
    return _numbered(_from("form_data", *of_call)(payload))


def _numbered(unnamed: Iterable[Answer]) -> Iterator[Answer]:
    """Read Gravity Forms' numbers: of a name field's inputs, .3 is the first and .6 the last name.

    Address fields and checkboxes have inputs of these numbers too, but also a .1, which a name field has not.
    """
    listed = [*islice(unnamed, MAX_ANSWERS)]
    labels = {answer.label for answer in listed}
    for label, type_, value in listed:
        match = _NUMBERED.fullmatch(label)
        is_name = match and f"{match[1]}.1" not in labels and f"{match[1]}_1" not in labels
        yield Answer(label, _NUMBERED_NAMES[match[2]] if match and is_name else type_, value)


def _webflow(payload: Any) -> Iterator[Answer]:
    """Read the form's labels and answers; the types of the fields are in a list beside them."""
    types = {
        text_of(field.get("fieldName")): text_of(field.get("fieldType"))
        for field in objects_in(value_at(payload, "payload.schema"))
    }
    for label, type_, value in _from("payload.data")(payload):
        yield Answer(label, type_ or types.get(label, ""), value)


def _calendly(payload: Any) -> Iterator[Answer]:
    """Read the invitee's own answers; hosts, guests and links are left out."""
    invitee = value_at(payload, "payload")
    if not isinstance(invitee, dict):
        yield from _flat(payload)
        return
    for name in ("name", "first_name", "last_name", "email"):
        yield Answer(name, "email" if name == "email" else "", _scalar(invitee.get(name)))
    yield Answer("text_reminder_number", "phone", _scalar(invitee.get("text_reminder_number")))
    location = value_at(invitee, "scheduled_event.location")
    if isinstance(location, dict):
        # Of the two sorts of call, `outbound_call` holds the invitee's number, `inbound_call` the host's.
        own = "phone" if location.get("type") == "outbound_call" else "host"
        yield Answer("location", own, _scalar(location.get("location")))
    yield from walk(invitee.get("questions_and_answers") or [])
    for name in ("name", "start_time"):
        yield Answer(f"event.{name}", "", _scalar(value_at(invitee, f"scheduled_event.{name}")))
    yield Answer("timezone", "", _scalar(invitee.get("timezone")))


def _stripe(payload: Any) -> Iterator[Answer]:
    """Read the object; the fields that a shop has added to its checkout have labels of their own."""
    data = value_at(payload, "data.object")
    if not isinstance(data, dict):
        yield from _flat(payload)
        return
    yield from walk({name: value for name, value in data.items() if name != "custom_fields"})
    for field in objects_in(data.get("custom_fields")):
        label = _first_text(value_at(field, "label.custom"), field.get("key"))
        yield Answer(label[:MAX_LABEL], "", _scalar(value_at(field, f"{_scalar(field.get('type'))}.value")))


# The keys of Formidable's built-in contact form; those of other forms are random too, and say nothing.
_FORMIDABLE_TEMPLATE = {
    "qh4icy": "First name",
    "ocfup1": "Last name",
    "29yf4d": "Email",
    "e6lis6": "Subject",
    "9jv0r1": "Message",
}
_FORMIDABLE_ROW = {
    *("id", "item_key", "name", "description", "ip", "form_id", "post_id", "user_id", "parent_item_id", "is_draft"),
    *("updated_by", "created_at", "updated_at"),
}


def _formidable(payload: Any) -> Iterator[Answer]:
    """Read the whole row of the entries' table, in an array of one; its `name` is the first answer again."""
    entries = payload if isinstance(payload, list) else [payload]
    for entry in entries:
        if isinstance(entry, dict) and "item_key" in entry:
            entry = {
                _FORMIDABLE_TEMPLATE.get(name, name): value
                for name, value in entry.items()
                if name not in _FORMIDABLE_ROW
            }
        yield from _flat(entry)


_WUFOO_OWN = {"FieldStructure", "FormStructure", "HandshakeKey", "IP", "CreatedBy", "DateCreated", "EntryId"}
_WUFOO_PARTS = {"First": "first_name", "Last": "last_name"}
_LIKE_A_NAME = re.compile(r"[^\W\d_]{2,20}(?:[ '-][^\W\d_]{1,20}){0,2}")


def _wufoo(payload: Any) -> Iterator[Answer]:
    """Read `Field4` and so on; `FieldStructure` describes them, if the form is set to send it."""
    if not isinstance(payload, dict):
        yield from _flat(payload)
        return
    known = _wufoo_fields(_parsed(payload.get("FieldStructure")))
    fields = {name: value for name, value in payload.items() if name not in _WUFOO_OWN}
    if not known:  # a form begins with its name field, if it has one: `Field1` and `Field2`
        both = [fields.get(name) for name in ("Field1", "Field2")]
        if all(isinstance(text, str) and _LIKE_A_NAME.fullmatch(text.strip()) for text in both):
            known = {"Field1": ("Field1", "first_name"), "Field2": ("Field2", "last_name")}
    for label, type_, value in walk(fields):
        yield Answer(*known.get(label, (label, type_)), value)


def _wufoo_fields(structure: Any) -> dict[str, tuple[str, str]]:
    """Return label and type by a field's id."""
    known: dict[str, tuple[str, str]] = {}
    for field in objects_in(value_at(structure, "Fields")):
        title, type_ = text_of(field.get("Title"))[:MAX_LABEL], text_of(field.get("Type"))[:MAX_LABEL]
        known[text_of(field.get("ID"))] = title, type_
        for part in objects_in(field.get("SubFields")):
            name = text_of(part.get("Label"))[:MAX_LABEL]
            known[text_of(part.get("ID"))] = f"{title}.{name}", _WUFOO_PARTS.get(name, type_)
    return known


FORMATS: dict[str, Callable[[Any], Iterator[Answer]]] = {
    "flat": _flat,
    "activecampaign": _from("contact", "deal"),
    "calendly": _calendly,
    "callrail": _callrail,
    "clickfunnels": _from("data"),
    "clickfunnels-classic": _from("contact"),
    "cognito-forms": _from(skip=("Form", "Entry", "$version", "$etag", "Id")),
    "elementor": _from("fields", skip=("form", "meta", "form_id", "form_name")),
    "event": _from("detail"),
    "fillout": _from("submission.questions", "submission.urlParameters"),
    "fluent-forms": _from(skip=("__submission", "__order_items", "__transactions")),
    "formidable-forms": _formidable,
    "formstack": _formstack,
    "google-ads": _from("user_column_data"),
    "gravity-forms": _gravity_forms,
    "heyflow": _from("fields"),
    "highlevel-workflow": _from(skip=("location", "workflow", "user", "triggerData")),
    "hubspot-workflow": _from("properties", "identity-profiles"),
    "jotform": _jotform,
    "ninja-forms": _in_field("json"),
    "paperform": _from("data"),
    "shopify": _from(skip=("name",)),  # an order's number
    "standard-webhooks": _from("data"),
    "standard-webhooks-v1a": _from("data"),
    "stripe": _stripe,
    "tally": _tally,
    "typeform": _typeform,
    "unbounce": _in_field("data.json"),
    "webflow": _webflow,
    "whatconverts": _flat,
    "woocommerce": _from(skip=("_links",)),
    "wpforms": _flat,
    "wufoo": _wufoo,
}
