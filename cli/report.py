"""The report of `./hlc doctor`, `./hlc token` and `./hlc verify`: one line for each check."""

from dataclasses import dataclass, field
from typing import Any

from cli.options import Settings
from cli.stack import for_stack


@dataclass
class Report:
    """Prints the lines, none of which contains a secret. `failed`: whether a check has failed.

    With `--json` nothing is printed: `checks` has them all.
    """

    settings: Settings
    failed: bool = False
    checks: list[dict[str, Any]] = field(default_factory=list)

    def good(self, what: str, how: str) -> None:
        """Report a check that has passed."""
        self._add(what, how, "✓", passed=True)

    def warn(self, what: str, how: str) -> None:
        """Report something that works, and that the operator should know."""
        self._add(what, how, "!", passed=True)

    def bad(self, what: str, how: str) -> None:
        """Report a check that has failed, with what to do."""
        self.failed = True
        self._add(what, how, "✗", passed=False)

    def _add(self, what: str, how: str, mark: str, *, passed: bool) -> None:
        text = for_stack(how, self.settings.command)
        self.checks.append({"check": what, "ok": passed, "detail": text})
        self.settings.say(f"{mark} {what}: {text}")
