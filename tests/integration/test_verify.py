"""`./hlc verify` on the local AWS: it deploys a stack of its own, sees what can be seen there, and deletes it again."""

import json
import subprocess
import uuid
from pathlib import Path

import pytest

from local.highlevel import LocalHighLevel
from local.stack import ARCHITECTURE, ROOT, LocalAws, clean_environment

LOCATION, CONTACT = "ve9EPM428h8vShlRW1KT", "ocQHyuzHvysMo5N5VsXc"
NAME = "highlevel-conversations-verify"


def verify(aws: LocalAws, highlevel: LocalHighLevel, token: str, report: Path) -> subprocess.CompletedProcess[str]:
    parameters = [f"HighLevelBaseUrl={highlevel.url}", f"Architecture={ARCHITECTURE}"]
    options = ["--location", LOCATION, "--contact", CONTACT, "--report", str(report), "--yes", "--json"]
    return subprocess.run(
        [ROOT / "hlc", "verify", *parameters, *options],
        cwd=report.parent,
        env={**clean_environment(), **aws.env},
        input=f"{token}\n",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def left(aws: LocalAws) -> list[str]:
    """The names of the stack, queues and secrets that are there."""
    stacks = [stack["StackName"] for stack in aws.client("cloudformation").describe_stacks()["Stacks"]]
    queues = aws.client("sqs").list_queues().get("QueueUrls", [])
    secrets = [secret["Name"] for secret in aws.client("secretsmanager").list_secrets()["SecretList"]]
    return [name for name in (*stacks, *queues, *secrets) if "aws-sam-cli" not in name]


@pytest.mark.slow
def test_an_acceptance_run(tmp_path: Path) -> None:
    token = f"pit-{uuid.uuid4()}"
    with LocalHighLevel(tokens={token: LOCATION}) as highlevel, LocalAws() as aws:
        finished = verify(aws, highlevel, token, tmp_path / "verify.md")
        assert finished.returncode == 0, finished.stdout + finished.stderr
        seen = json.loads(finished.stdout)
        states = {step["step"]: step["state"] for step in seen["steps"]}
        may_be_missing = {"the message is written", "the submissions are counted in a metric"}
        assert {step for step, state in states.items() if state != "seen"} <= may_be_missing
        assert len(states) == 15
        assert left(aws) == []
        assert list(highlevel.conversations) == [(LOCATION, CONTACT)]
        assert not highlevel.contacts, "the webhook was never sent to HighLevel"
        report = (tmp_path / "verify.md").read_text()
        assert "- result: nothing wrong was seen" in report
        assert "| a webhook of 254 KiB meanwhile is stored whole | seen |" in report
        for private in (token, CONTACT, LOCATION, "000000000000"):
            assert private not in report
            assert private not in finished.stderr
