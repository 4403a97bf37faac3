"""Connect with HighLevel by OAuth: `python -m operate.connect [STACK]`. Walks through it on the terminal."""

import contextlib
import getpass
import secrets
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from highlevel.client import DEFAULT_BASE_URL, HighLevel
from highlevel.oauth import AuthorizationCode, OAuth, OAuthError, UserType, exchange_code
from highlevel.tokens import TokenError, Tokens, read_tokens
from operate.sender import stack_name
from operate.stack import Stack, StackError, explain, parser, printable, run

MARKETPLACE = "https://marketplace.gohighlevel.com"
REDIRECT_URL = "https://localhost/oauth/callback"  # nobody is there: the code stays in the browser's address bar
SCOPES = ("conversations.write", "conversations.readonly", "contacts.write")
AGENCY_SCOPES = (*SCOPES, "oauth.write")
ROTATE = "RotateToken"  # the template's parameter that attaches the rotation
EXCHANGE_SECONDS = 20.0
_WRONG = {
    "grant_refused": "HighLevel takes this code no more: it works once, and for minutes only",
    "client_refused": "HighLevel does not know this client id with this client secret",
    "oauth_refused": "HighLevel refuses the exchange: is the redirect URL the one that is registered with the app?",
    "user_type_refused": "what you have approved is not what you have said at the start: a sub-account, or the agency",
    "location_inactive": "the sub-account is suspended",
    "base_url_refused": "the stack's HighLevelBaseUrl is not usable",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, authorise, store, attach. Returns 0; raises StackError with what to do instead. Until the code has been
    exchanged nothing is changed anywhere; from then to the stored secret Ctrl-C is put off."""
    options = parser(
        "Connect with HighLevel by OAuth: prints the address to open, takes the one that you are sent back to,\n"
        "stores the connection in HighLevelToken and attaches its rotation. Asks for everything; nothing secret is\n"
        "shown, or passed as an argument."
    ).parse_args(arguments)
    if not sys.stdin.isatty():
        raise StackError("make connect asks questions: run it on a terminal")
    stack = Stack.connect(options.stack)
    arn = stack.output("HighLevelTokenArn")
    if ROTATE not in stack.parameters:
        raise StackError(f"the stack {stack.name} is of an older version, without rotation: make deploy first")
    try:
        highlevel = HighLevel(stack.parameters.get("HighLevelBaseUrl", DEFAULT_BASE_URL))
    except ValueError as error:
        raise StackError(f"HighLevelBaseUrl: {error}") from None

    kept = _kept(stack, arn)
    asked = _ask(kept)
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
        print("cleared the label AWSPENDING of a rotation that had not ended")
    _drop_pending(stack, arn, version)
    _attach(stack)
    print("running functions take it within 5 minutes, or as soon as HighLevel refuses the old token")
    print(f"\nNext: make doctor STACK={stack_name(stack)}{' LOCATION=<location id>' if not location else ''}")
    if not stack.is_local:
        print(f"What waits in the retry queue is opened by itself; dead letters: make redrive STACK={stack.name}")
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


def _kept(stack: Stack, arn: str) -> Tokens | None:
    """What the secret holds now; None for nothing. Tokens that cannot be read are replaced like others."""
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


def _ask(kept: Tokens | None) -> _Asked:
    before = kept.oauth if kept else None
    if kept and not before:
        print("HighLevelToken holds something else than a connection: this replaces it (it stays as AWSPREVIOUS).")
        if not _yes("Go on?"):
            raise StackError("nothing was changed")
    agency = _yes(
        "For a whole agency (a token is then minted for each of its locations), not for one sub-account?",
        before is not None and before.user_type == "Company",
    )
    scopes = " ".join(AGENCY_SCOPES if agency else SCOPES)
    print(
        f"""
In HighLevel's developer portal ({MARKETPLACE}): My Apps, the app, Advanced Settings, Auth:
  scopes        {scopes}
  redirect URL  {REDIRECT_URL} (add it there, or name one of yours below)
  client keys   add them; their id and secret are asked for now
"""
    )
    client_id = _visible("client id", before.client_id if before else "")
    known = before.client_secret if before and before.client_id == client_id else ""
    client_secret = _hidden(f"client secret (is not shown{'; Enter for the stored one' if known else ''}): ") or known
    for name, value in (("client id", client_id), ("client secret", client_secret)):
        if not value or len(value) > 512 or not (value.isascii() and value.isprintable()) or " " in value:
            raise StackError(f"that is no {name}; nothing was changed")
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
        raise StackError("nothing was entered, nothing was changed") from None


def _hidden(question: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(question).strip()
        except EOFError:
            raise StackError("nothing was entered, nothing was changed") from None
        except getpass.GetPassWarning:
            raise StackError("this terminal cannot hide what is typed: use another one") from None


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

You are then sent to an address that begins with {asked.redirect_url}
(with the suggested one the browser says that it cannot be reached, and that is all right).
Copy the whole address from the address bar, soon: the code in it works once, for some minutes.
"""
    )


