"""`make send` without a network: samples, secrets and what it advises."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from create_conversation.senders.config import Sender, load
from operate import send
from operate.send import Answer
from operate.stack import Stack, StackError

OWN = Sender("our-own", "token", where=("bearer",))


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, {"outcome": "opened"}, ""),
        (200, {"outcome": "existing"}, ""),
        (200, {"outcome": "rejected"}, "make dead-letters STACK=mine"),
        (200, {"outcome": "invalid"}, "make dead-letters STACK=mine"),
        (200, {"outcome": "deferred"}, "make logs STACK=mine REQUEST=r-1"),
        (201, {"success": True}, ""),
        (401, {}, "make sender NAME=our-own STACK=mine"),
        (404, {"message": "Not Found"}, "make deploy"),
        (422, {}, "docs/senders.md"),
        (429, {}, "send it again"),
        (500, {"message": "Internal Server Error"}, "make logs STACK=mine"),
        (503, [], "send it again"),
    ],
)
def test_what_to_do(status: int, body: Any, said: str) -> None:
    advice = send._advice(Answer(status, "r-1", json.dumps(body)), OWN, "mine")
    assert said in advice
    assert bool(advice) is bool(said)


def test_a_sample_that_is_missing_or_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(send, "EVENTS", tmp_path)
    with pytest.raises(StackError, match=r"copy events/webhook_token.json to events/webhook_our_own.json"):
        send._sample("our-own")
    for text in ("", "[]", "{}", '{"headers": {}, "body": null}'):
        (tmp_path / "webhook_our_own.json").write_text(text)
        with pytest.raises(StackError, match=r"events/webhook_our_own.json"):
            send._sample("our-own")


@pytest.mark.parametrize("name", ["highlevel-app", "standard-webhooks-v1a", "event"])
def test_what_cannot_be_fired_from_here(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "connect", lambda _name: pytest.fail("no stack is needed to say so"))
    with pytest.raises(StackError, match="fire it"):
        send.main(["mine", name])


def test_its_arguments() -> None:
    with pytest.raises(StackError, match="a location id"):
        send.main(["mine", "typeform", "--location", "not an id"])
    with pytest.raises(StackError, match="make send SENDER=typeform"):
        send.main(["mine", ""])


@pytest.mark.parametrize(
    ("text", "said"),
    [("{}", "has no secret yet"), ('{"standard-webhooks": "whsec_hush!"}', "a shape that cannot work")],
)
def test_no_secret_that_works(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    nothing: Any = None
    stack = Stack("mine", {}, {}, nothing, nothing, nothing, nothing, nothing, nothing, "")
    monkeypatch.setattr(send, "read_secrets", lambda _stack: (text, "v"))
    with pytest.raises(StackError, match=said) as raised:
        send._secret(stack, load()["standard-webhooks"])
    assert "make sender NAME=standard-webhooks STACK=mine" in str(raised.value)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(("name", "location"), [("stripe", ""), ("calendly", "loc1"), ("calendly", "")])
def test_a_sample_that_could_only_become_a_dead_letter_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, name: str, location: str
) -> None:
    nothing: Any = None
    outputs, parameters = {"WebhooksUrl": "http://x"}, {"LocationId": location}
    stack = Stack("mine", outputs, parameters, nothing, nothing, nothing, nothing, nothing, nothing, "")
    monkeypatch.setattr(send, "_post", lambda *_arguments, **_options: Answer(200, "r", "{}"))
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


def test_nobody_listens() -> None:
    with pytest.raises(StackError, match="does not answer"):
        send._post("http://127.0.0.1:1/webhooks/x", {}, b"{}", direct=True)
