"""Senders of a user in `functions/senders.toml`: built, deployed and redriven with the user's commands."""

import base64
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from local.application import Answer, Application
from local.highlevel import LocalHighLevel
from local.stack import ROOT, LocalAws, build
from tests.assertions import assert_dead_letter, assert_webhook_outcome
from tests.integration.packaged import deploy_packaged
from tests.integration.world import TOKEN, World, eventually

APP = Ed25519PrivateKey.generate()  # stands for HighLevel's key
APP_KEY = base64.b64encode(APP.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
SENDERS = """
[our-site]
scheme = "token"
where = ["header:x-our-key"]
email = "{email}"
location_id = "site"
locations = ["berlin", "vienna"]
when = "kind == 'signup'"

[highlevel-app]
app_id = "our-app"
public_keys = ["{key}"]

[orders]
scheme = "event"
source = "shop"
email = "detail.order.customer"
location_id = "detail.shop"
"""


class Project:
    """A clone of the project with a stack; each deployment has another senders.toml."""

    def __init__(self, folder: Path, aws: LocalAws, highlevel: LocalHighLevel) -> None:
        self._folder, self._aws = folder, aws
        self._parameters = {"HighLevelBaseUrl": highlevel.url}
        shutil.copy(ROOT / "template.yaml", folder)
        shutil.copytree(ROOT / "functions", folder / "functions", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "packaging", folder / "packaging")

    def deploy(self, senders: str) -> Application:
        (self._folder / "functions" / "senders.toml").write_text(senders)
        built = build(self._folder / "template.yaml")
        application = Application(self._aws, deploy_packaged(self._aws, self._parameters, built=built))
        application.start_function()
        return application


@pytest.fixture(scope="module")
def project_and_highlevel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, LocalHighLevel]]:
    with LocalHighLevel(tokens={TOKEN: "*"}) as highlevel, LocalAws(enforce_iam=True) as aws:
        yield Project(tmp_path_factory.mktemp("clone"), aws, highlevel), highlevel


@pytest.fixture(scope="module")
def mistaken(project_and_highlevel: tuple[Project, LocalHighLevel]) -> World:
    project, highlevel = project_and_highlevel
    application = project.deploy(SENDERS.format(email="contact.e_mail", key=APP_KEY))
    application.store_token(TOKEN)
    application.store_sender_secret("our-site", "our-site-secret")
    return World(highlevel, application)


def signup(world: World, **payload: Any) -> Answer:
    headers = {"content-type": "application/json", "x-our-key": "our-site-secret"}
    return world.application.deliver("our-site", json.dumps({"kind": "signup", **payload}).encode(), headers)


def app_event(
    world: World, app_id: str = "our-app", age: float = 0.0, key: Ed25519PrivateKey = APP, **extra: str
) -> Answer:
    at = (datetime.now(UTC) - timedelta(seconds=age)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = json.dumps(
        {"type": "ContactCreate", "appId": app_id, "timestamp": at, "locationId": "berlin", **extra}
    ).encode()
    signature = base64.b64encode(key.sign(body)).decode()
    return world.application.deliver(
        "highlevel-app", body, {"content-type": "application/json", "x-ghl-signature": signature}
    )


def test_a_webhook_of_the_app_opens_the_contacts_conversation(mistaken: World, contact: str) -> None:
    answer = app_event(mistaken, id=contact, webhookId="w1")
    assert_webhook_outcome(answer, "opened")
    assert ("berlin", contact) in mistaken.highlevel.conversations
    late = app_event(mistaken, id=contact + "b", age=75 * 60)  # HighLevel repeats with the first timestamp
    assert late.body["outcome"] == "opened"


def test_a_webhook_of_another_app_is_refused(mistaken: World, contact: str) -> None:
    """HighLevel signs the webhooks of every app with one key."""
    assert app_event(mistaken, app_id="another-app", id=contact).status == 401
    assert app_event(mistaken, key=Ed25519PrivateKey.generate(), id=contact).status == 401
    assert app_event(mistaken, age=2 * 3600, id=contact).status == 401
    assert mistaken.calls(contact) == 0


def test_a_sender_may_only_use_its_locations(mistaken: World) -> None:
    answer = signup(mistaken, site="paris", contact={"e_mail": "a@example.com"})
    assert_webhook_outcome(answer, "rejected")
    assert mistaken.dead_letters(reason="location_not_allowed")
    assert signup(mistaken, site="vienna", contact={"e_mail": "b@example.com"}).body["outcome"] == "opened"
    other = json.dumps({"kind": "other"}).encode()
    headers = {"content-type": "application/json", "x-our-key": "our-site-secret"}
    assert mistaken.application.deliver("our-site", other, headers).body["outcome"] == "ignored"


def test_an_event_with_another_schema_is_mapped(mistaken: World) -> None:
    event_id = mistaken.application.put_event({"order": {"customer": "c@example.com"}, "shop": "berlin"}, source="shop")
    line = mistaken.application.wait_for_line(request_id=event_id)
    assert (line["outcome"], line["sender"]) == ("opened", "orders")


def test_a_wrong_mapping_loses_nothing(mistaken: World, project_and_highlevel: tuple[Project, LocalHighLevel]) -> None:
    """This is the last test of the file, because it fixes the mapping."""
    world, (project, highlevel) = mistaken, project_and_highlevel
    answer = signup(world, site="berlin", contact={"recipient": "late@example.com"})
    assert_webhook_outcome(answer, "invalid")
    assert_dead_letter(world.dead_letters(reason="no_contact"), sender="our-site")

    application = project.deploy(SENDERS.format(email="contact.recipient", key=APP_KEY))
    World(highlevel, application).redrive("--reason", "no_contact")
    request_id = answer.headers["x-request-id"]
    assert application.wait_for_line(60, request_id=request_id, trigger="retry")["outcome"] == "opened"
    assert [c["email"] for c in highlevel.contacts.values()].count("late@example.com") == 1
    eventually(lambda: not world.dead_letters(reason="no_contact"))
