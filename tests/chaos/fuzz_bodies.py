"""Malformed bodies. Each function changes the body, and what belongs to it, of a good request before it is signed."""

import encodings.aliases
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from cli.signing import FORM
from create_conversation.senders.config import Sender
from tests.chaos.fuzz_values import LOCATIONS, TEXTS, nested, paths, replaced, value, without


@dataclass(slots=True)
class Draft:
    """A request before it is signed and becomes API Gateway's event. `place`: the place of a token sender's secret."""

    sender: Sender
    secret: str
    email: str
    rng: random.Random
    now: float
    body: bytes
    content_type: str = "application/json"
    place: str = ""


def _tree(draft: Draft) -> Any:
    if draft.content_type == FORM:
        draft.content_type, draft.place = "application/json", ""
        draft.body = json.dumps({"email": "a@b.example", "locationId": LOCATIONS[0]}).encode()
    return json.loads(draft.body)


def _json(draft: Draft, tree: Any) -> None:
    draft.body = json.dumps(tree).encode()


def _wrong_values(draft: Draft) -> None:
    rng = draft.rng
    tree = _tree(draft)
    for _ in range(rng.choice([1, 1, 2, 5])):
        leaves = [path for path in paths(tree) if path]
        if leaves and isinstance(tree, dict):
            tree = replaced(tree, rng.choice(leaves), value(rng))
    _json(draft, tree)


def _wrong_contact(draft: Draft) -> None:
    """Only the leaves that name location, contact, e-mail or phone."""
    rng = draft.rng
    tree = _tree(draft)
    for path in paths(tree):
        if path and re.search(r"(?i)id$|mail|phone|location|contact|name|site|mobile", str(path[-1])):
            wrong = value(rng)
            if rng.random() < 0.6 and not isinstance(wrong, dict | list):
                try:
                    tree = replaced(tree, path, wrong)
                except (KeyError, IndexError, TypeError):  # its parent has gone
                    continue
    _json(draft, tree)


def _missing(draft: Draft) -> None:
    tree = _tree(draft)
    for _ in range(draft.rng.choice([1, 2, 4])):
        leaves = [path for path in paths(tree) if path]
        tree = without(tree, draft.rng.choice(leaves)) if leaves else tree
    _json(draft, tree)


def _duplicated_keys(draft: Draft) -> None:
    rng = draft.rng
    tree = _tree(draft)
    pairs = [f"{json.dumps(name)}:{json.dumps(each)}" for name, each in tree.items()]
    pairs += [f"{json.dumps(name)}:{json.dumps(value(rng))}" for name in tree] * rng.choice([1, 50])
    rng.shuffle(pairs)
    draft.body = ("{" + ",".join(pairs) + "}").encode()


def _odd_keys(draft: Draft) -> None:
    rng = draft.rng
    tree = _tree(draft)
    _json(draft, tree | {str(rng.choice(TEXTS)): value(rng) for _ in range(rng.choice([1, 10, 1000]))})


def _deep(draft: Draft) -> None:
    rng = draft.rng
    text = json.dumps(_tree(draft))
    deep = nested(rng)
    draft.body = rng.choice([deep, text[:-1] + f', "deep": {deep}}}', f'{{"deep": {deep}, ' + text[1:]]).encode()


def _deep_array(draft: Draft) -> None:
    draft.body = f"[{nested(draft.rng)}, {json.dumps(_tree(draft))}]".encode()


def _number_texts(draft: Draft) -> None:
    rng = draft.rng
    big = rng.choice(["9" * 4300, "9" * 5000, "-" + "9" * 20_000, "1e999", "1e-999", "NaN", "-Infinity", "1E+400"])
    text = json.dumps(_tree(draft))
    draft.body = re.sub(r'"(contactId|email|phone|id|locationId)": "[^"]*"', rf'"\1": {big}', text, count=2).encode()


