"""What several patches of the emulator use: types, and CloudFormation's table of resource handlers."""

import json
from typing import Any

from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]

type Json = dict[str, Any]
type Created = tuple[str, Json]  # what a resource handler returns: physical id and attributes

RESOURCES: Json = provisioners._RESOURCE_HANDLERS


def text(value: object) -> str:
    """Convert a property to text as CloudFormation does: `7` and `true` become text."""
    return value if isinstance(value, str) else json.dumps(value)
