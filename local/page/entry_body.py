"""A test submission for a sender without a sample in `events/`: a payload in which its entry finds a contact."""

import itertools
from typing import Any

import jmespath

from create_conversation.senders.config import Sender
from local.run import LOCATION

PERSON = {
    "email": "jane@example.com",
    "phone": "+15555550100",
    "first_name": "Jane",
    "last_name": "Doe",
    "full_name": "Jane Doe",
}
# Found by their labels, where no path names a place.
LABELLED = {"name": "Jane Doe", "email": PERSON["email"], "phone": PERSON["phone"]}

type Node = dict[str, Any]
# A member's name, the index of a list's element, or members by which an element is chosen.
type Step = str | int | dict[str, Any]


def body_of_entry(sender: Sender, location: str | None) -> dict[str, Any]:
    """Return a payload with a value at each path of the entry, as far as the path says how to build one.

    `location`: the stack's LocationId.
    """
    payload: dict[str, Any] = {}
    is_found = False
    for name, value in _values(sender, location).items():
        is_set = name in sender.paths and _set(payload, _parsed(sender, name), value)
        is_found |= is_set and name in ("email", "phone", "contact_id")
    if "when" in sender.paths:
        _meet(payload, _parsed(sender, "when"))
    return payload if is_found else LABELLED | payload


def _values(sender: Sender, location: str | None) -> dict[str, str]:
    named = [name for name in sender.locations if name != "*"]
    values = PERSON | {"location_id": next(iter(named), location or LOCATION)}
    if not sender.paths.keys() & {"email", "phone"}:
        values["contact_id"] = "ocQHyuzHvysMo5N5VsXc"
    return values


def _parsed(sender: Sender, name: str) -> Node:
    return dict(jmespath.compile(sender.paths[name].expression).parsed)


def _set(payload: dict[str, Any], node: Node, value: Any) -> bool:
    """Set the value where the expression looks. Returns whether that is possible."""
    place = _place(node)
    if not place:
        return False
    try:
        _put(payload, place, value)
    except (TypeError, AttributeError):  # another path has put a value of another type there
        return False
    return True


def _place(node: Node) -> list[Step] | None:
    """Return the steps to the first place where the expression looks; None if it computes a value."""
    children: list[Node] = node["children"]
    match node["type"]:
        case "field" | "index":
            return [node["value"]]
        case "identity" | "current":
            return []
        case "subexpression" | "index_expression":
            return _joined(children)
        case "or_expression":
            return _place(children[0])
        case "filter_projection":
            listed, member, condition = children
            return _joined([listed, {"type": "element", "value": condition, "children": []}, member])
        case "element":
            chosen: dict[str, Any] = {}
            _meet(chosen, node["value"])
            return [chosen]
        case "pipe" if children[0]["type"] == "filter_projection":  # fields[?key == 'mail'].value | [0]
            return _place(children[0])
    return None


def _joined(nodes: list[Node]) -> list[Step] | None:
    steps: list[Step] = []
    for node in nodes:
        more = _place(node)
        if more is None:
            return None
        steps += more
    return steps


def _meet(payload: dict[str, Any], condition: Node) -> None:
    """Set the values with which a condition is true, as far as it compares a place with a constant."""
    children: list[Node] = condition["children"]
    match condition["type"]:
        case "comparator" if condition["value"] == "eq" and children[1]["type"] == "literal":
            _set(payload, children[0], children[1]["value"])
        case "and_expression":
            for child in children:
                _meet(payload, child)
        case "or_expression":
            _meet(payload, children[0])
        case "field" | "subexpression":
            _set(payload, condition, True)


def _put(payload: Any, place: list[Step], value: Any) -> None:
    here = payload
    for step, following in itertools.pairwise(place):
        here = _child(here, step, {} if isinstance(following, str) else [])
    last = place[-1]
    if isinstance(last, str):
        here[last] = value
    else:
        here.append(value)


def _child(here: Any, step: Step, empty: Any) -> Any:
    """Return what is at a step of a mapping or list, where nothing is yet: this empty container."""
    if isinstance(step, str):
        return here.setdefault(step, empty)
    if isinstance(step, int):
        if not here:
            here.append(empty)
        return here[0]
    for element in here:
        if isinstance(element, dict) and element.items() >= step.items():
            return element
    here.append({**step})
    return here[-1]
