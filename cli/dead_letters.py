"""Show the dead-letter queue: `python -m cli.dead_letters [STACK] [--id ID] [--json]`."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from cli.dead_letter_reader import HIDDEN_SECONDS, DeadLetter, DeadLetterReader
from cli.stack import Stack, StackError, for_stack, parser, printable, run

RETENTION = timedelta(days=14)
# Reasons that the function did not give, so docs/api.md does not list them.
_MEANINGS = {
    "receives": "SQS moved it after 1,000 receives: the function crashed on it, could not run, or HighLevel answered "
    "429 for days. See docs/alarms.md#function-errors, then make redrive",
    "undelivered": "EventBridge could not deliver it to the function. See docs/operations.md#undo-manual-changes, then "
    "make redrive",
    "unhandled": "the function raised, and Lambda gave it up. See docs/alarms.md#function-errors, then make redrive",
    "unreadable": "it is not a submission of this stack: make dead-letters ID=… shows it",
}
_COLUMNS: tuple[str, ...] = ("FIRST (UTC)", "WHEN (UTC)", "SENDER", "LOCATION", "REASON", "ATTEMPTS", "ID")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or one message. Consumes nothing. Returns 0; raises StackError if no message has that id."""
    options = _options(arguments)
    stack = Stack.connect(options.stack)
    queue_url = stack.output("DeadLetterQueueUrl")
    hidden = _hidden(stack, queue_url)
    # Bodies may be large and many: only the message that was asked for stays in memory with its body.
    summaries: list[dict[str, Any]] = []
    found: list[DeadLetter] = []

    def handle(batch: list[DeadLetter]) -> list[str]:
        if options.id:
            found.extend(letter for letter in batch if letter.id.startswith(options.id))
        else:
            summaries.extend(_summary(letter) for letter in batch)
        return []

    with DeadLetterReader(stack.sqs, queue_url) as reader:
        reader.run(handle)
    summaries.sort(key=lambda summary: str(summary["when"]))
    if options.id:
        _show(_only(found, options.id), stack.argument, as_json=options.json)
    elif options.json:
        for summary in summaries:
            print(json.dumps(summary))
    else:
        _table(summaries, stack.argument)
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
    return 0


def _options(arguments: Sequence[str] | None) -> Any:
    options = parser("Show the messages of the dead-letter queue, the newest last. Consumes nothing.")
    options.add_argument(
        "--id",
        metavar="ID",
        help="show this message (the beginning of its id is enough) with its body, which can contain personal data",
    )
    options.add_argument("--json", action="store_true", help="print one JSON object per line")
    return options.parse_args(arguments)


def _hidden(stack: Stack, queue_url: str) -> int:
    answer = stack.sqs.get_queue_attributes(
        QueueUrl=queue_url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessagesNotVisible"])


def _only(letters: list[DeadLetter], prefix: str) -> DeadLetter:
    if not letters:
        raise StackError(f"no message in the dead-letter queue has the id {prefix}")
    if len(letters) > 1:
        raise StackError(f"{len(letters)} messages have an id that begins with {prefix}: enter more characters")
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


def _show(letter: DeadLetter, argument: str, *, as_json: bool) -> None:
    submission = letter.submission
    shown = _summary(letter)
    body = letter.body
    if submission:
        shown |= {"received_at": _time(submission.received_at), "content_type": submission.content_type}
        body = submission.body.decode("utf-8", "replace")
    if as_json:
        print(json.dumps({**shown, "attributes": letter.attributes, "body": body}))
        return
    known = {name: value for name, value in shown.items() if value is not None}
    others = {name: value for name, value in letter.attributes.items() if name not in shown}
    for name, value in {**known, **others}.items():
        print(f"{name:14}{printable(str(value))}")
    print(f"{'deleted':14}{_deleted_at(shown['when'])}")
    if letter.reason in _MEANINGS:
        print(f"{'meaning':14}{for_stack(_MEANINGS[letter.reason], argument)}")
    print(f"\n{printable(body)}")


def _time(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds") if seconds else None
    except (ValueError, OverflowError, OSError):
        return None


def _table(summaries: list[dict[str, Any]], argument: str) -> None:
    if summaries:
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
    for reason in sorted({summary["reason"] for summary in summaries} & _MEANINGS.keys()):
        print(for_stack(f"{reason}: {_MEANINGS[reason]}", argument))
    if summaries:
        print(f"SQS deletes the first of them at {_deleted_at(min(summary['when'] for summary in summaries))}")


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


if __name__ == "__main__":
    run(main)
