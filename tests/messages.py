"""The texts that payloads become, in one file to read: tests/data/messages.txt.

After a change that is meant, write the file again and read the difference:

    PYTHONPATH=functions .venv/bin/python -m tests.messages > tests/data/messages.txt
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from create_conversation.errors import InvalidError
from create_conversation.senders.body import json_or_text, read_body, without_members
from create_conversation.senders.config import Sender
from create_conversation.senders.message import render_message
from create_conversation.senders.redaction import secret_members
from tests.payloads import FOLDER, NAMES, delivery, on_the_wire
from tests.samples import ROOT, SENDERS, sample_of

FILE = FOLDER.with_name("messages.txt")
REFERENCE = "ref 0123456789abcdef"


def payload_of(sender: Sender, raw: bytes, content_type: str) -> Any:
    """Read a body as the mapping reads it; the first element of an array."""
    payload = without_members(read_body(raw, content_type), secret_members(sender)).payload
    payload = payload[0] if isinstance(payload, list) and payload else payload
    if not isinstance(payload, dict):
        return payload
    return payload | {name: json_or_text(payload[name]) for name in sender.parse if isinstance(payload.get(name), str)}


def payload_of_sample(name: str) -> Any:
    """Read the body of the sender's sample."""
    event = sample_of(name)
    raw = base64.b64decode(event["body"]) if event.get("isBase64Encoded") else event["body"].encode()
    return payload_of(SENDERS[name], raw, event["headers"].get("content-type", "application/json"))


def samples() -> Iterator[tuple[str, Sender, Any]]:
    """List each sample of a webhook: its name, sender and payload; messages are on, also where the preset has none."""
    for name, sender in SENDERS.items():
        if (ROOT / "events" / f"webhook_{name.replace('-', '_')}.json").exists():
            yield f"sample of {name}", replace(sender, message=True), payload_of_sample(name)


def deliveries() -> Iterator[tuple[str, Sender, Any]]:
    """List each payload file that can be read: its name, sender and payload."""
    for name in NAMES:
        spec = delivery(name)
        sender = replace(SENDERS[spec["sender"]], message=True)
        try:
            yield name, sender, payload_of(sender, *on_the_wire(spec))
        except InvalidError:
            continue


def reports() -> Iterator[tuple[str, Sender, Any]]:
    """List each delivery of a report, or of a new sender."""
    for path in sorted(FOLDER.with_name("reports").glob("*.json")):
        spec = json.loads(path.read_text("utf-8"))
        if spec["sender"] in SENDERS:
            sender = replace(SENDERS[spec["sender"]], message=True)
            yield path.stem, sender, payload_of(sender, *on_the_wire(spec))


def texts() -> dict[str, str]:
    """Render all of them, by name."""
    everything = [*samples(), *deliveries(), *reports()]
    return {name: render_message(sender, payload) for name, sender, payload in everything}


def expected() -> dict[str, str]:
    """Read the file: the texts by name."""
    blocks = FILE.read_text("utf-8").split("\n## ")[1:]
    return {name: text.strip("\n") for name, _, text in (block.partition("\n") for block in blocks)}


if __name__ == "__main__":
    print("# What people read in HighLevel of each sample and payload: checked by test_message.py\n")
    for name, text in texts().items():
        print(f"## {name}\n{text}\n")
