"""Every command that a text of this repository names exists: it is parsed by `./hlc` itself, or is a target of make."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.exceptions import NoArgsIsHelpError

from cli.app import hlc
from cli.options import Settings

ROOT = Path(__file__).parents[2]
OPERATOR = set(re.findall(r"^OPERATOR := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split())
# Other people's text, drawings, and mistakes that tests make on purpose.
NOT_READ = (
    "uv.lock",
    "tests/data/",
    "docs/benchmarks/",
    "tests/unit/test_command_texts.py",
    "tests/unit/test_makefile.py",
)
PLACEHOLDER = re.compile(r"<[^<>\n]*>|\$?\{[^{}\n]*\}|…|\$@")
END = re.compile(r"[`\"'\\|;&()\n]|\s#|(?<=\s)[<>]|…\]")
PUNCTUATION = ".,:"


def texts() -> dict[str, str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {}
    for name in listed.splitlines():
        path = ROOT / name
        if not name.startswith(NOT_READ) and path.suffix not in (".svg", ".webp") and path.is_file():
            found[name] = path.read_text(encoding="utf-8")
    return found


TEXTS = texts()


@dataclass(frozen=True)
class Command:
    """The words after `./hlc` in a text, up to the end of the command."""

    file: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: ./hlc {' '.join(self.words)}"


def commands(file: str, text: str) -> Iterator[Command]:
    text = text.replace("{HLC} ", "./hlc ")
    # A command of a comment or of a text in code may go on in the next line.
    joined = re.sub(r"\n[ #]*f?\"?(?=[a-z<-])", " ", text) if file.endswith((".py", ".yaml", ".toml")) else text
    for match in re.finditer(r"(?<![\w/`])\./hlc |`\./hlc ", joined):
        rest = PLACEHOLDER.sub(" X1 ", joined[match.end() : match.end() + 300])
        yield Command(file, tuple(END.split(rest, maxsplit=1)[0].split()))


ALL = sorted({command for file, text in TEXTS.items() for command in commands(file, text)}, key=str)


def parse(command: Command) -> list[str]:
    """The words that belong to the command; raises AssertionError at the first that its help does not have."""
    at: click.Command = hlc
    parsed: list[str] = []
    words = iter(command.words)
    for word in words:
        name = word.rstrip(PUNCTUATION)
        if name.startswith("-"):
            parsed += parse_option(command, at, name, words)
        elif isinstance(at, click.Group):
            if name == "X1":  # any command
                return []
            assert name in at.commands, f"{command}: there is no command {name}"
            parsed.append(name)
            at = at.commands[name]
        elif takes_value(at, name, parsed):
            parsed.append(name)
        else:
            break
        if name != word or name == "--help":
            break
    return parsed


def parse_option(command: Command, at: click.Command, name: str, words: Iterator[str]) -> list[str]:
    flag = name.partition("=")[0]
    option = next((each for each in at.params if flag in (*each.opts, *each.secondary_opts)), None)
    assert option or name in ("--help", "-h"), f"{command}: {at.name} has no option {name}"
    if not isinstance(option, click.Option) or option.is_flag or "=" in name:
        return [name]
    value = next(words, "X1").rstrip(PUNCTUATION)
    return [] if isinstance(option.type, click.File) else [name, value]


def takes_value(at: click.Command, word: str, parsed: list[str]) -> bool:
    """Whether a word after the command can be its argument, and is not the text that follows."""
    argument = next((each for each in at.params if isinstance(each, click.Argument)), None)
    if argument is None or (argument.nargs == 1 and parsed[-1] != at.name):
        return False
    if isinstance(argument.type, click.Choice):
        return word in argument.type.choices
    return "=" in word if argument.name == "parameters" else True


@pytest.mark.parametrize("command", ALL, ids=str)
def test_a_command_that_a_text_names_is_parsed(command: Command) -> None:
    words = parse(command)
    at: click.Command = hlc
    context = click.Context(hlc, obj=Settings())
    while isinstance(at, click.Group) and words:
        found = next((word for word in words if word in at.commands), None)
        if found is None:
            return
        index = words.index(found)
        words = words[:index] + words[index + 1 :]
        at = at.commands[found]
    if "--help" not in words:
        # A text may name a command without its arguments, or a group of commands.
        with contextlib.suppress(click.MissingParameter, NoArgsIsHelpError):
            at.make_context("hlc", list(words), parent=context)


@pytest.mark.parametrize("file", TEXTS)
def test_no_text_names_a_target_that_is_a_command_now(file: str) -> None:
    found = re.findall(rf"\bmake ({'|'.join(OPERATOR)})\b(?!\w| sure)", TEXTS[file])
    assert found == []
    assert not re.search(r"\b(?:STACK|CONFIG_ENV|PARAMETERS)=", TEXTS[file])


def test_commands_in_the_template_name_their_stack() -> None:
    text = re.sub(r"^ *#.*$|(?<= )# .*$", "", TEXTS["template.yaml"], flags=re.MULTILINE)
    named = list(commands("template.yaml", text))
    assert len(named) > 10
    for command in named:
        assert "--stack" in command.words, command


def test_most_commands_are_named_somewhere() -> None:
    assert len(ALL) > 100
    named = {word for command in ALL for word in command.words[:1]}
    assert set(hlc.commands) - named == set()


def test_advice_of_the_function_names_its_stack() -> None:
    code = "from create_conversation.errors import REASONS; print(*(r.advice for r in REASONS.values()), sep='\\n')"
    environment = {"PYTHONPATH": "functions", "METRICS_NAMESPACE": "shop"}
    command = [sys.executable, "-c", code]
    advice = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    named = re.findall(r"\./hlc \S+ \S+", advice)
    assert len(named) > 5
    assert set(named) == {"./hlc --stack shop"}
