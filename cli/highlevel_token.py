"""`./hlc token`: try a HighLevel token, and store it."""

import getpass
import json
import re
import sys
import warnings

from cli.options import Settings, print_json
from cli.progress import progress
from cli.report import Report
from cli.stack import Stack, StackError, for_stack
from cli.stored_tokens import check_stored_tokens
from cli.token_check import check_token, check_token_alone, highlevel_of, writes_comments
from highlevel.tokens import TokenError, Tokens, read_tokens

_PRIVATE_INTEGRATION = re.compile(r"pit-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")


def set_token(settings: Settings, location: str | None) -> int:
    """Ask for the token, try it on HighLevel and store it. Returns 0; raises StackError with what to do instead."""
    stack = settings.connect()
    arn = stack.output("HighLevelTokenArn")
    current = _read(stack, arn)
    _check_overwrite(current, location, arn, stack)

    token = _ask()
    kind = _check(token)
    report = Report(settings)
    with progress("asking HighLevel"):
        accepted = is_accepted(stack, token, location, report)
    if not accepted:
        instead = " instead of the current one" if current else ""
        stays = "; the stored value did not change" if current else ""
        settings.confirm(f"Store it anyway{instead}?", f"nothing was stored{stays}")
    value = token
    tokens: dict[str, str] = {}
    if location is not None:
        tokens = _entries(current)
        tokens[location] = token
        value = json.dumps({"tokens": tokens})
    stack.secrets_manager.put_secret_value(SecretId=arn, SecretString=value)
    if settings.json:
        print_json({"stored": True, "location": location, "secret_arn": arn, "checks": report.checks})
        return 0
    where = f" for location {location}" if location not in (None, "*") else ""
    print(f"stored {kind} ({len(token)} characters){where} in {arn}")
    if "*" in tokens and location != "*":
        print("locations without their own token use the token that is stored for *")
    if current:
        print("running functions use it within 5 minutes, or as soon as HighLevel refuses the old token")
    _print_next(stack)
    return 0


def check(settings: Settings, location: str | None) -> int:
    """Try the stored token on HighLevel, scope by scope. Returns 0 if all is well, else 1."""
    report = Report(settings)
    stack = settings.connect()
    with progress("asking HighLevel"):
        check_stored_tokens(stack, location, report)
    if settings.json:
        print_json({"ok": not report.failed, "checks": report.checks})
    return 1 if report.failed else 0


def is_accepted(stack: Stack, token: str, location: str | None, report: Report) -> bool:
    """Try the token at the location where it will be used, and report what it may do."""
    highlevel = highlevel_of(stack, report)
    if highlevel is None:
        return False
    known = stack.parameters.get("LocationId") if location in (None, "*") else location
    if known:
        return check_token(highlevel, token, known, report, comments=writes_comments(stack))
    return check_token_alone(highlevel, token, report)


def ask_token() -> str:
    """Ask for a token. Raises StackError for one that cannot be one."""
    token = _ask()
    _check(token)
    return token


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
            f"{stack.hlc} deploy RotateToken=false, or its rotation would fail"
        )
    if isinstance(content, dict) and "tokens" in content and location is None:
        raise StackError(
            "the secret contains tokens by location: add --location <id>, or --location '*' for all others; "
            f"{start_over}"
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
    text = (
        "\nNext: ./hlc sender add <name>, for instance typeform, then ./hlc send <name>\n"
        "To retry dead letters that lacked a token: ./hlc redrive --reason no_token"
    )
    print(for_stack(text, stack.hlc))
