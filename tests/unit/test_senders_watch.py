"""Edits of functions/senders.toml while `make serve` runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from create_conversation.senders.config import Sender
from local.senders_watch import SendersWatch
from local.stack import LocalAwsError

ENTRY = '[our-site]\nscheme = "token"\nwhere = ["query:key"]\nemail = "{}"\n'


@dataclass
class Watched:
    """A watched file, and what its watch has done."""

    file: Path
    deployed: list[str] = field(default_factory=list)
    shown: list[tuple[str, bool]] = field(default_factory=list)
    taken_up: list[dict[str, Sender]] = field(default_factory=list)
    error: str = ""

    def __post_init__(self) -> None:
        self.file.write_text("")
        self.watch = SendersWatch(
            self.deploy, lambda text, wrong: self.shown.append((text, wrong)), self.use, self.file
        )

    def deploy(self) -> None:
        self.deployed.append(self.file.read_text())
        if self.error:
            raise LocalAwsError(self.error)

    def show(self, text: str, is_mistake: bool) -> None:
        self.shown.append((text, is_mistake))

    def use(self, senders: dict[str, Sender]) -> None:
        self.taken_up.append(senders)

    def edit(self, text: str) -> None:
        self.file.write_text(text)

    def look(self, times: int = 2) -> None:
        for _ in range(times):
            self.watch.look()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "senders.toml")


def path_in_use(watched: Watched) -> str:
    return str(watched.taken_up[-1]["our-site"].paths["email"].expression)


def test_edit_is_deployed_and_taken_up_once(watched: Watched) -> None:
    watched.look(3)
    assert not watched.deployed
    watched.edit(ENTRY.format("mail"))
    watched.look(4)
    assert watched.deployed == [ENTRY.format("mail")]
    assert path_in_use(watched) == "mail"
    assert [wrong for _text, wrong in watched.shown] == [False, False]
    assert "is in use" in watched.shown[-1][0]


def test_file_that_is_still_being_written_is_not_taken_up(watched: Watched) -> None:
    watched.edit(ENTRY.format("first"))
    watched.look()
    for text in ("", ENTRY.format("second")[:20], ENTRY.format("second")):
        watched.edit(text)
        watched.look(1)
        assert len(watched.deployed) == 1
    watched.look(1)
    assert path_in_use(watched) == "second"
    assert len(watched.deployed) == 2


MISTAKES: dict[str, tuple[Callable[[Watched], object], str]] = {
    "not TOML": (lambda watched: watched.edit("[our-site\n"), "senders.toml: "),
    "an unknown key": (lambda watched: watched.edit(ENTRY.format("a") + "emial = 'b'"), "did you mean email"),
    "a missing key": (lambda watched: watched.edit("[our-site]\nscheme = 'token'"), "[our-site] where"),
    "no file": (lambda watched: watched.file.unlink(), "No such file"),
    "not UTF-8": (lambda watched: watched.file.write_bytes(b"\xff"), "senders.toml: "),
}


@pytest.mark.parametrize(("mistake", "text"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_shown_once_and_the_previous_file_stays(
    watched: Watched, mistake: Callable[[Watched], object], text: str
) -> None:
    watched.edit(ENTRY.format("mail"))
    watched.look()
    mistake(watched)
    watched.look(5)
    assert len(watched.deployed) == 1
    [shown] = [text for text, wrong in watched.shown if wrong]
    assert shown.startswith("functions/senders.toml: ")
    assert text in shown
    assert "the previous file stays in use" in shown
    watched.edit(ENTRY.format("corrected"))
    watched.look()
    assert path_in_use(watched) == "corrected"


def test_failed_deployment_is_shown_and_can_be_repeated(watched: Watched) -> None:
    watched.error = "sam deploy failed: reasons"
    watched.edit(ENTRY.format("mail"))
    watched.look()
    assert watched.shown[-1][1]
    assert "sam deploy failed: reasons" in watched.shown[-1][0]
    assert not watched.taken_up
    watched.error = ""
    watched.edit(ENTRY.format("mail") + "\n")
    watched.look()
    assert path_in_use(watched) == "mail"
