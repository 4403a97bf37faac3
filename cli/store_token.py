"""Try a HighLevel token, then store it: `python -m cli.store_token [STACK] [--location ID] [--force]`."""

import getpass
import json
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from cli.report import Report
from cli.stack import Stack, StackError, for_stack, parser, run
from cli.token_check import check_token, check_token_alone, highlevel_of
from highlevel.tokens import TokenError, Tokens, read_tokens

_PRIVATE_INTEGRATION = re.compile(r"pit-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
_LOCATION = re.compile(r"[A-Za-z0-9_-]{1,64}|\*")


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask for the token, try it on HighLevel and store it. Returns 0; raises StackError with what to do instead."""
    options = _options(arguments)
    if options.location is not None and not _LOCATION.fullmatch(options.location):
        raise StackError(
            "a location id has up to 64 letters, digits, _ or - (or is * for all locations without their own token)"
        )
    stack = Stack.connect(options.stack)
    arn = stack.output("HighLevelTokenArn")
    current = _read(stack, arn)
    _check_overwrite(current, options.location, arn, stack)

    token = _ask()
    kind = _check(token)
    if not _is_accepted(stack, token, options.location) and not options.force:
        _confirm(current)
    value = token
    if options.location is not None:
        tokens = _entries(current)
        tokens[options.location] = token
        value = json.dumps({"tokens": tokens})
    stack.secrets_manager.put_secret_value(SecretId=arn, SecretString=value)

    where = f" for location {options.location}" if options.location not in (None, "*") else ""
    print(f"stored {kind} ({len(token)} characters){where} in {arn}")
    if options.location is not None and "*" in tokens and options.location != "*":
        print("locations without their own token use the token that is stored for *")
    if current:
        print("running functions use it within 5 minutes, or as soon as HighLevel refuses the old token")
    _print_next(stack)
    return 0


def _options(arguments: Sequence[str] | None) -> Any:
    options = parser(
        "Try a HighLevel token with calls that change nothing, and store it. The command asks for it without echo, or\n"
        "reads one line of standard input. It stores a token that HighLevel does not accept only if you confirm it or\n"
        "add --force. Never pass a token as an argument: the shell's history and other users can see arguments."
    )
    options.add_argument(
        "--location",
        metavar="ID",
        help="store the token for this location and keep those of others; * for all locations without their own token",
    )
    options.add_argument(
        "--force", action="store_true", help="store the token without a question, even if HighLevel does not accept it"
    )
    return options.parse_args(arguments)


def _is_accepted(stack: Stack, token: str, location: str | None) -> bool:
    """Try the token at the location where it will be used, and print what it may do."""
    report = Report(stack.argument)
    highlevel = highlevel_of(stack, report)
    if highlevel is None:
        return False
    known = stack.parameters.get("LocationId") if location in (None, "*") else location
    if known:
        return check_token(highlevel, token, known, report)
    return check_token_alone(highlevel, token, report)


def _confirm(current: str) -> None:
    """Raise StackError unless the operator at the terminal confirms that the token shall be stored."""
    stays = "; the stored value did not change" if current else ""
    if not sys.stdin.isatty():
        raise StackError(f"nothing was stored{stays}. To store it anyway: FORCE=1")
    instead = " instead of the current one" if current else ""
    try:
        answer = input(f"Store it anyway{instead}? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise StackError(f"nothing was stored{stays}")


def _read(stack: Stack, arn: str) -> str:
    """Return the secret's value; "" if it has none yet."""
    secrets = stack.secrets_manager
    try:
        return secrets.get_secret_value(SecretId=arn).get("SecretString", "").strip()
    except secrets.exceptions.ResourceNotFoundException:
        return ""


def _check_overwrite(current: str, location: str | None, arn: str, stack: Stack) -> None:
    """Raise StackError, before the token is asked for, if storing it would destroy more than one token."""
    try:
        content = json.loads(current)
    except ValueError:
        content = None
    start_over = (
        f"to start over: aws secretsmanager put-secret-value {stack.aws} --secret-id {arn} --secret-string '{{}}'"
    )
    if isinstance(content, dict) and "oauth" in content:
        raise StackError(
            f"the secret contains an OAuth connection, which is not overwritten; {start_over}, and "
            f"make deploy STACK={stack.argument} PARAMETERS=RotateToken=false, or its rotation would fail"
        )
    if isinstance(content, dict) and "tokens" in content and location is None:
        raise StackError(
            f"the secret contains tokens by location: name one (LOCATION=<id>, * for all others); {start_over}"
        )
    if location is not None:
        _entries(current)


def _entries(current: str) -> dict[str, str]:
    """Return the tokens of the secret, by location. A single token is that of all locations (`*`)."""
    if not current or current == "{}":
        return {}
    try:
        return dict(read_tokens(current).by_location)
    except TokenError as error:
        raise StackError(f"a location cannot be added, as the secret has another format: {error}") from None


def _ask() -> str:
    """Ask for the token without echo on a terminal, else read one line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass("HighLevel token (is not shown): ").strip()
        except EOFError:
            return ""
        except getpass.GetPassWarning:
            raise StackError("this terminal cannot hide what you type: pipe the token in") from None


def _check(token: str) -> str:
    """Return the kind of the token in words. Raises StackError, which contains no part of the token."""
    if not token:
        raise StackError("nothing was entered and nothing was stored")
    if re.match(r"bearer\b", token, re.IGNORECASE):
        raise StackError('enter only the token, without "Bearer" before it; nothing was stored')
    if re.search(r"\s", token):
        raise StackError("a token contains no blanks; nothing was stored")
    try:
        Tokens({"*": token}).of("*")
    except TokenError as error:
        raise StackError(f"{error}; nothing was stored") from None
    if _PRIVATE_INTEGRATION.fullmatch(token):
        return "a private integration token"
    if _JWT.fullmatch(token):
        return "an access token (JWT)"
    print(
        "hint: this looks like neither a private integration token (pit- and a UUID) nor an access token",
        file=sys.stderr,
    )
    return "a token of unknown kind"


def _print_next(stack: Stack) -> None:
    if stack.is_local:
        next_step = "Next: the curl command that make serve has printed, or make redrive REASON=no_token"
        print(f"\n{for_stack(next_step, stack.argument)}")
        return
    print(
        f"""
Next, look up the secret of the sender api (the member "api"):
  aws secretsmanager get-secret-value {stack.aws} --query SecretString --output text \\
    --secret-id {stack.output("SenderSecretsArn")}
and open a conversation:
  curl -i {stack.output("ConversationsUrl")} \\
    -H 'Authorization: Bearer <secret>' -H 'Content-Type: application/json' \\
    -d '{{"locationId": "<location id>", "contactId": "<contact id>"}}'
To retry dead letters that lacked a token: make redrive STACK={stack.name} REASON=no_token"""
    )


if __name__ == "__main__":
    run(main)
