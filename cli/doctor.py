"""`./hlc doctor`: check everything that a submission needs. It changes nothing."""

import difflib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from cli.concurrency import too_little_concurrency
from cli.doctor_messages import check_messages, check_other_stacks
from cli.known_senders import all_senders, entries_of, locations_missing, read_secrets
from cli.options import Settings, print_json
from cli.pausing import paused
from cli.progress import progress
from cli.report import Report
from cli.signing import is_usable
from cli.stack import DENIED, EXPECTED, Stack, explain, printable
from cli.stored_tokens import check_stored_tokens
from create_conversation.senders.config import Sender, lacks_locations
from create_conversation.senders.verification import secrets_for

# How far back, and at most how many lines of the function's log are read.
LOG_SECONDS = 3600.0
LOG_LINES = 10_000
_WITH_MESSAGE = '{ ($.message = "submission") && ($.message_status = "*") }'
_RESUME = "to continue: ./hlc resume"
# AWS's error codes for a deleted table, queue or secret.
_GONE = ("ResourceNotFoundException", "QueueDoesNotExist", "InvalidRequestException")
# What happens while an AWS service refuses requests or does not answer.
_CONSEQUENCES = {
    "DynamoDB": "submissions are processed; a repeated one costs a call to HighLevel, and its answer may lack the id",
    "Secrets Manager": "cached secrets stay in use; a new environment of the function cannot read them",
    "SQS": "a submission that HighLevel does not accept immediately is not stored, and its sender must send it again; "
    "retries come early",
    "EventBridge": "result events are lost; submissions are processed",
}
# Of a delivery with the right secret. Whether the sender is still closed, the checks of the senders say.
_WITHOUT_LOCATION = (
    "its secret was right, but no location was configured that it may name. If no line above reports this sender, that "
    "is fixed: send the refused submissions again"
)


def run(settings: Settings, location: str | None) -> int:
    """Print a line for each check, and what to do about one that fails. Returns 1 if one fails, else 0."""
    report = Report(settings)
    try:
        stack = settings.connect()
    except EXPECTED as error:
        report.bad("stack", explain(error))
    else:
        report.good("stack", f"{stack.name} is deployed")
        _check_all(stack, location, report)
    if settings.json:
        print_json({"ok": not report.failed, "checks": report.checks})
    return 1 if report.failed else 0


def _check_all(stack: Stack, location: str | None, report: Report) -> None:
    checks: dict[str, Callable[[], None]] = {
        "senders": lambda: _check_senders(stack, report),
        "HighLevel": lambda: check_stored_tokens(stack, location, report),
        "queues": lambda: _check_queues(stack, report),
        "log": lambda: _check_log(stack, report),
        "messages": lambda: check_messages(stack, _lines(stack, _WITH_MESSAGE), report),
        "other stacks": lambda: check_other_stacks(stack, report),
        "concurrency": lambda: _check_concurrency(stack, report),
        "pauses": lambda: _check_pauses(stack, report),
    }
    for name, check in checks.items():
        try:
            with progress(f"checking: {name}"):
                check()
        except EXPECTED as error:
            report.bad(name, explain(error))


# --- senders ----------------------------------------------------------------------------------------------------------


def _check_senders(stack: Stack, report: Report) -> None:
    senders = {name: sender for name, sender in all_senders().items() if sender.scheme != "event"}
    text, _ = read_secrets(stack)
    entries = entries_of(text)
    opened = [sender.name for sender in senders.values() if _is_open(sender, text)]
    closed = [name for name in senders if name not in opened]
    others = f"; closed: {', '.join(closed)} (see ./hlc sender list)" if closed else ""
    location = stack.parameters.get("LocationId")
    unlocated = [name for name in opened if lacks_locations(senders[name], location)]
    report.good("senders", f"{', '.join(name for name in opened if name not in unlocated) or 'none'} can send{others}")
    for name in unlocated:
        report.bad(f"sender {name}", f"closed (401): {locations_missing(name)}")
    for name, entry in entries.items():
        if wrong := _wrong(name, entry, senders):
            report.bad("SenderSecrets", f"{wrong}, or remove the entry with aws secretsmanager put-secret-value")


def _is_open(sender: Sender, text: str) -> bool:
    if sender.public_keys:
        return "app_id" not in sender.requires or bool(sender.app_id)
    return any(is_usable(sender, secret) for secret in secrets_for(text, sender.name))


