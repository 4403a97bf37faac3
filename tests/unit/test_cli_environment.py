"""The operator's commands run in an environment that has no log library of the functions."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_command_needs_powertools() -> None:
    modules = sorted(f"cli.{file.stem}" for file in (ROOT / "cli").glob("*.py") if not file.stem.startswith("__"))
    code = f"import sys; sys.modules['aws_lambda_powertools'] = None; import {', '.join(modules)}"
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": "functions"}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
