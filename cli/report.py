"""The report that `doctor` and `store_token` print: one line for each check."""

from dataclasses import dataclass

from cli.stack import for_stack


@dataclass
class Report:
    """Prints the lines, none of which contains a secret. `failed`: whether a check has failed.

    `stack`: the value of STACK, which is put into each command that a line names.
    """

    stack: str
    failed: bool = False

    def good(self, what: str, how: str) -> None:
        """Report a check that has passed."""
        print(f"✓ {what}: {for_stack(how, self.stack)}", flush=True)

    def bad(self, what: str, how: str) -> None:
        """Report a check that has failed, with what to do."""
        self.failed = True
        print(f"✗ {what}: {for_stack(how, self.stack)}", flush=True)
