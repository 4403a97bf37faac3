"""HighLevel's own OpenAPI documents, as far as the local HighLevel plays them.

They are not part of this project. HighLevel publishes them at https://github.com/GoHighLevel/highlevel-api-docs, in
`apps`; the variable OFFICIAL_DOCUMENTS names that folder, or one with the same files and `common` in it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs

COMMON = "../common/common-schemas.json"


@dataclass(frozen=True)
class Operation:
    """A method of a path in a document."""

    scopes: frozenset[str]
    parameters: Mapping[tuple[str, str], Mapping[str, Any]]  # (where, name) -> the parameter
    body: Mapping[str, Any] | None  # the schema, with the components that it refers to
    answers: Mapping[int, Mapping[str, Any]]

    def member_names(self) -> set[str]:
        """The documented members of the body."""
        assert self.body is not None
        name = self.body["$ref"].rpartition("/")[2]
        return set(self.body["components"]["schemas"][name].get("properties", {}))


def operations(folder: Path) -> dict[tuple[str, str], Operation]:
    """The operations of the documents for contacts and conversations, by method and path."""
    common_file = next(path for path in (folder / "common", folder.parent / "common") if path.is_dir())
    common = json.loads((common_file / "common-schemas.json").read_text())["components"]["schemas"]
    found = {}
    for name in ("contacts", "conversations"):
        document = json.loads((folder / f"{name}.json").read_text().replace(COMMON, ""))
        components = {"schemas": _nullable(document["components"]["schemas"] | common)}
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                found[method.upper(), path] = _operation(operation, components)
    return found


def _operation(operation: dict[str, Any], components: dict[str, Any]) -> Operation:
    scopes = {scope for each in operation.get("security", []) for scopes in each.values() for scope in scopes}
    parameters = {(each["in"], each["name"]): each for each in operation.get("parameters", [])}
    body = _schema(operation.get("requestBody", {}), components)
    answers = {int(status): _schema(answer, components) for status, answer in operation["responses"].items()}
    described = {status: schema for status, schema in answers.items() if schema}
    return Operation(frozenset(scopes), parameters, body, described)


def _schema(described: dict[str, Any], components: dict[str, Any]) -> dict[str, Any] | None:
    schema = described.get("content", {}).get("application/json", {}).get("schema")
    return None if schema is None else schema | {"components": components}


def _nullable(value: Any) -> Any:
    """OpenAPI 3.0's `nullable` as JSON Schema writes it."""
    if isinstance(value, list):
        return [_nullable(each) for each in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _nullable(each) for name, each in value.items() if name != "nullable"}
    if value.get("nullable") is True and isinstance(value.get("type"), str):
        changed["type"] = [value["type"], "null"]
    return changed


def problems(schema: Mapping[str, Any], value: Any) -> list[str]:
    """What is wrong with a value."""
    return [
        f"{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in jsonschema_rs.validator_for(dict(schema)).iter_errors(value)
    ]
