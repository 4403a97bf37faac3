"""`make serve`: run the application on this machine until Ctrl-C, with a page to try it and a curl command.

HIGHLEVEL_BASE_URL connects it to another HighLevel, for instance the real one. Its token is read from HIGHLEVEL_TOKEN,
else asked for without echo. While it runs, three files, which only their owner can read, contain its address and its
credentials, which are new for each run: `.tools/serve.json` for the commands of `./hlc --stack local`,
`.tools/serve.curl` for `curl --config`, `.tools/serve.credentials` for the AWS CLI (AWS_SHARED_CREDENTIALS_FILE).
"""

import contextlib
import getpass
import json
import os
import shlex
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from create_conversation.senders.config import SendersError, load
from highlevel.tokens import TokenError, read_tokens
from local.application import Application
from local.highlevel import LocalHighLevel
from local.highlevel_oauth import UserType
from local.page.server import Page
from local.run import LOCATION, Screen
from local.stack import REGION, TOOLS, LocalAws, LocalAwsError, build, deploy, exit_on_sigterm

CONTACT = "ocQHyuzHvysMo5N5VsXc"
WHERE = TOOLS / "serve.json"
CURL = TOOLS / "serve.curl"
CREDENTIALS = TOOLS / "serve.credentials"


def main() -> int:
    """Serve until interrupted. Returns the exit code."""
    exit_on_sigterm()
    show = Screen()
    try:
        return _serve(show)
    except (LocalAwsError, SendersError) as error:
        show.line(f"\n{error}")
        return 1
    except KeyboardInterrupt:
        show.line("\nstopped")
        return 0


def _serve(show: Screen) -> int:
    load()  # a mistake in senders.toml would stop the function at its start: report it now
    other = os.environ.get("HIGHLEVEL_BASE_URL", "").strip()
    token = _token_of_another_highlevel() if other else f"pit-{uuid.uuid4()}"
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
            local = None if other else running.enter_context(LocalHighLevel(tokens={token: "*"}, search_lag=1.0))
            url = local.url if local else other
            aws = running.enter_context(LocalAws(enforce_iam=True))
        with show.step("sam build"):
            built = build()
        with show.step("sam deploy"):
            location = None if other else LOCATION  # samples without a location need one
            parameters = {"HighLevelBaseUrl": url, "LocationId": location or ""}
            application = Application(aws, deploy(aws, parameters, built=built))
        application.store_token(token)
        running.enter_context(_announced(application))
        page = running.enter_context(Page(application, local, url, location))
        _greet(show, application, url, page.url, _apps(local) if local else [], local=not other)
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


def announcement(application: Application) -> dict[str, str]:
    """Return what the commands of `./hlc` need to find this stack."""
    return {
        "endpoint": application.aws.endpoint,
        "region": REGION,
        "access_key_id": application.aws.env["AWS_ACCESS_KEY_ID"],
        "secret_access_key": application.aws.env["AWS_SECRET_ACCESS_KEY"],
        "stack": application.stack.name,
        "conversations_url": application.stack.url("/conversations"),
    }


@contextlib.contextmanager
def _announced(application: Application) -> Iterator[None]:
    where = announcement(application)
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
        _write_private(WHERE, json.dumps(where))
        _write_private(CURL, curl)
        _write_private(CREDENTIALS, credentials)
        yield
    finally:
        for file in (WHERE, CURL, CREDENTIALS):
            file.unlink(missing_ok=True)


def _write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, even if a file of that name exists."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)


def _apps(local: LocalHighLevel) -> list[tuple[str, str, str]]:
    """Install one app in a sub-account and one in an agency. Returns the kind, client id and secret of each."""
    apps = []
    kinds: tuple[tuple[str, UserType], ...] = (("sub-account", "Location"), ("agency", "Company"))
    for what, user_type in kinds:
        client_id, client_secret = local.oauth.client()
        local.oauth.install(client_id, user_type)
        apps.append((what, client_id, client_secret))
    return apps


def _greet(
    show: Screen,
    application: Application,
    highlevel: str,
    page: str,
    apps: list[tuple[str, str, str]],
    *,
    local: bool,
) -> None:
    ids = {"locationId": LOCATION, "contactId": CONTACT}
    if not local:
        ids = {"locationId": "<location id>", "contactId": "<contact id>"}
    show.line(f"\nHighLevel is at {highlevel}" + (" (GET /_local shows its state)." if local else "."))
    show.line(f"\nOpen this page to choose a sender, send a test submission and follow it step by step:\n\n  {page}\n")
    show.line("Or paste this command" + (":\n" if local else ", with the ids of one of your locations and contacts:\n"))
    show.line(
        f"curl -i {shlex.quote(application.stack.url('/conversations'))} \\\n"
        f"  -H 'Authorization: Bearer {application.api_secret}' \\\n"
        f"  -H 'Content-Type: application/json' -d '{json.dumps(ids)}'\n"
    )
    if apps:
        show.line("For ./hlc connect --stack local this HighLevel has two apps (open the printed address here):\n")
        for what, client_id, client_secret in apps:
            show.line(f"  {what:<12}  client id {client_id}  client secret {client_secret}")
        show.line("")
    show.line("In another terminal, for instance: ./hlc doctor --stack local (./hlc --help lists the commands).")
    show.line("The aws commands that they print need: export AWS_SHARED_CREDENTIALS_FILE=.tools/serve.credentials")
    show.line("Ctrl-C stops everything. The log lines of the functions:\n")


if __name__ == "__main__":
    sys.exit(main())
