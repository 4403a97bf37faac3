"""Progress appears on a terminal only, and never beside another line."""

import io
import time

import pytest

from cli import progress as module
from cli.options import Settings
from cli.progress import progress


class Terminal(io.StringIO):
    """One terminal for both streams. `lines`: what a person sees."""

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        seen = []
        for line in self.getvalue().split("\n"):
            cells: list[str] = []
            at = 0
            for character in line:
                at = 0 if character == "\r" else at + 1
                if character != "\r":
                    cells[at - 1 : at] = [character]
            seen.append("".join(cells).rstrip())
        return seen


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Not a fixture: between a fixture and its test pytest sets the streams again."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(module, "EACH_SECONDS", 0.01)
    return terminal


def wait_for(terminal: Terminal, text: str) -> None:
    until = time.monotonic() + 10
    while text not in terminal.getvalue():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_line_replaces_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    with progress("working for a long time"):
        wait_for(terminal, "working for a long time … 0 s")
        Settings().say("a result")
    assert terminal.lines == ["a result", ""]


def test_nothing_is_shown_of_a_short_command(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    monkeypatch.setattr(module, "FIRST_SECONDS", 10)
    with progress("working"):
        pass
    assert terminal.getvalue() == ""


def test_nothing_is_shown_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.0)
    with progress("working"):
        time.sleep(0.02)
    assert stream.getvalue() == ""
