"""HighLevel's ids."""

import re
from typing import TypeGuard

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class InvalidIdError(ValueError):
    """What should be an id cannot be one: no call is made with it, because it would be a part of the path."""


def is_id(value: object) -> TypeGuard[str]:
    """Return whether the value can be an id of a location, a contact or a conversation."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None
