"""The HTTP API does what docs/openapi.yaml says: checked by Schemathesis, and answer by answer."""

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from highlevel.client import HighLevel
from local.stack import ROOT
from tests.integration.aws_faults import FaultyWorld, faulty_world, warm_up
from tests.integration.world import TOKEN, World

DOCUMENT = ROOT / "docs" / "openapi.yaml"
CONFIGURATION = Path(__file__).parent / "data" / "schemathesis.toml"
PATHS = {"/conversations": "/conversations", "/webhooks/token": "/webhooks/{sender}"}
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_MESSAGE = 5_000


@pytest.fixture(scope="module")
def _api() -> Iterator[FaultyWorld]:
    """Both routes accept the same secret."""
    with faulty_world() as world:
        world.application.store_sender_secret("token", world.application.api_secret)
        warm_up(world)
        yield world


@pytest.fixture
def api(_api: FaultyWorld) -> Iterator[FaultyWorld]:
    yield _api
    _api.proxy.heal()
    _api.highlevel.heal()
    _api.highlevel.search_lag = 0.0
    _api.highlevel.scopes.clear()


@functools.cache
def api_of_document() -> Any:
    """The API of the document. Each process of tests imports this file; the one that runs it imports Schemathesis."""
    import schemathesis

    return schemathesis.openapi.from_path(str(DOCUMENT))


# --- requests by Schemathesis --------------------------------------------------------------------------------------


def ask(world: World, directory: Path, secret: str) -> list[dict[str, Any]]:
    """Let Schemathesis call both routes, the webhooks' as the sender `token`; fails if it finds a failure. Returns the
    POSTs with their responses, as in a HAR file."""
    finished = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--config-file", CONFIGURATION),
            *("run", DOCUMENT, "--url", world.application.stack.url(), "--generation-deterministic"),
            *("--max-examples", "100", "--report", "har", "--report-har-path", directory / "report.har"),
        ],
        env={**os.environ, "API_SECRET": secret},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    entries = json.loads((directory / "report.har").read_text())["log"]["entries"]
    return [entry for entry in entries if entry["request"]["method"] == "POST"]


def test_schemathesis_finds_nothing(api: FaultyWorld, tmp_path: Path) -> None:
    entries = ask(api, tmp_path, api.application.api_secret)
    assert len(entries) > 150
    assert {entry["response"]["status"] for entry in entries} >= {200, 201, 400, 401, 415, 422}
    for entry in entries:
        if entry["response"]["status"] == 422:
            assert not is_good(entry["request"]), entry


def test_schemathesis_gets_only_401_without_a_secret(api: FaultyWorld, tmp_path: Path) -> None:
    entries = ask(api, tmp_path, "wrong")
    assert len(entries) > 150
    assert {entry["response"]["status"] for entry in entries} == {401}


def is_good(request: dict[str, Any]) -> bool:
    """Whether it has both ids, and a message that may be written, so that 422 is a wrong answer."""
    try:
        body = json.loads(request["postData"]["text"])
    except (KeyError, ValueError):
        return False
    if not isinstance(body, dict):
        return False
    has_ids = all(isinstance(body.get(name), str) and ID.fullmatch(body[name]) for name in ("locationId", "contactId"))
    message = body.get("message")
    return has_ids and (message is None or (isinstance(message, str) and len(message) <= MAX_MESSAGE))


# --- answer by answer -----------------------------------------------------------------------------------------------


