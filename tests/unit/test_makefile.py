"""The Makefile names modules as text, so nothing but this notices when one is renamed."""

import re
import subprocess
from pathlib import Path

import pytest

from cli.app import hlc

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Makefile").read_text()
MODULES = sorted(set(re.findall(r"bin/python -m ([a-z]\w*(?:\.\w+)*)", TEXT)) - {"venv", "pip"})


@pytest.mark.parametrize("module", MODULES)
def test_every_command_of_the_makefile_has_its_module(module: str) -> None:
    path = ROOT.joinpath(*module.split("."))
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@pytest.mark.parametrize("file", sorted(re.findall(r"tests/[\w/]+\.py", TEXT)))
def test_every_test_file_that_the_makefile_names_exists(file: str) -> None:
    assert (ROOT / file).is_file()


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("doctor", "./hlc doctor\n"),
        ("token", "./hlc token\n"),
        ("dead-letters", "./hlc dead-letters\n"),
        ("doctro", "make help lists the targets, ./hlc --help the commands\n"),
    ],
)
def test_a_target_that_does_not_exist(word: str, advice: str) -> None:
    finished = subprocess.run(
        ["make", word, "STACK=local"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert finished.returncode == 2
    assert f"there is no target {word}: " in finished.stderr
    assert advice in finished.stderr


def test_the_commands_that_were_targets() -> None:
    operator = set(re.findall(r"^OPERATOR := (.+)$", TEXT, re.MULTILINE)[0].split())
    assert operator - {"verify"} <= set(hlc.commands)
