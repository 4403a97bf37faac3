"""`./hlc`: run a command and end the process with its exit code."""

import os
import signal
import sys

import click

from cli.app import main
from cli.options import Settings


def run(arguments: list[str]) -> int:
    """Run the command and return the exit code.

    An error of AWS or of the operator prints one line on standard error and returns 1, a wrong option 2. Ctrl-C and
    SIGTERM return 130. A closed pipe (`| head`) prints nothing and returns 0.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = Settings()
    try:
        code = main(arguments, settings)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        from cli.stack import EXPECTED, explain, for_stack

        if not isinstance(error, EXPECTED):
            raise
        print(for_stack(explain(error), settings.command), file=sys.stderr)
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
