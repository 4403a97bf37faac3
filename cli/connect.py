"""`./hlc connect`: connect a stack with HighLevel by OAuth, step by step on the terminal."""

import contextlib
import getpass
import secrets
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from cli import token_check
from cli.options import Settings
from cli.progress import progress
from cli.stack import Stack, StackError, explain, for_stack, printable
from highlevel.client import DEFAULT_BASE_URL, HighLevel
from highlevel.oauth import AuthorizationCode, OAuth, OAuthError, UserType, exchange_code
from highlevel.tokens import TokenError, Tokens, read_tokens

MARKETPLACE = "https://marketplace.gohighlevel.com"
REDIRECT_URL = "https://localhost/oauth/callback"  # no server is there: the code stays in the browser's address bar
SCOPES = tuple(scope.name for scope in (*token_check.SCOPES, *token_check.MESSAGE_SCOPES))
AGENCY_SCOPES = (*SCOPES, "oauth.write")
ROTATE = "RotateToken"  # the template parameter that attaches the rotation
EXCHANGE_SECONDS = 20.0
_WRONG = {
    "grant_refused": "HighLevel does not accept this code any more: a code works once and expires within minutes",
    "client_refused": "HighLevel does not accept this client id with this client secret",
    "oauth_refused": "HighLevel refuses the exchange: check that the redirect URL is registered with the app",
    "user_type_refused": "you approved another kind of account (sub-account or agency) than you chose at the start",
    "location_inactive": "the sub-account is suspended",
    "base_url_refused": "the stack's HighLevelBaseUrl cannot be used",
}


def run(settings: Settings) -> int:
    """Ask, authorise, store the connection and attach the rotation. Returns 0; raises StackError.

    Nothing changes before the code is exchanged. From then until the secret is stored, Ctrl-C is deferred.
    """
    if not sys.stdin.isatty():
        raise StackError("./hlc connect asks questions: run it in a terminal")
    stack = settings.connect()
    arn = stack.output("HighLevelTokenArn")
    if ROTATE not in stack.parameters:
        raise StackError(
            for_stack(f"the stack {stack.name} has an older version without rotation: ./hlc deploy first", stack.hlc)
        )
    try:
        highlevel = HighLevel(stack.parameters.get("HighLevelBaseUrl", DEFAULT_BASE_URL))
    except ValueError as error:
        raise StackError(f"HighLevelBaseUrl: {error}") from None

    asked = _ask(_stored(stack, arn))
    state = secrets.token_urlsafe(16)
    _print_address(stack, asked, state)
    code = _code(_hidden("redirected address (is not shown): "), asked, state)
    is_rotating = _is_rotating(stack, arn)
    with _uninterrupted():
        oauth, location = _exchange(highlevel, asked, code)
        _check_location(stack, location)
        version = _store(stack, arn, oauth)
    print(f"stored the connection of {_whose(oauth, location)} in {arn}")
    if is_rotating:
        print("removed the label AWSPENDING of an unfinished rotation")
    _drop_pending(stack, arn, version)
    _attach(stack)
    print("running functions use it within 5 minutes, or as soon as HighLevel refuses the old token")
    text = (
        f"\nNext: ./hlc doctor{' --location <location id>' if not location else ''}\n"
        "The retry queue is processed automatically; for dead letters: ./hlc redrive"
    )
    print(for_stack(text, stack.hlc))
    return 0


@dataclass(frozen=True, slots=True)
class _Asked:
    user_type: UserType
    client_id: str
    client_secret: str = field(repr=False)
    redirect_url: str

    @property
    def scopes(self) -> tuple[str, ...]:
        return AGENCY_SCOPES if self.user_type == "Company" else SCOPES


def _stored(stack: Stack, arn: str) -> Tokens | None:
    """Return the tokens that the secret contains now, None for none. Unreadable ones are replaced like others."""
    manager = stack.secrets_manager
    try:
        text = manager.get_secret_value(SecretId=arn).get("SecretString", "").strip()
    except manager.exceptions.ResourceNotFoundException:
        return None
    try:
        return read_tokens(text) if text and text != "{}" else None
    except TokenError:
        return Tokens({"*": ""})


# --- Questions --------------------------------------------------------------------------------------------------------


