"""JSON from outside: text that may be anything."""

import json
from typing import Any


def json_or_none(text: str | bytes) -> Any:
    """Return what the JSON text holds; None where it is not JSON, nests too deeply, or is `null`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def json_object(text: str | bytes) -> dict[str, Any] | None:
    """Return the members of a JSON object; None for any other text."""
    value = json_or_none(text)
    return value if isinstance(value, dict) else None