def _wrong(name: str, entry: object, senders: dict[str, Sender]) -> str:
    """Say what is wrong with an entry of SenderSecrets, and what to do; "" for nothing."""
    make = f"./hlc sender rotate {name}"
    if name not in senders:
        close = difflib.get_close_matches(name, senders, 1)
        return f"unknown sender {name!r}: " + (
            f"did you mean {close[0]}? Rename it" if close else "add it to senders.toml"
        )
    listed = entry if isinstance(entry, list) else [entry]
    texts = [secret for secret in listed if isinstance(secret, str) and secret]
    if not listed or len(texts) < len(listed):
        return f'{name} must be a text or a list of texts, ["<new>", "<old>"]: {make}'
    if not all(is_usable(senders[name], secret) for secret in texts):
        return f"{name} has a secret in a format that cannot work: {make}"
    return ""


# --- queues -----------------------------------------------------------------------------------------------------------


def _check_queues(stack: Stack, report: Report) -> None:
    waiting, dead = (_count(stack, f"{queue}Url") for queue in ("RetryQueue", "DeadLetterQueue"))
    if waiting:
        report.good("retry queue", f"{waiting} waiting; {_why(stack)}")
    else:
        report.good("retry queue", "empty")
    if dead:
        failed = "1 submission failed and needs you" if dead == 1 else f"{dead} submissions failed and need you"
        report.bad("dead-letter queue", f"{failed}: run ./hlc dead-letters list, fix the cause, run ./hlc redrive")
    else:
        report.good("dead-letter queue", "empty")


def _why(stack: Stack) -> str:
    """List the reasons and locations of the last hour's deferrals, the latest first.

    A submission that waits for its location's quota writes no line when it comes back too early.
    """
    found: dict[str, list[float]] = {}
    for line in _lines(stack, '{ ($.message = "submission") && ($.outcome = "deferred") }'):
        if line.get("message") == "submission" and line.get("outcome") == "deferred":
            found.setdefault(f"{line.get('reason')} in {line.get('location_id', '?')}", []).append(line["at"])
    if not found:
        return "none was tried in the last hour: ./hlc logs --since 1d shows why"
    latest = sorted(found.items(), key=lambda each: max(each[1]), reverse=True)[:5]
    reasons = (f"{why} ({_often(times)})" for why, times in latest)
    return f"deferred in the last hour: {', '.join(reasons)}"


def _count(stack: Stack, output: str) -> int:
    """Count the messages of the queue, including hidden and delayed ones."""
    answer = stack.sqs.get_queue_attributes(QueueUrl=stack.output(output), AttributeNames=["All"])
    return sum(int(value) for name, value in answer["Attributes"].items() if name.startswith("ApproximateNumberOf"))


# --- log --------------------------------------------------------------------------------------------------------------


def _check_log(stack: Stack, report: Report) -> None:
    """Report failures that only the log shows: failed AWS requests, internal errors, refused senders."""
    failures: dict[tuple[str, str, str], list[float]] = {}
    for line in _lines(stack, '{ ($.message = "aws_request_failed") || ($.message = "internal_error") }'):
        if line.get("message") == "aws_request_failed":
            what = (str(line.get("service")), str(line.get("operation") or "a call"), str(line.get("error")))
        elif line.get("message") == "internal_error":
            what = ("", "", str(line.get("error")))
        else:
            continue
        failures.setdefault(what, []).append(line["at"])
    for (service, operation, code), times in failures.items():
        often = _often(times)
        if not service:
            report.bad("internal error", f"{code} in the last hour, {often}: docs/operations.md#internal-errors")
            continue
        todo = "AWS failed; if this goes on, see the AWS Health Dashboard"
        if code in DENIED:
            todo = "the function's role lacks the permission: docs/operations.md#missing-permission"
        elif code in _GONE:
            todo = "it was deleted: docs/operations.md#restore"
        report.bad(
            f"AWS, {service}",
            f"{operation}: {code} in the last hour, {often}; {todo}. "
            f"Meanwhile {_CONSEQUENCES.get(service, 'submissions are processed')}",
        )
    refused = _refused(stack)
    senders = all_senders() if refused else {}
    for name, (reason, times) in refused.items():
        why = _WITHOUT_LOCATION if reason == "location_not_allowed" else _why_refused(name, senders)
        report.bad(
            f"sender {name}",
            f"requests were refused in the last hour ({_often(times)}), and none was accepted since: {why}",
        )
    if not failures and not refused:
        report.good("log", "no failed AWS request, no internal error, no refused sender in the last hour")


