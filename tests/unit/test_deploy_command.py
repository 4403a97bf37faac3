"""`make deploy`: which environment, stack and parameters SAM is given. SAM is a script that notes its arguments."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTE = '#!/bin/sh\nprintf "%s\\n" "$(basename "$0") $*" >> "{calls}"\n'


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "samconfig.toml", "uv.lock", ".python-version"):
        shutil.copy(ROOT / name, tmp_path / name)
    for tool in ("sam/bin/sam", "operate/bin/python"):
        script = tmp_path / ".tools" / tool
        script.parent.mkdir(parents=True)
        script.write_text(NOTE.format(calls=tmp_path / "calls"))
        script.chmod(0o755)
    for ready in ("uv/bin/uv", "sam/ready", "operate/ready"):
        (tmp_path / ".tools" / ready).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".tools" / ready).touch()
    return tmp_path


def make(clone: Path, *words: str, **environment: str) -> tuple[list[str], str]:
    """What SAM was called with, in turn, and what was said on standard error."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    finished = subprocess.run(
        ["make", *words], cwd=clone, env={**inherited, **environment}, capture_output=True, text=True, check=False
    )
    calls = (clone / "calls").read_text().splitlines() if (clone / "calls").exists() else []
    return [call for call in calls if call.startswith("sam")], finished.stderr


PRODUCTION = (
    'Architecture="arm64" EventDetailType="ConversationRequested-production"'
    ' DeploymentPreference="Canary10Percent5Minutes"'
)


def test_by_default(clone: Path) -> None:
    build, deploy = make(clone, "deploy")[0]
    assert build == 'sam build --config-env default --parameter-overrides Architecture="arm64"'
    assert deploy.startswith("sam deploy --config-env default --stack-name highlevel-conversations --parameter-overr")
    assert deploy.endswith(' Architecture="arm64"')


def test_an_environment_names_the_stack_and_brings_its_parameters(clone: Path) -> None:
    _build, deploy = make(clone, "deploy", "CONFIG_ENV=production")[0]
    assert deploy == (
        "sam deploy --config-env production --stack-name highlevel-conversations-production"
        f" --parameter-overrides {PRODUCTION}"
    )
    deploy = make(clone, "deploy", "CONFIG_ENV=staging")[0][-1]
    assert "--stack-name highlevel-conversations-staging" in deploy
    assert deploy.endswith(' Architecture="arm64" EventDetailType="ConversationRequested-staging"')


def test_parameters_are_added_and_the_later_one_counts(clone: Path) -> None:
    words = ["PARAMETERS=DeploymentPreference=AllAtOnce EventDetailType='two words'", "STACK=mine"]
    build, deploy = make(clone, "deploy", "CONFIG_ENV=production", *words)[0]
    given = f'{PRODUCTION} DeploymentPreference="AllAtOnce" EventDetailType="two words"'
    assert build == f"sam build --config-env production --parameter-overrides {given}"
    assert deploy == f"sam deploy --config-env production --stack-name mine --parameter-overrides {given}"


def test_an_environment_that_is_not_there(clone: Path) -> None:
    calls, said = make(clone, "deploy", "CONFIG_ENV=prod")
    assert calls == []
    assert "samconfig.toml has no environment prod" in said


def test_a_word_that_is_no_parameter(clone: Path) -> None:
    calls, said = make(clone, "deploy", "PARAMETERS=LocationId")
    assert calls == []
    assert "LocationId is no Name=value" in said


def test_the_stack_names_of_make_and_of_samconfig_agree() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    assert set(config) == {"version", "default", "staging", "production"}
    for name in ("staging", "production"):
        assert config[name]["deploy"]["parameters"]["stack_name"] == f"highlevel-conversations-{name}"
        assert {**config[name]["deploy"]["parameters"], "stack_name": ""} == {
            **config["default"]["deploy"]["parameters"],
            "stack_name": "",
        }
        assert config[name]["build"] == config["default"]["build"]
