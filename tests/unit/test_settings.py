"""The environment that template.yaml gives the function."""

import pytest

from create_conversation.settings import Settings, SettingsError
from tests.unit.template import RESOURCES

TEXTS = [
    "HIGHLEVEL_BASE_URL",
    "HIGHLEVEL_VERSION",
    "HIGHLEVEL_TOKEN_ARN",
    "SENDER_SECRETS_ARN",
    "RECORDS_TABLE",
    "RETRY_QUEUE_URL",
    "DEAD_LETTER_QUEUE_URL",
    "METRICS_NAMESPACE",
]
NUMBERS = ["GIVE_UP_AFTER_HOURS", "BACKOFF_CAP_SECONDS", "RECORD_TTL_SECONDS", "RETRY_CONCURRENCY"]
CHOICES = {"MESSAGE": "comment", "MARK_UNREAD": "true"}
ENVIRONMENT = {name: name.lower() for name in TEXTS} | dict.fromkeys(NUMBERS, "2") | CHOICES


def test_the_environment_is_read() -> None:
    settings = Settings.read(ENVIRONMENT)
    assert settings.highlevel_base_url == "highlevel_base_url"
    assert settings.metrics_namespace == "metrics_namespace"
    assert (settings.give_up_after, settings.backoff_cap, settings.record_ttl) == (7200, 2, 2)
    assert settings.retry_concurrency == 2
    assert (settings.message, settings.mark_unread, settings.writes_messages) == ("comment", True, True)


@pytest.mark.parametrize("value", [None, "", "  "])
@pytest.mark.parametrize("name", [*TEXTS, *NUMBERS, *CHOICES])
def test_what_is_missing_is_named(name: str, value: str | None) -> None:
    environment = {key: text for key, text in (ENVIRONMENT | {name: value}).items() if text is not None}
    with pytest.raises(SettingsError, match=rf"\b{name}\b"):
        Settings.read(environment)


@pytest.mark.parametrize("value", ["0", "-1", "NaN", "inf", "1e12", "many", "1,5"])
@pytest.mark.parametrize("name", NUMBERS)
def test_an_impossible_number_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"\b{name}\b"):
        Settings.read(ENVIRONMENT | {name: value})


@pytest.mark.parametrize(("name", "value"), [("MESSAGE", "sms"), ("MESSAGE", "Comment"), ("MARK_UNREAD", "yes")])
def test_an_unknown_choice_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"\b{name}\b must be one of"):
        Settings.read(ENVIRONMENT | {name: value})


def test_messages_may_be_off() -> None:
    settings = Settings.read(ENVIRONMENT | {"MESSAGE": "off", "MARK_UNREAD": "false"})
    assert (settings.writes_messages, settings.mark_unread) == (False, False)


def test_fractions_are_numbers() -> None:
    assert Settings.read(ENVIRONMENT | {"GIVE_UP_AFTER_HOURS": "0.001"}).give_up_after == pytest.approx(3.6)


@pytest.mark.parametrize(("value", "location"), [(None, None), ("", None), (" ", None), (" loc ", "loc")])
def test_the_default_location_may_be_missing(value: str | None, location: str | None) -> None:
    given = {} if value is None else {"LOCATION_ID": value}
    assert Settings.read(ENVIRONMENT | given).location_id == location


@pytest.mark.parametrize(("value", "bus"), [(None, None), ("", None), (" my-bus ", "my-bus")])
def test_without_a_bus_there_are_no_result_events(value: str | None, bus: str | None) -> None:
    given = {} if value is None else {"RESULT_BUS": value}
    assert Settings.read(ENVIRONMENT | given).result_bus == bus


def test_the_template_sets_what_is_read_and_nothing_else() -> None:
    variables = RESOURCES["CreateConversation"]["Properties"]["Environment"]["Variables"]
    assert variables.keys() == {*TEXTS, *NUMBERS, *CHOICES, "LOCATION_ID", "RESULT_BUS", "URL_SUFFIX"}
