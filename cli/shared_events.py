"""Whether another stack's rule takes the same events: each of the two would process every event."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_events import EventBridgeClient

# The logical ids of the function and of its rule begin with this, and so does the middle of their names.
_OF_THIS_APPLICATION = "-CreateConversation"


def others_rules(events: "EventBridgeClient", bus: str, detail_type: str, own_rule: str | None) -> list[str]:
    """Return the names of other enabled rules on the bus that start a function for this detail-type.

    `own_rule`: the name of the stack's own rule, None if there is none yet. A rule that only archives or logs the
    events does not count. Raises an error of AWS.
    """
    found: list[str] = []
    token: Mapping[str, str] = {}
    while True:
        page = events.list_rules(EventBusName=bus, **token)  # type: ignore[arg-type]
        for rule in page["Rules"]:
            takes = rule.get("State") != "DISABLED" and detail_type in _detail_types(rule.get("EventPattern", ""))
            if takes and rule["Name"] != own_rule and _starts_function(events, bus, rule["Name"]):
                found.append(rule["Name"])
        if not page.get("NextToken"):
            return found
        token = {"NextToken": page["NextToken"]}


def _detail_types(pattern: str) -> list[object]:
    try:
        listed = json.loads(pattern)["detail-type"]
    except (ValueError, LookupError, TypeError):
        return []
    return listed if isinstance(listed, list) else []


def _starts_function(events: "EventBridgeClient", bus: str, rule: str) -> bool:
    if _OF_THIS_APPLICATION in rule:
        return True
    targets = events.list_targets_by_rule(Rule=rule, EventBusName=bus)["Targets"]
    return any(":lambda:" in target["Arn"] for target in targets)
