"""The Makefile names modules as text, so nothing but this notices when one is renamed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Makefile").read_text()
MODULES = sorted(set(re.findall(r"(?:\$\(OPERATE\)|bin/python -m) ([a-z]\w*(?:\.\w+)*)", TEXT)) - {"venv", "pip"})


@pytest.mark.parametrize("module", MODULES)
def test_every_command_of_the_makefile_has_its_module(module: str) -> None:
    path = ROOT.joinpath(*module.split("."))
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@pytest.mark.parametrize("file", sorted(re.findall(r"tests/[\w/]+\.py", TEXT)))
def test_every_test_file_that_the_makefile_names_exists(file: str) -> None:
    assert (ROOT / file).is_file()
