"""The contact in a submission's answers: one set of rules for e-mail addresses, phone numbers and names.

Pure. `find_person` takes the answers (`answers.answers`) and what a preset's paths gave, and says what it looked at
and what it left out, in words that may be logged: no value, and only labels that look like a field's name.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from create_conversation.senders import label_words
from create_conversation.senders.answers import Answer, texts_in
from create_conversation.senders.person import Person as Person

FIELDS = ("email", "phone", "first_name", "last_name", "full_name")
MAX_NAME = 100
_MAX_CANDIDATES = 300  # of each kind: no form has more, and a malicious body costs no more than these
_MAX_FIELDS = 500
_MAX_SHOWN = 50


class Dropped(NamedTuple):
    """A value that is not used: the label of its answer, the field that it was for, a reason code."""

    label: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """The person, further addresses and numbers in the same order, and why: `looked_at` and `fields` may be logged."""

    person: Person
    more_emails: tuple[str, ...]
    more_phones: tuple[str, ...]
    looked_at: tuple[str, ...]
    fields: tuple[str, ...]
    dropped: tuple[Dropped, ...]


# --- labels -----------------------------------------------------------------------------------------------------------

_ALIKE = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "\u0131": "i", "æ": "ae", "œ": "oe"})
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_REMARK = re.compile(r"\s*[(\[\uff08].{0,100}$")
_NO_WORD = re.compile(r"[\W_]+")


@lru_cache(maxsize=1024)
def words_of(label: str) -> str:
    """Reduce a label to its words, with one blank at both sides: ` e mail adresse `; no case, accents, punctuation."""
    text = _CAMEL.sub(" ", label[:200])
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
        text = text.translate(_ALIKE)
    return f" {_NO_WORD.sub(' ', text.lower()).strip()} "


@lru_cache(maxsize=1024)
def _runs_of(label: str) -> frozenset[str]:
    """List each word of a label, and each two to five in a row."""
    each = words_of(label).split()[:24]
    return frozenset(" ".join(each[i : i + n]) for n in range(1, 6) for i in range(len(each) - n + 1))


class Words:
    """The phrases of one kind, of all languages; read when first needed, which most requests do not need."""

    def __init__(self, listed: str) -> None:
        self._listed = listed

    @cached_property
    def _phrases(self) -> list[str]:
        lines = (line.partition(": ")[2] or line for line in self._listed.splitlines())
        return [phrase.strip() for line in lines for phrase in line.split(",") if phrase.strip()]

    @cached_property
    def whole(self) -> frozenset[str]:
        return frozenset(words_of(phrase).strip() for phrase in self._phrases if "*" not in phrase)

    @cached_property
    def clear(self) -> frozenset[str]:
        """Return the phrases of several words or a long one, which mean the same wherever they are in a question."""
        return frozenset(phrase for phrase in self.whole if " " in phrase or len(phrase) >= 6)

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """Return the phrases with a `*` at one side or both; the other side ends at a blank."""
        starred = [phrase for phrase in self._phrases if "*" in phrase]
        blanks = [("" if phrase[0] == "*" else " ", "" if phrase[-1] == "*" else " ") for phrase in starred]
        stems = [words_of(phrase).strip() for phrase in starred]
        return tuple({f"{left}{stem}{right}" for (left, right), stem in zip(blanks, stems, strict=True)})

    @lru_cache(maxsize=1024)  # noqa: B019 there are as many of these objects as kinds, and they stay
    def are_in(self, label: str) -> bool:
        """Return whether one of them is in the label."""
        return not _runs_of(label).isdisjoint(self.whole) or self._are_parts(label)

    @lru_cache(maxsize=1024)  # noqa: B019 as above
    def are_clearly_in(self, label: str) -> bool:
        return not _runs_of(label).isdisjoint(self.clear) or self._are_parts(label)

    def _are_parts(self, label: str) -> bool:
        words = words_of(label)
        return any(part in words for part in self.parts)


_EMAIL_WORDS, _PHONE_WORDS = Words(label_words.EMAIL), Words(label_words.PHONE)
_FIRST_WORDS, _LAST_WORDS = Words(label_words.FIRST_NAME), Words(label_words.LAST_NAME)
_FULL_WORDS, _FILLERS = Words(label_words.FULL_NAME), Words(label_words.FILLERS)
_OWNER = Words(label_words.OWNER)
_SOMEONE_ELSE, _SECONDARY = Words(label_words.SOMEONE_ELSE), Words(label_words.SECONDARY)
_RELATED, _OWN = Words(label_words.RELATED), Words(label_words.OWN)
_NOT_PHONE, _OTHER_NUMBER = Words(label_words.NOT_PHONE), Words(label_words.OTHER_NUMBER)
_COUNTRY_CODE = Words(label_words.COUNTRY_CODE)
_AREA_WORDS = Words(label_words.AREA_CODE)
_PERSON_PARENTS = Words(label_words.PERSON_PARENTS)
_EXTENSIONS = Words(label_words.EXTENSION)


def shown(label: str) -> str | None:
    """Return the label if it may be logged: it looks like a field's name, and holds no address and no number."""
    is_plain = re.fullmatch(r"[\w .\[\]-]{1,64}", label) and sum(c.isdecimal() for c in label) < 7
    return label if is_plain and label.isprintable() else None


