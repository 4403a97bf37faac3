"""The commands of `./hlc`. Each imports what it needs when it runs: help and completion stay fast."""

import os
from collections.abc import Sequence
from typing import BinaryIO

import click
from click.exceptions import Exit
from click.shell_completion import get_completion_class, shell_complete

from cli.options import Duration, HlcGroup, Location, SenderName, Settings

PROGRAM = "./hlc"
_COMPLETE = "_HLC_COMPLETE"
_LOCATION = click.option("--location", metavar="ID", type=Location(), help="A HighLevel location id.")


@click.group(
    cls=HlcGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    examples=["./hlc deploy LocationId=ve9EPM428h8vShlRW1KT", "./hlc doctor --stack local", "./hlc send --help"],
)
def hlc() -> None:
    """Deploy and operate highlevel-conversations.

    Exit codes: 0 done; 1 it failed, or something needs you; 2 a wrong command or option; 3 a question needs --yes; 130
    interrupted. docs/cli.md has them all, and the JSON that each command prints.
    """


def main(arguments: Sequence[str], settings: Settings | None = None) -> int:
    """Run a command. Returns its exit code; raises ClickException, StackError, ClientError or BotoCoreError."""
    # Not click's own `main`, which prints a new line at Ctrl-C, and ends with 1 when a pipe is closed.
    if instruction := os.environ.get(_COMPLETE):
        return shell_complete(hlc, {}, "hlc", _COMPLETE, instruction)
    try:
        with hlc.make_context(PROGRAM, list(arguments), obj=settings or Settings()) as context:
            return int(hlc.invoke(context) or 0)
    except Exit as ended:
        return ended.exit_code


# --- deploy -----------------------------------------------------------------------------------------------------------


@hlc.command(
    examples=[
        "./hlc deploy LocationId=ve9EPM428h8vShlRW1KT AlarmEmail=ops@example.com",
        "./hlc deploy --env production --region eu-central-1 --yes",
    ]
)
@click.argument("parameters", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--shared-events", is_flag=True, help="Deploy even if another stack's rule takes the same events.")
@click.pass_obj
def deploy(settings: Settings, parameters: tuple[str, ...], shared_events: bool) -> int:
    """Check, build and deploy the stack; show what changes, and ask once.

    NAME=VALUE sets a parameter of the template (docs/configuration.md). Those that are not named keep their value.
    """
    from cli.deploy import run

    return run(settings, parameters, shared_events=shared_events)


@hlc.command(examples=["./hlc delete --stack highlevel-conversations-staging"])
@click.pass_obj
def delete(settings: Settings) -> int:
    """Delete the stack. Its queues and secrets stay."""
    from cli.delete import run

    return run(settings)


@hlc.command(
    examples=[
        "./hlc verify --location ve9EPM428h8vShlRW1KT --contact ocQHyuzHvysMo5N5VsXc",
        "./hlc verify --location ve9EPM428h8vShlRW1KT --contact ocQHyuzHvysMo5N5VsXc --stack local",
    ]
)
@click.argument("parameters", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--location", metavar="ID", type=Location(), required=True, help="The location of the contact.")
@click.option("--contact", metavar="ID", type=Location(), required=True, help="A contact without a conversation.")
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True),
    default="verify.md",
    show_default=True,
    help="Where to write the report.",
)
@click.pass_obj
def verify(settings: Settings, parameters: tuple[str, ...], location: str, contact: str, report: str) -> int:
    """Try everything in your own account, and write a report.

    Deploys a stack NAME-verify with a HighLevel token that it asks for, opens a conversation with the contact, writes a
    message, sends events and webhooks, and deletes the stack. The report can be attached to an issue. With --stack
    local it uses the running stack of make serve.
    """
    from cli.verify import run

    return run(settings, location, contact, report, parameters)


# --- connect ----------------------------------------------------------------------------------------------------------


@hlc.group()
def token() -> None:
    """Store or check the HighLevel token."""


@token.command(
    "set", examples=["./hlc token set", "./hlc token set --location ve9EPM428h8vShlRW1KT --yes < token-file"]
)
@click.option(
    "--location",
    metavar="ID",
    type=Location(star=True),
    help="Store it for this location and keep those of others; * for all locations without their own token.",
)
@click.pass_obj
def token_set(settings: Settings, location: str | None) -> int:
    """Try a HighLevel token with calls that change nothing, and store it.

    It asks for the token without echo, or reads one line of standard input. A token that HighLevel does not accept is
    stored only if you confirm it, or with --yes. Never pass a token as an argument: other users can see arguments.
    """
    from cli.highlevel_token import set_token

    return set_token(settings, location)


