"""Take the secret that authenticated a delivery out of it, in any spelling, before it is mapped or stored.

First go the members that hold a secret by their name. Then the value is looked for: some senders repeat their secret in
the payload, as Jotform, which posts the URL of its webhook, at a place and in an escaping that the sender chooses.
So the bytes are searched layer by layer: as they are, and with their escapes (percent, JSON, HTML) and the line breaks
of base64 resolved once, twice, … What is found in a layer is replaced in the bytes as they came, always by whole
escapes, so that JSON stays JSON and a form a form.
"""

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, reduce
from urllib.parse import quote, quote_plus

from create_conversation.errors import InvalidError
from create_conversation.senders.body import (
    JSON,
    MAX_STORED_BYTES,
    Body,
    read_body,
    text_codec,
    without_large_members,
    without_members,
)
from create_conversation.senders.config import Sender
from create_conversation.senders.verification import Request, delivery_id, has_signed_id

REDACTED = b"REDACTED"
# A shorter secret would be found in ordinary words and numbers. It is removed only where the entry names it.
MIN_CHARACTERS = 8
MAX_LAYERS = 8  # how many times a secret may be escaped
_PART_OF_ESCAPE = 5  # characters at most: all but the last one of \u0041

type Span = tuple[int, int]


@dataclass(frozen=True, slots=True, repr=False)
class Authenticated:
    """A request of a known sender, without its secret.

    `raw` and `content_type` are what may be stored; `parsed` is the body that was read from it, or why it cannot be
    read.
    """

    sender: Sender
    raw: bytes
    content_type: str
    parsed: Body | InvalidError
    delivery_id: str


def without_secrets(sender: Sender, request: Request, secrets: tuple[str, ...]) -> Authenticated:
    """Take these secrets of its sender out of the authenticated request, and all that is not read from now on."""
    given_id = delivery_id(sender, request) if has_signed_id(sender) else None
    delivery = _redacted_text(sender, given_id or "", secrets)
    names = secret_members(sender)
    body = _smaller(request.parsed, names)
    if isinstance(body, InvalidError):
        raw = _without_names(request.body[: MAX_STORED_BYTES + 1], names)  # a larger one is not stored
        content_type = _redacted_text(sender, request.content_type, secrets)
        codec = "utf-8" if request.is_text else text_codec(request.content_type)
        return Authenticated(sender, redacted_bytes(sender, raw, codec, secrets), content_type, body, delivery)
    content_type = _redacted_text(sender, body.content_type, secrets)
    if content_type != body.content_type:
        body = replace(body, content_type=content_type)
    raw = redacted_bytes(sender, body.raw, text_codec(body.content_type), secrets)
    try:
        # Parsed again only where the value of the secret was found in it.
        clean = body if raw == body.raw else read_body(raw, body.content_type)
        return Authenticated(sender, clean.raw, clean.content_type, clean, delivery)
    except InvalidError as error:
        return Authenticated(sender, raw, body.content_type, error, delivery)


def _smaller(body: Body | InvalidError, names: frozenset[str]) -> Body | InvalidError:
    """Leave out the members of these names and, of a large body, the large texts."""
    if isinstance(body, InvalidError):
        return body
    try:
        return without_large_members(without_members(body, names))
    except InvalidError as error:
        return error


def secret_members(sender: Sender) -> frozenset[str]:
    """Name the members that may hold a secret."""
    return frozenset(place.removeprefix("body:") for place in sender.where if place.startswith("body:")) | {
        *sender.strip
    }


def redacted_bytes(sender: Sender, raw: bytes, codec: str, secrets: tuple[str, ...]) -> bytes:
    """Replace the sender's secrets in the bytes: as text of that codec, and as bytes because the codec may be wrong."""
    return _redacted_body(raw, codec, _needles_of(sender, secrets, codec))


def _redacted_text(sender: Sender, text: str, secrets: tuple[str, ...]) -> str:
    if text in ("", JSON):
        return text
    clean = redacted(text.encode("utf-8", "surrogatepass"), _needles_of(sender, secrets, "utf-8"))
    return clean.decode("utf-8", "replace")


