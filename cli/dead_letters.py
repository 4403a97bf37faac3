"""`./hlc dead-letters`: show the dead-letter queue."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from cli.dead_letter_reader import HIDDEN_SECONDS, DeadLetter, DeadLetterReader
from cli.options import Settings, print_json
from cli.progress import progress
from cli.stack import Stack, StackError, for_stack, printable
from create_conversation.errors import REASONS

RETENTION = timedelta(days=14)
# Reasons that the function did not give, so docs/api.md does not list them.
_MEANINGS = {
    "receives": "SQS moved it after 1,000 receives: the function crashed on it, could not run, or HighLevel answered "
    "429 for days. See docs/alarms.md#function-errors, then ./hlc redrive",
    "undelivered": "EventBridge could not deliver it to the function. See docs/operations.md#undo-manual-changes, then "
    "./hlc redrive",
    "unhandled": "the function raised, and Lambda gave it up. See docs/alarms.md#function-errors, then ./hlc redrive",
    "unreadable": "it is not a submission of this stack: ./hlc dead-letters show <id> shows it",
}
_COLUMNS: tuple[str, ...] = ("FIRST (UTC)", "WHEN (UTC)", "SENDER", "LOCATION", "REASON", "ATTEMPTS", "ID")


def list_all(settings: Settings) -> int:
    """Print a row for each message, and what to do next. Consumes nothing. Returns 0."""
    stack = settings.connect()
    summaries: list[dict[str, Any]] = []  # without the bodies, which may be large and many

    def handle(batch: list[DeadLetter]) -> list[str]:
        summaries.extend(_summary(letter) for letter in batch)
        return []

    with progress(lambda: f"{len(summaries)} dead letters read"):
        _read(stack, handle)
    summaries.sort(key=lambda summary: str(summary["when"]))
    if settings.json:
        print_json({"dead_letters": summaries})
    else:
        _table(summaries, stack.hlc)
    return 0


def show(settings: Settings, prefix: str) -> int:
    """Print one message. Consumes nothing. Returns 0; raises StackError if not exactly one has such an id."""
    stack = settings.connect()
    found: list[DeadLetter] = []

    def handle(batch: list[DeadLetter]) -> list[str]:
        found.extend(letter for letter in batch if letter.id.startswith(prefix))
        return []

    with progress("reading the dead-letter queue"):
        _read(stack, handle)
    _show(_only(found, prefix, stack.hlc), stack.hlc, as_json=settings.json)
    return 0


def _read(stack: Stack, handle: Callable[[list[DeadLetter]], list[str]]) -> None:
    """Read the whole queue, and report on standard error what could not be read or released."""
    queue_url = stack.output("DeadLetterQueueUrl")
    hidden = _hidden(stack, queue_url)
    with DeadLetterReader(stack.sqs, queue_url) as reader:
        reader.run(handle)
    if hidden:
        print(
            f"another reader, or one that was interrupted, hides about {hidden} more: "
            f"they are visible again within {HIDDEN_SECONDS // 60} minutes",
            file=sys.stderr,
        )
    if reader.unreleased:
        print(
            f"SQS cannot be reached: {reader.unreleased} stay hidden for {HIDDEN_SECONDS // 60} minutes",
            file=sys.stderr,
        )


def _hidden(stack: Stack, queue_url: str) -> int:
    answer = stack.sqs.get_queue_attributes(
        QueueUrl=queue_url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessagesNotVisible"])


def _only(letters: list[DeadLetter], prefix: str, hlc: str) -> DeadLetter:
    if not letters:
        missing = f"no message in the dead-letter queue has the id {printable(prefix)}: ./hlc dead-letters list"
        raise StackError(for_stack(missing, hlc))
    if len(letters) > 1:
        raise StackError(
            f"{len(letters)} messages have an id that begins with {printable(prefix)}: enter more characters"
        )
    return letters[0]


def _summary(letter: DeadLetter) -> dict[str, Any]:
    submission = letter.submission
    return {
        "id": letter.id,
        "when": letter.sent_at.isoformat(timespec="milliseconds"),
        "first_time": letter.first_time.isoformat(timespec="milliseconds"),
        "reason": letter.reason,
        "sender": letter.sender,
        "location": letter.location,
        "attempts": letter.attempts,
        "last_error": letter.last_error,
        "trigger": submission.trigger if submission else None,
        "request_id": submission.request_id if submission else None,
    }


def _show(letter: DeadLetter, hlc: str, *, as_json: bool) -> None:
    submission = letter.submission
    shown = _summary(letter)
    body = letter.body
    if submission:
        shown |= {"received_at": _time(submission.received_at), "content_type": submission.content_type}
        body = submission.body.decode("utf-8", "replace")
    if as_json:
        print_json({**shown, "attributes": letter.attributes, "body": body})
        return
    known = {name: value for name, value in shown.items() if value is not None}
    others = {name: value for name, value in letter.attributes.items() if name not in shown}
    for name, value in {**known, **others}.items():
        print(f"{name:14}{printable(str(value))}")
    print(f"{'deleted':14}{_deleted_at(shown['when'])}")
    if meaning := _meaning(letter.reason):
        print(f"{'meaning':14}{for_stack(meaning, hlc)}")
    print(f"\n{printable(body)}")
    print(f"\nNext: fix the cause, then {_redrive(letter.reason, hlc)}")


def _meaning(reason: str) -> str:
    """Say what a reason means and what to do; "" for one that is not known."""
    if reason in _MEANINGS:
        return _MEANINGS[reason]
    known = REASONS.get(reason)
    return f"{known.title}. {known.advice}".strip() if known else ""


def _redrive(reason: str, hlc: str) -> str:
    return f"{hlc} redrive --reason {printable(reason)}"


def _time(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds") if seconds else None
    except (ValueError, OverflowError, OSError):
        return None


def _table(summaries: list[dict[str, Any]], hlc: str) -> None:
    if not summaries:
        print("0 dead letters")
        return
    length = _unambiguous([summary["id"] for summary in summaries])
    rows = [_COLUMNS]
    for summary in summaries:
        times = (summary[name][:19].replace("T", " ") for name in ("first_time", "when"))
        others = (summary[name] for name in ("sender", "location", "reason", "attempts"))
        cells = ("-" if value is None else printable(str(value)) for value in others)
        rows.append((*times, *cells, summary["id"][:length]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"{len(summaries)} dead letter{'' if len(summaries) == 1 else 's'}")
    reasons = sorted({summary["reason"] for summary in summaries})
    for reason in reasons:
        if meaning := _meaning(reason):
            print(f"{reason}: {for_stack(meaning, hlc)}")
    print(f"SQS deletes the first of them at {_deleted_at(min(summary['when'] for summary in summaries))}")
    print(f"\nNext: look at one: {hlc} dead-letters show {summaries[0]['id'][:length]}")
    print("then fix the cause, and try again:")
    for reason in reasons:
        print(f"  {_redrive(reason, hlc)}")


def _deleted_at(sent: str) -> str:
    """Return when SQS deletes a message. It counts from the first send, also if SQS moved it here later."""
    return f"{datetime.fromisoformat(sent) + RETENTION:%Y-%m-%d %H:%M} UTC"


def _unambiguous(ids: list[str]) -> int:
    """Return how many characters, at least 8, make each of these ids unique."""
    ids = sorted(ids)
    length = 8
    for one, next_one in pairwise(ids):
        while length < len(one) and one[:length] == next_one[:length]:
            length += 1
    return length
