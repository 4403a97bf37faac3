"""Look for what would stop a submission: `python -m operate.doctor [STACK] [--location ID]`. Changes nothing."""

import difflib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError, ClientError

from create_conversation.errors import REASONS
from create_conversation.senders.config import Sender, lacks_locations
from create_conversation.senders.verification import secrets_for
from highlevel.client import DEFAULT_BASE_URL, HighLevel
from highlevel.oauth import OAuth, OAuthError, issue_location_token
from highlevel.responses import ApiResult, RateLimit, classify_response
from highlevel.tokens import TokenError, Tokens, read_tokens
from operate.rotation import rotation_of
from operate.sender import all_senders, entries_of, locations_missing, read_secrets
from operate.signing import is_usable
from operate.stack import DENIED, LOCAL, Stack, StackError, explain, parser, printable, run
from shared.connection_pool import HttpResponse

CALL_SECONDS = 10.0
STUCK_SECONDS = 900.0  # longer than a rotation's four steps take
# How far back the function's log is read, and how many of its lines about trouble at most.
LOG_SECONDS = 3600.0
LOG_LINES = 10_000
_LOCATION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COMMAND = re.compile(r"\bmake (deploy|token|connect|sender|doctor|logs|dead-letters|redrive)\b")
_WHERE_SCOPES = (
    "add it in HighLevel under Settings, Private Integrations, and the token stays the same; of an app: in the "
    "developer portal, then make connect"
)
# What each call needs, and what a stack without it cannot do.
_SCOPES = {
    "conversations.write": "opens conversations",
    "conversations.readonly": "finds the id of a conversation that exists already",
    "contacts.write": "looks up the contact of a sender that knows only an e-mail or phone",
}
_DOWN = (
    "nothing to do: submissions are kept, and opened by themselves within a quarter hour of its end; "
    "https://status.gohighlevel.com"
)
_TODO = {
    "token_refused": "it is expired, revoked or mistyped: make token; of an app: make connect",
    "token_kind_refused": "it is an agency's: make token, with one made inside the sub-account, or make connect",
    "location_refused": "it belongs to another sub-account: make token LOCATION=<its id>, or correct the location id; "
    "of an app: install it there too",
    "location_inactive": "the sub-account is suspended: submissions wait until it is active again",
    "version_refused": "make deploy PARAMETERS=HighLevelApiVersion=2021-04-15",
    "base_url_refused": f"make deploy PARAMETERS=HighLevelBaseUrl={DEFAULT_BASE_URL}",
    "upstream_unreachable": "is the network of this machine in order? The function has its own",
    "upstream_connection_lost": _DOWN,
    "upstream_timeout": _DOWN,
    "upstream_error": _DOWN,
    "upstream_unexpected": _DOWN,
}
# What AWS says of a table, a queue, a secret that somebody has deleted.
_GONE = ("ResourceNotFoundException", "QueueDoesNotExist", "InvalidRequestException")
# What happens while a service of AWS refuses or does not answer.
_CONSEQUENCES = {
    "DynamoDB": "submissions go on; a repeat costs a call to HighLevel, and its answer may lack the conversation's id",
    "Secrets Manager": "what was read before still serves; a new environment of the function cannot start from it",
    "SQS": "what HighLevel does not take at once is not kept, its sender must repeat it; a retry comes back early",
    "EventBridge": "result events are lost; submissions go on",
}
# What ended a rotation for good; all else, time mends.
_ROTATION_TODO = {
    "grant_refused": "HighLevel takes the refresh token no more. It works once: it was used and the answer got lost, "
    "or another stack holds the same connection, or the app was uninstalled, or nobody used it for a year. No further "
    "try mends that; only you can: make connect",
    "client_refused": "HighLevel does not know the client id with this client secret; was it made anew? make connect",
    "oauth_refused": "HighLevel refuses the call: make connect",
    "token_refused": "HighLevel does not know the token that it has just given; it is tried again. If it lasts, "
    "make connect",
    "not_oauth": "the secret holds no connection: make connect, or make deploy PARAMETERS=RotateToken=false",
    "oauth_malformed": "the secret cannot be read as a connection: make connect",
    "no_token": "the secret has no value: make connect",
    "not_pending": "its label AWSPENDING was taken away meanwhile: the next one begins anew",
    "pending_superseded": "one for a former connection is in the way: make connect, which clears it",
    "location_inactive": "the sub-account is suspended; it goes on by itself once that is active again",
    "base_url_refused": _TODO["base_url_refused"],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each check, with what to do about those that fail. Returns 1 if one fails, else 0."""
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
        lambda: _check_pauses(stack, report),
    )
    for name, check in zip(("senders", "HighLevel", "queues", "log", "pauses"), checks, strict=True):
        try:
            check()
        except (StackError, ClientError, BotoCoreError) as error:
            report.bad(name, explain(error))
    return 1 if report.failed else 0


@dataclass
class Report:
    """Prints the lines, and remembers whether a check has failed. No line ever holds a secret. `stack`: the name by
    which the commands know it, put into each command that a line names: a pasted one must not meet another stack."""

    stack: str
    failed: bool = False

    def good(self, what: str, how: str) -> None:
        print(f"✓ {what}: {self._with_stack(how)}", flush=True)

    def bad(self, what: str, how: str) -> None:
        self.failed = True
        print(f"✗ {what}: {self._with_stack(how)}", flush=True)

    def _with_stack(self, text: str) -> str:
        if self.stack == LOCAL:
            text = re.sub(r"make deploy(?! PARAMETERS)", "start make serve again", text)
        return _COMMAND.sub(rf"make \1 STACK={self.stack}", text)


def _options(arguments: Sequence[str] | None) -> Any:
    options = parser(
        "Check secrets, token, scopes, quota, queues, log and pauses of a stack, say what to do. It changes nothing:\n"
        "the calls to HighLevel are a search, and two that it refuses for want of a contact (three of the quota);\n"
        "with an agency's connection also one for a token of the location. A refresh token is never used."
    )
    options.add_argument(
        "--location",
        metavar="ID",
        help="the HighLevel location to check (default: the stack's LocationId, else those that have a token of their "
        "own)",
    )
    return options.parse_args(arguments)


# --- senders ----------------------------------------------------------------------------------------------------------


def _check_senders(stack: Stack, report: Report) -> None:
    senders = {name: sender for name, sender in all_senders().items() if sender.scheme != "event"}
    text, _ = read_secrets(stack)
    entries = entries_of(text)
    opened = [sender.name for sender in senders.values() if _is_open(sender, text)]
    closed = [name for name in senders if name not in opened]
    shut = f"; closed, until make sender NAME=…: {', '.join(closed)}" if closed else ""
    location = stack.parameters.get("LocationId")
    unlocated = [name for name in opened if lacks_locations(senders[name], location)]
    report.good("senders", f"{', '.join(name for name in opened if name not in unlocated) or 'none'} can get in{shut}")
    for name in unlocated:
        report.bad(f"sender {name}", f"closed (401): {locations_missing(name)}")
    for name, entry in entries.items():
        if wrong := _wrong(name, entry, senders):
            report.bad("SenderSecrets", f"{wrong}, or take the entry out with aws secretsmanager put-secret-value")


def _is_open(sender: Sender, text: str) -> bool:
    if sender.public_keys:
        return "app_id" not in sender.requires or bool(sender.app_id)
    return any(is_usable(sender, secret) for secret in secrets_for(text, sender.name))


def _wrong(name: str, entry: object, senders: dict[str, Sender]) -> str:
    """What is wrong with an entry of SenderSecrets, and what to do; "" for nothing."""
    make = f"make sender NAME={name}"
    if name not in senders:
        close = difflib.get_close_matches(name, senders, 1)
        return f"{name!r} is no sender: " + (
            f"did you mean {close[0]}? Rename it" if close else "add it to senders.toml"
        )
    listed = entry if isinstance(entry, list) else [entry]
    texts = [secret for secret in listed if isinstance(secret, str) and secret]
    if not listed or len(texts) < len(listed):
        return f'{name} must be a text or a list of texts, ["<new>", "<old>"]: {make}'
    if not all(is_usable(senders[name], secret) for secret in texts):
        return f"{name} has a secret of a shape that cannot work: {make}"
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
        report.bad("location", "name one: make doctor LOCATION=<location id>")
    for each in locations:
        try:
            agency = tokens.oauth if tokens.oauth and tokens.oauth.user_type == "Company" else None
            token = _issued_token(highlevel, agency, each) if agency else tokens.of(each)
        except TokenError as error:
            make = "make connect" if tokens.oauth else f"make token LOCATION={each}"
            report.bad(f"token of {each}", f"{error}: {make}")
            continue
        except OAuthError as error:
            report.bad(f"token of {each}", _explain_minting(error))
            continue
        check_token(highlevel, token, each, report)


def highlevel_of(stack: Stack, report: Report) -> HighLevel | None:
    """HighLevel as the stack calls it; None if its address is not usable."""
    base_url = stack.parameters.get("HighLevelBaseUrl", DEFAULT_BASE_URL)
    try:
        return HighLevel(base_url, stack.parameters.get("HighLevelApiVersion", "2021-04-15"))
    except ValueError as error:
        report.bad("HighLevel", f"HighLevelBaseUrl: {error}: {_TODO['base_url_refused']}")
        return None


def _tokens(stack: Stack, report: Report) -> Tokens | None:
    manager = stack.secrets_manager
    make, connect = "make token", "make connect"
    try:
        found = manager.get_secret_value(SecretId=stack.output("HighLevelTokenArn"))
        text = found.get("SecretString", "")
        tokens = read_tokens(text)
    except manager.exceptions.ResourceNotFoundException:
        report.bad("HighLevelToken", f"it has no value yet: {make}, or with an OAuth app {connect}")
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
        report.bad("rotation", f"attached, but {_ROTATION_TODO['not_oauth']}")
    return tokens


def _issued_token(highlevel: HighLevel, oauth: OAuth, location: str) -> str:
    """A token of that location, minted as the function does; it harms nothing and is not kept."""
    token = issue_location_token(
        highlevel, str(oauth.access_token), str(oauth.company_id), location, within=CALL_SECONDS
    )
    return Tokens({location: token.access_token}).of(location)


def _explain_minting(error: OAuthError) -> str:
    what = {
        "scope_missing": f"the connection lacks the scope oauth.write: {_WHERE_SCOPES}",
        "location_refused": "the app is not installed there, or the location is another agency's",
        "token_kind_refused": "the connection is a sub-account's: make connect, for the whole agency",
        "token_refused": "HighLevel does not accept the agency's access token: make connect, unless a rotation helps",
    }.get(error.reason, _explain(ApiResult("deferred", error.reason)))
    return f"it cannot be minted{f' ({error.status})' if error.status else ''}: {what}"


def _check_connection(oauth: OAuth, connect: str, report: Report) -> bool:
    """Whether a call with the connection's access token is worth while."""
    agency = f"the agency {oauth.company_id}" if oauth.company_id else "an agency"
    whose = f"the connection of {agency if oauth.user_type == 'Company' else 'a sub-account'}"
    left = None if oauth.expires_at is None else oauth.expires_at - time.time()
    if oauth.user_type == "Company" and not oauth.company_id:
        report.bad("HighLevelToken", f"an agency's connection without its company_id: {connect}")
    elif oauth.access_token is None:
        report.bad("HighLevelToken", f"{whose} has no access token yet: a rotation gets one, or {connect}")
    elif left is not None and left <= 0:
        report.bad("HighLevelToken", f"{whose}: its token expired {_span(-left)} ago; see rotation, or {connect}")
    else:
        lives = "" if left is None else f"; its access token lives for another {_span(left)}"
        report.good("HighLevelToken", f"{whose}{lives}")
        return True
    return False


def _check_rotation(stack: Stack, stored_at: float, report: Report) -> None:
    """Whether the connection is renewed by itself and, if not, why, and what to do."""
    rotation = rotation_of(stack, stack.output("HighLevelTokenArn"), stored_at)
    ago = "" if rotation.at is None else f" {_span(time.time() - rotation.at)} ago"
    if not rotation.is_attached:
        attach = "make deploy PARAMETERS=RotateToken=true"
        report.bad("rotation", f"nothing renews the access token, which lives for a day: {attach}")
    if rotation.failure is not None:
        todo = _ROTATION_TODO.get(rotation.failure, "Secrets Manager tries again; run this again in a while")
        report.bad("rotation", f"failed{ago}, {rotation.failure}: {todo}")
    elif rotation.is_pending and (rotation.at or stored_at) < time.time() - STUCK_SECONDS:
        report.bad("rotation", "one has begun and did not end (AWSPENDING is left): make connect clears it")
    elif rotation.is_attached:
        done = f"renewed{ago}" if rotation.at is not None and not rotation.is_pending else "attached"
        following = f", next until {rotation.next_at:%Y-%m-%d %H:%M %Z}" if rotation.next_at else ""
        report.good("rotation", f"{done}{following}")


def _span(seconds: float) -> str:
    """A duration in the one unit that tells it best."""
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{round(seconds / 3600)} h"


def check_token(highlevel: HighLevel, token: str, location: str, report: Report) -> bool:
    """Try the token with calls that change nothing. Whether it can open conversations there."""
    search = _search(highlevel, token, location)
    if search.reason == "rate_limited":
        _check_quota(location, search.rate_limit, report, refused=True)
        return False
    if search.outcome != "found" and search.reason != "scope_missing":
        report.bad("HighLevel" if search.reason.startswith("upstream_") else f"token of {location}", _explain(search))
        return False
    report.good(f"token of {location}", "HighLevel accepts it")
    # Both are refused for want of a contact, once token and scope were found good: nothing is written.
    create = highlevel.create_conversation(token, location, "", within=CALL_SECONDS)
    upsert = highlevel.upsert_contact(token, location, {}, within=CALL_SECONDS)
    opens = create.reason == "ids_refused"
    _check_scope("conversations.write", create, opens, report)
    _check_scope("conversations.readonly", search, search.outcome == "found", report)
    _check_scope("contacts.write", upsert, upsert.reason == "contact_refused", report)
    _check_quota(
        location, next((each.rate_limit for each in (upsert, create, search) if each.rate_limit), None), report
    )
    return opens


def check_token_alone(highlevel: HighLevel, token: str, report: Report) -> bool:
    """Try a token whose location is not known: HighLevel refuses a location that is not its own, once it has accepted
    the token. Whether it did."""
    search = _search(highlevel, token, "unknown")
    if search.outcome != "found" and search.reason not in ("location_refused", "ids_refused", "scope_missing"):
        report.bad("HighLevel" if search.reason.startswith("upstream_") else "token", _explain(search))
        return False
    report.good("token", "HighLevel accepts it; what it may do: make doctor LOCATION=<location id>")
    return True


def _search(highlevel: HighLevel, token: str, location: str) -> ApiResult:
    """The api_result `found` for an answer to the search, else why there is none."""
    query = urlencode({"locationId": location, "limit": 1})
    answer = highlevel.call("GET", f"/conversations/search?{query}", token, None, CALL_SECONDS)
    judged = classify_response(answer, location, "")
    if isinstance(answer, HttpResponse) and answer.status == 200 and b'"conversations"' in answer.body:
        return ApiResult("found", status=200, rate_limit=judged.rate_limit)
    return judged


def _check_scope(scope: str, judged: ApiResult, reached: bool, report: Report) -> None:
    what = f"scope {scope}"
    if reached:
        report.good(what, _SCOPES[scope])
    elif judged.reason == "scope_missing":
        report.bad(what, f"the token lacks it; it {_SCOPES[scope]}: {_WHERE_SCOPES}")
    else:
        report.bad(what, _explain(judged))


def _explain(judged: ApiResult) -> str:
    """What HighLevel's answer, or the lack of one, means, and what to do."""
    reason = REASONS.get(judged.reason)
    title = reason.title if reason else "HighLevel took a call that it should refuse"
    status = f" ({judged.status})" if judged.status else ""
    todo = _TODO.get(judged.reason) or (reason.advice if reason and judged.outcome == "rejected" else "")
    return f"{title}{status}: {todo or 'run this again in a while'}"


def _check_quota(location: str, limit: RateLimit | None, report: Report, *, refused: bool = False) -> None:
    """`refused`: HighLevel did not take the call, for want of quota."""
    quota = f"quota of {location}"
    if limit is None:
        if refused:
            report.bad(quota, "used up (429), HighLevel does not say for how long; submissions wait")
        else:
            report.good(quota, "HighLevel announces none")
        return
    seconds = f"{limit.interval_ms / 1000:g} s" if limit.interval_ms else "window"
    left = f"{_number(limit.remaining)} of {_number(limit.max)} calls left in this {seconds}"
    if limit.daily_remaining == 0:
        report.bad(
            quota,
            "none left today: its submissions are kept, tried every quarter hour, and opened by themselves when "
            "HighLevel's day begins anew. What used them up? Every integration of the location shares them",
        )
    elif refused:
        report.bad(quota, f"{left}: used up for now, submissions wait for the next one; run this again in a while")
    else:
        report.good(quota, f"{left}, {_number(limit.daily_remaining)} left today")


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


# --- queues -----------------------------------------------------------------------------------------------------------


def _check_queues(stack: Stack, report: Report) -> None:
    waiting, dead = (_count(stack, f"{queue}Url") for queue in ("RetryQueue", "DeadLetterQueue"))
    if waiting:
        report.good("retry queue", f"{waiting} wait; {_why(stack)}")
    else:
        report.good("retry queue", "nothing waits")
    if dead:
        failed = "1 submission failed and needs you" if dead == 1 else f"{dead} submissions failed and need you"
        report.bad("dead-letter queue", f"{failed}: make dead-letters, fix the cause, make redrive")
    else:
        report.good("dead-letter queue", "empty")


def _why(stack: Stack) -> str:
    """Which reasons and locations were deferred in the last hour, the latest first. Whatever waits for its location's
    quota writes no line when it comes back too early."""
    found: dict[str, list[float]] = {}
    for line in _lines(stack, '{ ($.message = "submission") && ($.outcome = "deferred") }'):
        if line.get("message") == "submission" and line.get("outcome") == "deferred":
            found.setdefault(f"{line.get('reason')} in {line.get('location_id', '?')}", []).append(line["at"])
    if not found:
        return "none was tried in the last hour: make logs SINCE=1d tells why"
    latest = sorted(found.items(), key=lambda each: max(each[1]), reverse=True)[:5]
    told = (f"{why} ({_often(times)})" for why, times in latest)
    return f"deferred in the last hour: {', '.join(told)}"


def _count(stack: Stack, output: str) -> int:
    """Messages in the queue, hidden and delayed ones included."""
    answer = stack.sqs.get_queue_attributes(QueueUrl=stack.output(output), AttributeNames=["All"])
    return sum(int(value) for name, value in answer["Attributes"].items() if name.startswith("ApproximateNumberOf"))


# --- log --------------------------------------------------------------------------------------------------------------


def _check_log(stack: Stack, report: Report) -> None:
    """What no answer and no queue shows: AWS refused the function, or it met a mistake of its own, and it went on."""
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
            report.bad("internal error", f"{code}, in the last hour {often}: docs/operations.md#internal-errors")
            continue
        todo = "a failure of AWS; if it goes on, see its health dashboard"
        if code in DENIED:
            todo = "its role lacks the permission: docs/operations.md#missing-permission"
        elif code in _GONE:
            todo = "it was deleted: docs/operations.md#restore"
        report.bad(
            f"AWS, {service}",
            f"{operation}: {code}, in the last hour {often}; {todo}. "
            f"Meanwhile {_CONSEQUENCES.get(service, 'it goes on')}",
        )
    refused = _refused(stack)
    senders = all_senders() if refused else {}
    for name, times in refused.items():
        report.bad(
            f"sender {name}",
            f"refused, in the last hour {_often(times)}, and not let in since: {_why_refused(name, senders)}",
        )
    if not failures and not refused:
        report.good("log", "no failed AWS request, no internal error, no sender locked out in the last hour")


def _why_refused(name: str, senders: Mapping[str, Sender]) -> str:
    """What does not match, and what to do: not all senders have a secret."""
    sender = senders.get(name)
    if sender is None:
        return "functions/senders.toml has no such sender (any more)"
    if sender.public_keys and "app_id" in sender.requires:
        what = f"its app_id is {'another' if sender.app_id else 'missing'}, or the signature does not match"
        return (
            f"{what}. If the app is yours: app_id under [{name}] in functions/senders.toml, what precedes the - in the "
            "app's client id; then make deploy"
        )
    if sender.public_keys:
        return f"the signature does not match the public key under [{name}] in functions/senders.toml or presets.toml"
    if sender.scheme == "pubkey":
        return f"its public key is not the one we know. If it is yours: make sender NAME={name}, which asks for the key"
    return (
        f"its secret is not the one we know. If it is yours: make sender NAME={name}, and paste the new one there "
        "(GIVEN=1: type in the one it has)"
    )


def _refused(stack: Stack) -> dict[str, list[float]]:
    """The senders that we know and whose latest delivery had a wrong secret, or none: when."""
    refused: dict[str, list[float]] = {}
    for line in _lines(stack, '{ ($.message = "submission") && ($.outcome = "unauthorized") }'):
        if line.get("outcome") == "unauthorized" and "sender" in line:
            refused.setdefault(line["sender"], []).append(line["at"])
    return {sender: times for sender, times in refused.items() if not _is_let_in(stack, sender, max(times))}


def _is_let_in(stack: Stack, sender: str, since: float) -> bool:
    pattern = f'{{ ($.message = "submission") && ($.sender = "{sender}") }}'
    return any(
        line.get("sender") == sender and line.get("trigger") != "retry" and line.get("outcome") != "unauthorized"
        for line in _lines(stack, pattern, since)
    )


def _often(times: list[float]) -> str:
    latest = datetime.fromtimestamp(max(times), UTC).strftime("%H:%M:%S UTC")
    return f"once, at {latest}" if len(times) == 1 else f"{len(times)} times, at {latest} the last"


def _lines(stack: Stack, pattern: str, since: float | None = None) -> Iterator[dict[str, Any]]:
    """The JSON lines of the last hour, or since then (Unix time), that CloudWatch finds by the pattern (the local AWS
    may give others too), each with its time, `at`."""
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
            told = {name: printable(str(value)) for name, value in line.items() if value is not None}
            yield told | {"at": event["timestamp"] / 1000}


# --- pauses -----------------------------------------------------------------------------------------------------------


def _check_pauses(stack: Stack, report: Report) -> None:
    """What docs/operations.md tells how to stop: sending, draining, taking; whoever stopped it may have forgotten."""
    found = [*_pauses_of_sending(stack), *_pauses_of_draining(stack), *_pauses_of_taking(stack)]
    for what, how in found:
        report.bad(what, how)
    if not found:
        report.good("pauses", "none: it sends, drains and takes")


def _pauses_of_sending(stack: Stack) -> list[tuple[str, str]]:
    if stack.parameters.get("Paused") != "true":
        return []
    todo = "make deploy PARAMETERS=Paused=false"
    return [("sending", f"paused: what comes in is kept, for 14 days at most, and nothing is sent until {todo}")]


def _pauses_of_draining(stack: Stack) -> list[tuple[str, str]]:
    answer = stack.sqs.get_queue_attributes(QueueUrl=stack.output("RetryQueueUrl"), AttributeNames=["QueueArn"])
    queue = answer["Attributes"]["QueueArn"]
    found = []
    for mapping in stack.functions.list_event_source_mappings(EventSourceArn=queue)["EventSourceMappings"]:
        enable = f"aws lambda update-event-source-mapping {stack.aws} --enabled --uuid {mapping['UUID']}"
        if mapping["State"] in ("Disabled", "Disabling") and stack.parameters.get("Paused") != "true":
            found.append(("draining", f"stopped: what waits in the retry queue is not tried until {enable}"))
        function = mapping["FunctionArn"].partition(":function:")[2].partition(":")[0]  # without an alias
        limit = stack.functions.get_function_concurrency(FunctionName=function)
        if limit.get("ReservedConcurrentExecutions") == 0:
            delete = f"aws lambda delete-function-concurrency {stack.aws} --function-name {function}"
            found.append(("function", f"its reserved concurrency is 0, it does not run at all until {delete}"))
    return found


def _pauses_of_taking(stack: Stack) -> list[tuple[str, str]]:
    url = stack.output("ConversationsUrl")
    api = re.search(r"https://(\w+)\.execute-api|/execute-api/(\w+)/", url)
    if api is None:
        return []  # behind a domain name of somebody's own
    api_id = api[1] or api[2]
    settings = stack.apis.get_stage(ApiId=api_id, StageName="$default").get("DefaultRouteSettings", {})
    if 0 not in (settings.get("ThrottlingRateLimit"), settings.get("ThrottlingBurstLimit")):
        return []
    update = (
        f"aws apigatewayv2 update-stage {stack.aws} --api-id {api_id} --stage-name '$default' "
        "--default-route-settings ThrottlingRateLimit=100,ThrottlingBurstLimit=200"
    )
    return [("taking", f"stopped: every request is answered 429 until {update}")]


if __name__ == "__main__":
    run(main)