def _growing_numbers(draft: Draft) -> None:
    """Short as JSON, long when Python writes them: 1e15, and escaped characters."""
    rng = draft.rng
    filler = ",".join([rng.choice(["1e15", '"\\ud800"', '"\\u0000"', "1E5"])] * rng.choice([100, 10_000, 40_000]))
    text = json.dumps(_tree(draft))
    whole = text[:-1] + f', "more": [{filler}]}}'
    draft.body = (f"[{whole}]" if rng.random() < 0.5 else whole).encode()


def _not_json(draft: Draft) -> None:
    rng = draft.rng
    text = json.dumps(_tree(draft))
    draft.body = rng.choice(
        [
            b"",
            b" \r\n\t",
            text[: rng.randrange(len(text))].encode(),
            text.replace('"', "'").encode(),
            (text + text).encode(),
            (text + "\0").encode(),
            b"// comment\n" + text.encode(),
            text.replace("}", ",}").encode(),
            rng.randbytes(rng.choice([1, 30, 2000])),
            b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
            b"PK\x03\x04" + rng.randbytes(100),
        ]
    )


def _other_json(draft: Draft) -> None:
    rng = draft.rng
    _json(draft, rng.choice([None, True, 0, 1.5, "text", "", [], {}, [[]], [None], ["a", 1], float("nan"), "\ud800"]))


def _array(draft: Draft) -> None:
    rng = draft.rng
    count = rng.choice([2, 3, 5, 12])
    _json(draft, [rng.choice([_tree(draft), value(rng), [value(rng)], {}]) for _ in range(count)])


def _long_array(draft: Draft) -> None:
    rng = draft.rng
    tree = _tree(draft)
    count = 10_000 if rng.random() < 0.004 else 40
    junk: Any = rng.choice([{}, [], None, 1, "x", {"email": "a@b"}, {"email": f"x{rng.random()}@y.example"}])
    _json(draft, [tree if rng.random() < 0.01 else junk for _ in range(count)])