def _segments(label: str) -> tuple[str, str]:
    """Split a path before its last name: `billing.email`. A question is one name."""
    parent, _, last = label.rpartition(".")
    return (parent, last) if last and not last[0].isspace() else ("", label)


def _name_kind(answer: Answer) -> str | None:
    """Return the field of a person that an answer names, by its type or else by its label."""
    for text in (answer.type, answer.label):
        if text and (kind := _name_field(text)):
            return kind
    return None


def _name_field(label: str) -> str | None:
    parent, last = _segments(label)
    bare = bare_label(last)
    is_own = not parent or _is_of_person(parent)
    for field, known in (("first_name", _FIRST_WORDS), ("last_name", _LAST_WORDS)):
        if (bare in known.whole and (is_own or "name" in words_of(parent))) or known.are_clearly_in(label):
            return "full_name" if _FULL_WORDS.are_clearly_in(label) else field
    return "full_name" if bare in _FULL_WORDS.whole and is_own else None


def bare_label(label: str) -> str:
    """Leave out a remark in brackets, the words that say nothing, and numbers."""
    each = words_of(_REMARK.sub("", label) or label).split()
    return " ".join(word for word in each if word not in _FILLERS.whole and not word.isdecimal()) or " ".join(each)


def _is_of_person(parent: str) -> bool:
    last = re.sub(r"\[\d+\]$", "", _segments(parent)[1])
    return words_of(last).strip() in _PERSON_PARENTS.whole


# --- e-mail -----------------------------------------------------------------------------------------------------------

# Format characters and others that show nothing; NFKC turns the fillers of other widths into these.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BETWEEN = re.compile(r"[,;|\n\r\t\u2028\u2029]+| (?:/|or|and|&) ")
_ATEXT = r"[^\s@<>()\[\],;:\\\"./\x00-\x1f\x7f]"
_LOCAL = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
# Letters and digits of all scripts, and inside also hyphens.
_DOMAIN_LABEL = re.compile(r"(?!-)[^\x00-,./:-@\[-`{-\xa0]{1,63}(?<!-)")
_WITH_WORDS = re.compile(r"(?:[^@:]{0,40}:\s*)?([^\s@]+@[^\s@]+?)(?:\s*\([^()@]{0,60}\))?")
_IN_BRACKETS = re.compile(r"[<(]\s*([^<>()]{3,320})[>)]")
_AT_SIGNS = "@\uff20\ufe6b%"  # the latter two of other widths; mailto: may have %40
_QUOTES = (
    "<>()[]{}\"'`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a"
    "\u3008\u3009\u300a\u300b\u300c\u300d\u300e\u300f\u3010\u3011"
)
_AROUND_LEFT, _AROUND_RIGHT = _QUOTES + ",;:!?* ", _QUOTES + ",;:!?*./\\ "
_FILE = re.compile(
    r"\.(?:jpe?g|png|gif|webp|svg|heic|pdf|docx?|xlsx?|pptx?|txt|csv|mp[34]|mov|html?|css|js)$", re.IGNORECASE
)


