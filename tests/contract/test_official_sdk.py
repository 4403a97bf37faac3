"""HighLevel's official Python SDK runs unmodified against the local HighLevel, for every route that it plays.

The SDK makes each of the 14 calls about contacts and conversations, and `POST /oauth/token` with the documented names
of its fields. Not covered are its helper `refresh_token` and its call for a location token: they use names and a path
of v3 (`refreshToken`, `/oauth/location-token`), which the local HighLevel does not play. The SDK asks for v3
everywhere; for these calls the answers of 2021-04-15 and 2021-07-28 fit its models, except where a test says so.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from local.highlevel import Call, LocalHighLevel
from local.highlevel_commands import read_out
from tests.contract.local_calls import PIT

SCRIPT = Path(__file__).with_name("sdk_calls.py")


class SdkRun(NamedTuple):
    answers: dict[str, dict[str, Any]]
    calls: list[Call]
    state: dict[str, Any]
    routes: set[tuple[str, str]]


@pytest.fixture(scope="module")
def run() -> Iterator[SdkRun]:
    with LocalHighLevel(tokens={PIT: "mine"}) as local:
        client_id, client_secret = local.oauth.client()
        installation = local.oauth.install(client_id, location="mine")
        app = {"client_id": client_id, "client_secret": client_secret, "grant_type": "refresh_token"}
        task = {"url": local.url, "token": PIT, "client": app | {"refresh_token": installation.refresh_token}}
        finished = subprocess.run(
            [sys.executable, "-I", SCRIPT],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        routes = {(route.method, route.path) for route in local.routes}
        yield SdkRun(json.loads(finished.stdout.splitlines()[-1]), list(local.calls), read_out(local), routes)


def test_it_makes_every_call_that_is_played(run: SdkRun) -> None:
    answered = {(call.method, call.route) for call in run.calls if call.status in (200, 201)}
    assert run.routes <= answered
    assert [call.path for call in run.calls if not call.route] == ["/oauth/token"]
    assert {call.headers["accept"] for call in run.calls} == {"*/*"}
    assert {call.headers["version"] for call in run.calls} == {"v3"}


@pytest.mark.parametrize(
    ("name", "problems"),
    [
        ("create_contact", []),
        ("get_duplicate_contact", []),
        ("get_duplicate_contact without a result", []),
        ("get_contact", []),
        ("update_contact", []),
        ("add_tags", []),
        ("create_note", []),
        ("get_all_notes", []),
        ("upsert_contact", []),
        ("create_conversation", []),
        ("send_a_new_message", []),
        # issue 54 of highlevel-api-docs: the documented page is a member of the answer
        ("get_messages", ["lastMessageId: Field required", "nextPage: Field required", "messages: Input should be"]),
        ("update_conversation", []),
        ("get_conversation", []),
        ("search_conversation", []),
        ("get_access_token", []),
    ],
)
def test_an_answer_fits_the_model_of_the_sdk(run: SdkRun, name: str, problems: list[str]) -> None:
    assert "answer" in run.answers[name], run.answers[name]
    found = run.answers[name]["problems"]
    assert len(found) == len(problems)
    assert all(text.startswith(problem) for text, problem in zip(found, problems, strict=True))


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("create_contact again", 400, "This location does not allow duplicated contacts."),
        ("create_conversation again", 400, "already exists!"),
        ("send_a_new_message by SMS", 400, "No provider is connected"),
    ],
)
def test_it_raises_for_a_refusal(run: SdkRun, name: str, status: int, message: str) -> None:
    assert run.answers[name]["status"] == status
    assert message in run.answers[name]["message"]


def test_what_it_wrote_is_there(run: SdkRun) -> None:
    [conversation] = run.state["conversations"]
    assert conversation["unreadCount"] == 1
    assert [(each["text"], each["user"]) for each in conversation["thread"]] == [("Name: Ann", "u1")]
    contact = conversation["contact"]
    assert (contact["firstName"], contact["lastName"], contact["tags"]) == ("Ann-Marie", "McDoe", ["customer", "lead"])
    assert [note["body"] for note in contact["notes"]] == ["a note"]
    assert run.answers["get_duplicate_contact without a result"]["answer"]["contact"] is None
    listed = run.answers["get_messages"]["answer"]["messages"]["messages"]
    assert [message["body"] for message in listed] == ["Name: Ann"]
    assert run.answers["search_conversation"]["answer"]["total"] == 1
    assert run.answers["get_access_token"]["answer"]["access_token"]
