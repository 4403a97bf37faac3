"""The test submissions that the page of `make serve` shows: changed and signed for every sender."""

import json
import time

import pytest

from create_conversation.errors import InvalidError
from create_conversation.senders.config import load
from create_conversation.senders.mapping import Target, target_of
from create_conversation.senders.verification import Request, is_authentic, secrets_for
from create_conversation.submission import Submission
from local.page.samples import Sample, SampleError, Samples
from local.run import LOCATION

SENDERS = load()
SAMPLES = Samples(SENDERS, LOCATION)
LISTED = {sender["name"]: sender for sender in SAMPLES.listed()}
STORED = json.dumps(SAMPLES.missing_secrets("{}"))


def target(name: str, text: str) -> Target:
    """Map a text as the function does."""
    sender = LISTED[name]
    if name == "event":
        text = json.dumps({"source": "my.crm", "detail-type": "ConversationRequested", "detail": json.loads(text)})
    submission = Submission(sender["trigger"], name, "", 0.0, sender["content_type"], text.encode())
    return target_of(submission, SENDERS, LOCATION)


def is_accepted(name: str, sample: Sample, secret_kind: str) -> bool:
    headers, query, body = SAMPLES.signed(name, sample, STORED, secret_kind)
    return is_authentic(SENDERS[name], Request(headers, query, body), secrets_for(STORED, name), time.time())


def test_every_preset_has_a_sample() -> None:
    assert LISTED.keys() >= {"api", "event", "token", "typeform", "tally", "highlevel-workflow", "standard-webhooks"}
    assert {sender["trigger"] for sender in LISTED.values()} == {"http", "webhook", "event"}


@pytest.mark.parametrize("name", LISTED)
def test_another_person_changes_contact_and_delivery(name: str) -> None:
    sample = SAMPLES.original(name)
    first, second = (target(name, SAMPLES.fresh(name, sample).text) for _ in range(2))
    assert first.location == second.location == target(name, sample.text).location
    assert (first.contact, first.person, first.delivery) != (second.contact, second.person, second.delivery)
    assert (first.contact is None) == (target(name, sample.text).contact is None)


@pytest.mark.parametrize("name", LISTED)
def test_without_contact_is_rejected_by_the_mapping(name: str) -> None:
    sample = SAMPLES.without_contact(name, SAMPLES.original(name))
    with pytest.raises(InvalidError) as caught:
        target(name, sample.text)
    assert caught.value.reason in ("no_contact", "invalid_body")


@pytest.mark.parametrize(
    "name", [name for name, each in LISTED.items() if each["trigger"] != "event" and not each["note"]]
)
def test_only_the_right_secret_authenticates(name: str) -> None:
    sample = SAMPLES.original(name)
    assert is_accepted(name, sample, "right")
    assert not is_accepted(name, sample, "wrong")
    assert not is_accepted(name, sample, "none")


def test_existing_secret_is_not_replaced() -> None:
    assert "typeform" not in SAMPLES.missing_secrets('{"typeform": "mine"}')


@pytest.mark.parametrize("change", [SAMPLES.fresh, SAMPLES.without_contact])
@pytest.mark.parametrize(("name", "text"), [("typeform", "{"), ("event", "{"), ("api", "[]"), ("tally", "")])
def test_text_that_is_not_an_object_is_not_changed(change: object, name: str, text: str) -> None:
    assert callable(change)
    with pytest.raises(SampleError):
        change(name, Sample(text))


def test_unknown_sender_has_no_sample() -> None:
    with pytest.raises(SampleError):
        SAMPLES.original("unknown")
