"""The parameters of the template: names and values are checked before anything is built.

SAM ignores parameters that the template does not have, and drops those of samconfig.toml when the command line has any.
"""

import functools
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from cli import ROOT
from cli.stack import StackError, printable, suggestion

TEMPLATE = ROOT / "template.yaml"
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def checked_parameters(configured: Iterable[str], environment: str, given: Iterable[str]) -> dict[str, str]:
    """Return the parameters of samconfig.toml's environment and those that were given, which override them.

    Raises StackError for an unknown name or a value that the template does not allow.
    """
    known = template_parameters()
    source = f"samconfig.toml, environment {environment}: "
    return {**_checked(configured, known, source), **_checked(given, known, "")}


@functools.cache
def template_parameters() -> dict[str, dict[str, Any]]:
    """Return the parameters that the template has. A command asks several times; the template is read once."""
    return dict(yaml.load(TEMPLATE.read_text(encoding="utf-8"), _TemplateLoader)["Parameters"])  # noqa: S506 a SafeLoader


class _TemplateLoader(yaml.CSafeLoader):  # seven times as fast as the one in Python
    """Loads YAML and drops CloudFormation's short forms (`!Ref`), which no parameter uses."""


_TemplateLoader.add_multi_constructor("!", lambda _loader, _name, _node: None)


def _checked(words: Iterable[str], known: Mapping[str, Mapping[str, Any]], source: str) -> dict[str, str]:
    parameters = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise StackError(f'{source}{printable(word)} is not of the form Name=value; quote blanks: "Name=two words"')
        if name not in known:
            raise StackError(
                f"{source}the template has no parameter {printable(name)}"
                + (suggestion(name, known) or f"; it has {', '.join(known)}")
            )
        if not _is_allowed(value, known[name]):
            constraint = known[name].get("ConstraintDescription", "is not a value that the template allows")
            whole = ", a whole number" if _is_whole(known[name]) else ""
            raise StackError(f"{source}{name}={printable(value)} is not allowed: {name} {constraint}{whole}")
        parameters[name] = value
    return parameters


def _is_allowed(value: str, parameter: Mapping[str, Any]) -> bool:
    """Whether CloudFormation would accept the value. A constraint that the parameter lacks allows everything."""
    if parameter["Type"] == "Number" and not _is_allowed_number(value, parameter):
        return False
    shortest, longest = parameter.get("MinLength", 0), parameter.get("MaxLength", sys.maxsize)
    return (
        int(shortest) <= len(value) <= int(longest)
        and value in map(str, parameter.get("AllowedValues", [value]))
        and re.fullmatch(str(parameter.get("AllowedPattern", "(?s:.*)")), value) is not None
    )


def _is_allowed_number(value: str, parameter: Mapping[str, Any]) -> bool:
    """Whether it is a number between the limits; a whole one, if the default is: the resources take no other."""
    if not _NUMBER.fullmatch(value) or ("." in value and _is_whole(parameter)):
        return False
    smallest, largest = parameter.get("MinValue", "-inf"), parameter.get("MaxValue", "inf")
    return float(smallest) <= float(value) <= float(largest)


def _is_whole(parameter: Mapping[str, Any]) -> bool:
    return parameter["Type"] == "Number" and "." not in str(parameter.get("Default", ""))
