"""`make serve`: run the application on this machine until Ctrl-C, with a page to try it and a curl command.

Addresses and secrets stay the same when it is started again (`local.serve_state`); PORT chooses the page's port. Edits
of functions/senders.toml are taken up while it runs (`local.senders_watch`).

HIGHLEVEL_BASE_URL connects it to another HighLevel, for instance the real one. Its token is read from HIGHLEVEL_TOKEN,
else asked for without echo, and is not saved. While it runs, three files, which only their owner can read, contain its
address and the credentials of its local AWS, which are new for each run: `.tools/serve.json` for `./hlc
--stack local`, `.tools/serve.curl` for `curl --config`, `.tools/serve.credentials` for the AWS CLI
(AWS_SHARED_CREDENTIALS_FILE).
"""

import contextlib
import functools
import getpass
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError

from create_conversation.senders.config import Sender, SendersError, load
from highlevel.tokens import TokenError, read_tokens
from local.application import Application
from local.highlevel import LocalHighLevel
from local.highlevel_oauth import UserType
from local.page.server import Page
from local.run import LOCATION, Screen
from local.senders_watch import SendersWatch
from local.serve_state import ServeError, ServeState, only_serve, write_private
from local.stack import REGION, TOOLS, LocalAws, LocalAwsError, build, deploy, exit_on_sigterm, hlc

CONTACT = "ocQHyuzHvysMo5N5VsXc"
# Of the second token, to rehearse a stack of several locations.
SECOND_LOCATION = "Qd8kYs2mT1xWbV6nLhJp"
WHERE = TOOLS / "serve.json"
CURL = TOOLS / "serve.curl"
CREDENTIALS = TOOLS / "serve.credentials"


@dataclass(frozen=True, slots=True)
class _HighLevel:
    """The HighLevel that is used: its address, the token to store, and the local one if it is that."""

    url: str
    token: str
    local: LocalHighLevel | None


def main() -> int:
    """Serve until interrupted. Returns the exit code."""
    exit_on_sigterm()
    show = Screen()
    try:
        with only_serve(os.environ.get("PORT", "").strip()) as state:
            return _serve(show, state)
    except (LocalAwsError, SendersError, ServeError) as error:
        show.line(f"\n{error}")
        return 1
    except KeyboardInterrupt:
        show.line("\nstopped")
        return 0


def _serve(show: Screen, state: ServeState) -> int:
    load()  # a mistake in senders.toml would stop the function at its start: report it now
    other = os.environ.get("HIGHLEVEL_BASE_URL", "").strip()
    token = _token_of_another_highlevel() if other else state.tokens[0]
    if not token:
        show.line("There is no token: set HIGHLEVEL_TOKEN, or type it when asked.")
        return 1
    try:
        read_tokens(token).of(LOCATION)
    except TokenError as error:
        show.line(f"The token cannot be used: {error}.")
        return 1
    with contextlib.ExitStack() as running:
        with show.step("start AWS on 127.0.0.1" if other else "start HighLevel and AWS on 127.0.0.1"):
            local = None if other else running.enter_context(_local_highlevel(state))
            highlevel = _HighLevel(local.url if local else other, token, local)
            aws = running.enter_context(LocalAws(enforce_iam=True, port=state.aws_port))
        application = _deployed(show, aws, highlevel, state)
        running.enter_context(_announced(application, state.page_url))
        page = running.enter_context(
            Page(application, local, highlevel.url, _location(highlevel), port=state.port, key=state.signing_key)
        )
        running.callback(_save_secrets, application, state)
        _save_secrets(application, state)  # now too: this process may be killed

        def take_up(senders: dict[str, Sender]) -> None:
            page.use(senders)
            _save_secrets(application, state)

        redeploy = functools.partial(_deploy, aws, highlevel)
        running.enter_context(SendersWatch(redeploy, functools.partial(_report, show, page), take_up))
        _greet(show, application, highlevel, state)
        for line in page.watch():
            if "_aws" not in line:
                show.line(json.dumps({name: line[name] for name in line if name not in ("service", "location")}))
    return 0


def _token_of_another_highlevel() -> str:
    # Removed from the environment: no child process needs it.
    if token := os.environ.pop("HIGHLEVEL_TOKEN", "").strip():
        return token
    with contextlib.suppress(EOFError):
        return getpass.getpass("HighLevel token (not shown): ").strip()
    return ""


def _local_highlevel(state: ServeState) -> LocalHighLevel:
    first, second = state.tokens
    return LocalHighLevel(tokens={first: "*", second: SECOND_LOCATION}, search_lag=1.0, port=state.highlevel_port)


def _location(highlevel: _HighLevel) -> str | None:
    """Return the stack's LocationId: samples without a location need one."""
    return LOCATION if highlevel.local else None


def _deploy(aws: LocalAws, highlevel: _HighLevel) -> Application:
    parameters = {"HighLevelBaseUrl": highlevel.url, "LocationId": _location(highlevel) or ""}
    return Application(aws, deploy(aws, parameters))


