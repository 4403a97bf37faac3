"""The senders: how each authenticates, and where its payload names the contact. From presets.toml and senders.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jmespath

from create_conversation.senders.config_rules import FIELDS, PATHS, SendersError, check_entry

__all__ = ["FIELDS", "FUNCTIONS", "PRESETS", "TRUSTED", "JmesPath", "Sender", "SendersError", "load"]

FUNCTIONS = Path(__file__).resolve().parents[2]
PRESETS = Path(__file__).with_name("presets.toml")

# Callers that are trusted with the location that they name. What all others send, a visitor may have typed.
TRUSTED = frozenset({"api", "event", "highlevel-app", "highlevel-workflow"})


class JmesPath:
    """A JMESPath expression, compiled when it is first used: most requests use those of one sender."""

    def __init__(self, expression: str) -> None:
        self.expression = expression

    @cached_property
    def _compiled(self) -> Any:
        return jmespath.compile(self.expression)

    @cached_property
    def alternatives(self) -> tuple["JmesPath", ...]:
        """Return the paths between `||`, in order: an unusable value at one does not hide the next."""
        parts = _alternatives(self.expression)
        return (self,) if len(parts) < 2 else tuple(map(JmesPath, parts))

    def search(self, payload: Any) -> Any:
        """Find what the expression names in the payload. Raises what jmespath raises."""
        return self._compiled.search(payload)


@dataclass(frozen=True, slots=True)
class Sender:
    """One entry, complete and checked. docs/senders.md explains the keys; an absent text is empty."""

    name: str
    scheme: str
    where: tuple[str, ...] = ()
    sig_header: str = ""
    sig_format: str = "plain"
    sig_label: str = ""
    prefix: str = ""
    encoding: str = "base64"
    hash: str = "sha256"
    signed: str = "{body}"
    key_format: str = "utf8"
    ts: str = ""
    ts_unit: str = "s"
    tolerance_s: int = 300
    id: str = ""
    parse: tuple[str, ...] = ()
    strip: tuple[str, ...] = ()
    format: str = "flat"
    retries: bool = False
    ping: str = ""
    public_keys: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    app_id: str = ""
    source: str = ""
    detail_type: str = ""
    locations: tuple[str, ...] = ()
    message: bool | str = True
    user_id: str = ""
    mentions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    update_contact: bool = False
    custom_fields: dict[str, Any] = field(default_factory=dict)  # JMESPath by the custom field's id
    paths: dict[str, Any] = field(default_factory=dict)  # JMESPath by field, `when`, `id`, `form`, `message` among them

    @property
    def contact_source(self) -> str:
        """Return the source that a new contact gets; of events, `source` is EventBridge's."""
        return "" if self.scheme == "event" else self.source


def load(folder: Path = FUNCTIONS, presets: Path = PRESETS, *, check_presets: bool = True) -> dict[str, Sender]:
    """Load all senders by name: the presets, changed and completed by the user's file. Raises SendersError.

    An entry of that file with a `scheme` is complete: an update's preset does not change it. `check_presets`: the tests
    have checked those that are shipped.
    """
    shipped, own = _read(presets), _read(folder / "senders.toml")
    for name, entry in shipped.items() if check_presets else ():
        check_entry("presets.toml", name, entry)
    senders = {name: _sender(name, entry) for name, entry in shipped.items()}
    for name, entry in own.items():
        complete = ({} if "scheme" in entry else shipped.get(name, {})) | entry
        check_entry("senders.toml", name, complete)
        senders[name] = _sender(name, complete)
    return senders


def of_event(senders: Mapping[str, Sender], source: object, detail_type: object) -> Sender:
    """Choose the entry that maps an event: of its source and detail-type, else of one of them, else `event`."""
    fitting = [
        sender
        for sender in senders.values()
        if sender.scheme == "event" and sender.source in ("", source) and sender.detail_type in ("", detail_type)
    ]
    return max(fitting, key=lambda sender: (bool(sender.source), bool(sender.detail_type)))


def lacks_locations(sender: Sender, default_location: str | None) -> bool:
    """Return whether this webhook sender has no locations that it may name: then it is closed."""
    is_trusted = sender.scheme == "event" or sender.name in TRUSTED
    return not (is_trusted or sender.locations or default_location)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SendersError(f"{path.name}: {error}") from None
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise SendersError(f"{path.name}: {name}: put every key below the [name] of a sender")
    return entries


def _sender(name: str, entry: dict[str, Any]) -> Sender:
    paths: dict[str, Any] = {key: JmesPath(entry[key]) for key in PATHS if entry.get(key)}
    if entry.get("id", "").startswith("json:"):
        paths["id"] = JmesPath(entry["id"].removeprefix("json:"))
    if isinstance(entry.get("message"), str):
        paths["message"] = JmesPath(entry["message"])
    members: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry.items() if key not in PATHS
    }
    members["custom_fields"] = {id_: JmesPath(path) for id_, path in entry.get("custom_fields", {}).items()}
    return Sender(name=name, paths=paths, **members)


def _alternatives(expression: str) -> list[str]:
    """Split at each `||` outside brackets and quotes, unless a `|`, which binds less, takes the whole."""
    parts, start, depth, quote = [], 0, 0, ""
    for at, character in enumerate(expression):
        if quote:
            quote = "" if character == quote and expression[at - 1] != "\\" else quote
        elif character in "'\"`":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "|" and depth == 0:
            if "|" not in (expression[at - 1 : at], expression[at + 1 : at + 2]):
                return [expression]
            if expression[at + 1 : at + 2] == "|":
                parts.append(expression[start:at].strip())
                start = at + 2
    return [*parts, expression[start:].strip()]
