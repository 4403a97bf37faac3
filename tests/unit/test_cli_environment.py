"""The operator's commands run in an environment that has no log library of the functions."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(file.stem for file in (ROOT / "cli").glob("*.py") if not file.stem.startswith("__"))


@pytest.mark.parametrize("name", MODULES)
def test_a_command_needs_no_powertools(name: str) -> None:
    code = f"import sys; sys.modules['aws_lambda_powertools'] = None; import cli.{name}"
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": "functions"}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