def clean_email(text: str) -> str | None:
    """Find the first address in a field that says it is an e-mail; None if there is none.

    Around it may be blanks, invisible characters, `mailto:`, angle brackets with a name before them, quotes, closing
    punctuation. Letters of all scripts are left as typed, in NFKC (full-width ones become narrow), case stays.
    """
    return next(_addresses(text), None)


def _addresses(text: str) -> Iterator[str]:
    if not any(at in text for at in _AT_SIGNS):
        return
    for piece in _BETWEEN.split(_visible(text[:5000])):
        if address := _address_in(piece):
            yield address


def _visible(text: str) -> str:
    """Remove invisible characters and apply NFKC, twice: each can leave something for the other."""
    if text.isascii():
        return text
    for _ in range(2):
        text = unicodedata.normalize("NFKC", INVISIBLE.sub("", text))
    return text


def _address_in(piece: str) -> str | None:
    if len(piece) > 1000 or ("@" not in piece and "%" not in piece):
        return None
    for inner in (piece, *_IN_BRACKETS.findall(piece)):
        text = _trimmed(inner)
        if text[:7].lower() == "mailto:":
            text = _trimmed(_visible(unquote(text[7:].lstrip("/").partition("?")[0])))
        elif match := _WITH_WORDS.fullmatch(inner.strip()) or _WITH_WORDS.fullmatch(text):
            text = _trimmed(match[1])
        if _is_address(text):
            return text
    return None


def _trimmed(text: str) -> str:
    return text.strip().lstrip(_AROUND_LEFT).rstrip(_AROUND_RIGHT).strip()


def _is_address(text: str) -> bool:
    """Check for what HighLevel takes. Its own rule is not published: this is the strict half of RFC 5321."""
    local, _, domain = text.rpartition("@")
    if not (0 < len(local) <= 64 and text.isprintable() and len(text.encode()) <= 254):
        return False
    labels = domain.split(".")
    is_domain = len(labels) > 1 and len(labels[-1]) > 1 and not labels[-1].isdecimal()
    return is_domain and bool(_LOCAL.fullmatch(local)) and all(map(_DOMAIN_LABEL.fullmatch, labels))


# --- phone ------------------------------------------------------------------------------------------------------------

_DASHES = re.compile("[\u2010-\u2015\u2212\u2043\ufe58\ufe63\uff0d]|(?<=\\d)\u30fc")
_LIKE_BLANKS = dict.fromkeys(map(ord, "_\u00b7\u2022\u2027\u2219\u30fb"), " ")  # middle dots and bullets
_AREA_CODE = re.compile(r"^\s*\[(\+?\d{1,5})\]")
_PLUS_AS_BLANK = re.compile(r"(?<!\d)(\d{1,4})\+(?=\d)")
_RUN = re.compile(r"\(? ?\+? ?\(?\+?\d[\d ()./-]*")
_SEVEN_DIGITS = re.compile(r"(?:\D*\d){7}")
_DATE = re.compile(r"(?:19|20)\d\d[./-]\d\d?[./-]\d\d?|\d\d?[./-]\d\d?[./-](?:19|20)\d\d")
_NEXT_NUMBER = re.compile(r" {2,}| ?/ ?| - ")
# A whole value that is a phone number whatever its label: with its country code, or written as North America does.
_CLEARLY_PHONE = re.compile(
    r"\+[1-9][\d ().-]{6,20}\d|(?:\+?1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])\d{3}[ .-]\d{4}"
)
_BARE_PHONE = re.compile(r"1?[2-9]\d\d[2-9]\d{6}|0[1-9]\d{8,9}")
_SAYS_NOTHING = re.compile(r" (?:q|f|no|label|input|field|question|item|text|\d| )* ")
_VALUE_WORDS = {
    *("", "value", "number", "full", "answer", "text", "formatted", "e", "international", "raw", "main"),
    *("work", "home", "office", "other"),
}
_DIAL_CODE = re.compile(r"\+?\s?(?:00)?([1-9]\d{0,3}(?:-\d{3})?)")