def _needles_of(sender: Sender, secrets: tuple[str, ...], codec: str) -> "tuple[_Needle, ...]":
    """List what must not stay; a public key is not a secret."""
    return () if sender.scheme == "pubkey" else _needles(_parts(sender, secrets), codec)


def _without_names(raw: bytes, names: frozenset[str]) -> bytes:
    """Remove from an unreadable body what seems to be the value of such a member."""
    for name in names:
        for pattern in _VALUES:
            raw = re.sub(pattern.replace(b"NAME", re.escape(name.encode())), rb"\1" + REDACTED, raw)
    return raw


# A member's value in JSON or in a form, and in a multipart body.
_VALUES = (
    rb"""(\bNAME["']?\s{0,20}[:=]\s{0,20})(?:"(?:[^"\\]|\\.)*|[^&,}\s]*)""",
    rb"""(\bname="?NAME"?[^\r\n]{0,200}(?:\r\n[^\r\n]{1,200}){0,5}\r\n\r\n)[^\r]*""",
)


@dataclass(frozen=True, slots=True, repr=False)
class _Needle:
    """Bytes that must not stay. `alike`: which bytes count as one another, where a spelling leaves that open."""

    text: bytes
    alike: bytes | None = None

    @property
    def replacement(self) -> bytes:
        """Return what stands in its place; for a number a number: JSON may hold it without quotes."""
        if not re.fullmatch(rb"[0-9.eE+-]*[0-9][0-9.eE+-]*", self.text):
            return REDACTED
        ones = re.sub(rb"[0-9]", b"1", self.text)
        return ones if ones != self.text else re.sub(rb"[0-9]", b"2", self.text)


def _parts(sender: Sender, secrets: tuple[str, ...]) -> tuple[str, ...]:
    """List the secrets, and what of them is as good as the whole."""
    parts = set(secrets)
    if "basic" in sender.where:
        parts |= {secret.partition(":")[2] for secret in secrets}
    if sender.key_format == "whsec_base64":
        parts |= {secret.removeprefix("whsec_").rstrip("=") for secret in secrets}
    return tuple(sorted(parts))


# --- what is looked for -----------------------------------------------------------------------------------------------

_BLANK_AS_PLUS = bytes.maketrans(b" ", b"+")
_BASE64 = bytes.maketrans(b"-_ ", b"+/+")


@lru_cache(maxsize=64)
def _needles(secrets: tuple[str, ...], codec: str) -> tuple[_Needle, ...]:
    needles: dict[_Needle, None] = {}  # in this order, each once
    for secret in secrets:
        if len(secret) < MIN_CHARACTERS or not any(character.isalnum() for character in secret):
            continue
        texts = {_encoded(secret, each) for each in ("utf-8", "latin-1", codec)} - {b""}
        for text in sorted(texts):
            needles |= dict.fromkeys(map(_plain, (text, _inner(text), _resolved(text))))
        for text in sorted(texts | _escaped(secret)):
            needles |= dict.fromkeys(_Needle(core.translate(_BASE64), _BASE64) for core in _base64_cores(text))
    return tuple(needles)


def _plain(text: bytes) -> _Needle:
    return _Needle(text.translate(_BLANK_AS_PLUS), _BLANK_AS_PLUS) if b" " in text else _Needle(text)


def _resolved(text: bytes) -> bytes:
    """Return what is left of a secret that holds escapes itself, in a layer where all of them are resolved."""
    *_, (resolved, _) = _views(text, runs=True)
    return resolved if len(resolved) >= MIN_CHARACTERS else text


def _inner(text: bytes) -> bytes:
    """Cut the ends off a long secret: they may look like parts of an escape that stands beside it."""
    ends = len(r"\u0041") - 1
    return text[ends:-ends] if len(text) >= 3 * MIN_CHARACTERS else text


def _encoded(text: str, codec: str) -> bytes:
    try:
        return text.encode(codec, "surrogatepass" if codec == "utf-8" else "strict")
    except UnicodeError:
        return b""


def _escaped(secret: str) -> set[bytes]:
    """List how a secret may be escaped inside of base64."""
    in_json = json.dumps(secret)[1:-1]
    from html import escape  # the table of entities is large

    texts = (
        quote(secret, "", errors="surrogatepass"),
        quote_plus(secret, errors="surrogatepass"),
        in_json,
        in_json.replace("/", "\\/"),
        json.dumps(secret, ensure_ascii=False)[1:-1],
        escape(secret),
    )
    return {_encoded(text, "utf-8") for text in texts}


