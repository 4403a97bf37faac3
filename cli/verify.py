"""`./hlc verify`: try everything in the own account, on a stack of its own, and write a report."""

import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from botocore.exceptions import ClientError

from cli import ROOT
from cli.change_set import execute
from cli.delete import delete_stack
from cli.deploy import checked, create_change_set
from cli.highlevel_token import ask_token, is_accepted
from cli.options import LOCAL, Settings, print_json
from cli.progress import progress
from cli.report import Report
from cli.stack import EXPECTED, Stack, StackError, aws_session, explain, for_stack, printable
from cli.verification import NotSeenError, Verification, WrongError
from highlevel import __version__

SUFFIX = "-verify"
# How long a step waits for what AWS does later, and for metrics.
PATIENCE_SECONDS, METRICS_SECONDS = 60.0, 240.0
LOCAL_PATIENCE_SECONDS = 20.0
_NEVER_SEEN = (
    "alarms: nothing fails here for long enough",
    "the signatures of real senders: send one delivery from each of yours",
    "OAuth and its rotation: ./hlc connect, then ./hlc doctor",
    "a gradual deployment, API throttling, and the fair order of the retry queue",
)
_NOT_LOCAL = "everything that docs/limitations.md names: this was the local AWS"


@dataclass
class Result:
    """What the run saw: for each step `seen`, `not seen` or `wrong`, with details."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, step: str, state: str, detail: str) -> None:
        """Add a step."""
        self.rows.append((step, state, detail))

    @property
    def failed(self) -> bool:
        """Whether a step saw something wrong."""
        return any(state == "wrong" for _, state, _ in self.rows)


def run(settings: Settings, location: str, contact: str, report: str, given: Sequence[str]) -> int:
    """Verify, and write the report. Returns 1 if something was wrong, else 0; raises StackError or an error of AWS."""
    began = time.time()
    result = Result()
    if settings.stack_name == LOCAL:
        stack = settings.connect()
        _look(settings, stack, location, contact, result)
    else:
        stack = _on_its_own_stack(settings, location, contact, given, result)
    _write(Path(report), stack, location, began, result)
    facts = [{"step": step, "state": state, "detail": detail} for step, state, detail in result.rows]
    if settings.json:
        print_json({"ok": not result.failed, "steps": facts, "report": report})
    else:
        print(f"\nThe report is in {report}; it has no secret and no id of a contact.")
    return 1 if result.failed else 0


def _on_its_own_stack(settings: Settings, location: str, contact: str, given: Sequence[str], result: Result) -> Stack:
    own = replace(settings, stack=f"{settings.stack_name}{SUFFIX}", env=settings.env)
    parameters = [f"LocationId={location}", f"EventDetailType={own.stack}", *given]
    deployment = checked(own, parameters)
    if not deployment.is_new:
        raise StackError(for_stack(f"the stack {own.stack} exists: ./hlc delete, then verify again", own.command))
    settings.say(
        f"This deploys {own.stack}, opens a conversation with the contact {contact} in HighLevel, writes a message "
        "there, and deletes the stack with its queues and secrets."
    )
    settings.confirm("Continue?", "nothing was deployed")
    token = ask_token()
    arn = create_change_set(deployment)
    try:
        execute(deployment.formation, deployment.stack, arn, 0)
        result.add("the stack is deployed", "seen", f"in {deployment.region}")
        stack = own.connect()
        stack.secrets_manager.put_secret_value(SecretId=stack.output("HighLevelTokenArn"), SecretString=token)
        _look_at_token(own, stack, token, result)
        _look(own, stack, location, contact, result)
    finally:
        with progress(f"deleting {own.stack}"):
            _remove(own)
    result.add("the stack is deleted", "seen", "with its queues and secrets")
    settings.say(f"✓ {result.rows[-1][0]}")
    return stack


def _look_at_token(settings: Settings, stack: Stack, token: str, result: Result) -> None:
    report = Report(replace(settings, json=True))  # collects only
    if is_accepted(stack, token, None, report) and not report.failed:
        result.add("HighLevel accepts the token and its scopes", "seen", f"{len(report.checks)} checks")
    else:
        wrong = "; ".join(f"{each['check']}: {each['detail']}" for each in report.checks if not each["ok"])
        result.add("HighLevel accepts the token and its scopes", "wrong", wrong)
    _say(settings, result)


def _look(settings: Settings, stack: Stack, location: str, contact: str, result: Result) -> None:
    """Take each step, also after one that failed."""
    is_local = stack.is_local or stack.output("ConversationsUrl").startswith("http://127.0.0.1")
    patience, metrics = (LOCAL_PATIENCE_SECONDS, 0.0) if is_local else (PATIENCE_SECONDS, METRICS_SECONDS)
    verification = Verification(stack, location, contact, patience, metrics)
    try:
        for step, take in verification.steps:
            try:
                with progress(step):
                    result.add(step, "seen", take())
            except NotSeenError as error:
                result.add(step, "not seen", str(error))
            except WrongError as error:
                result.add(step, "wrong", str(error))
            except EXPECTED as error:
                result.add(step, "wrong", explain(error))
            _say(settings, result)
    finally:
        verification.resume()


def _say(settings: Settings, result: Result) -> None:
    step, state, detail = result.rows[-1]
    mark = {"seen": "✓", "not seen": "-", "wrong": "✗"}[state]
    settings.say(printable(f"{mark} {step}: {detail}"))


def _remove(settings: Settings) -> None:
    """Delete the stack, and its queues and secrets, which a deletion leaves."""
    session = aws_session(settings)
    formation = session.client("cloudformation")
    staying = delete_stack(formation, settings.stack_name)
    for kind, name in staying:
        try:
            if kind == "AWS::SQS::Queue":
                session.client("sqs").delete_queue(QueueUrl=name)
            else:
                session.client("secretsmanager").delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        except ClientError as error:
            print(f"{name} stays: {explain(error)}")


def _write(path: Path, stack: Stack, location: str, began: float, result: Result) -> None:
    """Write the report. It names no account, no contact and only the beginning of the location's id."""
    is_local = stack.is_local or stack.output("ConversationsUrl").startswith("http://127.0.0.1")
    not_seen = [f"{step}: {detail}" for step, state, detail in result.rows if state == "not seen"]
    lines = [
        "# Verification of highlevel-conversations",
        "",
        f"- version {__version__}, commit {_commit()}",
        f"- {time.strftime('%Y-%m-%d %H:%M', time.gmtime(began))} UTC, {time.time() - began:.0f} seconds",
        f"- region {'local' if is_local else stack.formation.meta.region_name}, location {location[:4]}…",
        f"- Python {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"- result: {'something is wrong' if result.failed else 'nothing wrong was seen'}",
        "",
        "| step | | details |",
        "|---|---|---|",
        *(f"| {step} | {state} | {_cell(detail)} |" for step, state, detail in result.rows),
        "",
        "Not seen:",
        "",
        *(f"- {each}" for each in (*not_seen, *_NEVER_SEEN, *((_NOT_LOCAL,) if is_local else ()))),
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("\n", " ")


def _commit() -> str:
    try:
        command = ["git", "rev-parse", "--short", "HEAD"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