@cache
def _extension() -> re.Pattern[str]:
    words = "|".join(sorted(_EXTENSIONS.whole, key=len, reverse=True))
    return re.compile(
        rf"[\s,;.)-]*(?:#|(?:{words})(?![^\W\d_]))[\s.:=#]*(\d{{1,6}})(?!\d)",
        re.IGNORECASE,
    )


def clean_phone(text: str) -> str | None:
    """Find the first number of 7 to 15 digits in a field that says it is a phone, in digits and `+ ( ) . / -`."""
    return _number_in(text)[0]


def _number_in(text: str) -> tuple[str | None, str]:
    """Find the number, and the extension behind it."""
    text = _ascii_digits(_visible(unquote(text[:300]))).translate(_LIKE_BLANKS)
    text = _AREA_CODE.sub(r"(\1)", _DASHES.sub("-", text))
    text = _PLUS_AS_BLANK.sub(r"\1 ", text)
    for run in _RUN.finditer(text):
        number = _number(run[0])
        if number:
            extension = _extension().match(text, run.end())
            return number, extension[1] if extension else ""
    return None, ""


def _ascii_digits(text: str) -> str:
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else " " if c.isspace() else c for c in text)


def _number(run: str) -> str | None:
    for part in (*_first_of_several(run), run):
        text = re.sub(r" +", " ", part).strip(" ./-")
        text = re.sub(r"^\( ?(\+ ?\d{1,4}) ?\)", r"\1", text)
        text = re.sub(r"^\+ ", "+", text)
        if text.startswith(("+", "00")):
            text = re.sub(r" ?\( ?0 ?\) ?", " ", text)
            text = re.sub(r"^00 ?(?=[1-9])", "+", text)
        if text.count("(") != text.count(")"):
            text = text.replace("(", "").replace(")", " ")
        text = re.sub(r" +", " ", text).strip(" ./-")
        if 7 <= sum(map(str.isdigit, text)) <= 15 and not _DATE.fullmatch(text):
            return text
    return None


def _first_of_several(run: str) -> list[str]:
    """Return the first of several numbers in one field, as in `555 0100 123 / 555 0100 124` but not in 030/1234567."""
    parts = _NEXT_NUMBER.split(run)
    return [parts[0]] if sum(len(re.sub(r"\D", "", part)) >= 7 for part in parts) > 1 else []


def _with_country(number: str, code: str | None) -> str:
    """Put the country code that came in a field of its own before a number without one."""
    if code is None or number.startswith("+"):
        return number
    digits, national = re.sub(r"\D", "", code), re.sub(r"\D", "", number)
    if national.startswith(digits) and len(national) > 10:
        return f"+{number}"
    if digits != "39":  # Italy keeps the zero
        number = re.sub(r"^\(?0\)?[ /-]?", "", number)
        number = number.replace(")", " ", 1).replace("  ", " ") if number.count("(") != number.count(")") else number
    return f"+{digits} {number}"


def _country_code(listed: Sequence[Answer]) -> str | None:
    for answer in listed:
        if len(answer.value) <= 60 and _COUNTRY_CODE.are_in(answer.label):
            text = _ascii_digits(_visible(answer.value))
            letters_off = re.sub(r"[^\d+-]", " ", text).strip()
            if match := _DIAL_CODE.fullmatch(letters_off):
                return match[1]
    return None