@token.command("check", examples=["./hlc token check", "./hlc token check --location ve9EPM428h8vShlRW1KT --json"])
@_LOCATION
@click.pass_obj
def token_check(settings: Settings, location: str | None) -> int:
    """Try the stored token, and show what each of its scopes is for. Changes nothing."""
    from cli.highlevel_token import check

    return check(settings, location)


@hlc.command(has_json=False, examples=["./hlc connect", "./hlc connect --stack local"])
@click.pass_obj
def connect(settings: Settings) -> int:
    """Connect with HighLevel by OAuth, step by step on the terminal.

    Prints the address to open, asks for the address to which HighLevel redirects you, stores the connection in
    HighLevelToken and attaches its rotation. It shows no secret, and none is passed as an argument.
    """
    from cli.connect import run

    return run(settings)


# --- sender -----------------------------------------------------------------------------------------------------------


@hlc.group()
def sender() -> None:
    """List the senders, and create, show or revoke their secrets."""


_NAME = click.argument("name", type=SenderName())


@sender.command("list", examples=["./hlc sender list", "./hlc sender list --json"])
@click.pass_obj
def sender_list(settings: Settings) -> int:
    """List the senders with their state and URL."""
    from cli.sender import list_all

    return list_all(settings)


@sender.command("show", examples=["./hlc sender show typeform", "./hlc sender show typeform --reveal --json --yes"])
@_NAME
@click.option("--reveal", is_flag=True, help="Print the secret too: on a terminal, elsewhere only with --yes.")
@click.pass_obj
def sender_show(settings: Settings, name: str, reveal: bool) -> int:
    """Show a sender's URL, how it authenticates, and where to paste what."""
    from cli.sender import show

    return show(settings, name, reveal=reveal)


@sender.command("add", examples=["./hlc sender add typeform", "./hlc sender add our-site --stack local"])
@_NAME
@click.pass_obj
def sender_add(settings: Settings, name: str) -> int:
    """Create the first secret of a sender, which opens it."""
    from cli.sender import add

    return add(settings, name)


@sender.command("import", examples=["./hlc sender import stripe", "./hlc sender import stripe < secret-file"])
@_NAME
@click.pass_obj
def sender_import(settings: Settings, name: str) -> int:
    """Store the secret or public key that the sender has created; the previous one stays valid.

    It asks without echo, or reads one line of standard input.
    """
    from cli.sender import import_secret

    return import_secret(settings, name)


@sender.command("rotate", examples=["./hlc sender rotate typeform"])
@_NAME
@click.pass_obj
def sender_rotate(settings: Settings, name: str) -> int:
    """Create a new secret; the previous one stays valid until it is retired."""
    from cli.sender import rotate

    return rotate(settings, name)


@sender.command("retire", examples=["./hlc sender retire typeform"])
@_NAME
@click.pass_obj
def sender_retire(settings: Settings, name: str) -> int:
    """Revoke all secrets of a sender but the newest."""
    from cli.sender import retire

    return retire(settings, name)


@sender.command("check", examples=["./hlc sender check"])
@click.pass_obj
def sender_check(settings: Settings) -> int:
    """Check functions/senders.toml for mistakes. Needs no stack."""
    from cli.sender import check

    return check(settings)


@hlc.command(
    examples=[
        "./hlc send typeform",
        "./hlc send our-site --file body.json --dry-run",
        "./hlc send api --stack local --json",
    ]
)
@_NAME
@click.option("--file", type=click.File("rb"), help="A body as the sender sends it (JSON or a form); - for stdin.")
@click.option("--location", metavar="ID", type=Location(), help="Replaces the sample's location id.")
@click.option("--dry-run", is_flag=True, help="Show what it is mapped to, and send nothing.")
@click.pass_obj
def send(settings: Settings, name: str, file: BinaryIO | None, location: str | None, dry_run: bool) -> int:
    """Send a submission as a sender would, signed with its secret, and show the answer.

    Without --file it sends the sender's sample (events/). On a deployed stack this opens a conversation in HighLevel,
    for the contact in the body.
    """
    from cli.send import run

    return run(settings, name, file, location, dry_run=dry_run)


