"""Malformed values: texts, numbers and JSON that a request may hold anywhere."""

import random
from typing import Any

API = "api"
# What most requests ask for; the local HighLevel, or SQS, treats them differently.
LOCATIONS = ("ve9EPM428h8vShlRW1KT", "berlinK7Qx2mPz4tWc", "viennaB5nR8yLd3fHj")
SICK = "sickLocation00000001"  # 503
NOT_STORED = "sickLocationUnstored"  # 503, and SQS refuses its messages
LIMITED = "limitedLocation00003"  # 429
FOREIGN = "foreignLocation00004"  # the token has no access
OFTEN = (*LOCATIONS, *LOCATIONS, *LOCATIONS, SICK, LIMITED, FOREIGN, NOT_STORED)

TEXTS = (
    *("", " ", "\0", "a\0b", "\x1b[31mred", "\x7f", "x\r\nX-Injected: 1", "x\nSet-Cookie: a=b\n\n<html>"),
    *('x"}\n{"level": "INFO", "message": "submission", "outcome": "opened"}', "../../etc/passwd"),
    *("..%2f..%2fadmin", "id?x=1#y", "id/../../contacts/upsert", "\ud800", "id\udfffid"),
    *("\ufeffve9EPM428h8vShlRW1KT", "\uff56\uff45\uff19EPM428h8vShlRW1KT", "\u0661\u0662\u0663"),
    *("\u043ecQHyuzHvysMo5N5VsXc", "\u202eTK1WRlhSv8h824MPE9ev", "ve9EPM\u200b428h8vShlRW1KT"),
    *("\u2028\u2029\x85", "\ufffe\uffff", "\U0001f4a5" * 20, "e\u0301" * 30, "null", "undefined", "NaN"),
    *("${jndi:ldap://x.example/a}", "'; DROP TABLE contacts; --", "<script>alert(1)</script>", "{{7*7}}"),
    *("%00%0d%0a", "-" * 64, "_" * 65, "A" * 64, "A" * 65, "A" * 10_000, "1" * 70),
    # as e-mail addresses
    *("a@b", "a@b@c.example", "a\0b@c.example", "a\x1b[2J@c.example", "\ud800@c.example", "a@\udfff.example"),
    *("a\u202eb@c.example", "a\u200b@c.example", "a\ufeff@c.example", "a\x7f@c.example", "a\ufffe@c.example"),
    *("a\r\nBcc: x@c.example", "\u00e4\u00f6@\u00fc.example", "A" * 64 + "@" + "b" * 189),
    *("A" * 65 + "@" + "b" * 190, '"a b"@c.example', "@" * 5000),
    # as phone numbers
    *("+\u0663\u0664\u0665 \u0661\u0662\u0663\u0664", "+\uff11\uff12\uff13\uff14\uff15\uff16", "++(1) 555 0100"),
    *("+1 555\r\n0100", "+1\u00a0555\u00a00100\u2013200", "+" + "5" * 31, "+" + "5" * 40, "+1 555 0100;ext=1"),
    "(" * 5000,
)
NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1.5, 10**18, -(10**19), 10**19, 10**25, 10**400, 1e308, -0.0, 15551234567, -15551234567),
    *(True, False, None),
)


# In the place of any member of an event.
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**18, "", "x\r\nX-Injected: 1", "\ud800", [], ["a"], {}),
    *({"a": 1}, "A" * 10_000, [[[]]], "\0", "1795358768123", "\u202e", 10**400),
)


def value(rng: random.Random, depth: int = 0) -> Any:
    """A JSON value outside the documented schema."""
    match rng.randrange(10):
        case 0 | 1 | 2 | 3 | 4:
            return rng.choice(TEXTS)
        case 5 | 6:
            return rng.choice(NUMBERS)
        case 7:
            return "".join(chr(rng.choice([*range(0x250), 0x2028, 0xD800, 0xDFFF, 0x1F4A5])) for _ in range(30))
        case 8 if depth < 4:
            return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
        case 9 if depth < 4:
            return {str(value(rng, 9))[:50]: value(rng, depth + 1) for _ in range(rng.randrange(3))}
    return [[]] if rng.random() < 0.5 else {}


def paths(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at, *(path for name, each in members for path in paths(each, (*at, name)))]


def replaced(tree: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = replaced(tree[path[0]], path[1:], new)
    return copy


def without(tree: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return None
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = without(tree[path[0]], path[1:])
    return copy


def nested(rng: random.Random, inner: str = "1") -> str:
    """Deeply nested JSON: far beyond every parser's limit, and around the limits of Python's."""
    depth = rng.choice([100, 990, 3_000, 30_000, 100_000, rng.randrange(900, 1100), rng.randrange(4_000, 12_000)])
    if rng.random() < 0.5:
        return "[" * depth + inner + "]" * depth
    return '{"a":' * depth + inner + "}" * depth
