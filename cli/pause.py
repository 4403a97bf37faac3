"""Stop sending, retrying or accepting: `python -m cli.pause [STACK] [--what sending|retrying|accepting]`."""

import time
from collections.abc import Sequence
from typing import Any

from cli.pausing import WHAT, pause, paused, waiting
from cli.stack import Stack, for_stack, parser, run

_EFFECTS = {
    "sending": "sending is paused: each submission is stored, and none is sent to HighLevel",
    "retrying": "retrying is paused: submissions that wait are not retried; new ones are sent",
    "accepting": "accepting is paused: API Gateway answers each request 429. Senders that do not repeat lose theirs",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Stop it, and print what that means and how to resume. Returns 0; raises StackError or an error of AWS."""
    options = _options(arguments)
    stack = Stack.connect(options.stack)
    pause(stack, options.what, time.time())
    print(_EFFECTS[options.what])
    if options.what != "accepting":
        print(f"{waiting(stack)} wait; SQS deletes the oldest {paused(stack).deletion}")
    print(for_stack("to continue: make resume", stack.argument))
    return 0


def _options(arguments: Sequence[str] | None) -> Any:
    options = parser(
        "Stop one thing within seconds, until `make resume`; a deployment does not end the pause.\n\n"
        "sending    store each submission, send none to HighLevel, and do not read the retry queue\n"
        "retrying   do not read the retry queue; new submissions are sent\n"
        "accepting  answer each request 429; events and the retry queue go on"
    )
    options.add_argument("--what", choices=WHAT, default="sending", help="what to stop (default: %(default)s)")
    return options.parse_args(arguments)


if __name__ == "__main__":
    run(main)
