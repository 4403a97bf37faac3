"""`make check` finds every word outside the vocabulary, and nothing in plain English that contains such a word."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def load() -> ModuleType:
    file = Path(__file__).parents[2] / ".ci" / "check_vocabulary.py"
    spec = importlib.util.spec_from_file_location("check_vocabulary", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # the dataclass looks its module up
    spec.loader.exec_module(module)
    return module


CHECK = load()
WORDS, EXCEPTIONS = CHECK.read_list()


def found(text: str) -> list[Any]:
    return list(CHECK.findings(text, WORDS, EXCEPTIONS))


@pytest.mark.parametrize("word", WORDS, ids=lambda word: str(word.example))
def test_each_word_is_found(word: Any) -> None:
    assert word.instead in [instead for _line, _word, instead in found(word.example)]


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=lambda exception: str(exception.example))
def test_each_exception_is_allowed(exception: Any) -> None:
    assert not found(exception.example)


@pytest.mark.parametrize("word", ["door", "told", "mend", "verdict", "hostile"])
@pytest.mark.parametrize(
    "text", ["def test_the_{}() -> None:", "class Http{}Error:", "{}s", "<text>{}</text>", '"detail": "{}"', "# {}."]
)
def test_a_word_is_found_in_each_place(word: str, text: str) -> None:
    if text == "{}s" and word in ("told", "hostile"):
        return
    written = text.format(word.title() if "class" in text else word)
    assert [line for line, _word, _instead in found(f"\n{written}\n")] == [2]


@pytest.mark.parametrize(
    "text", ["it runs by\n    # itself", 'print("at "\n      "once")', "by_itself", "kept\nand parked"]
)
def test_a_phrase_is_found_across_lines(text: str) -> None:
    assert found(text)


@pytest.mark.parametrize(
    "text",
    [
        "recommended",
        "outdoors",
        "transformer",
        "troubleshooting",
        "the indoor sensor",
        "uniform",
        "strings and settings",
        "there is no longer a limit",
        "gateway",
        "MiniStack",
        "the sparkline",
        "value is None of them",
        "there is no other",
    ],
)
def test_longer_words_are_allowed(text: str) -> None:
    assert not found(text)


def test_the_vocabulary_in_contributing_is_allowed(tmp_path: Path) -> None:
    file = tmp_path / "CONTRIBUTING.md"
    file.write_text("| say | not |\n|---|---|\n| handler | door |\n\nOpen the door.\n")
    assert [line for line, _word, _instead in found(CHECK.text_of(file))] == [5]


@pytest.mark.parametrize(("content", "code"), [("a door", 1), ("a handler", 0)], ids=["a word", "no word"])
def test_the_exit_code_and_the_line_that_is_printed(
    content: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("note.txt").write_text(f"\n{content}\n")
    Path("picture.webp").write_bytes(b"\xff\xfe door")
    monkeypatch.setattr(CHECK, "tracked", lambda _paths: ["note.txt", "picture.webp"])
    assert CHECK.main([]) == code
    printed = capsys.readouterr().out
    assert printed == ("note.txt:2: door: say trigger, handler (code), endpoint (HTTP)\n" if code else "")


def test_a_file_name_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(CHECK, "tracked", lambda _paths: ["tests/hostile_door.py"])
    monkeypatch.setattr(CHECK, "text_of", lambda _path: "")
    assert CHECK.main([]) == 1
    assert "tests/hostile_door.py:0: door: " in capsys.readouterr().out