def _ask(stored: Tokens | None) -> _Asked:
    before = stored.oauth if stored else None
    if stored and not before:
        print("HighLevelToken contains something else than a connection. It is replaced (and stays as AWSPREVIOUS).")
        if not _yes("Continue?"):
            raise StackError("nothing was changed")
    agency = _yes(
        "Connect a whole agency (each of its locations gets its own token) instead of one sub-account?",
        before is not None and before.user_type == "Company",
    )
    scopes = " ".join(AGENCY_SCOPES if agency else SCOPES)
    print(
        f"""
In HighLevel's developer portal ({MARKETPLACE}): My Apps, the app, Advanced Settings, Auth:
  scopes        {scopes}
  redirect URL  {REDIRECT_URL} (add it there, or enter your own below)
  client keys   add a key; enter its id and secret now
"""
    )
    client_id = _visible("client id", before.client_id if before else "")
    known = before.client_secret if before and before.client_id == client_id else ""
    client_secret = _hidden(f"client secret (is not shown{'; Enter for the stored one' if known else ''}): ") or known
    for name, value in (("client id", client_id), ("client secret", client_secret)):
        if not value or len(value) > 512 or not (value.isascii() and value.isprintable()) or " " in value:
            raise StackError(f"the {name} is missing or contains characters that it cannot have; nothing was changed")
    redirect_url = _visible("redirect URL", REDIRECT_URL)
    parts = urlsplit(redirect_url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.fragment:
        raise StackError("the redirect URL must be one of those that are registered with the app; nothing was changed")
    return _Asked("Company" if agency else "Location", client_id, client_secret, redirect_url)


def _yes(question: str, default: bool = False) -> bool:
    answer = _visible(f"{question} [{'Y/n' if default else 'y/N'}]", "").lower()
    return default if not answer else answer in ("y", "yes")


def _visible(question: str, default: str) -> str:
    try:
        return input(f"{question}{f' [{printable(default)}]' if default else ''}: ").strip() or default
    except EOFError:
        raise StackError("nothing was entered and nothing was changed") from None


def _hidden(question: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(question).strip()
        except EOFError:
            raise StackError("nothing was entered and nothing was changed") from None
        except getpass.GetPassWarning:
            raise StackError("this terminal cannot hide what you type: use another one") from None


# --- The authorisation ------------------------------------------------------------------------------------------------


def _print_address(stack: Stack, asked: _Asked, state: str) -> None:
    base_url = stack.parameters.get("HighLevelBaseUrl", DEFAULT_BASE_URL)
    query = {
        "response_type": "code",
        "redirect_uri": asked.redirect_url,
        "client_id": asked.client_id,
        "scope": " ".join(asked.scopes),
        "state": state,
    }
    marketplace = MARKETPLACE if base_url.rstrip("/") == DEFAULT_BASE_URL else base_url.rstrip("/")
    what = "the agency" if asked.user_type == "Company" else "the sub-account"
    print(
        f"""
Open this in a browser in which you are signed in to HighLevel, and choose {what}:

  {marketplace}/oauth/chooselocation?{urlencode(query)}

HighLevel then redirects you to an address that begins with {asked.redirect_url}
(with the suggested one the browser shows an error, because no server is there; this is expected).
Copy the whole address from the address bar within a few minutes: the code in it works once and expires soon.
"""
    )


def _code(address: str, asked: _Asked, state: str) -> str:
    """Return the code in the address to which HighLevel redirected. An error contains no part of the address."""
    query = parse_qs(urlsplit(address).query) if "?" in address else {}
    if not address.startswith(asked.redirect_url) or not query:
        raise StackError(
            f"this is not the address to which HighLevel redirects (it begins with {printable(asked.redirect_url)} "
            "and contains a code); nothing was changed"
        )
    if "error" in query:
        raise StackError("HighLevel reports that the access was not approved; nothing was changed")
    code = query.get("code", [""])[0]
    if not code or not (code.isascii() and code.isprintable()):
        raise StackError("this address contains no code; nothing was changed")
    returned = query.get("state", [""])[0]
    if returned and not secrets.compare_digest(returned.encode(), state.encode()):
        raise StackError(
            "this address belongs to another authorisation (its state differs); nothing was changed: "
            "run ./hlc connect again and open the address that it prints"
        )
    # HighLevel does not document that it returns the state.
    if not returned and not _yes("The address has no state. Did you just open the address printed above yourself?"):
        raise StackError("nothing was changed")
    return code


def _exchange(highlevel: HighLevel, asked: _Asked, code: str) -> tuple[OAuth, str | None]:
    try:
        granted = AuthorizationCode(asked.client_id, asked.client_secret, code, asked.user_type, asked.redirect_url)
        oauth, location = exchange_code(highlevel, granted, within=EXCHANGE_SECONDS)
    except OAuthError as error:
        why = _WRONG.get(error.reason, f"HighLevel gave no usable answer ({error})")
        raise StackError(f"{why}; nothing was stored: run ./hlc connect again") from None
    if asked.user_type == "Company" and not oauth.company_id:
        raise StackError(f"{_WRONG['user_type_refused']}; nothing was stored: run ./hlc connect again")
    return oauth, location


def _check_location(stack: Stack, location: str | None) -> None:
    serves = stack.parameters.get("LocationId")
    if serves and location and location != serves:
        raise StackError(
            f"you chose the sub-account {location}, but the stack {stack.name} serves {serves} (LocationId); "
            "nothing was stored: run ./hlc connect again, or use another --stack"
        )


def _whose(oauth: OAuth, location: str | None) -> str:
    if oauth.user_type == "Company":
        return f"the agency {oauth.company_id}"
    return f"the sub-account {location}" if location else "a sub-account"


# --- The stack --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Defer Ctrl-C, SIGTERM and SIGHUP (a closed terminal) to the end of the block.

    Between the exchange and the store they would lose the tokens, which HighLevel returns only once.
    """
    came = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        print(
            "the connection is stored, but the command was interrupted before it attached the rotation: "
            "run ./hlc connect again, or "
            f"./hlc deploy {ROTATE}=true",
            file=sys.stderr,
        )
        raise KeyboardInterrupt


def _is_rotating(stack: Stack, arn: str) -> bool:
    """Whether a rotation has begun and has not ended."""
    stages = stack.secrets_manager.describe_secret(SecretId=arn).get("VersionIdsToStages", {})
    return any("AWSPENDING" in labels and "AWSCURRENT" not in labels for labels in stages.values())


def _store(stack: Stack, arn: str, oauth: OAuth) -> str:
    """Store the connection and return the id of its version.

    The same call takes the label AWSPENDING from an unfinished rotation. A running one could otherwise replace the new
    tokens with its own, and an abandoned one would block the next.
    """
    try:
        stored = stack.secrets_manager.put_secret_value(
            SecretId=arn, SecretString=oauth.to_secret(), VersionStages=["AWSCURRENT", "AWSPENDING"]
        )
    except (ClientError, BotoCoreError) as error:
        raise StackError(
            f"{explain(error)}; the connection was not stored and is lost: fix this, then run ./hlc connect again"
        ) from None
    return stored["VersionId"]


def _drop_pending(stack: Stack, arn: str, version: str) -> None:
    """Remove the label AWSPENDING from the stored version. If that fails, the next rotation takes the label anyway."""
    with contextlib.suppress(ClientError, BotoCoreError):
        stack.secrets_manager.update_secret_version_stage(
            SecretId=arn, VersionStage="AWSPENDING", RemoveFromVersionId=version
        )


def _attach(stack: Stack) -> None:
    """Attach the rotation by the template parameter: the next deployment would undo any other change."""
    if stack.parameters[ROTATE] == "true":
        print("its rotation is attached")
        return
    parameters = [{"ParameterKey": name, "UsePreviousValue": True} for name in stack.parameters if name != ROTATE]
    print("attaching its rotation: this updates the stack and takes about a minute", flush=True)
    by_hand = f"./hlc deploy {ROTATE}=true"
    try:
        stack.formation.update_stack(
            StackName=stack.name,
            UsePreviousTemplate=True,
            Parameters=[*parameters, {"ParameterKey": ROTATE, "ParameterValue": "true"}],  # type: ignore[list-item]
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        with progress("CloudFormation updates the stack"):
            stack.formation.get_waiter("stack_update_complete").wait(
                StackName=stack.name, WaiterConfig={"Delay": 1 if stack.is_local else 5, "MaxAttempts": 240}
            )
    except WaiterError:
        raise StackError(
            f"the connection is stored, but its rotation is not attached: {by_hand} shows the reason"
        ) from None
    except (ClientError, BotoCoreError) as error:
        raise StackError(
            f"the connection is stored, but its rotation is not attached: {explain(error)}; {by_hand}"
        ) from None
    except KeyboardInterrupt:
        print("\nthe connection is stored; CloudFormation continues to attach its rotation", file=sys.stderr)
        raise
    print("attached")