def _huge(draft: Draft) -> None:
    rng = draft.rng
    limit = 256 * 1024
    size = rng.choice([limit - 1, limit, limit + 1, limit - 100, 600_000, 3_000_000])
    text = json.dumps(_tree(draft)).encode()
    layout = 2 if rng.random() < 0.004 else rng.choice([0, 1, 3])
    if layout == 0:
        draft.body = text + b" " * (size - len(text))
    elif layout == 1:
        draft.body = text[:-1] + b', "more": "' + "\u00e4".encode() * ((size - len(text) - 12) // 2) + b'"}'
    elif layout == 2:
        draft.body = b"[" + b",".join([text] * max(1, size // (len(text) + 60))) + b"]"
        draft.body = draft.body[:size] if size > limit else b"[" + text + b", 1" * ((size - len(text) - 2) // 3) + b"]"
    else:
        draft.body = b'{"contactId": "' + b"A" * (size - 17) + b'"}'


def _encoded(draft: Draft) -> None:
    rng = draft.rng
    text = json.dumps(_tree(draft) | {"note": "\u00e4\u20ac\U0001f4a5"}, ensure_ascii=False)
    codec = rng.choice(["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be", "utf-7", "latin-1", "cp037"])
    draft.body = text.encode(codec, "replace")
    declared = rng.choice([codec, codec, "utf-8", "utf-16", ""])
    draft.content_type = f"application/json; charset={declared}" if declared else "application/json"


def _any_codec(draft: Draft) -> None:
    rng = draft.rng
    name = rng.choice(sorted({*encodings.aliases.aliases.values(), *encodings.aliases.aliases, "idna", "punycode"}))
    form = rng.random() < 0.3
    text = urlencode({"email": "a@b.example", "note": "\u00e4"}) if form else json.dumps(_tree(draft))
    try:
        draft.body = text.encode(name, "replace") if rng.random() < 0.7 else rng.randbytes(200)
    except Exception:  # noqa: BLE001 a codec that makes no bytes of text, and whatever it raises
        draft.body = text.encode()
    draft.content_type = f"{FORM if form else 'application/json'}; charset={name}"


def _long_in_any_codec(draft: Draft) -> None:
    """200 KB in a codec, which may take more than linear time."""
    rng = draft.rng
    _any_codec(draft)
    draft.body = rng.choice(
        [draft.body * (200_000 // max(1, len(draft.body))), b"a-" * 100_000, rng.randbytes(200_000)]
    )


def _content_type(draft: Draft) -> None:
    rng = draft.rng
    draft.content_type = rng.choice(
        [
            *("", "text/plain", "multipart/form-data; boundary=x", "application/json; charset="),
            *("application/json; charset=utf-8; charset=utf-16", "application/json;charset=hex"),
            *("application/json; charset=zlib_codec", "application/json; charset=\u00e4"),
            *("application/json; charset=" + "a" * 20_000, "application/json; charset" + " " * 20_000 + "=utf-8"),
            *("application/json" + ";" * 20_000, "application/" + "x" * 20_000 + "+json"),
            *("application/json\r\nx-injected: 1", "APPLICATION/JSON", "application/problem+json"),
            *(FORM + ", application/json", FORM + "x", "*/*", "\0", "\ud800"),
            *("application/json; charset=../../etc/passwd", "application/json; charset=undefined"),
            *("application/json; charset=rot13", "application/json; charset=unicode_escape"),
        ]
    )


def _form(draft: Draft) -> None:
    """Forms, also for senders of JSON; the secret is in the body where the sender allows that."""
    rng = draft.rng
    mail = draft.email
    draft.content_type = FORM + rng.choice(["", "", "; charset=utf-8", "; charset=utf-16", "; charset=cp037", "; x=y"])
    draft.place = next((place for place in draft.sender.where if place.startswith("body:")), "")
    good = urlencode({"email": mail, "locationId": LOCATIONS[0]})
    draft.body = rng.choice(
        [
            *(good, good + "&" + "&".join(f"f{each}=1" for each in range(rng.choice([900, 1500, 20_000])))),
            *(good + "&email=" * 500, good + "&=&&&==&%&%zz=%zz&%ff=%fe"),
            *(good + "&" + quote("\0\r\n") + "=" + quote("\r\n"), good.replace("email", "%65mail")),
            *("&" * 100_000, "=" * 100_000, "%" * 100_000, "email=" + "%41" * 60_000, good + "&note=\u00e4"),
            good + ";email=x",
        ]
    ).encode()
    if rng.random() < 0.2:
        draft.body = draft.body.decode().encode(rng.choice(["utf-16", "utf-32", "cp037"]), "replace")


def _secret_in_body(draft: Draft) -> None:
    """The sender puts its token into every possible place of the body."""
    rng = draft.rng
    tree = _tree(draft)
    place = next((place for place in draft.sender.where if place.startswith("body:")), "")
    draft.place = place
    if not place:
        return
    secret = draft.secret
    name = place.removeprefix("body:")
    pairs = [f"{json.dumps(key)}:{json.dumps(each)}" for key, each in tree.items()]
    pairs += [f'"{name}":"{rng.choice([secret, "x"])}"', f'"{name}":"{secret}"']
    text = "{" + ",".join(pairs) + "}"
    if rng.random() < 0.4:  # escaped
        text = text.replace(secret, "".join(f"\\u{ord(each):04x}" for each in secret))
    draft.body = text.encode(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32-le"]))
    draft.content_type = rng.choice(
        ["application/json", "application/json; charset=utf-16", "application/json; charset=latin-1"]
    )


BODIES: dict[str, Callable[[Draft], None]] = {
    "good": lambda _draft: None,
    "wrong types and texts": _wrong_values,
    "wrong ids, addresses and numbers": _wrong_contact,
    "wrong ids, addresses and numbers again": _wrong_contact,
    "missing members": _missing,
    "duplicated keys": _duplicated_keys,
    "odd keys": _odd_keys,
    "nested deeply": _deep,
    "nested deeply in an array": _deep_array,
    "numbers out of range": _number_texts,
    "numbers that grow": _growing_numbers,
    "no JSON": _not_json,
    "other JSON": _other_json,
    "array of junk": _array,
    "long array": _long_array,
    "huge": _huge,
    "other encodings": _encoded,
    "any codec": _any_codec,
    "long in any codec": _long_in_any_codec,
    "content types": _content_type,
    "forms": _form,
    "the secret in the body": _secret_in_body,
}
