"""What the tests of this folder share."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session

from local.application import Application
from local.highlevel import LocalHighLevel
from local.page.server import Page
from local.run import LOCATION
from local.stack import ROOT, LocalAws, build, clean_environment
from tests.integration.packaged import deploy_packaged
from tests.samples import ANYWHERE

TOKEN = f"pit-{uuid.uuid4()}"


def built_for_any_location() -> Path:
    """The application as it is built for a stack of many locations, whose senders may name each of them."""
    return built_with_senders(ANYWHERE)


def built_with_senders(senders: str) -> Path:
    """The application as it is built with this text in senders.toml."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "template.yaml", folder)
        shutil.copytree(ROOT / "functions", Path(folder, "functions"), ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "packaging", Path(folder, "packaging"))
        Path(folder, "functions", "senders.toml").write_text(senders)
        return build(Path(folder, "template.yaml"))


@dataclass(frozen=True)
class World:
    """A local HighLevel and the deployed application that calls it. Each test uses contacts and locations of its
    own."""

    highlevel: LocalHighLevel
    application: Application

    def url(self, queue: str) -> str:
        """The URL of RetryQueue or DeadLetterQueue."""
        return self.application.stack.outputs[f"{queue}Url"]

    def dead_letters(self, **attributes: str) -> list[dict[str, Any]]:
        """Every dead letter with these attributes, as its `attributes` and `text`; all stay in the queue."""
        url = self.url("DeadLetterQueue")
        found: list[Any] = []
        while received := self._sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=60
        ).get("Messages"):
            found += received
        for message in found:
            self._sqs.change_message_visibility(
                QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        letters = [
            {
                "attributes": {name: a["StringValue"] for name, a in message.get("MessageAttributes", {}).items()},
                "text": message["Body"],
            }
            for message in found
        ]
        return [letter for letter in letters if letter["attributes"].items() >= attributes.items()]

    def delete_logs(self) -> None:
        """Delete the function's log: the doctor shows an hour of it, also what earlier tests have met."""
        logs, group = self.application.aws.client("logs"), self.application.stack.outputs["LogGroupName"]
        logs.delete_log_group(logGroupName=group)
        logs.create_log_group(logGroupName=group)

    @property
    def _sqs(self) -> Any:
        return self.application.aws.client("sqs")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of an operator with this stack's AWS."""
        return subprocess.run(
            [sys.executable, "-m", "cli", *words],
            cwd=ROOT,
            env={**clean_environment(), **self.application.aws.env, "PYTHONPATH": "functions"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def redrive(self, *arguments: str) -> str:
        """Run `./hlc redrive` with these arguments and without a pause; return what it prints."""
        finished = self.run("redrive", "--wait", "0", *arguments)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def client_as(self, role: str) -> Callable[[str], Any]:
        """Makes clients of AWS services with the permissions of that role of the stack."""
        arn = self.application.aws.client("iam").get_role(RoleName=self.application.stack.resource(role))["Role"]["Arn"]
        assumed = self.application.aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        return lambda service: botocore.session.Session().create_client(
            service,
            region_name="us-east-1",
            endpoint_url=self.application.aws.endpoint,
            aws_access_key_id=assumed["AccessKeyId"],
            aws_secret_access_key=assumed["SecretAccessKey"],
            aws_session_token=assumed["SessionToken"],
        )

    def calls(self, contact: str) -> int:
        """How many calls asked HighLevel to open this contact's conversation."""
        return sum(call.contact == contact and call.method == "POST" for call in self.highlevel.calls)


@contextlib.contextmanager
def deployed_world(built: Path | None = None, **parameters: str) -> Iterator[World]:
    """The unchanged template with these parameters and its roles enforced; the local HighLevel accepts TOKEN."""
    with LocalHighLevel(tokens={TOKEN: "*"}) as highlevel, LocalAws(enforce_iam=True) as aws:
        application = Application(
            aws, deploy_packaged(aws, {"HighLevelBaseUrl": highlevel.url, **parameters}, built=built)
        )
        application.store_token(TOKEN)
        application.start_function()
        yield World(highlevel, application)


@contextlib.contextmanager
def served_page(world: World) -> Iterator[Page]:
    """The page of `make serve` over this application, with its watch for results."""
    with Page(world.application, world.highlevel, world.highlevel.url, LOCATION) as served:
        watching = threading.Thread(target=lambda: deque(served.watch(), maxlen=0))
        watching.start()
        yield served
    watching.join()


def eventually(happened: Callable[[], object], within: float = 30.0) -> None:
    """Wait until `happened()` is true; fails after that many seconds."""
    until, pause = time.monotonic() + within, 0.05
    while not happened():
        assert time.monotonic() < until, f"did not happen within {within:.0f} s"
        time.sleep(pause)
        pause = min(0.25, 1.2 * pause)  # each look takes a processor that other tests need
