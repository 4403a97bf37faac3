"""`./hlc pause`: stop sending, retrying or accepting."""

import time

from cli.options import Settings, print_json
from cli.pausing import pause, paused, waiting
from cli.stack import for_stack

_EFFECTS = {
    "sending": "sending is paused: from 5 seconds on each submission is stored, and none is sent to HighLevel",
    "retrying": "retrying is paused: submissions that wait are not retried; new ones are sent",
    "accepting": "accepting is paused: API Gateway answers each request 429. Senders that do not repeat lose theirs",
}


def run(settings: Settings, what: str) -> int:
    """Stop it, and print what that means and how to resume. Returns 0; raises StackError or an error of AWS."""
    stack = settings.connect()
    pause(stack, what, time.time())
    now, wait = paused(stack), waiting(stack)
    if settings.json:
        print_json({"paused": now.names, "waiting": wait, "deleted_at": now.deleted_at})
        return 0
    print(_EFFECTS[what])
    if what != "accepting":
        print(f"{wait} wait; SQS deletes the oldest {now.deletion}")
    print(for_stack("to continue: ./hlc resume", stack.hlc))
    return 0