def _area_code(listed: Sequence[Answer]) -> str | None:
    for answer in listed:
        if len(answer.value) <= 12 and _AREA_WORDS.are_in(answer.label):
            digits = re.sub(r"[ ()/-]", "", _ascii_digits(_visible(answer.value)))
            if re.fullmatch(r"\d{2,5}", digits):
                return digits
    return None


def _with_area(number: str, code: str | None) -> str:
    """Put the area code that came in a field of its own before a number that is only local."""
    is_local = not number.startswith(("+", "0", "(")) and sum(map(str.isdigit, number)) <= 8
    return f"{code} {number}" if code and is_local else number


# --- names ------------------------------------------------------------------------------------------------------------

_JOINERS = "\u200c\u200d"
_NO_NAMES = {"n/a", "null", "undefined", "nan", "none", "xxxxx", "-"}


def clean_name(text: str) -> str | None:
    """Clean a name: any white space is one blank, control and invisible characters go, joiners inside stay.

    It is not cut within a letter. None for an address, a leftover of a template, or a text without a letter.
    """
    text = text[:2000]
    if not text.isascii() or not text.isprintable():
        text = "".join(" " if c.isspace() or c in "\u2800\u3164" else c for c in text)
        text = "".join(
            c for c in text if c in _JOINERS or (c.isprintable() and c not in "\u034f\u115f\u1160\uffa0\u17b4\u17b5")
        )
        text = re.sub(
            rf"(?<=[\x00-\x7f])[{_JOINERS}]+|[{_JOINERS}]+(?=[\x00-\x7f])|^[{_JOINERS}]+|[{_JOINERS}]+$", "", text
        )
        text = re.sub(rf"([{_JOINERS}])[{_JOINERS}]+", r"\1", text)
    text = " ".join(text.split())
    if text.lower() in _NO_NAMES or text.startswith(("{{", "{", "[", "%", "$")) or ("@" in text and clean_email(text)):
        return None
    return _cut(text) if any(c.isalpha() for c in text) else None


def _cut(text: str) -> str:
    end = MAX_NAME
    if len(text) > end:
        while end > MAX_NAME - 20 and _continues(text, end):
            end -= 1
    return text[:end].strip(f" {_JOINERS}")


def _continues(text: str, at: int) -> bool:
    """Return whether the character at this place belongs to the one before it."""
    is_mark = unicodedata.category(text[at])[0] == "M" or "\U0001f3fb" <= text[at] <= "\U0001f3ff"
    return is_mark or text[at] in _JOINERS or text[at - 1] in _JOINERS


# --- ids --------------------------------------------------------------------------------------------------------------

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# In lower case, without all that is not a letter or digit.
_LEFTOVERS = {
    *("undefined", "null", "none", "nil", "nan", "na", "notset", "false", "true", "test", "id", "unknown"),
    *("contactid", "yourcontactid", "contact", "locationid", "yourlocationid", "location", "leadid", "userid"),
    *("object", "objectobject", "empty", "value", "example", "hidden", "placeholder"),
}
_TEMPLATE_MARKS = "{[<(%$#*@\u00ab\"'"


def _is_leftover_word(text: str) -> bool:
    return re.sub(r"[\W_]+", "", text.lower()) in _LEFTOVERS


def clean_id(value: Any) -> str | None:
    """Return HighLevel's id of a contact or location; None for what a template or a form has left in its place."""
    text = value.strip() if isinstance(value, str) else ""
    is_filler = _is_leftover_word(text) or len(set(text.lower()) - {"-", "_"}) < 2
    return text if _ID.fullmatch(text) and not is_filler else None


def is_leftover(value: Any) -> bool:
    """Return whether a template or a form has left this in the place of an id, because it had none."""
    if not isinstance(value, str) or not value.strip():
        return value is None or isinstance(value, str)
    text = value.strip().lower()
    is_filler = text.isascii() and len(set(text) - {"-", "_"}) < 2 and not text.strip(f"-_{text[0]}")
    is_filler = is_filler and (text[0].isalnum() or text[0] in "-_")
    is_template = len(text) > 1 and text[0] in _TEMPLATE_MARKS
    return is_filler or is_template or _is_leftover_word(text)


