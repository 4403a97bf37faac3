"""End every pause of `make pause`: `python -m cli.resume [STACK]`."""

import time
from collections.abc import Sequence

from cli.pausing import allow_accepting, allow_retrying, allow_sending, paused, waiting
from cli.stack import Stack, parser, run
from create_conversation.pause import MAX_AGE_SECONDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Start what is paused, and print it. Returns 0; raises StackError or an error of AWS."""
    options = parser("Start again what `make pause` has stopped: sending, retrying, accepting.").parse_args(arguments)
    stack = Stack.connect(options.stack)
    was = paused(stack)
    if was.sending:
        allow_sending(stack, time.time())
        # An instance that still believes in the pause would put the messages that it receives off for an hour.
        time.sleep(MAX_AGE_SECONDS)
    if was.retrying:
        allow_retrying(stack)
    if was.accepting:
        allow_accepting(stack)
    ended = [name for name in ("sending", "retrying", "accepting") if getattr(was, name)]
    if not ended:
        print("nothing is paused")
    else:
        print(f"resumed: {', '.join(ended)}; {waiting(stack)} submissions wait")
    return 0


if __name__ == "__main__":
    run(main)