def _base64_cores(text: bytes) -> Iterator[bytes]:
    """List the characters of its base64 that are the same in any text around it, at each of the three alignments."""
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + text).rstrip(b"=")
        whole = (offset + len(text)) % 3 == 0
        yield encoded[-(-offset * 8 // 6) : len(encoded) if whole else -1]


# --- where it is looked for -------------------------------------------------------------------------------------------

_CONTROLS = bytes.maketrans(b"bfnrt", b"\b\f\n\r\t")


def _percent(run: bytes) -> bytes:
    return bytes.fromhex(run.replace(b"%", b"").decode("ascii"))


def _json(run: bytes) -> bytes:
    return run[1::2].translate(_CONTROLS)


def _json_unicode(run: bytes) -> bytes:
    units = bytes.fromhex(run.replace(b"\\u", b"").decode("ascii"))
    return units.decode("utf-16-be", "surrogatepass").encode("utf-8", "surrogatepass")


def _html(run: bytes) -> bytes:
    from html import unescape  # the table of entities is large

    return unescape(run.decode("ascii")).encode("utf-8", "surrogatepass")


def _nothing(_run: bytes) -> bytes:
    """Resolve a NUL (undeclared UTF-16) or a line break (base64 has one after 76 characters) to nothing."""
    return b""


# By kind: what one escape looks like, and what a run of them stands for.
_ESCAPES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "percent": (r"%[0-9A-Fa-f]{2}", _percent),
    "unicode": (r"\\u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}", _json_unicode),
    "json": (r"""\\[\\/"'bfnrt]""", _json),
    "html": (r"&(?:#[0-9]{1,7};?|#[Xx][0-9A-Fa-f]{1,6};?|[A-Za-z][0-9A-Za-z]{1,30};)", _html),
    "nul": (r"\x00", _nothing),
    "break": (r"(?<=[0-9A-Za-z+/_-])(?:\r\n?|\n)[ \t]{0,8}(?=[0-9A-Za-z+/_-])", _nothing),
}
# A byte that every escape of a kind has: without it a layer has none of that kind, and is not searched for it.
_MARKS = {
    "percent": (b"%",),
    "unicode": (b"\\",),
    "json": (b"\\",),
    "html": (b"&",),
    "nul": (b"\0",),
    "break": (b"\r", b"\n"),
}
# Those of one kind come together. Each kind is also resolved alone: in JSON "%41" may be a secret's "41" after a "%".
_TOGETHER = (("percent",), ("unicode", "json"), ("html",), ("nul",), ("break",))


@cache
def _pattern(kinds: tuple[str, ...], *, runs: bool) -> re.Pattern[bytes]:
    repeat = "+" if runs else ""
    return re.compile("|".join(f"(?P<{kind}>(?:{_ESCAPES[kind][0]}){repeat})" for kind in kinds).encode("ascii"))


@dataclass(slots=True)
class _Escapes:
    """The escapes of a layer, and the text of the next one, where they are resolved."""

    text: bytes = b""
    kinds: set[str] = field(default_factory=set)
    starts: list[int] = field(default_factory=list)  # in the layer
    ends: list[int] = field(default_factory=list)
    resolved_starts: list[int] = field(default_factory=list)  # in the next one
    resolved_ends: list[int] = field(default_factory=list)

    def source(self, span: Span) -> Span:
        """Return the span of this layer that a span of the next one comes from: whole escapes."""
        return self._source(span[0])[0], self._source(span[1] - 1)[1]

    def _source(self, at: int) -> Span:
        escape = bisect_right(self.resolved_starts, at) - 1
        if escape < 0:
            return at, at + 1
        if at < self.resolved_ends[escape]:
            return self.starts[escape], self.ends[escape]
        at += self.ends[escape] - self.resolved_ends[escape]
        return at, at + 1

    def widened(self, span: Span) -> Span:
        """Widen a span of the layer itself by the rest of an escape that it begins or ends in."""
        return self._whole(span[0])[0], self._whole(span[1] - 1)[1]

    def _whole(self, at: int) -> Span:
        escape = bisect_right(self.starts, at) - 1
        if escape >= 0 and at < self.ends[escape]:
            return self.starts[escape], self.ends[escape]
        return at, at + 1


def _escapes(layer: bytes, kinds: tuple[str, ...], *, runs: bool) -> _Escapes:
    """Resolve the escapes. `runs`: those in a row count as one, which is quick, and too coarse to replace anything."""
    kinds = tuple(kind for kind in kinds if any(mark in layer for mark in _MARKS[kind]))
    if not kinds:
        return _Escapes(layer)
    found, done, length = _Escapes(), 0, 0
    pieces: list[bytes] = []
    for match in _pattern(kinds, runs=runs).finditer(layer):
        kind, raw = str(match.lastgroup), match[0]
        resolved = _ESCAPES[kind][1](raw)
        if resolved == raw:  # an entity that HTML does not have
            continue
        start, end = match.span()
        pieces += (layer[done:start], resolved)
        length += start - done
        found.kinds.add(kind)
        found.starts.append(start)
        found.ends.append(end)
        found.resolved_starts.append(length)
        length += len(resolved)
        found.resolved_ends.append(length)
        done = end
    found.text = b"".join((*pieces, layer[done:])) if done else layer
    return found


type Way = tuple[Callable[[Span], Span], ...]


def _views(data: bytes, *, runs: bool) -> Iterator[tuple[bytes, Way]]:
    """Yield each layer, and the map from a span of it to the bytes as they came."""
    layer = data
    way: Way = ()
    for _ in range(MAX_LAYERS):
        escapes = _escapes(layer, tuple(_ESCAPES), runs=runs)
        yield layer, (escapes.widened, *way)
        groups = [group for group in _TOGETHER if escapes.kinds & set(group)]
        for group in groups if len(groups) > 1 else ():
            yield from _views_of(group, layer, (escapes.widened, *way), runs=runs)
        if not escapes.kinds:
            return
        layer, way = escapes.text, (escapes.source, *way)


def _views_of(group: tuple[str, ...], layer: bytes, way: Way, *, runs: bool) -> Iterator[tuple[bytes, Way]]:
    """List the layers beneath, with the escapes of one kind only."""
    for _ in range(MAX_LAYERS):
        escapes = _escapes(layer, group, runs=runs)
        if not escapes.kinds:
            return
        layer, way = escapes.text, (escapes.source, *way)
        yield layer, way


# --- and replaced -----------------------------------------------------------------------------------------------------


def redacted(data: bytes, needles: tuple[_Needle, ...]) -> bytes:
    """Replace the needles in the bytes, in linear time whatever they are."""
    if not any(_places(layer, needles, all_of_them=False) for layer, _ in _views(data, runs=True)):
        return data
    spans: dict[Span, bytes] = {}
    for layer, way in _views(data, runs=False):
        for place, replacement in _places(layer, needles, all_of_them=True):
            spans[reduce(lambda span, step: step(span), way, place)] = replacement
    pieces: list[bytes] = []
    done = 0
    for (start, end), replacement in sorted(spans.items()):
        if start >= done:
            pieces += (data[done:start], replacement)
        done = max(done, end)
    return b"".join((*pieces, data[done:]))


def _places(layer: bytes, needles: tuple[_Needle, ...], *, all_of_them: bool) -> list[tuple[Span, bytes]]:
    places: list[tuple[Span, bytes]] = []
    texts = {alike: layer.translate(alike) if alike else layer for alike in {needle.alike for needle in needles}}
    for needle in needles:
        text = texts[needle.alike]
        at = text.find(needle.text)
        while at >= 0:
            places.append(((at, at + len(needle.text)), needle.replacement))
            if not all_of_them:
                return places
            at = text.find(needle.text, at + len(needle.text))
    return places


def _redacted_body(body: bytes, codec: str, needles: tuple[_Needle, ...]) -> bytes:
    """Redact a body in its charset, and in its bytes because the charset may be wrong."""
    if codec != "utf-8":
        try:
            text = body.decode(codec).encode("utf-8")
            clean = redacted(text, needles)
            if clean != text:
                body = clean.decode("utf-8", "replace").encode(codec)
        except UnicodeError:
            pass  # it is refused as unreadable
    return redacted(body, needles)
