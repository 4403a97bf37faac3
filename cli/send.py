"""Send a sender's signed sample, or show its mapping: `python -m cli.send [STACK] SENDER [--dry-run]`."""

import base64
import http.client
import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.known_senders import find_sender, locations_missing, read_secrets, url_of
from cli.signing import SAMPLE_LOCATION, is_usable, sign, sign_event
from cli.stack import Stack, StackError, for_stack, parser, printable, run
from create_conversation.errors import REASONS, Explanation, InvalidError, SubmissionError, Trigger
from create_conversation.senders.body import Body, read_body
from create_conversation.senders.config import Sender, lacks_locations
from create_conversation.senders.mapping import Person, target_of
from create_conversation.senders.verification import secrets_for
from create_conversation.submission import Submission

EVENTS = Path(__file__).resolve().parent.parent / "events"
ANSWER_SECONDS = 30.0
# The function may refuse a new secret for this long.
NOTICED_SECONDS = 11.0
_LOCATION = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Answer:
    """The stack's answer."""

    status: int
    request_id: str
    text: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the sample and print the answer. Returns 0 for 200 (201 and 202 for `api`), else 1; raises StackError."""
    options = _options(arguments)
    if options.location and not _LOCATION.fullmatch(options.location):
        raise StackError("a location id has up to 64 letters, digits, _ or -")
    sender = find_sender(options.sender, "make send SENDER=")
    if options.dry_run:
        return _show_mapping(Stack.connect(options.stack), sender, options.location)
    if sender.scheme not in ("token", "mac"):
        sign(sender, "", b"", "", 0)  # raises: says why this command cannot send it
    event = _sample(sender.name)
    stack = Stack.connect(options.stack)
    location = options.location or stack.parameters.get("LocationId", "")
    secret = _secret(stack, sender)
    answer = _send(stack, sender, secret, event, location)
    if answer.status == 401:
        print(
            f"refused (401); if the secret is new, it works within 10 s: trying again in {NOTICED_SECONDS:.0f} s",
            file=sys.stderr,
        )
        time.sleep(NOTICED_SECONDS)
        answer = _send(stack, sender, secret, event, location)
    print(f"{answer.status}  {url_of(stack, sender)}")  # without the query, which may contain the secret
    print(f"x-request-id: {answer.request_id or '-'}")
    print(printable(answer.text))
    if advice := _advice(answer, sender):
        print(f"\n{for_stack(advice, stack.argument)}")
    return 0 if answer.status in ((200, 201, 202) if sender.name == "api" else (200,)) else 1


def _options(arguments: Sequence[str] | None) -> Any:
    options = parser(
        "Send a sender's sample (events/webhook_<name>.json, with _ for -), signed with its secret, and show the\n"
        "answer. On a deployed stack this opens a conversation in HighLevel, for the contact in the sample."
    )
    options.add_argument(
        "sender",
        metavar="SENDER",
        help="an entry of presets.toml or functions/senders.toml",
    )
    options.add_argument(
        "--location",
        metavar="ID",
        help="the location id that replaces the sample's (default: the stack's LocationId, if it has one)",
    )
    options.add_argument(
        "--dry-run",
        action="store_true",
        help="show the location and contact that the sample is mapped to, and send nothing",
    )
    return options.parse_args(arguments)


def _show_mapping(stack: Stack, sender: Sender, location: str) -> int:
    """Print what the function would make of the sample; send nothing. Returns 1 where it would not be opened."""
    event = _sample(sender.name)
    text = base64.b64decode(event["body"]) if event.get("isBase64Encoded") else event["body"].encode()
    default = location or stack.parameters.get("LocationId") or None
    body = text.replace(SAMPLE_LOCATION, default.encode()) if default else text
    content_type = next((value for name, value in event["headers"].items() if name.lower() == "content-type"), "")
    trigger = Trigger.HTTP if sender.name == "api" else Trigger.WEBHOOK
    try:
        read = read_body(body, content_type, only_json=trigger == Trigger.HTTP)
        payload = read.payload[0] if isinstance(read.payload, list) and read.payload else read.payload
        one = Body.of_json(payload) if payload is not read.payload else read
        submission = Submission(trigger, sender.name, "", 0.0, one.content_type, one.raw, parsed=one)
        target = target_of(submission, {sender.name: sender}, default)
    except SubmissionError as error:
        print(f"outcome      {error.outcome}: {error.reason} ({REASONS[error.reason].title})")
        _print_rows([("detail", error.detail), *_explained(error.explanation)])
        print("\nNothing was sent.")
        return 1
    person = target.person or Person()
    rows = [
        ("location", target.location),
        ("contact id", f"{target.contact}{' (if it is the same person)' if target.is_unverified else ''}"),
        ("e-mail", person.email),
        ("phone", person.phone),
        ("name", " ".join(filter(None, (person.first_name, person.last_name))) or person.full_name),
    ]
    _print_rows([(name, value) for name, value in rows if target.contact or name != "contact id"])
    _print_rows(_explained(target.explanation))
    print("\nNothing was sent.")
    return 0


def _explained(explanation: Explanation) -> list[tuple[str, str | None]]:
    return [
        ("looked at", "; ".join(explanation.looked_at)),
        ("fields", "; ".join(explanation.fields)),
        ("not used", "; ".join(explanation.dropped)),
    ]


def _print_rows(rows: Sequence[tuple[str, str | None]]) -> None:
    for name, value in rows:
        if value:
            print(f"{name:<12} {printable(value)}")


def _sample(name: str) -> dict[str, Any]:
    file = EVENTS / ("http_conversation.json" if name == "api" else f"webhook_{name.replace('-', '_')}.json")
    try:
        event = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StackError(
            f"{name} has no sample: copy events/webhook_token.json to events/{file.name}, and replace the body and the "
            "content-type by those that the sender uses"
        ) from None
    except ValueError as error:
        raise StackError(f"events/{file.name} is not JSON: {error}") from None
    if not (isinstance(event, dict) and isinstance(event.get("headers"), dict) and isinstance(event.get("body"), str)):
        raise StackError(
            f'events/{file.name} must be an object with "headers" and a text "body"; compare it with the other samples'
        )
    return event


def _secret(stack: Stack, sender: Sender) -> str:
    """Return the newest secret. Raises StackError."""
    found = secrets_for(read_secrets(stack)[0], sender.name)
    make = f"make sender NAME={sender.name}"
    if not found:
        raise StackError(for_stack(f"{sender.name} has no secret yet: {make}", stack.argument))
    if not is_usable(sender, found[0]):
        wrong = f"the newest secret of {sender.name} has a format that cannot work: {make}"
        raise StackError(for_stack(wrong, stack.argument))
    return found[0]


def _send(stack: Stack, sender: Sender, secret: str, event: Mapping[str, Any], location: str) -> Answer:
    headers, query, body = sign_event(sender, secret, event, time.time(), location=location)
    if lacks_locations(sender, stack.parameters.get("LocationId")):
        closed = f"{sender.name} is closed (401): {locations_missing(sender.name)}"
        raise StackError(for_stack(closed, stack.argument))
    _check_location(stack, sender, Submission("webhook", sender.name, "", 0.0, headers.get("content-type", ""), body))
    url = url_of(stack, sender)
    return _post(f"{url}?{query}" if query else url, headers, body, direct=stack.is_local)


def _check_location(stack: Stack, sender: Sender, submission: Submission) -> None:
    """Raise StackError where nothing names the contact's location: the sample would become a dead letter."""
    try:
        target_of(submission, {sender.name: sender}, stack.parameters.get("LocationId") or None)
    except InvalidError as error:
        if error.reason == "no_location":
            missing = (
                f"the sample of {sender.name} names no location, and the stack has no LocationId: in "
                f'functions/senders.toml put locations = ["<location id>"] under [{sender.name}], then make deploy'
            )
            raise StackError(for_stack(missing, stack.argument)) from None
    except SubmissionError:
        pass  # the stack answers with this error itself