def is_same_person(person: Person, email: str | None, phone: str | None) -> bool:
    """Return whether HighLevel's contact has the submission's e-mail or phone: then a visitor may have named its id."""
    if person.email and email and person.email.casefold() == (clean_email(email) or "").casefold():
        return True
    ours, theirs = (re.sub(r"\D", "", number or "").lstrip("0") for number in (person.phone, phone))
    longer, shorter = sorted((ours, theirs), key=len, reverse=True)
    return (len(shorter) >= 9 and longer.endswith(shorter)) or (len(shorter) >= 7 and longer == shorter)


# --- all of it --------------------------------------------------------------------------------------------------------


class _Candidate(NamedTuple):
    rank: tuple[int, int, int]  # whether of a related person, how sure, whether a further one of the same person
    value: str


def find_person(listed: Sequence[Answer], preferred: Mapping[str, Sequence[tuple[str, Any]]]) -> Found:
    """Find the person in the answers. `preferred`: by field what a preset's paths gave, in order."""
    dropped: list[Dropped] = []
    others = _others(listed, preferred)
    emails = _emails(listed, preferred.get("email", ()), others, dropped)
    phones = _phones(listed, preferred.get("phone", ()), others, dropped)
    first, last, full = _names(listed, preferred, others)
    person = Person(next(iter(emails), None), next(iter(phones), None), first, last, full)
    labels = dict.fromkeys(label for answer in listed[: 4 * _MAX_SHOWN] if (label := shown(answer.label)))
    looked_at = dict.fromkeys(path for field in FIELDS for path, _ in preferred.get(field, ()))
    return Found(
        person,
        (*emails[1:],),
        (*phones[1:],),
        (*looked_at,),
        (*labels,)[:_MAX_SHOWN],
        (*dict.fromkeys(dropped),)[:_MAX_SHOWN],
    )


def _drop(dropped: list[Dropped], label: str, what: str, reason: str) -> None:
    if len(dropped) < _MAX_SHOWN:
        dropped.append(Dropped(shown(label) or "(not shown)", what, reason))


def _texts(value: Any) -> list[str]:
    """List the texts in what a path gave: one, a number, the elements of a list, the answers in an object."""
    if isinstance(value, bool) or (isinstance(value, int | float) and value < 0):
        return []
    items = value[:50] if isinstance(value, list) else [value]
    return [text for item in items for text in ([item] if isinstance(item, str) else texts_in(item))][:50]


def _emails(
    listed: Sequence[Answer],
    preferred: Iterable[tuple[str, Any]],
    others: tuple[Words, ...],
    dropped: list[Dropped],
) -> list[str]:
    candidates: list[_Candidate] = []
    for path, value in preferred:
        texts = _texts(value)
        found = [address for text in texts for address in _addresses(text)]
        candidates += [_Candidate((0, 0, 0), address) for address in found]
        if any(texts) and not found:
            dropped.append(Dropped(path, "email", "not_an_address"))
    for answer in _short([answer for answer in listed if any(at in answer.value for at in _AT_SIGNS)]):
        candidates += _emails_of(answer, others, dropped)
    for answer in listed[:_MAX_FIELDS] if not candidates else ():
        if answer.value.strip() and "@" not in answer.value and _says_email(answer):
            _drop(dropped, answer.label, "email", "not_an_address")
    return _in_order(candidates, str.casefold)


def _says_email(answer: Answer) -> bool:
    return _EMAIL_WORDS.are_in(answer.type) or _EMAIL_WORDS.are_in(answer.label)


