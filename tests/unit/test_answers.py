"""A submission's answers: every format as it is documented, and whatever else a body may hold."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from create_conversation.senders.answers import FORMATS, MAX_ANSWERS, MAX_LABEL, NOT_SHOWN, Answer, answers
from create_conversation.senders.contact_details import find_person
from tests.stopwatch import costs_less

EXAMPLES = settings(derandomize=True, database=None, deadline=None, max_examples=200)


def said(payload: Any, format: str) -> list[tuple[str, str, str]]:
    return [(answer.label, answer.type, answer.value) for answer in answers(payload, format)]


def typeform(fields: list[Any], items: list[Any], **members: Any) -> dict[str, Any]:
    return {"form_response": {"definition": {"fields": fields}, "answers": items, **members}}


CHECKOUT_FIELDS = [
    {"key": "n", "label": {"custom": "Your first name", "type": "custom"}, "type": "text", "text": {"value": "Ana"}},
    {"key": "phone", "label": None, "type": "numeric", "numeric": {"value": "5555550100"}},
    {"key": "none", "label": {"custom": "Team"}, "type": "dropdown", "dropdown": None},
]

CASES: list[tuple[str, str, Any, list[tuple[str, str, str]]]] = [
    (
        "stripe",
        "the-checkout-s-own-fields",
        {"data": {"object": {"currency": "usd", "custom_fields": CHECKOUT_FIELDS}}},
        [("currency", "", "usd"), ("Your first name", "", "Ana"), ("phone", "", "5555550100"), ("Team", "", "")],
    ),
    ("flat", "form", {"name": "Ana", "e": ""}, [("name", "", "Ana"), ("e", "", "")]),
    ("flat", "nested", {"a": {"b": {"c": "x"}}, "d": [1, 2]}, [("a.b.c", "", "x"), ("d", "", "1, 2")]),
    (
        "flat",
        "scalars",
        {"a": True, "b": None, "c": 3.0, "d": 2.5},
        [("a", "", "yes"), ("b", "", ""), ("c", "", "3"), ("d", "", "2.5")],
    ),
    ("flat", "brackets", {"c[email]": "a@x.co", "t[]": ["a", "b"]}, [("c.email", "", "a@x.co"), ("t", "", "a, b")]),
    ("flat", "name-and-value-at-the-top", {"name": "Ana", "value": "5"}, [("name", "", "Ana"), ("value", "", "5")]),
    (
        "flat",
        "name-and-value-objects",
        {"fields": [{"name": "email", "value": "a@x.co", "objectTypeId": "0-1"}, {"question": "Why?", "answer": "So"}]},
        [("email", "", "a@x.co"), ("Why?", "", "So")],
    ),
    (
        "flat",
        "an-object-with-more-than-a-question",
        {"contact": {"name": "Ana", "value": 5, "email": "a@x.co"}},
        [("contact.name", "", "Ana"), ("contact.value", "", "5"), ("contact.email", "", "a@x.co")],
    ),
    (
        "flat",
        "name-parts",
        {"N": {"First": "Ana", "Last": "P"}},
        [("N.First", "first_name", "Ana"), ("N.Last", "last_name", "P")],
    ),
    ("flat", "json-text", {"payload": '{"lead": {"email": "a@x.co"}}'}, [("payload.lead.email", "", "a@x.co")]),
    ("flat", "text-in-braces", {"message": "{not json}"}, [("message", "", "{not json}")]),
    ("flat", "phone-parts", {"p": {"country_code": "+49", "number": "171 23"}}, [("p", "phone", "+49 171 23")]),
    (
        "flat",
        "a-code-that-is-no-phone",
        {"d": {"code": "X1", "value": "Blue"}},
        [("d.code", "", "X1"), ("d.value", "", "Blue")],
    ),
    (
        "flat",
        "dial-code",
        {"p": {"country": "US", "dial_code": "1", "number": "5555550100"}},
        [("p", "phone", "+1 5555550100")],
    ),
    ("flat", "a-name-and-a-text", {"c": {"name": "Ana", "text": "Hi"}}, [("c.name", "", "Ana"), ("c.text", "", "Hi")]),
    ("flat", "lone-surrogate", {"a": "x\ud800"}, [("a", "", "x?")]),
    (
        "typeform",
        "every-type",
        typeform(
            [
                {"id": "1", "title": "Mail?", "type": "email"},
                {
                    "id": "9",
                    "type": "contact_info",
                    "properties": {"fields": [{"id": "2", "title": "Given", "subfield_key": "first_name"}]},
                },
            ],
            [
                {"type": "email", "email": "a@x.co", "field": {"id": "1", "type": "email"}},
                {"type": "text", "text": "Ana", "field": {"id": "2", "type": "short_text"}},
                {
                    "type": "choice",
                    "choice": {"label": "Blue"},
                    "field": {"id": "3", "type": "multiple_choice", "ref": "colour"},
                },
                {"type": "choices", "choices": {"labels": ["A", "B"], "other": "C"}, "field": {"ref": "kinds"}},
                {"type": "boolean", "boolean": True, "field": {"ref": "ok"}},
                {"type": "number", "number": 5, "field": {"ref": "n"}},
                {"type": "date", "date": "2026-11-28", "field": {"ref": "d"}},
                {"type": "file_url", "file_url": "https://x.co/f", "field": {"ref": "f"}},
                {
                    "type": "payment",
                    "payment": {"amount": "49.00", "last4": "4242", "name": "Ana"},
                    "field": {"ref": "p"},
                },
            ],
            hidden={"utm": "x"},
            variables=[{"key": "score", "type": "number", "number": 4}],
        ),
        [
            ("Mail?", "email", "a@x.co"),
            ("Given", "first_name", "Ana"),
            ("colour", "multiple_choice", "Blue"),
            ("kinds", "choices", "A, B, C"),
            ("ok", "boolean", "yes"),
            ("n", "number", "5"),
            ("d", "date", "2026-11-28"),
            ("f", "file_url", "https://x.co/f"),
            ("p", "payment", "49.00"),
            ("hidden.utm", "", "x"),
            ("variables.score", "", "4"),
        ],
    ),
    (
        "tally",
        "options",
        {
            "data": {
                "fields": [
                    {
                        "key": "q",
                        "label": "Kind",
                        "type": "DROPDOWN",
                        "value": ["i"],
                        "options": [{"id": "i", "text": "Roof"}],
                    }
                ]
            }
        },
        [("Kind", "DROPDOWN", "Roof")],
    ),
    (
        "jotform",
        "raw-request-with-pretty",
        {
            "rawRequest": json.dumps(
                {
                    "slug": "x",
                    "q3_name": {"first": "Ana", "last": "P"},
                    "q4_mail": "a@x.co",
                    "q5_p": {"area": "555", "phone": "5550100"},
                }
            ),
            "pretty": "Your name:Ana P, E-mail address:a@x.co, Phone:555 5550100",
        },
        [
            ("Your name.first", "first_name", "Ana"),
            ("Your name.last", "last_name", "P"),
            ("E-mail address", "", "a@x.co"),
            ("Phone", "phone", "555 5550100"),
        ],
    ),
    (
        "jotform",
        "signature",
        {"rawRequest": json.dumps({"q9_sign": "data:image/png;base64," + "A" * 300_000, "q4_email": "a@x.co"})},
        [("sign", "", NOT_SHOWN), ("email", "", "a@x.co")],
    ),
    (
        "jotform",
        "phone-with-country",
        {"rawRequest": {"q5_p": {"country": "1", "area": "555", "phone": "5550100"}}},
        [("p", "phone", "+1 555 5550100")],
    ),
    ("elementor", "simple", {"Your name": "Ana", "form_id": "1"}, [("Your name", "", "Ana")]),
    (
        "elementor",
        "advanced",
        {
            "fields[m][type]": "email",
            "fields[m][title]": "Mail",
            "fields[m][value]": "a@x.co",
            "fields[n][value]": "5",
            "meta[ip][value]": "x",
        },
        [("Mail", "email", "a@x.co"), ("n", "", "5")],
    ),
    (
        "elementor",
        "json",
        {"fields": {"m": {"id": "m", "type": "email", "title": "", "value": "a@x.co"}}},
        [("m", "email", "a@x.co")],
    ),
    (
        "webflow",
        "types-beside",
        {"payload": {"data": {"Mail": "a@x.co"}, "schema": [{"fieldName": "Mail", "fieldType": "FormEmail"}]}},
        [("Mail", "FormEmail", "a@x.co")],
    ),
    ("wpforms", "date-time", {"when": {"value": "28.11.", "unix": 1}}, [("when", "", "28.11.")]),
    (
        "formstack",
        "published",
        {"Name": "first = Ana\n\nlast = P"},
        [("Name.first", "first_name", "Ana"), ("Name.last", "last_name", "P")],
    ),
    ("formstack", "typed-text", {"Mail": "value = a@x.co\nfield_type = email"}, [("Mail", "email", "a@x.co")]),
    ("formstack", "typed-json", {"Mail": {"value": "a@x.co", "field_type": "email"}}, [("Mail", "email", "a@x.co")]),
    ("formstack", "an-equation", {"Message": "a = b"}, [("Message", "", "a = b")]),
    (
        "gravity-forms",
        "name-inputs",
        {"1.3": "Ana", "1.6": "P", "2": "x"},
        [("1.3", "first_name", "Ana"), ("1.6", "last_name", "P"), ("2", "", "x")],
    ),
    (
        "gravity-forms",
        "address-inputs",
        {"5.1": "Main St", "5.3": "Austin"},
        [("5.1", "", "Main St"), ("5.3", "", "Austin")],
    ),
    (
        "calendly",
        "calls-and-questions",
        {
            "payload": {
                "email": "a@x.co",
                "questions_and_answers": [{"question": "Why?", "answer": "So", "position": 0}],
                "scheduled_event": {
                    "location": {"type": "outbound_call", "location": "+1 555"},
                    "event_guests": [{"email": "g@x.co"}],
                },
            }
        },
        [
            *((name, "", "") for name in ("name", "first_name", "last_name")),
            ("email", "email", "a@x.co"),
            ("text_reminder_number", "phone", ""),
            ("location", "phone", "+1 555"),
            ("Why?", "", "So"),
            *((name, "", "") for name in ("event.name", "event.start_time", "timezone")),
        ],
    ),
    (
        "shopify",
        "note-attributes",
        {"name": "#1", "note_attributes": [{"name": "size", "value": "L"}]},
        [("size", "", "L")],
    ),
    (
        "stripe",
        "object",
        {"data": {"object": {"customer_details": {"email": "a@x.co"}}}},
        [("customer_details.email", "", "a@x.co")],
    ),
    (
        "google-ads",
        "with-and-without-id",
        {
            "user_column_data": [
                {"column_id": "EMAIL", "string_value": "a@x.co"},
                {"column_name": "User Phone", "string_value": "1"},
            ]
        },
        [("EMAIL", "EMAIL", "a@x.co"), ("User Phone", "", "1")],
    ),
    (
        "paperform",
        "hidden",
        {
            "data": [
                {"title": "E-mail", "type": "email", "key": "k", "custom_key": None, "value": "a@x.co"},
                {"title": "", "type": "hidden", "custom_key": "src", "value": "x"},
            ]
        },
        [("E-mail", "email", "a@x.co"), ("src", "hidden", "x")],
    ),
    (
        "contact-form-7",
        "arrays",
        {"your-email": "a@x.co", "kinds": ["a", "b"]},
        [("your-email", "", "a@x.co"), ("kinds", "", "a, b")],
    ),
    ("ninja-forms", "json-text-in-one-field", {"json": '{"mail": "a@x.co"}'}, [("mail", "", "a@x.co")]),
    ("ninja-forms", "json-text-in-another-field", {"body": '{"mail": "a@x.co"}'}, [("mail", "", "a@x.co")]),
    (
        "fluent-forms",
        "bracket-form",
        {"names[first_name]": "Ana", "email": "a@x.co", "__submission[id]": "5"},
        [("names.first_name", "", "Ana"), ("email", "", "a@x.co")],
    ),
    (
        "unbounce",
        "data-json",
        {"page_id": "1", "data.json": '{"email": ["a@x.co"]}', "data.xml": "<x/>"},
        [("email", "", "a@x.co")],
    ),
    ("callrail", "form", {"id": "1", "form_data": {"input_1.3": "Ana"}}, [("input_1.3", "first_name", "Ana")]),
    (
        "callrail",
        "call",
        {"customer_phone_number": "+1", "tracking_phone_number": "+2"},
        [("customer_phone_number", "", "+1")],
    ),
    (
        "formidable-forms",
        "array-of-one-row",
        [{"item_key": "k", "name": "Ana", "qh4icy": "Ana", "zz": "x"}],
        [("First name", "", "Ana"), ("zz", "", "x")],
    ),
    (
        "hubspot-workflow",
        "v1-contact",
        {"vid": 1, "properties": {"firstname": {"value": "Ana", "versions": [{"value": "A"}]}}},
        [("firstname", "", "Ana")],
    ),
    (
        "hubspot-workflow",
        "identities",
        {
            "identity-profiles": [
                {
                    "identities": [
                        {"type": "LEAD_GUID", "value": "g"},
                        {"type": "EMAIL", "value": "a@x.co", "is-primary": True},
                    ]
                }
            ]
        },
        [("identities[0].LEAD_GUID", "LEAD_GUID", "g"), ("identities[1].EMAIL", "EMAIL", "a@x.co")],
    ),
    ("hubspot-workflow", "own-body", {"email": "a@x.co"}, [("email", "", "a@x.co")]),
    (
        "wufoo",
        "with-structure",
        {
            "Field1": "Ana",
            "Field3": "a@x.co",
            "FieldStructure": json.dumps(
                {
                    "Fields": [
                        {
                            "Title": "Name",
                            "Type": "shortname",
                            "ID": "Field1",
                            "SubFields": [{"ID": "Field1", "Label": "First"}],
                        },
                        {"Title": "Mail", "Type": "email", "ID": "Field3"},
                    ]
                }
            ),
        },
        [("Name.First", "first_name", "Ana"), ("Mail", "email", "a@x.co")],
    ),
    (
        "wufoo",
        "bare-name",
        {"Field1": "Ana", "Field2": "P", "EntryId": "1"},
        [("Field1", "", "Ana"), ("Field2", "", "P")],
    ),
    (
        "wufoo",
        "bare-names",
        {"Field1": "Ana", "Field2": "Prado"},
        [("Field1", "first_name", "Ana"), ("Field2", "last_name", "Prado")],
    ),
    (
        "cognito-forms",
        "entry",
        {"Name": {"First": "Ana"}, "Entry": {"User": {"Email": "o@x.co"}}},
        [("Name.First", "first_name", "Ana")],
    ),
    (
        "whatconverts",
        "own-fields",
        {"additional_fields": {"full_name": "Ana"}},
        [("additional_fields.full_name", "", "Ana")],
    ),
    (
        "clickfunnels",
        "contact",
        {"data": {"email_address": "a@x.co"}, "event_id": "1"},
        [("email_address", "", "a@x.co")],
    ),
    ("clickfunnels", "form-submission", {"data": {"data": {"email": "a@x.co"}}}, [("data.email", "", "a@x.co")]),
    ("clickfunnels-classic", "purchase", {"contact": {"email": "a@x.co"}, "id": 1}, [("email", "", "a@x.co")]),
    ("framer", "inputs", {"E-Mail": "a@x.co"}, [("E-Mail", "", "a@x.co")]),
    (
        "fillout",
        "questions-and-parameters",
        {
            "submission": {
                "questions": [{"id": "1", "name": "Mail?", "type": "EmailInput", "value": "a@x.co"}],
                "urlParameters": [{"id": "u", "name": "src", "value": "x"}],
            }
        },
        [("Mail?", "EmailInput", "a@x.co"), ("src", "", "x")],
    ),
    ("heyflow", "simple", {"id": "1", "fields": {"Email": "a@x.co"}}, [("Email", "", "a@x.co")]),
    (
        "heyflow",
        "extended",
        {
            "fields": [
                {
                    "label": "Kind",
                    "variable": "k",
                    "id": "mc-1",
                    "values": [{"label": "A", "id": "1"}, {"label": "B", "id": "2"}],
                }
            ]
        },
        [("Kind", "", "A, B")],
    ),
    (
        "activecampaign",
        "brackets",
        {"type": "subscribe", "contact[email]": "a@x.co", "contact[fields][27]": "x"},
        [("email", "", "a@x.co"), ("fields.27", "", "x")],
    ),
    ("a-sender-of-the-users", "unknown", {"email": "a@x.co"}, [("email", "", "a@x.co")]),
]


@pytest.mark.parametrize(
    ("format", "payload", "expected"), [case[:1] + case[2:] for case in CASES], ids=[f"{c[0]}-{c[1]}" for c in CASES]
)
def test_format(format: str, payload: Any, expected: list[tuple[str, str, str]]) -> None:
    assert said(payload, format) == expected


def test_every_format_has_an_example() -> None:
    without = {"event", "highlevel-workflow", "standard-webhooks", "standard-webhooks-v1a", "woocommerce"}
    assert FORMATS.keys() <= {case[0] for case in CASES} | without  # the latter: tests/data/payloads


@pytest.mark.parametrize("format", ["event", "highlevel-workflow", "standard-webhooks", "woocommerce"])
def test_a_payload_without_the_formats_own_members_is_read_whole(format: str) -> None:
    assert said({"email": "a@x.co"}, format) == [("email", "", "a@x.co")]


# --- whatever comes ---------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        "data",
        "fields",
        "contact",
        "answers",
        "questions",
        "value",
        "values",
        "label",
        "name",
        "type",
        "field",
        "options",
        "id",
        "first",
        "last",
        "phone",
        "full",
        "area",
        "rawRequest",
        "pretty",
        "form_response",
        "definition",
        "properties",
        "hidden",
        "variables",
        "payload",
        "schema",
        "FieldStructure",
        "a[b]",
        "a[]",
        "a",
        "submission",
        "user_column_data",
        "form_data",
        "detail",
        "1.3",
        "input_1.6",
        "item_key",
        "number",
        "country",
        "text",
        "title",
        "choices",
        "json",
    ]
)
TEXTS = st.text(max_size=20) | st.sampled_from(
    ["", "{}", "[1]", '{"a": [{}]}', "first = x", "a@x.co", "\ud800", "[" * 900]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
ANY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)


@pytest.mark.parametrize("format", [*FORMATS, "unknown"])
@given(payload=ANY)
@settings(EXAMPLES, max_examples=50)
def test_no_payload_raises_in_any_format(format: str, payload: Any) -> None:
    listed = answers(payload, format)
    assert all(isinstance(text, str) and text.encode() is not None for answer in listed for text in answer)
    assert all(type(answer) is Answer and len(answer.label) <= MAX_LABEL for answer in listed)
    find_person(listed, {"email": [("a.b", payload)], "phone": [("c", payload)], "full_name": [("d", payload)]})


def as_text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return str(int(value) if is_whole else value)


@given(
    st.dictionaries(
        st.text("abcXYZ _-äж", min_size=1, max_size=12),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text("abc @.0\n", max_size=30),
        max_size=12,
    )
)
@EXAMPLES
def test_every_scalar_of_a_flat_payload_is_one_answer_in_order(payload: dict[str, Any]) -> None:
    assert said(payload, "flat") == [(name, "", as_text(value)) for name, value in payload.items()]


@given(
    st.recursive(
        st.text("pqr", min_size=1),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3)
            | st.dictionaries(st.text("xyz", min_size=1), inner, min_size=1, max_size=3)
        ),
        max_leaves=20,
    )
)
@EXAMPLES
def test_every_scalar_of_a_nested_payload_is_in_the_answers_once(payload: Any) -> None:
    def leaves(node: Any) -> list[str]:
        if isinstance(node, str):
            return [node]
        return [leaf for child in (node.values() if isinstance(node, dict) else node) for leaf in leaves(child)]

    found = [text for answer in answers(payload, "flat") for text in answer.value.split(", ")]
    assert found == leaves(payload)


# --- malicious bodies of 256 KiB ----------------------------------------------------------------------------------


def nested(levels: int, kind: str) -> Any:
    node: Any = "x"
    for _ in range(levels):
        node = {"a": node} if kind == "object" else [node]
    return node


MALICIOUS: dict[str, Any] = {
    "80,000-keys": {f"{i:x}": "" for i in range(40_000)},
    "nested-objects": nested(900, "object") | {f"k{i}": "" for i in range(20_000)},
    "nested-lists": [nested(900, "list"), *[{} for _ in range(60_000)]],
    "scalars": {"a": [1] * 120_000},
    "questions": [{"name": "a", "value": "b"}] * 10_000,
    "addresses": {f"{i:x}": "a@b.co" for i in range(14_000)},
    "half-addresses": {"email": "a@b," * 65_000},
    "at-signs": {"email": "@" * 260_000},
    "angle-brackets": {"email": "<a@" * 87_000},
    "dots": {"email": "a." * 130_000 + "@x.co"},
    "domain": {"email": "x@" + "a." * 130_000},
    "phones": {f"phone{i:x}": "5555550100" for i in range(11_000)},
    "digits": {"phone": "1" * 260_000},
    "parentheses": {"phone": "(" * 260_000 + "5555550100"},
    "blanks": {"phone": " " * 130_000 + "1", "name": " " * 130_000 + "x"},
    "joiners": {"name": "a\u200c" * 65_000, "first_name": "e" + "\u0301" * 120_000},
    "labels": {f"{i} phone e-mail name" * 20: "5555550100" for i in range(600)},
    "one-label": {"a" * 260_000: "x"},
    "brackets": {f"a[{i}]": "x" for i in range(20_000)},
    "deep-brackets": {"a" + "[b]" * 20 + f"[{i}]": "x" for i in range(3_500)},
    "json-in-text": {"message": "[" * 130_000 + "]" * 130_000},
    "json-in-texts": {f"m{i}": '{"a":1}' for i in range(12_000)},
    "jotform": {"rawRequest": json.dumps({f"q{i}_a": "xyz" for i in range(7_000)}), "pretty": "Name:Ana, " * 13_000},
    "typeform": typeform(
        [{"id": i, "title": "x"} for i in range(3_000)],
        [{"type": "text", "text": "x", "field": {"id": i}} for i in range(3_000)],
    ),
}


@pytest.mark.parametrize("format", ["flat", "jotform", "typeform", "gravity-forms", "formstack"])
@pytest.mark.parametrize("payload", MALICIOUS.values(), ids=MALICIOUS.keys())
def test_a_malicious_body_costs_little(payload: Any, format: str) -> None:
    """Under 100 ms of processor time."""

    def find() -> None:
        find_person(answers(payload, format), {"email": [("@", payload)], "phone": [("@", payload)]})

    assert costs_less(0.1, find)
    assert len(answers(payload, format)) <= MAX_ANSWERS