def _post(url: str, headers: Mapping[str, str], body: bytes, *, direct: bool) -> Answer:
    """Send a POST request. `direct`: ignore the proxy of the environment."""
    proxies = urllib.request.ProxyHandler({} if direct else None)
    request = urllib.request.Request(url, body, dict(headers))  # noqa: S310 the stack's own URL
    try:
        with urllib.request.build_opener(proxies).open(request, timeout=ANSWER_SECONDS) as response:
            return Answer(response.status, response.headers.get("x-request-id", ""), response.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers.get("x-request-id", ""), error.read().decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise StackError(f"the stack's URL does not answer: {printable(str(reason) or type(error).__name__)}") from None


def _advice(answer: Answer, sender: Sender) -> str:
    """Say what to do about the answer; "" for nothing."""
    try:
        outcome = json.loads(answer.text).get("outcome")
    except (ValueError, AttributeError):
        outcome = None
    match answer.status:
        case 200 if outcome in ("rejected", "invalid"):
            return "It is in the dead-letter queue; to see the reason: make dead-letters"
        case 200 if outcome == "deferred":
            return f"It is stored and retried automatically; see make logs REQUEST={answer.request_id}"
        case 200 | 201 | 202:
            return ""
        case 401:
            return (
                f"The stack does not accept the secret or signature of {sender.name}. If you changed functions/: make "
                f"deploy; else replace the secret: make sender NAME={sender.name}"
            )
        case 404:
            return "The stack has no such endpoint, as an older version is deployed: make deploy"
        case 429 | 503:
            return "It was not processed and not stored. Send it again; to see the reason: make logs"
        case status if status >= 500:
            return "The function failed; to see the reason: make logs"
    return "The stack does not accept the sample: compare it with the sender's entry (docs/senders.md)"


if __name__ == "__main__":
    run(main)
