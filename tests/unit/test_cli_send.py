"""`./hlc send` without a network: samples, secrets and what it advises."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from cli import send
from cli.app import main
from cli.options import Settings
from cli.send import Answer
from cli.stack import Stack, StackError
from create_conversation.senders.config import Sender, load

OWN = Sender("our-own", "token", where=("bearer",))


def no_client(service: str) -> Any:
    pytest.fail(f"it uses {service}")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(200, {"outcome": "opened"}, "", id="200 opened"),
        pytest.param(200, {"outcome": "existing"}, "", id="200 existing"),
        pytest.param(200, {"outcome": "rejected"}, "./hlc dead-letters list", id="200 rejected"),
        pytest.param(200, {"outcome": "invalid"}, "./hlc dead-letters list", id="200 invalid"),
        pytest.param(200, {"outcome": "deferred"}, "./hlc logs --request r-1", id="200 deferred"),
        pytest.param(201, {"success": True}, "", id="201"),
        pytest.param(401, {}, "./hlc sender rotate our-own", id="401"),
        pytest.param(404, {"message": "Not Found"}, "./hlc deploy", id="404"),
        pytest.param(422, {}, "docs/senders.md", id="422"),
        pytest.param(429, {}, "Send it again", id="429"),
        pytest.param(500, {"message": "Internal Server Error"}, "./hlc logs", id="500"),
        pytest.param(503, [], "Send it again", id="503"),
    ],
)
def test_advice_for_each_answer(status: int, body: Any, expected: str) -> None:
    advice = send._advice(Answer(status, "r-1", json.dumps(body)), OWN)
    assert expected in advice
    assert bool(advice) is bool(expected)


def test_missing_or_malformed_sample(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(send, "EVENTS", tmp_path)
    with pytest.raises(StackError, match=r"our-own has no sample: .* add --file"):
        send._sample("our-own")
    for text in ("", "[]", "{}", '{"headers": {}, "body": null}'):
        (tmp_path / "webhook_our_own.json").write_text(text)
        with pytest.raises(StackError, match=r"events/webhook_our_own.json"):
            send._sample("our-own")


@pytest.mark.parametrize("name", ["highlevel-app", "standard-webhooks-v1a", "event"])
def test_sender_that_this_command_cannot_imitate(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "connect", lambda _settings: pytest.fail("no stack is needed to say so"))
    with pytest.raises(StackError, match=r"trigger a delivery there|aws events put-events"):
        main(["send", name])


def test_invalid_arguments() -> None:
    with pytest.raises(click.BadParameter, match="a location id"):
        main(["send", "typeform", "--location", "not an id"])
    with pytest.raises(click.MissingParameter):
        main(["send"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("{}", "has no secret yet"), ('{"standard-webhooks": "whsec_hush!"}', "a format that cannot work")],
)
def test_missing_or_unusable_secret(monkeypatch: pytest.MonkeyPatch, text: str, expected: str) -> None:
    stack = Stack("mine", {}, {}, no_client, hlc="./hlc --stack mine")
    monkeypatch.setattr(send, "read_secrets", lambda _stack: (text, "v"))
    with pytest.raises(StackError, match=expected) as raised:
        send._secret(stack, load()["standard-webhooks"])
    assert re.search("./hlc --stack mine sender (add|rotate) standard-webhooks$", str(raised.value))
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(("name", "location"), [("stripe", ""), ("calendly", "loc1"), ("calendly", "")])
def test_sample_without_a_location_is_not_sent(monkeypatch: pytest.MonkeyPatch, name: str, location: str) -> None:
    outputs, parameters = {"WebhooksUrl": "http://x"}, {"LocationId": location}
    stack = Stack("mine", outputs, parameters, no_client)
    monkeypatch.setattr(send, "post", lambda *_arguments, **_options: Answer(200, "r", "{}"))
    senders, event = load(), send._sample(name)
    if location:
        assert send._send(stack, senders[name], "s", event, location).status == 200
    else:
        with pytest.raises(StackError, match=rf'is closed.*locations = \["<location id>"\] under \[{name}\]'):
            send._send(stack, senders[name], "s", event, "")
        anywhere = replace(senders[name], locations=("*",))
        if name == "calendly":
            with pytest.raises(StackError, match=r'names no location.*locations = \["<location id>"\]'):
                send._send(stack, anywhere, "s", event, "")
        else:
            assert send._send(stack, anywhere, "s", event, "").status == 200
        own = replace(senders[name], locations=("loc1",))
        assert send._send(stack, own, "s", event, "").status == 200


def test_unreachable_url() -> None:
    with pytest.raises(StackError, match="does not answer"):
        send.post("http://127.0.0.1:1/webhooks/x", {}, b"{}")


@pytest.mark.parametrize(
    ("name", "code", "shown"),
    [
        (
            "typeform",
            0,
            [
                "location     loc1",
                "email        jane@example.com",
                "name         Jane",
                "fields       ",
                "\nThe message:\n\n",
            ],
        ),
        ("jotform", 0, ["email        nora@example.com", "phone        (555) 555-0110"]),
        ("formidable-forms", 0, ["email        tess@example.com"]),
        ("highlevel-app", 0, ["contact id   qTkBmGZ2xYv8cR4sWn1D"]),
        ("api", 0, ["location     loc1", "contact id   ocQHyuzHvysMo5N5VsXc"]),
    ],
)
def test_a_dry_run_shows_the_mapping_and_sends_nothing(
    name: str, code: int, shown: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = Stack("mine", {}, {"LocationId": "loc1"}, no_client)
    monkeypatch.setattr(Settings, "connect", lambda _settings: stack)
    monkeypatch.setattr(send, "post", lambda *_arguments, **_options: pytest.fail("it sends"))
    assert main(["send", name, "--dry-run"]) == code
    printed = capsys.readouterr().out
    assert [line for line in shown if line not in printed] == [], printed
    assert printed.endswith("Nothing was sent.\n")


def test_a_dry_run_says_why_a_sample_would_not_be_opened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stack = Stack("mine", {}, {"LocationId": "loc1"}, no_client)
    monkeypatch.setattr(Settings, "connect", lambda _settings: stack)
    monkeypatch.setattr(send, "EVENTS", tmp_path)
    event = {"headers": {"content-type": "application/json"}, "body": '{"email": "jane at example"}'}
    (tmp_path / "webhook_token.json").write_text(json.dumps(event))
    assert main(["send", "token", "--dry-run"]) == 1
    printed = capsys.readouterr().out
    assert "outcome      invalid" in printed
    assert "reason       no_contact" in printed
    assert "not used     email: not_an_address" in printed
