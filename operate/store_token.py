"""Try HighLevel's token, then store it: `python -m operate.store_token [STACK] [--location ID] [--force]`."""

import getpass
import json
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from highlevel.tokens import TokenError, Tokens, read_tokens
from operate.doctor import Report, check_token, check_token_alone, highlevel_of
from operate.sender import stack_name
from operate.stack import LOCAL, Stack, StackError, parser, run

_PRIVATE_INTEGRATION = re.compile(r"pit-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
_LOCATION = re.compile(r"[A-Za-z0-9_-]{1,64}|\*")


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask for the token, try it on HighLevel and store it. Returns 0; raises StackError with what to do instead."""
    options = _options(arguments)
    if options.location is not None and not _LOCATION.fullmatch(options.location):
        raise StackError("a location id has up to 64 letters, digits, _ or - (or is * for all that have no own token)")
    stack = Stack.connect(options.stack)
    arn = stack.output("HighLevelTokenArn")
    kept = _read(stack, arn)
    _check_overwrite(kept, options.location, arn, stack)

    token = _ask()
    kind = _check(token)
    if not _is_accepted(stack, token, options.location) and not options.force:
        _confirm(kept)
    value = token
    if options.location is not None:
        tokens = _entries(kept)
        tokens[options.location] = token
        value = json.dumps({"tokens": tokens})
    stack.secrets_manager.put_secret_value(SecretId=arn, SecretString=value)

    where = f" for location {options.location}" if options.location not in (None, "*") else ""
    print(f"stored {kind} ({len(token)} characters){where} in {arn}")
    if options.location is not None and "*" in tokens and options.location != "*":
        print("locations without their own token use the one that is stored for *")
    if kept:
        print("running functions take it within 5 minutes, or as soon as HighLevel refuses the old one")
    _print_next(stack)
    return 0


def _options(arguments: Sequence[str] | None) -> Any:
    options = parser(
        "Try a HighLevel token, with calls that change nothing, and store it. It is asked for without echo, or read\n"
        "as one line from standard input. What HighLevel does not accept is stored only after a yes, or with --force.\n"
        "Never pass it as an argument: arguments are kept in the shell's history and shown to other users."
    )
    options.add_argument(
        "--location",
        metavar="ID",
        help="set this location's token and keep the others'; * for all locations that have none of their own",
    )
    options.add_argument(
        "--force", action="store_true", help="store it without a question, whatever HighLevel says of it"
    )
    return options.parse_args(arguments)


def _is_accepted(stack: Stack, token: str, location: str | None) -> bool:
    """Try the token where it will be used, and print what it may do."""
    report = Report(stack_name(stack))
    highlevel = highlevel_of(stack, report)
    if highlevel is None:
        return False
    known = stack.parameters.get("LocationId") if location in (None, "*") else location
    if known:
        return check_token(highlevel, token, known, report)
    return check_token_alone(highlevel, token, report)


def _confirm(kept: str) -> None:
    """Raises StackError unless a person at the terminal wants it stored all the same."""
    stays = "; what is stored now stays" if kept else ""
    if not sys.stdin.isatty():
        raise StackError(f"nothing was stored{stays}. To store it all the same: FORCE=1")
    now = ", in place of the one that is stored now" if kept else ""
    try:
        answer = input(f"Store it all the same{now}? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise StackError(f"nothing was stored{stays}")


def _read(stack: Stack, arn: str) -> str:
    """What the secret holds now; "" if it has no value yet."""
    secrets = stack.secrets_manager
    try:
        return secrets.get_secret_value(SecretId=arn).get("SecretString", "").strip()
    except secrets.exceptions.ResourceNotFoundException:
        return ""


def _check_overwrite(kept: str, location: str | None, arn: str, stack: Stack) -> None:
    """Refuse before asking, when storing would destroy something other than one token."""
    try:
        shape = json.loads(kept)
    except ValueError:
        shape = None
    start_over = (
        f"to start over: aws secretsmanager put-secret-value {stack.aws} --secret-id {arn} --secret-string '{{}}'"
    )
    if isinstance(shape, dict) and "oauth" in shape:
        raise StackError(
            f"the secret holds an OAuth connection, which is not overwritten; {start_over}, and "
            f"make deploy STACK={stack_name(stack)} PARAMETERS=RotateToken=false, or its rotation would fail"
        )
    if isinstance(shape, dict) and "tokens" in shape and location is None:
        raise StackError(
            f"the secret holds tokens by location: name one (LOCATION=<id>, * for all others); {start_over}"
        )
    if location is not None:
        _entries(kept)


def _entries(kept: str) -> dict[str, str]:
    """The tokens of the secret, by location; a single one stands for all (`*`)."""
    if not kept or kept == "{}":
        return {}
    try:
        return dict(read_tokens(kept).by_location)
    except TokenError as error:
        raise StackError(f"the secret has another shape, no location can be added: {error}") from None


def _ask() -> str:
    """The token: typed without echo on a terminal, else one line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass("HighLevel token (is not shown): ").strip()
        except EOFError:
            return ""
        except getpass.GetPassWarning:
            raise StackError("this terminal cannot hide what is typed: pipe the token in") from None


def _check(token: str) -> str:
    """What kind of token it is. Raises StackError without any part of it."""
    if not token:
        raise StackError("nothing was entered, nothing was stored")
    if re.match(r"bearer\b", token, re.IGNORECASE):
        raise StackError('enter the token alone, without "Bearer" before it; nothing was stored')
    if re.search(r"\s", token):
        raise StackError("a token has no blanks in it; nothing was stored")
    try:
        Tokens({"*": token}).of("*")
    except TokenError as error:
        raise StackError(f"{error}; nothing was stored") from None
    if _PRIVATE_INTEGRATION.fullmatch(token):
        return "a private integration token"
    if _JWT.fullmatch(token):
        return "an access token (JWT)"
    print(
        "hint: it looks like neither a private integration token (pit- and a UUID) nor an access token",
        file=sys.stderr,
    )
    return "a token of unknown kind"


def _print_next(stack: Stack) -> None:
    if stack.is_local:
        print(f"\nNext: the curl line that make serve has printed, or make redrive STACK={LOCAL} REASON=no_token")
        return
    print(
        f"""
Next, look up the secret of the sender api (the value of "api"):
  aws secretsmanager get-secret-value {stack.aws} --query SecretString --output text \\
    --secret-id {stack.output("SenderSecretsArn")}
and open a conversation with it:
  curl -i {stack.output("ConversationsUrl")} \\
    -H 'Authorization: Bearer <secret>' -H 'Content-Type: application/json' \\
    -d '{{"locationId": "<location id>", "contactId": "<contact id>"}}'
What was parked for want of a token: make redrive STACK={stack.name} REASON=no_token"""
    )


if __name__ == "__main__":
    run(main)
