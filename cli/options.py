"""The options that every command of `./hlc` takes, before or after its name, and the layout of the help."""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import click
from click.shell_completion import CompletionItem

from cli.progress import clear_progress

if TYPE_CHECKING:
    from cli.stack import Stack

DEFAULT_NAME = "highlevel-conversations"
LOCAL = "local"
NEEDS_YES = 3  # the exit code
_NAMES = ("stack", "env", "region", "profile", "yes", "json")


class NeedsYesError(click.ClickException):
    """A question cannot be asked, as there is no terminal, and `--yes` was not given."""

    exit_code = NEEDS_YES


@dataclass
class Settings:
    """The values of the options that all commands share. None: not given."""

    stack: str | None = None
    env: str | None = None
    region: str | None = None
    profile: str | None = None
    yes: bool = False
    json: bool = False

    @cached_property
    def environment(self) -> dict[str, Any]:
        """The settings of samconfig.toml's environment. Raises StackError."""
        from cli.samconfig import environment

        return environment(self.env or "default")

    @property
    def stack_name(self) -> str:
        """The name of the stack: of `--stack`, else of the environment in samconfig.toml."""
        return self.stack if self.stack is not None else str(self.environment.get("stack_name", DEFAULT_NAME))

    @property
    def command(self) -> str:
        """How a printed command begins, so that it works on this stack: `./hlc --stack local`."""
        given = ((name, getattr(self, name)) for name in ("stack", "env", "region", "profile"))
        return " ".join(["./hlc", *(f"--{name} {value}" for name, value in given if value)])

    def connect(self) -> "Stack":
        """Find the stack. Raises StackError, ClientError or BotoCoreError."""
        from cli.stack import Stack

        return Stack.connect(self)

    def confirm(self, question: str, refusal: str) -> None:
        """Ask, unless `--yes` answers. Raises NeedsYesError without a terminal, StackError(`refusal`) for a no."""
        from cli.stack import StackError

        if self.yes:
            return
        if not sys.stdin.isatty():
            raise NeedsYesError(f"{refusal}. Without a terminal to ask: add --yes")
        click.echo(f"{question} [y/N] ", nl=False, err=True)
        answer = sys.stdin.readline()
        if answer.strip().lower() not in ("y", "yes"):
            raise StackError(refusal)

    def say(self, text: str = "") -> None:
        """Print a line for the operator; nothing with `--json`."""
        if not self.json:
            clear_progress()
            print(text, flush=True)


def print_json(facts: object) -> None:
    """Print the whole output of a command with `--json`."""
    print(json.dumps(facts, ensure_ascii=False), flush=True)


class Location(click.ParamType[str]):
    """A location id of HighLevel. `star`: also `*`, which is all locations without their own token."""

    name = "location"
    _ID: ClassVar = re.compile(r"[A-Za-z0-9_-]{1,64}")

    def __init__(self, *, star: bool = False) -> None:
        self._star = star

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id, or fail."""
        if not (self._ID.fullmatch(value) or (self._star and value == "*")):
            others = " (or is * for all locations without their own token)" if self._star else ""
            self.fail(f"a location id has up to 64 letters, digits, _ or -{others}", param, ctx)
        return str(value)


class Duration(click.ParamType[float]):
    """A time span such as 15m, in seconds."""

    name = "duration"
    _SPAN: ClassVar = re.compile(r"(\d{1,6})([smhd])")
    _SECONDS: ClassVar = {"s": 1, "m": 60, "h": 3600, "d": 86400}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds, or fail."""
        if not (match := self._SPAN.fullmatch(str(value))):
            self.fail(f"{value!r} is not a time span such as 30s, 15m, 6h or 2d", param, ctx)
        return float(match[1]) * self._SECONDS[match[2]]


class SenderName(click.ParamType[str]):
    """The name of an entry of presets.toml or senders.toml. The commands check it."""

    name = "sender"

    def shell_complete(self, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete from the two files; a mistake in them completes nothing."""
        from create_conversation.senders.config import SendersError, load

        try:
            names = load(check_presets=False)
        except SendersError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _shared_options(*, has_json: bool) -> list[click.Parameter]:
    options = [
        _shared("--stack", metavar="NAME", help=f"The stack (default: {DEFAULT_NAME}); {LOCAL}: that of make serve."),
        _shared("--env", metavar="NAME", help="An environment of samconfig.toml: its stack, parameters and region."),
        _shared("--region", metavar="NAME", help="The AWS region (default: AWS_REGION, else the profile's)."),
        _shared("--profile", metavar="NAME", help="The profile of the AWS CLI (default: AWS_PROFILE)."),
        _shared("--yes", is_flag=True, help="Answer every question with yes; print a secret without a terminal."),
    ]
    if has_json:
        options.append(_shared("--json", is_flag=True, help="Print JSON (docs/cli.md), nothing else."))
    return [*options]


def _shared(name: str, **attributes: Any) -> click.Option:
    return click.Option([name], expose_value=False, callback=_store, **attributes)


def _store(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    settings = ctx.ensure_object(Settings)
    if value or isinstance(value, str):
        setattr(settings, str(param.name), value)


class _WithExamples(click.Command):
    """A command with the shared options, in a part of its own of the help, and with examples."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), has_json: bool = True, **attributes: Any) -> None:
        attributes["params"] = [*(attributes.get("params") or []), *_shared_options(has_json=has_json)]
        super().__init__(*arguments, **attributes)
        self.examples = examples
        self.has_json = has_json

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options before those that all commands share."""
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                (shared if param.name in _NAMES else own).append(record)
        for title, records in (("Options", own), ("Options of all commands", shared)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are typed."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")
        super().format_epilog(ctx, formatter)


class HlcCommand(_WithExamples):
    """One command."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it. `--json` before the command's name counts too: refuse it where there is no JSON."""
        if ctx.ensure_object(Settings).json and not self.has_json:
            raise click.UsageError(f"{ctx.info_name} has no --json: it asks questions", ctx)
        return super().invoke(ctx)


class HlcGroup(_WithExamples, click.Group):
    """A command with commands of its own."""

    command_class = HlcCommand
    group_class = type

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the commands in the order in which an operator needs them."""
        return list(self.commands)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands before the options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)
