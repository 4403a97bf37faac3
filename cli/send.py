"""`./hlc send`: send a signed submission as a sender would, or show what it is mapped to."""

import base64
import http.client
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from cli import ROOT
from cli.known_senders import find_sender, locations_missing, read_secrets, url_of
from cli.options import Settings, print_json
from cli.progress import progress
from cli.signing import FORM, MULTIPART, SAMPLE_LOCATION, is_usable, sign, sign_event
from cli.stack import Stack, StackError, for_stack, printable
from create_conversation.errors import REASONS, Explanation, InvalidError, SubmissionError, Trigger
from create_conversation.senders.body import Body, read_body
from create_conversation.senders.config import Sender, lacks_locations
from create_conversation.senders.mapping import Person, Target, target_of
from create_conversation.senders.verification import secrets_for
from create_conversation.submission import Submission

EVENTS = ROOT / "events"
ANSWER_SECONDS = 30.0
# The function may refuse a new secret for this long.
NOTICED_SECONDS = 11.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The stack's answer."""

    status: int
    request_id: str
    text: str


def run(settings: Settings, name: str, file: BinaryIO | None, location: str | None, *, dry_run: bool) -> int:
    """Send the sample or the file's body, and print the answer.

    Returns 0 for 200 (201 and 202 for `api`), else 1; raises StackError.
    """
    sender = find_sender(name)
    if sender.scheme not in ("token", "mac") and not dry_run:
        sign(sender, "", b"", "", 0)  # raises: says why this command cannot send it
    event = _event(file) if file else _sample(sender.name)
    stack = settings.connect()
    if dry_run:
        return _show_mapping(settings, stack, sender, event, location)
    location = location or stack.parameters.get("LocationId", "")
    secret = _secret(stack, sender)
    with progress("waiting for the answer"):
        answer = _send(stack, sender, secret, event, location)
    if answer.status == 401:
        print(
            f"refused (401); if the secret is new, it works within 10 s: trying again in {NOTICED_SECONDS:.0f} s",
            file=sys.stderr,
        )
        with progress("waiting"):
            time.sleep(NOTICED_SECONDS)
            answer = _send(stack, sender, secret, event, location)
    advice = for_stack(_advice(answer, sender), stack.hlc)
    accepted = answer.status in ((200, 201, 202) if sender.name == "api" else (200,))
    if settings.json:
        facts = {"url": url_of(stack, sender), "status": answer.status, "request_id": answer.request_id or None}
        print_json({"accepted": accepted, **facts, "answer": _json_or_text(answer.text), "next": advice or None})
        return 0 if accepted else 1
    print(f"{answer.status}  {url_of(stack, sender)}")  # without the query, which may contain the secret
    print(f"x-request-id: {answer.request_id or '-'}")
    print(printable(answer.text))
    if advice:
        print(f"\n{advice}")
    return 0 if accepted else 1


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _event(file: BinaryIO) -> dict[str, Any]:
    """Return an API Gateway event for a file: such an event, or only the body as the sender sends it."""
    body = file.read()
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    if isinstance(parsed, dict) and isinstance(parsed.get("headers"), dict) and isinstance(parsed.get("body"), str):
        return parsed
    content_type = FORM
    if parsed is not None:
        content_type = "application/json"
    elif body.startswith(b"--"):
        boundary = body.partition(b"\n")[0].strip().removeprefix(b"--").decode("utf-8", "replace")
        content_type = f"{MULTIPART}; boundary={boundary}"
    encoded = base64.b64encode(body).decode()
    return {"headers": {"content-type": content_type}, "body": encoded, "isBase64Encoded": True}


def _show_mapping(
    settings: Settings, stack: Stack, sender: Sender, event: Mapping[str, Any], location: str | None
) -> int:
    """Print what the function would make of the body; send nothing. Returns 1 where it would not be opened."""
    text = base64.b64decode(event["body"]) if event.get("isBase64Encoded") else event["body"].encode()
    default = location or stack.parameters.get("LocationId") or None
    body = text.replace(SAMPLE_LOCATION, default.encode()) if default else text
    content_type = next((value for name, value in event["headers"].items() if name.lower() == "content-type"), "")
    trigger = Trigger.HTTP if sender.name == "api" else Trigger.WEBHOOK
    try:
        writes_messages = stack.parameters.get("Message") != "off"
        facts = _mapped(sender, trigger, body, content_type, default, writes_messages=writes_messages)
    except SubmissionError as error:
        facts = {
            "outcome": error.outcome,
            "reason": error.reason,
            "detail": error.detail or REASONS[error.reason].title,
            **_explained(error.explanation),
        }
    if settings.json:
        print_json({"sent": False, **facts})
    else:
        text = facts.pop("message", None)
        _print_rows((name.replace("_", " "), value) for name, value in facts.items())
        if text:
            print(f"\nThe message:\n\n{printable(text)}")
        print("\nNothing was sent.")
    return 0 if facts["outcome"] == "would be sent" else 1


