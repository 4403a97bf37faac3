"""The content of template.yaml for tests."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


class _Loader(yaml.CSafeLoader):
    """YAML with CloudFormation's short forms: `!GetAtt A.B` becomes `{"Fn::GetAtt": "A.B"}`."""


def _short_form(loader: _Loader, name: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _short_form)

TEMPLATE = yaml.load((ROOT / "template.yaml").read_text(), _Loader)
RESOURCES = TEMPLATE["Resources"]


def _with_globals(function: dict[str, Any]) -> dict[str, Any]:
    """Return a function's properties with those of `Globals`, as SAM merges them."""
    shared = TEMPLATE["Globals"]["Function"]
    variables = shared["Environment"]["Variables"] | function.get("Environment", {}).get("Variables", {})
    return {**shared, **function, "Environment": {"Variables": variables}}


for _resource in RESOURCES.values():
    if _resource["Type"] == "AWS::Serverless::Function":
        _resource["Properties"] = _with_globals(_resource["Properties"])


def of_type(kind: str) -> dict[str, Any]:
    """The properties of the resources of this type, by logical id."""
    return {name: resource["Properties"] for name, resource in RESOURCES.items() if resource["Type"] == kind}


def values_of(parameter: str) -> list[str]:
    """The default of a parameter and other values: all of them, where the template lists them. Raises KeyError for a
    parameter of free text without an example here."""
    declared = TEMPLATE["Parameters"][parameter]
    if "AllowedValues" in declared:
        others = declared["AllowedValues"]
    elif declared["Type"] == "Number":
        others = [declared["MinValue"], declared["MaxValue"]]
    else:
        others = EXAMPLES[parameter]
    default = str(declared["Default"])
    return [default, *(str(value) for value in others if str(value) != default)]


EXAMPLES = {
    "LocationId": ["ve9EPM428h8vShlRW1KT"],
    "HighLevelApiVersion": ["v3"],
    "HighLevelBaseUrl": ["https://highlevel.example.com"],
    "EventBusName": ["crm", "crm2"],
    "EventDetailType": ["OrderPlaced"],
    "AlarmEmail": ["ops@example.com"],
    "PermissionsBoundary": ["arn:aws:iam::000000000000:policy/Boundary"],
}


def resolve(value: Any, parameters: Mapping[str, str]) -> Any:
    """A part of the template as CloudFormation resolves it with these parameters; what refers to a resource stays."""
    if isinstance(value, list):
        return [resolve(each, parameters) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(function, argument)] = value.items()
        if function in _FUNCTIONS:
            return _FUNCTIONS[function](argument, parameters)
    return {name: resolve(each, parameters) for name, each in value.items()}


def _ref(name: str, parameters: Mapping[str, str]) -> Any:
    return parameters.get(name, {"Ref": name})


def _sub(argument: Any, parameters: Mapping[str, str]) -> str:
    text, own = argument if isinstance(argument, list) else (argument, {})
    known = {**parameters, **resolve(own, parameters)}
    return re.sub(r"\${([^}]+)}", lambda found: str(known.get(found[1], found[0])), text)


def _if(argument: Any, parameters: Mapping[str, str]) -> Any:
    condition, met, otherwise = argument
    return resolve(met if resolve(TEMPLATE["Conditions"][condition], parameters) else otherwise, parameters)


def _equals(argument: Any, parameters: Mapping[str, str]) -> bool:
    left, right = resolve(argument, parameters)
    return bool(left == right)


def _not(argument: Any, parameters: Mapping[str, str]) -> bool:
    [condition] = resolve(argument, parameters)
    return not condition


def _split(argument: Any, parameters: Mapping[str, str]) -> list[str]:
    separator, text = resolve(argument, parameters)
    return str(text).split(separator)


def _select(argument: Any, parameters: Mapping[str, str]) -> Any:
    index, values = resolve(argument, parameters)
    return values[index]


_FUNCTIONS = {
    "Ref": _ref,
    "Fn::Sub": _sub,
    "Fn::If": _if,
    "Fn::Equals": _equals,
    "Fn::Not": _not,
    "Fn::Split": _split,
    "Fn::Select": _select,
}