def _code(address: str, asked: _Asked, state: str) -> str:
    """The code in the address that HighLevel has sent the browser to. Raises StackError without any part of it."""
    query = parse_qs(urlsplit(address).query) if "?" in address else {}
    if not address.startswith(asked.redirect_url) or not query:
        raise StackError(
            f"that is not the address that you were sent to (it begins with {printable(asked.redirect_url)} and has a "
            "code in it); nothing was changed"
        )
    if "error" in query:
        raise StackError("HighLevel says that it was not approved; nothing was changed")
    code = query.get("code", [""])[0]
    if not code or not (code.isascii() and code.isprintable()):
        raise StackError("there is no code in this address; nothing was changed")
    returned = query.get("state", [""])[0]
    if returned and not secrets.compare_digest(returned.encode(), state.encode()):
        raise StackError(
            "this address belongs to another authorisation than the one begun here (its state differs); nothing was "
            "changed: make connect again, and open the address that it prints"
        )
    # HighLevel does not document that it hands the state back.
    if not returned and not _yes("The address lacks the state. Did you yourself just open the one printed above?"):
        raise StackError("nothing was changed")
    return code


def _exchange(highlevel: HighLevel, asked: _Asked, code: str) -> tuple[OAuth, str | None]:
    try:
        granted = AuthorizationCode(asked.client_id, asked.client_secret, code, asked.user_type, asked.redirect_url)
        oauth, location = exchange_code(highlevel, granted, within=EXCHANGE_SECONDS)
    except OAuthError as error:
        why = _WRONG.get(error.reason, f"HighLevel gave no answer to work with ({error})")
        raise StackError(f"{why}; nothing was stored: make connect again") from None
    if asked.user_type == "Company" and not oauth.company_id:
        raise StackError(f"{_WRONG['user_type_refused']}; nothing was stored: make connect again")
    return oauth, location


def _check_location(stack: Stack, location: str | None) -> None:
    serves = stack.parameters.get("LocationId")
    if serves and location and location != serves:
        raise StackError(
            f"you have chosen the sub-account {location}, but the stack {stack.name} serves {serves} (LocationId); "
            "nothing was stored: make connect again, or another STACK"
        )


def _whose(oauth: OAuth, location: str | None) -> str:
    if oauth.user_type == "Company":
        return f"the agency {oauth.company_id}"
    return f"the sub-account {location}" if location else "a sub-account"


# --- The stack --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP (a terminal that is closed) take effect behind this: between the exchange and the
    store they would lose the tokens, which HighLevel gives once."""
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
            "the connection is stored; interrupted before its rotation was attached: make connect again, or "
            f'make deploy PARAMETERS="{ROTATE}=true"',
            file=sys.stderr,
        )
        raise KeyboardInterrupt


def _is_rotating(stack: Stack, arn: str) -> bool:
    """Whether a rotation has begun and not ended."""
    stages = stack.secrets_manager.describe_secret(SecretId=arn).get("VersionIdsToStages", {})
    return any("AWSPENDING" in labels and "AWSCURRENT" not in labels for labels in stages.values())


def _store(stack: Stack, arn: str, oauth: OAuth) -> str:
    """Store the connection; the version's id. It takes the label AWSPENDING away from a rotation in the same call: one
    that is under way must not end in between and put its pair in the new one's place, and while a version that it has
    left behind has the label, none begins."""
    try:
        stored = stack.secrets_manager.put_secret_value(
            SecretId=arn, SecretString=oauth.to_secret(), VersionStages=["AWSCURRENT", "AWSPENDING"]
        )
    except (ClientError, BotoCoreError) as error:
        raise StackError(
            f"{explain(error)}; the connection was not stored and is lost: mend this, then make connect again"
        ) from None
    return stored["VersionId"]


def _drop_pending(stack: Stack, arn: str, version: str) -> None:
    """Nothing is pending any more. Where that fails, a rotation that begins takes the label all the same."""
    with contextlib.suppress(ClientError, BotoCoreError):
        stack.secrets_manager.update_secret_version_stage(
            SecretId=arn, VersionStage="AWSPENDING", RemoveFromVersionId=version
        )


def _attach(stack: Stack) -> None:
    """Attach the rotation by the template's parameter: what is changed elsewhere, the next deployment would undo."""
    if stack.parameters[ROTATE] == "true":
        print("its rotation is attached")
        return
    parameters = [{"ParameterKey": name, "UsePreviousValue": True} for name in stack.parameters if name != ROTATE]
    print("attaching its rotation: this updates the stack, which takes a minute", flush=True)
    by_hand = f'make deploy STACK={stack.name} PARAMETERS="{ROTATE}=true"'
    try:
        stack.formation.update_stack(
            StackName=stack.name,
            UsePreviousTemplate=True,
            Parameters=[*parameters, {"ParameterKey": ROTATE, "ParameterValue": "true"}],  # type: ignore[list-item]
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        stack.formation.get_waiter("stack_update_complete").wait(
            StackName=stack.name, WaiterConfig={"Delay": 1 if stack.is_local else 5, "MaxAttempts": 240}
        )
    except WaiterError:
        raise StackError(f"the connection is stored, but its rotation is not attached: {by_hand} says why") from None
    except (ClientError, BotoCoreError) as error:
        raise StackError(
            f"the connection is stored, but its rotation is not attached: {explain(error)}; {by_hand}"
        ) from None
    except KeyboardInterrupt:
        print("\nthe connection is stored; CloudFormation goes on attaching its rotation", file=sys.stderr)
        raise
    print("attached")


if __name__ == "__main__":
    run(main)