# --- operate ----------------------------------------------------------------------------------------------------------


@hlc.command(examples=["./hlc doctor", "./hlc doctor --stack local --json"])
@click.option(
    "--location",
    metavar="ID",
    type=Location(),
    help="The location to check (default: the stack's LocationId, else each location with its own token).",
)
@click.pass_obj
def doctor(settings: Settings, location: str | None) -> int:
    """Check all that a submission needs, and say what to do about a failure.

    Secrets, token, scopes, rate limit, queues, an hour of the log, concurrency and pauses. It changes nothing: the
    calls to HighLevel only read, or are deliberately invalid. Never uses a refresh token.
    """
    from cli.doctor import run

    return run(settings, location)


@hlc.command(examples=["./hlc logs", "./hlc logs --since 1h --reason no_contact", "./hlc logs --no-follow --json"])
@click.option("--contact", metavar="ID", help="Only submissions for this contact id.")
@click.option("--request", metavar="ID", help="Only the submission with this request id.")
@click.option("--reason", metavar="CODE", help="Only submissions with this reason code.")
@click.option("--since", metavar="15m", type=Duration(), default="15m", help="Begin this long ago: 30s, 15m, 6h, 2d.")
@click.option("--follow/--no-follow", default=True, help="Follow until Ctrl-C (the default), or end after the lines.")
@click.pass_obj
def logs(
    settings: Settings, contact: str | None, request: str | None, reason: str | None, since: float, follow: bool
) -> int:
    """Show one line for each submission, and warnings and errors, as they arrive. Ctrl-C ends it."""
    from cli.logs import Wanted, run

    return run(settings, Wanted(contact, request, reason, since, follow))


@hlc.group("dead-letters")
def dead_letters() -> None:
    """Show the submissions that failed permanently."""


@dead_letters.command("list", examples=["./hlc dead-letters list", "./hlc dead-letters list --json"])
@click.pass_obj
def dead_letters_list(settings: Settings) -> int:
    """List the dead letters, the newest last, and what to do next. Consumes nothing."""
    from cli.dead_letters import list_all

    return list_all(settings)


@dead_letters.command("show", examples=["./hlc dead-letters show fa716523"])
@click.argument("id")
@click.pass_obj
def dead_letters_show(settings: Settings, id: str) -> int:
    """Show one dead letter with its body, which can contain personal data. The beginning of its ID is enough."""
    from cli.dead_letters import show

    return show(settings, id)


@hlc.command(examples=["./hlc redrive", "./hlc redrive --reason no_contact --sender our-site"])
@click.option("--reason", metavar="CODE", help="Only messages with this reason code.")
@click.option("--sender", metavar="NAME", type=SenderName(), help="Only messages of this sender.")
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.IntRange(0, 99999),
    default=120,
    show_default=True,
    help="How long to wait for the results; 0: do not wait.",
)
@click.pass_obj
def redrive(settings: Settings, reason: str | None, sender: str | None, wait: int) -> int:
    """Try dead letters again, wait, and show the results.

    Fix the cause first: a submission that fails again comes back. You can interrupt it; nothing is lost.
    """
    from cli.redrive import run

    return run(settings, reason, sender, wait)


@hlc.command(examples=["./hlc pause", "./hlc pause accepting --stack local"])
@click.argument("what", type=click.Choice(["sending", "retrying", "accepting"]), default="sending")
@click.pass_obj
def pause(settings: Settings, what: str) -> int:
    """Stop one thing within seconds, until ./hlc resume; a deployment does not end the pause.

    \b
    sending    (default) store each submission, send none to HighLevel, and do not read the retry queue
    retrying   do not read the retry queue; new submissions are sent
    accepting  answer each request 429; events and the retry queue go on
    """
    from cli.pause import run

    return run(settings, what)


@hlc.command(examples=["./hlc resume"])
@click.pass_obj
def resume(settings: Settings) -> int:
    """End every pause."""
    from cli.resume import run

    return run(settings)


@hlc.command(has_json=False, examples=["source <(./hlc completion bash)", "./hlc completion zsh > ~/.zfunc/_hlc"])
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands and options in your shell."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(hlc, {}, "hlc", _COMPLETE).source())