def _mapped(
    sender: Sender, trigger: Trigger, body: bytes, content_type: str, default: str | None, *, writes_messages: bool
) -> dict[str, str | None]:
    """Return location and contact of the body, or of the first one in an array. Raises SubmissionError."""
    read = read_body(body, content_type, only_json=trigger == Trigger.HTTP)
    payload = read.payload[0] if isinstance(read.payload, list) and read.payload else read.payload
    one = Body.of_json(payload) if payload is not read.payload else read
    submission = Submission(trigger, sender.name, "", 0.0, one.content_type, one.raw, parsed=one)
    target = target_of(submission, {sender.name: sender}, default, writes_messages)
    person = target.person or Person()
    checked = " (if it is the same person)" if target.is_unverified else ""
    return {
        "outcome": "would be sent",
        "location": target.location,
        "contact_id": f"{target.contact}{checked}" if target.contact else None,
        "email": person.email,
        "phone": person.phone,
        "name": " ".join(filter(None, (person.first_name, person.last_name))) or person.full_name,
        **_explained(target.explanation),
        "message": (_text(target) or None) if writes_messages else None,
    }


def _text(target: Target) -> str:
    """Return the text that would be written; "" for none."""
    return target.message.render() if target.message else ""


def _explained(explanation: Explanation) -> dict[str, str | None]:
    return {
        "looked_at": "; ".join(explanation.looked_at) or None,
        "fields": "; ".join(explanation.fields) or None,
        "not_used": "; ".join(explanation.dropped) or None,
    }


def _print_rows(rows: Iterable[tuple[str, str | None]]) -> None:
    for name, value in rows:
        if value:
            print(f"{name:<12} {printable(value)}")


def _sample(name: str) -> dict[str, Any]:
    file = EVENTS / ("http_conversation.json" if name == "api" else f"webhook_{name.replace('-', '_')}.json")
    try:
        event = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StackError(
            f"{name} has no sample: put a body as the sender sends it into a file, and add --file <file>"
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
    make = f"./hlc sender add {sender.name}"
    if not found:
        raise StackError(for_stack(f"{sender.name} has no secret yet: {make}", stack.hlc))
    if not is_usable(sender, found[0]):
        wrong = f"the newest secret of {sender.name} has a format that cannot work: ./hlc sender rotate {sender.name}"
        raise StackError(for_stack(wrong, stack.hlc))
    return found[0]


def _send(stack: Stack, sender: Sender, secret: str, event: Mapping[str, Any], location: str) -> Answer:
    headers, query, body = sign_event(sender, secret, event, time.time(), location=location)
    if lacks_locations(sender, stack.parameters.get("LocationId")):
        closed = f"{sender.name} is closed (401): {locations_missing(sender.name)}"
        raise StackError(for_stack(closed, stack.hlc))
    _check_location(stack, sender, Submission("webhook", sender.name, "", 0.0, headers.get("content-type", ""), body))
    url = url_of(stack, sender)
    return post(f"{url}?{query}" if query else url, headers, body)


def _check_location(stack: Stack, sender: Sender, submission: Submission) -> None:
    """Raise StackError where nothing names the contact's location: the sample would become a dead letter."""
    try:
        target_of(submission, {sender.name: sender}, stack.parameters.get("LocationId") or None)
    except InvalidError as error:
        if error.reason == "no_location":
            missing = (
                f"the sample of {sender.name} names no location, and the stack has no LocationId: in "
                f'functions/senders.toml put locations = ["<location id>"] under [{sender.name}], then ./hlc deploy'
            )
            raise StackError(for_stack(missing, stack.hlc)) from None
    except SubmissionError:
        pass  # the stack answers with this error itself


def post(url: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Send a POST request to the stack; to one on this machine without the proxy of the environment."""
    proxies = urllib.request.ProxyHandler({} if url.startswith("http://127.0.0.1") else None)
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
            return "It is in the dead-letter queue; to see the reason: ./hlc dead-letters list"
        case 200 if outcome == "deferred":
            return f"It is stored and retried automatically; see ./hlc logs --request {answer.request_id}"
        case 200 | 201 | 202:
            return ""
        case 401:
            return (
                f"The stack does not accept the secret or signature of {sender.name}. If you changed functions/: "
                f"./hlc deploy; else replace the secret: ./hlc sender rotate {sender.name}"
            )
        case 404:
            return "The stack has no such endpoint, as an older version is deployed: ./hlc deploy"
        case 429 | 503:
            return "It was not processed and not stored. Send it again; to see the reason: ./hlc logs"
        case status if status >= 500:
            return "The function failed; to see the reason: ./hlc logs"
    return "The stack does not accept the sample: compare it with the sender's entry (docs/senders.md)"