def post(world: World, path: str, body: Any, secret: str | None = None, **headers: str) -> requests.Response:
    """Call one route; fails if the answer is not documented."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {
        "authorization": f"Bearer {secret or world.application.api_secret}",
        "content-type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    response = requests.post(world.application.stack.url(path), data, headers=sent, timeout=30)
    api_of_document()[PATHS[path]]["POST"].validate_response(response)
    responses = api_of_document().raw_schema["paths"][PATHS[path]]["post"]["responses"]
    assert str(response.status_code) in responses, "documented, not only as 5XX"
    return response


def reason(response: requests.Response) -> str:
    return str(response.json()["type"]).removeprefix("urn:highlevel-conversations:")


def test_201_200_and_202(api: FaultyWorld, location: str, contact: str) -> None:
    body = {"locationId": location, "contactId": contact}
    assert post(api, "/conversations", body).status_code == 201
    assert post(api, "/conversations", body).status_code == 200
    api.highlevel.search_lag = 3600
    behind = {"locationId": location, "contactId": f"{contact}-behind"}
    HighLevel(api.highlevel.url).create_conversation(TOKEN, location, f"{contact}-behind", within=5)
    existing = post(api, "/conversations", behind)
    assert (existing.status_code, existing.json()["status"]) == (202, "existing")
    api.highlevel.fail("status", status=503, location=location)
    deferred = post(api, "/conversations", {"locationId": location, "contactId": f"{contact}-later"})
    assert (deferred.status_code, deferred.json()["status"]) == (202, "deferred")


REFUSED: dict[str, tuple[Any, ...]] = {
    "half-json": (b"{", {}, 400, "invalid_json"),
    "encoding": (b'{"contactId": "\xff"}', {"content_type": "application/scim+json"}, 400, "invalid_encoding"),
    "large": (b"x" * (256 * 1024 + 1), {}, 413, "body_too_large"),
    "text": (b"{}", {"content_type": "text/plain"}, 415, "unsupported_media_type"),
    "gzip": (b"{}", {"content_encoding": "gzip"}, 415, "unsupported_media_type"),
    "wrong-secret": (b"{}", {"authorization": "Bearer wrong"}, 401, "unauthorized"),
    "no-secret": (b"{}", {"authorization": ""}, 401, "unauthorized"),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("body", "headers", "status", "expected"), REFUSED.values(), ids=REFUSED)
def test_unreadable_and_unauthenticated_requests(
    api: FaultyWorld, path: str, body: bytes, headers: dict[str, str], status: int, expected: str
) -> None:
    answer = post(api, path, body, **headers)
    if path == "/webhooks/token" and status != 401:
        # A webhook's body is read as what it is: also JSON sent as text, and Latin-1. It names no location.
        is_read = expected in ("unsupported_media_type", "invalid_encoding") and "content_type" in headers
        assert (answer.status_code, answer.json()["outcome"]) == (200, "invalid")
        assert answer.json()["reason"] == ("no_location" if is_read else expected)
        return
    assert (answer.status_code, reason(answer)) == (status, expected)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param([], "invalid_body", id="array"),
        pytest.param({"locationId": "a b", "contactId": "c"}, "invalid_body", id="wrong-id"),
        pytest.param({"contactId": "c"}, "no_location", id="no-location"),
        pytest.param({"locationId": "loc"}, "no_contact", id="no-contact"),
    ],
)
def test_422_for_a_caller_and_a_dead_letter_for_a_webhook(api: FaultyWorld, body: Any, expected: str) -> None:
    answer = post(api, "/conversations", body)
    assert (answer.status_code, reason(answer)) == (422, expected)
    webhook = post(api, "/webhooks/token", body)
    assert (webhook.status_code, webhook.json()["outcome"]) == (200, "invalid" if body else "ignored")


type Failure = Callable[[World, str], object]
FAILURES: dict[str, tuple[int, Failure]] = {
    "ids_refused": (422, lambda world, location: world.highlevel.fail("status", status=422, location=location)),
    "scope_missing": (502, lambda world, _location: world.highlevel.scopes.__setitem__(TOKEN, set())),
}


@pytest.mark.parametrize("expected", FAILURES)
def test_a_refusal_by_highlevel(api: FaultyWorld, location: str, contact: str, expected: str) -> None:
    status, fail = FAILURES[expected]
    fail(api, location)
    body = {"locationId": location, "contactId": contact}
    answer = post(api, "/conversations", body)
    assert (answer.status_code, reason(answer)) == (status, expected)
    assert post(api, "/webhooks/token", body | {"contactId": f"{contact}-2"}).json()["outcome"] == "rejected"


def test_a_submission_that_is_not_stored(api: FaultyWorld, location: str, contact: str) -> None:
    api.highlevel.fail("status", status=503, location=location)
    api.proxy.fail("sqs", "gone")
    body = {"locationId": location, "contactId": contact}
    for path, status in (("/conversations", 503), ("/webhooks/token", 429)):
        answer = post(api, path, body)
        assert (answer.status_code, reason(answer)) == (status, "not_stored")
        assert int(answer.headers["retry-after"]) >= 5


def test_an_undocumented_answer_fails(api: FaultyWorld, location: str, contact: str) -> None:
    """These tests can fail: the answer of one route is not valid for the other."""
    answer = requests.post(
        api.application.stack.url("/webhooks/token"),
        json={"locationId": location, "contactId": contact},
        headers={"authorization": f"Bearer {api.application.api_secret}"},
        timeout=30,
    )
    with pytest.raises(Exception, match="success"):
        api_of_document()["/conversations"]["POST"].validate_response(answer)
