"""HighLevel's ids."""

import re
from typing import TypeGuard

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_id(value: object) -> TypeGuard[str]:
    """Return whether the value can be an id of a location, a contact or a conversation."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None