def _deployed(show: Screen, aws: LocalAws, highlevel: _HighLevel, state: ServeState) -> Application:
    """Deploy, and store the token and the senders' secrets of the previous run."""
    with show.step("sam build"):
        build()
    with show.step("sam deploy"):
        application = _deploy(aws, highlevel)
    application.store_token(highlevel.token)
    application.store_sender_secrets(state.sender_secrets)
    return application


def _save_secrets(application: Application, state: ServeState) -> None:
    """Save the senders' secrets, which commands and new senders have changed, for the next start."""
    # The local AWS may have ended, and a command may have stored something else than JSON.
    with contextlib.suppress(BotoCoreError, ValueError):
        stored = json.loads(application.secret("SenderSecretsArn"))
        if isinstance(stored, dict):
            state.sender_secrets = stored
            state.save()


def _report(show: Screen, page: Page, text: str, is_mistake: bool) -> None:
    show.line(text)
    page.notice = {"text": text, "wrong": is_mistake}


def announcement(application: Application, page_url: str = "") -> dict[str, str | int]:
    """Return what the operator's commands need to find this stack."""
    return {
        "pid": os.getpid(),
        "page": page_url,
        "endpoint": application.aws.endpoint,
        "region": REGION,
        "access_key_id": application.aws.env["AWS_ACCESS_KEY_ID"],
        "secret_access_key": application.aws.env["AWS_SECRET_ACCESS_KEY"],
        "stack": application.stack.name,
        "conversations_url": application.stack.url("/conversations"),
    }


@contextlib.contextmanager
def _announced(application: Application, page_url: str = "") -> Iterator[None]:
    where = announcement(application, page_url)
    curl = (
        f'url = "{where["conversations_url"]}"\n'
        f'header = "Authorization: Bearer {application.api_secret}"\n'
        'header = "Content-Type: application/json"\n'
    )
    credentials = (
        f"[default]\naws_access_key_id = {where['access_key_id']}\n"
        f"aws_secret_access_key = {where['secret_access_key']}\n"
    )
    try:
        write_private(WHERE, json.dumps(where))
        write_private(CURL, curl)
        write_private(CREDENTIALS, credentials)
        yield
    finally:
        for file in (WHERE, CURL, CREDENTIALS):
            file.unlink(missing_ok=True)


def _apps(local: LocalHighLevel, state: ServeState) -> list[tuple[str, str, str]]:
    """Install one app in a sub-account and one in an agency. Returns the kind, client id and secret of each."""
    kinds: tuple[tuple[str, UserType], ...] = (("sub-account", "Location"), ("agency", "Company"))
    if not state.apps:
        state.apps = dict(local.oauth.client() for _ in kinds)
        state.save()
    local.oauth.clients |= state.apps
    for (_what, user_type), client_id in zip(kinds, state.apps, strict=True):
        local.oauth.install(client_id, user_type)
    return [(what, *app) for (what, _type), app in zip(kinds, state.apps.items(), strict=True)]


def _greet(show: Screen, application: Application, highlevel: _HighLevel, state: ServeState) -> None:
    ids = {"locationId": LOCATION, "contactId": CONTACT}
    if not highlevel.local:
        ids = {"locationId": "<location id>", "contactId": "<contact id>"}
    show.line(f"\nOpen this page to choose a sender, send a submission and see what happens:\n\n  {state.page_url}\n")
    show.line(f"Webhooks are received at {application.stack.url('/webhooks/')}<sender>")
    show.line("Edits of functions/senders.toml are taken up while this runs.")
    show.line("Addresses and secrets stay the same when it is started again.\n")
    show.line(
        "Or paste this command"
        + (":\n" if highlevel.local else ", with the ids of one of your locations and contacts:\n")
    )
    show.line(_curl(application, ids))
    if highlevel.local:
        _greet_highlevel(show, highlevel.local, state)
    else:
        show.line(f"HighLevel is at {highlevel.url}.\n")
    show.line(f"In another terminal, for instance: {hlc('doctor')} (./hlc --help lists the commands).")
    show.line("The aws commands that they print need: export AWS_SHARED_CREDENTIALS_FILE=.tools/serve.credentials")
    show.line("Ctrl-C stops everything. The log lines of the functions:\n")


def _curl(application: Application, ids: Mapping[str, str]) -> str:
    return (
        f"curl -i {shlex.quote(application.stack.url('/conversations'))} \\\n"
        f"  -H 'Authorization: Bearer {application.api_secret}' \\\n"
        f"  -H 'Content-Type: application/json' -d '{json.dumps(ids)}'\n"
    )


def _greet_highlevel(show: Screen, local: LocalHighLevel, state: ServeState) -> None:
    first, second = state.tokens
    show.line(f"HighLevel is at {local.url} (GET /_local shows its state).")
    show.line(f"Tokens that it accepts, for {hlc('token set')}:\n")
    show.line(f"  {first}  any location; stored now")
    show.line(f"  {second}  location {SECOND_LOCATION} only\n")
    show.line(f"For {hlc('connect')} it has two apps (open the printed address here):\n")
    for what, client_id, client_secret in _apps(local, state):
        show.line(f"  {what:<12}  client id {client_id}  client secret {client_secret}")
    show.line("")


if __name__ == "__main__":
    sys.exit(main())