def _why_refused(name: str, senders: Mapping[str, Sender]) -> str:
    """Say what does not match and what to do, which depends on how the sender authenticates."""
    sender = senders.get(name)
    if sender is None:
        return "functions/senders.toml has no such sender"
    if sender.public_keys and "app_id" in sender.requires:
        what = f"its app_id is {'wrong' if sender.app_id else 'missing'}, or the signature does not match"
        return (
            f"{what}. If the app is yours, put its app id (the part of the client id before the -) into app_id under "
            f"[{name}] in functions/senders.toml; then ./hlc deploy"
        )
    if sender.public_keys:
        return f"the signature does not match the public key under [{name}] in functions/senders.toml or presets.toml"
    if sender.scheme == "pubkey":
        return f"wrong public key. If you expected these requests: ./hlc sender import {name} asks for the new key"
    return (
        f"wrong or missing secret. If you expected these requests: ./hlc sender rotate {name} creates a new secret to "
        f"paste there (./hlc sender import {name} imports the one that the sender already uses)"
    )


def _refused(stack: Stack) -> dict[str, tuple[str, list[float]]]:
    """Return the latest reason and the times of refused requests, for senders whose latest delivery was refused."""
    refused: dict[str, list[dict[str, Any]]] = {}
    for line in _lines(stack, '{ ($.message = "submission") && ($.outcome = "unauthorized") }'):
        if line.get("outcome") == "unauthorized" and "sender" in line:
            refused.setdefault(line["sender"], []).append(line)
    found: dict[str, tuple[str, list[float]]] = {}
    for sender, lines in refused.items():
        latest = max(lines, key=lambda line: line["at"])
        if not _is_accepted(stack, sender, latest["at"]):
            found[sender] = (str(latest.get("reason", "")), [line["at"] for line in lines])
    return found


def _is_accepted(stack: Stack, sender: str, since: float) -> bool:
    pattern = f'{{ ($.message = "submission") && ($.sender = "{sender}") }}'
    return any(
        line.get("sender") == sender and line.get("trigger") != "retry" and line.get("outcome") != "unauthorized"
        for line in _lines(stack, pattern, since)
    )


def _often(times: list[float]) -> str:
    latest = datetime.fromtimestamp(max(times), UTC).strftime("%H:%M:%S UTC")
    return f"once, at {latest}" if len(times) == 1 else f"{len(times)} times, last at {latest}"


def _lines(stack: Stack, pattern: str, since: float | None = None) -> Iterator[dict[str, Any]]:
    """Yield the JSON lines that match the pattern, each with its time as `at`.

    `since`: Unix time, by default an hour ago. The local AWS may return lines that do not match.
    """
    since = since or time.time() - LOG_SECONDS
    pages = stack.logs.get_paginator("filter_log_events").paginate(
        logGroupName=stack.output("LogGroupName"),
        startTime=int(since * 1000),
        filterPattern=pattern,
    )
    for event in islice((event for page in pages for event in page["events"]), LOG_LINES):
        try:
            line = json.loads(event["message"])
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict):
            members = {name: printable(str(value)) for name, value in line.items() if value is not None}
            yield members | {"at": event["timestamp"] / 1000}


# --- concurrency ------------------------------------------------------------------------------------------------------


def _check_concurrency(stack: Stack, report: Report) -> None:
    if why := too_little_concurrency(stack.functions, int(stack.parameters["RetryConcurrency"])):
        report.bad("concurrency", why)
    else:
        report.good("concurrency", "the account's limit leaves enough for callers while retries run")


# --- pauses -----------------------------------------------------------------------------------------------------------


def _check_pauses(stack: Stack, report: Report) -> None:
    """Report what docs/operations.md explains how to stop, as an operator may forget to start it again."""
    now_paused = paused(stack)
    if now_paused.sending:
        report.bad(
            "sending", f"paused: submissions are stored; SQS deletes the oldest {now_paused.deletion}: {_RESUME}"
        )
    elif now_paused.retrying:
        report.bad("retrying", f"paused; SQS deletes the oldest that waits {now_paused.deletion}: {_RESUME}")
    if now_paused.sending and not now_paused.retrying:
        report.bad("retry queue", "its event source mapping is on, which uses up receives: ./hlc pause turns it off")
    if now_paused.accepting:
        report.bad("accepting", f"paused: each request gets 429: {_RESUME}")
    is_stopped = _check_reserved_concurrency(stack, report)
    if not (is_stopped or now_paused.sending or now_paused.retrying or now_paused.accepting):
        report.good("pauses", "none: HighLevel is called, the retry queue is processed, the API accepts requests")


def _check_reserved_concurrency(stack: Stack, report: Report) -> bool:
    """Report a reserved concurrency of 0, which stops the function; return whether it has that."""
    function = stack.resource("CreateConversation")
    limit = stack.functions.get_function_concurrency(FunctionName=function)
    if limit.get("ReservedConcurrentExecutions") != 0:
        return False
    delete = f"aws lambda delete-function-concurrency {stack.aws} --function-name {function}"
    report.bad("function", f"stopped by a reserved concurrency of 0; to continue: {delete}")
    return True