def _emails_of(answer: Answer, others: tuple[Words, ...], dropped: list[Dropped]) -> list[_Candidate]:
    is_typed = _EMAIL_WORDS.are_in(answer.type)
    is_labelled = _EMAIL_WORDS.are_in(answer.label)
    found = [*_addresses(answer.value)]
    if not (is_typed or is_labelled):
        found = [address for address in found if _is_all(answer.value) and not _FILE.search(address)]
    elif not found:
        _drop(dropped, answer.label, "email", "not_an_address")
    if found and _is_someone_else(answer, others):
        _drop(dropped, answer.label, "email", "someone_else")
        return []
    how_sure = 1 if is_typed else 2 if is_labelled else 3
    return [_Candidate(_rank(answer.label, how_sure), address) for address in found]


def _is_all(value: str) -> bool:
    """Return whether a value is an address whatever its label, or a list with some; not a message that mentions one."""
    pieces = [piece for piece in _BETWEEN.split(_visible(value[:1000])) if piece.strip()]
    before, colon, _ = value[:1000].partition(":")
    if colon and "@" not in before and not (before.lower().endswith("mailto") or _EMAIL_WORDS.are_in(before)):
        return False  # as in `My boss: bob@example.com`
    return "\n" not in value.strip() or all(map(_address_in, pieces))


def _rank(label: str, how_sure: int) -> tuple[int, int, int]:
    is_further = _SECONDARY.are_in(label) and not _OWN.are_in(label)
    return int(_RELATED.are_in(label)), how_sure, int(is_further)


def _others(listed: Sequence[Answer], preferred: Mapping[str, Sequence[tuple[str, Any]]]) -> tuple[Words, ...]:
    """Name the owners of fields that are not the person's; the form's owner is one only if the form asks for others."""
    is_given = any(value for field in ("email", "phone") for _, value in preferred.get(field, ()))
    has_own = is_given or any(
        not (_OWNER.are_in(answer.label) or _is_someone_else(answer, (_SOMEONE_ELSE,)))
        for answer in listed[:_MAX_FIELDS]
        if _says_email(answer) or _says_phone(answer.type) or _says_phone(answer.label) or clean_email(answer.value)
    )
    return (_SOMEONE_ELSE, _OWNER) if has_own else (_SOMEONE_ELSE,)


def _is_someone_else(answer: Answer, others: tuple[Words, ...]) -> bool:
    is_for = words_of(answer.label) in (" to ", " cc ", " bcc ")
    return answer.type == "host" or is_for or any(words.are_in(answer.label) for words in others)


def _phones(
    listed: Sequence[Answer],
    preferred: Iterable[tuple[str, Any]],
    others: tuple[Words, ...],
    dropped: list[Dropped],
) -> list[str]:
    candidates: list[_Candidate] = []
    country = area = None
    for path, value in preferred:
        texts = _texts(value)
        numbers = [number for text in texts if (number := _phone_of(path, text, dropped))]
        candidates += [_Candidate((0, 0, 0), number) for number in numbers]
        if any(texts) and not numbers:
            dropped.append(Dropped(path, "phone", "not_a_phone"))
    for answer in _short([answer for answer in listed if _SEVEN_DIGITS.match(_ascii_digits(answer.value[:200]))]):
        candidates += _phones_of(answer, others, dropped)
    if any(not candidate.value.startswith("+") for candidate in candidates):
        country = _country_code(listed[:_MAX_FIELDS])
        area = _area_code(listed[:_MAX_FIELDS])
    candidates = [_Candidate(rank, _with_country(_with_area(number, area), country)) for rank, number in candidates]
    return _in_order(candidates, lambda number: re.sub(r"\D", "", number))


def _phones_of(answer: Answer, others: tuple[Words, ...], dropped: list[Dropped]) -> list[_Candidate]:
    how_sure = _how_surely_phone(answer)
    if how_sure is None:
        return []
    number = _phone_of(answer.label, answer.value, dropped)
    reason = "not_a_phone" if number is None else "someone_else" if _is_someone_else(answer, others) else ""
    if how_sure == 3 and _OTHER_NUMBER.are_in(answer.label):
        reason = "other_number"
    if number is None or reason:
        _drop(dropped, answer.label, "phone", reason)
        return []
    return [_Candidate(_rank(answer.label, how_sure), number)]


