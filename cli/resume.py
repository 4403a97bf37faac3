"""`./hlc resume`: end every pause."""

import time

from cli.options import Settings, print_json
from cli.pausing import allow_accepting, allow_retrying, allow_sending, paused, waiting
from cli.progress import progress
from create_conversation.pause import MAX_AGE_SECONDS


def run(settings: Settings) -> int:
    """Start what is paused, and print it. Returns 0; raises StackError or an error of AWS."""
    stack = settings.connect()
    was = paused(stack)
    if was.sending:
        allow_sending(stack, time.time())
        # An instance that still believes in the pause would put the messages that it receives off for an hour.
        with progress("waiting until each instance of the function knows"):
            time.sleep(MAX_AGE_SECONDS)
    if was.retrying:
        allow_retrying(stack)
    if was.accepting:
        allow_accepting(stack)
    if settings.json:
        print_json({"resumed": was.names, "waiting": waiting(stack)})
    elif not was.names:
        print("nothing is paused")
    else:
        print(f"resumed: {', '.join(was.names)}; {waiting(stack)} submissions wait")
    return 0
