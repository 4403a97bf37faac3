"""Check everything that a submission needs: `python -m cli.doctor [STACK] [--location ID]`. Changes nothing."""

import difflib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cli.concurrency import too_little_concurrency
from cli.known_senders import all_senders, entries_of, locations_missing, read_secrets
from cli.pausing import paused
from cli.report import Report
from cli.rotation import rotation_of
from cli.signing import is_usable
from cli.stack import DENIED, Stack, StackError, explain, parser, printable, run
from cli.token_check import ADVICE, CALL_SECONDS, WHERE_SCOPES, check_token, explain_result, highlevel_of
from create_conversation.senders.config import Sender, lacks_locations
from create_conversation.senders.verification import secrets_for
from highlevel.client import HighLevel
from highlevel.oauth import OAuth, OAuthError, issue_location_token
from highlevel.responses import ApiResult
from highlevel.tokens import TokenError, Tokens, read_tokens

STUCK_SECONDS = 900.0  # longer than the four steps of a rotation take
# How far back, and at most how many lines of the function's log are read.
LOG_SECONDS = 3600.0
LOG_LINES = 10_000
_RESUME = "to continue: make resume"
_LOCATION = re.compile(r"[A-Za-z0-9_-]{1,64}")
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
# Reasons that end a rotation permanently. All other failures are transient.
_ROTATION_ADVICE = {
    "grant_refused": "HighLevel does not accept the refresh token any more. A refresh token works once: it was used "
    "and the answer was lost, another stack uses the same connection, the app was uninstalled, or the token was unused "
    "for a year. Retries cannot fix this: make connect",
    "client_refused": "HighLevel does not accept the client id with this client secret (perhaps the secret was "
    "replaced): make connect",
    "oauth_refused": "HighLevel refuses the call: make connect",
    "token_refused": "HighLevel does not accept the token that it has just issued; the rotation is tried again. If "
    "this goes on: make connect",
    "not_oauth": "the secret contains no connection: make connect, or make deploy PARAMETERS=RotateToken=false",
    "oauth_malformed": "the secret cannot be read as a connection: make connect",
    "no_token": "the secret has no value: make connect",
    "not_pending": "its label AWSPENDING was removed meanwhile: Secrets Manager starts the next rotation",
    "pending_superseded": "a rotation of a previous connection blocks it: make connect removes it",
    "location_inactive": "the sub-account is suspended; the rotation continues automatically once it is active again",
    "base_url_refused": ADVICE["base_url_refused"],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each check, and what to do about one that fails. Returns 1 if one fails, else 0."""
    options = _options(arguments)
    if options.location and not _LOCATION.fullmatch(options.location):
        raise StackError("a location id has up to 64 letters, digits, _ or -")
    report = Report(options.stack)
    try:
        stack = Stack.connect(options.stack)
    except (StackError, ClientError, BotoCoreError) as error:
        report.bad("stack", explain(error))
        return 1
    report.good("stack", f"{stack.name} is deployed")
    checks: tuple[Callable[[], None], ...] = (
        lambda: _check_senders(stack, report),
        lambda: _check_highlevel(stack, options.location, report),
        lambda: _check_queues(stack, report),
        lambda: _check_log(stack, report),
        lambda: _check_concurrency(stack, report),
        lambda: _check_pauses(stack, report),
    )
    for name, check in zip(("senders", "HighLevel", "queues", "log", "concurrency", "pauses"), checks, strict=True):
        try:
            check()
        except (StackError, ClientError, BotoCoreError) as error:
            report.bad(name, explain(error))
    return 1 if report.failed else 0


def _options(arguments: Sequence[str] | None) -> Any:
    options = parser(
        "Check secrets, token, scopes, quota, queues, log and pauses of a stack, and say what to do about a failure.\n"
        "Makes three API calls to HighLevel; none changes data (two are deliberately invalid). With an agency's\n"
        "connection one more call issues a token of the location. Never uses a refresh token."
    )
    options.add_argument(
        "--location",
        metavar="ID",
        help="the HighLevel location to check (default: the stack's LocationId, else each location that has its own "
        "token)",
    )
    return options.parse_args(arguments)


# --- senders ----------------------------------------------------------------------------------------------------------


def _check_senders(stack: Stack, report: Report) -> None:
    senders = {name: sender for name, sender in all_senders().items() if sender.scheme != "event"}
    text, _ = read_secrets(stack)
    entries = entries_of(text)
    opened = [sender.name for sender in senders.values() if _is_open(sender, text)]
    closed = [name for name in senders if name not in opened]
    others = f"; closed: {', '.join(closed)} (see make sender NAME=…)" if closed else ""
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
    make = f"make sender NAME={name}"
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


# --- HighLevel --------------------------------------------------------------------------------------------------------


def _check_highlevel(stack: Stack, location: str | None, report: Report) -> None:
    tokens = _tokens(stack, report)
    if tokens is None:
        return
    highlevel = highlevel_of(stack, report)
    if highlevel is None:
        return
    named = location or stack.parameters.get("LocationId")
    locations = [named] if named else [each for each in tokens.by_location if each != "*"]
    if not locations:
        report.bad("location", "enter one: make doctor LOCATION=<location id>")
    for each in locations:
        try:
            agency = tokens.oauth if tokens.oauth and tokens.oauth.user_type == "Company" else None
            token = _issued_token(highlevel, agency, each) if agency else tokens.of(each)
        except TokenError as error:
            make = "make connect" if tokens.oauth else f"make token LOCATION={each}"
            report.bad(f"token of {each}", f"{error}: {make}")
            continue
        except OAuthError as error:
            report.bad(f"token of {each}", _explain_issue(error))
            continue
        check_token(highlevel, token, each, report)


def _tokens(stack: Stack, report: Report) -> Tokens | None:
    manager = stack.secrets_manager
    make, connect = "make token", "make connect"
    try:
        found = manager.get_secret_value(SecretId=stack.output("HighLevelTokenArn"))
        text = found.get("SecretString", "")
        tokens = read_tokens(text)
    except manager.exceptions.ResourceNotFoundException:
        report.bad("HighLevelToken", f"it has no value yet: {make}, or {connect} for an OAuth app")
        return None
    except TokenError as error:
        report.bad("HighLevelToken", f"{error}: {connect if '"oauth"' in text else make}")
        return None
    if tokens.oauth:
        usable = _check_connection(tokens.oauth, connect, report)
        _check_rotation(stack, found["CreatedDate"].timestamp(), report)
        return tokens if usable else None
    own = [location for location in tokens.by_location if location != "*"]
    parts = [f"a token for {', '.join(own)}"] if own else []
    if "*" in tokens.by_location:
        parts.append("a token for all other locations" if own else "one token for all locations")
    report.good("HighLevelToken", " and ".join(parts) or "readable")
    if manager.describe_secret(SecretId=found["ARN"]).get("RotationEnabled"):
        report.bad("rotation", f"attached, but {_ROTATION_ADVICE['not_oauth']}")
    return tokens


def _issued_token(highlevel: HighLevel, oauth: OAuth, location: str) -> str:
    """Issue a token of that location as the function does. It is not stored, and other tokens stay valid."""
    token = issue_location_token(
        highlevel, str(oauth.access_token), str(oauth.company_id), location, within=CALL_SECONDS
    )
    return Tokens({location: token.access_token}).of(location)


def _explain_issue(error: OAuthError) -> str:
    what = {
        "scope_missing": f"the connection lacks the scope oauth.write: {WHERE_SCOPES}",
        "location_refused": "the app is not installed there, or the location belongs to another agency",
        "token_kind_refused": "the connection is for one sub-account: make connect, and choose the whole agency",
        "token_refused": "HighLevel does not accept the agency's access token: wait for a rotation, or make connect",
    }.get(error.reason, explain_result(ApiResult("deferred", error.reason)))
    return f"HighLevel does not issue it{f' ({error.status})' if error.status else ''}: {what}"


def _check_connection(oauth: OAuth, connect: str, report: Report) -> bool:
    """Report the connection. Returns whether its access token can be used."""
    agency = f"the agency {oauth.company_id}" if oauth.company_id else "an agency"
    whose = f"the connection of {agency if oauth.user_type == 'Company' else 'a sub-account'}"
    left = None if oauth.expires_at is None else oauth.expires_at - time.time()
    if oauth.user_type == "Company" and not oauth.company_id:
        report.bad("HighLevelToken", f"the connection of an agency has no company_id: {connect}")
    elif oauth.access_token is None:
        report.bad("HighLevelToken", f"{whose} has no access token yet: wait for a rotation, or {connect}")
    elif left is not None and left <= 0:
        report.bad(
            "HighLevelToken",
            f"{whose}: its access token expired {_span(-left)} ago; see the line rotation, or {connect}",
        )
    else:
        expires = "" if left is None else f"; its access token expires in {_span(left)}"
        report.good("HighLevelToken", f"{whose}{expires}")
        return True
    return False


def _check_rotation(stack: Stack, stored_at: float, report: Report) -> None:
    """Report whether the connection is renewed automatically and, if not, why."""
    rotation = rotation_of(stack, stack.output("HighLevelTokenArn"), stored_at)
    ago = "" if rotation.at is None else f" {_span(time.time() - rotation.at)} ago"
    if not rotation.is_attached:
        attach = "make deploy PARAMETERS=RotateToken=true"
        report.bad("rotation", f"nothing renews the access token, which expires after a day: {attach}")
    if rotation.failure is not None:
        todo = _ROTATION_ADVICE.get(rotation.failure, "Secrets Manager tries again; run this again later")
        report.bad("rotation", f"failed{ago}, {rotation.failure}: {todo}")
    elif rotation.is_pending and (rotation.at or stored_at) < time.time() - STUCK_SECONDS:
        report.bad("rotation", "one has begun and has not ended (AWSPENDING is left): make connect removes it")
    elif rotation.is_attached:
        done = f"renewed{ago}" if rotation.at is not None and not rotation.is_pending else "attached"
        following = f", next until {rotation.next_at:%Y-%m-%d %H:%M %Z}" if rotation.next_at else ""
        report.good("rotation", f"{done}{following}")


def _span(seconds: float) -> str:
    """Format a duration in minutes, or in hours from two hours on."""
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{round(seconds / 3600)} h"


# --- queues -----------------------------------------------------------------------------------------------------------


def _check_queues(stack: Stack, report: Report) -> None:
    waiting, dead = (_count(stack, f"{queue}Url") for queue in ("RetryQueue", "DeadLetterQueue"))
    if waiting:
        report.good("retry queue", f"{waiting} waiting; {_why(stack)}")
    else:
        report.good("retry queue", "empty")
    if dead:
        failed = "1 submission failed and needs you" if dead == 1 else f"{dead} submissions failed and need you"
        report.bad("dead-letter queue", f"{failed}: run make dead-letters, fix the cause, run make redrive")
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
        return "none was tried in the last hour: make logs SINCE=1d shows why"
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
            f"[{name}] in functions/senders.toml; then make deploy"
        )
    if sender.public_keys:
        return f"the signature does not match the public key under [{name}] in functions/senders.toml or presets.toml"
    if sender.scheme == "pubkey":
        return f"wrong public key. If you expected these requests: make sender NAME={name} asks for the new key"
    return (
        f"wrong or missing secret. If you expected these requests: make sender NAME={name} creates a new secret to "
        "paste there (GIVEN=1 imports the secret that the sender already uses)"
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
        report.bad("retry queue", "its event source mapping is on, which uses up receives: make pause turns it off")
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


if __name__ == "__main__":
    run(main)
