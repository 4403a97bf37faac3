"""Imports point one way: triggers, then the use case, then its parts; `highlevel` and `shared` stand alone."""

import ast
from pathlib import Path

import pytest

FUNCTIONS = Path(__file__).parents[2] / "functions"
PACKAGES = ("create_conversation", "rotate_token", "highlevel", "shared")
TRIGGERS = "create_conversation.triggers"
USE_CASE = "create_conversation.open_conversation"
LOG = "create_conversation.submission_log"
ADAPTERS = ("aws_client", "queues", "secret_cache", "idempotency", "result_events", "rate_limit", "circuit_breaker")


def imports() -> dict[str, set[str]]:
    """By module: the modules of this repository that it imports, those inside functions included."""
    found = {}
    for path in FUNCTIONS.rglob("*.py"):
        module = ".".join(path.relative_to(FUNCTIONS).with_suffix("").parts)
        if module.startswith(PACKAGES):
            found[module.removesuffix(".__init__")] = set(_imported(ast.parse(path.read_text())))
    return found


def _imported(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.startswith(PACKAGES)]


IMPORTS = imports()


def importers(module: str) -> set[str]:
    return {name for name, imported in IMPORTS.items() if any(_is_in(each, module) for each in imported)}


def _is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        pytest.param("shared", ("shared",), id="shared"),
        pytest.param("highlevel", ("highlevel", "shared"), id="highlevel"),
        pytest.param("rotate_token", ("rotate_token", "highlevel", "shared"), id="rotate_token"),
    ],
)
def test_a_package_imports_only_what_is_below_it(package: str, allowed: tuple[str, ...]) -> None:
    modules = [name for name in IMPORTS if _is_in(name, package)]
    assert len(modules) > 3
    for name in modules:
        assert all(imported.startswith(allowed) for imported in IMPORTS[name]), name


def test_only_the_entry_point_imports_triggers() -> None:
    others = {name for name in importers(TRIGGERS) if not _is_in(name, TRIGGERS)}
    assert others == {"create_conversation.app"}


def test_only_triggers_and_the_entry_point_import_the_use_case() -> None:
    others = {name for name in importers(USE_CASE) if not _is_in(name, TRIGGERS)}
    assert others == {"create_conversation.app"}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_imports_neither_the_log_nor_what_uses_it(adapter: str) -> None:
    above = (LOG, USE_CASE, TRIGGERS, "create_conversation.token_provider", "create_conversation.senders")
    found = {name for name in IMPORTS[f"create_conversation.{adapter}"] if any(_is_in(name, each) for each in above)}
    assert found == set()