def _how_surely_phone(answer: Answer) -> int | None:
    if _PHONE_WORDS.are_in(answer.type):
        return 1
    if _says_phone(answer.label):
        return None if _NOT_PHONE.are_in(answer.label) else 2
    return 3 if _is_clearly_phone(answer) else None


def _phone_of(label: str, text: str, dropped: list[Dropped]) -> str | None:
    number, extension = _number_in(text)
    if extension:
        _drop(dropped, label, "phone", "extension")
    return number


def _says_phone(label: str) -> bool:
    """Check the name itself, or what it is a part of: `phone.number`, but not `phone_call.id`."""
    parent, last = _segments(label)
    if _PHONE_WORDS.are_in(last):
        return True
    is_part = words_of(re.sub(r"\d", "", last)).strip() in _VALUE_WORDS
    return bool(parent) and is_part and _PHONE_WORDS.are_in(parent)


def _is_clearly_phone(answer: Answer) -> bool:
    text = _DASHES.sub("-", _ascii_digits(_visible(answer.value[:60]))).strip()
    if text[:4].lower() == "tel:" or _CLEARLY_PHONE.fullmatch(text):
        return not re.fullmatch(r"\+\d+\.\d+", text)
    return bool(_SAYS_NOTHING.fullmatch(words_of(answer.label)) and _BARE_PHONE.fullmatch(text))


def _names(
    listed: Sequence[Answer], preferred: Mapping[str, Sequence[tuple[str, Any]]], others: tuple[Words, ...]
) -> tuple[str | None, str | None, str | None]:
    given = {field: _preferred_name(preferred.get(field, ())) for field in FIELDS[2:]}
    said: dict[str, str] = {}
    for answer in listed[:_MAX_FIELDS]:
        if answer.value and len(answer.value) <= 2000 and len(answer.label) <= 100 and (kind := _name_kind(answer)):
            is_others = _is_someone_else(answer, others) or _RELATED.are_in(answer.label)
            name = clean_name(answer.value) if kind not in said and not is_others else None
            if name:
                said[kind] = name
    if given["full_name"] and not (given["first_name"] or given["last_name"]):
        return None, None, given["full_name"]
    first = given["first_name"] or said.get("first_name")
    last = given["last_name"] or said.get("last_name")
    return _completed(first, last, given["full_name"] or said.get("full_name"))


def _preferred_name(preferred: Iterable[tuple[str, Any]]) -> str | None:
    for _, value in preferred:
        texts = [value] if isinstance(value, str) else _texts(value) if isinstance(value, list) else []
        if isinstance(value, dict):
            texts = [" ".join(filter(None, _texts(value)))]
        if name := next(filter(None, map(clean_name, texts)), None):
            return name
    return None


def _completed(first: str | None, last: str | None, full: str | None) -> tuple[str | None, str | None, str | None]:
    """One name field beside a first or a last name holds the other one, alone or behind or before it."""
    if not (first or last):
        return None, None, full
    if full and not last and first:
        rest = full[len(first) :] if full.casefold().startswith(f"{first.casefold()} ") else full
        last = rest.strip() if rest.casefold() != first.casefold() else None
    elif full and not first and last:
        rest = full[: -len(last)] if full.casefold().endswith(f" {last.casefold()}") else full
        first = rest.strip() if rest.casefold() != last.casefold() else None
    return first, last, None


def _short(chosen: list[Answer]) -> list[Answer]:
    return chosen[:_MAX_CANDIDATES]


def _in_order(candidates: list[_Candidate], key: Callable[[str], str]) -> list[str]:
    first: dict[str, str] = {}
    for _, value in sorted(candidates, key=lambda candidate: candidate.rank):
        first.setdefault(key(value), value)
    return [*first.values()]
