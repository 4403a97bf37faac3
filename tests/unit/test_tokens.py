"""The formats of the secret HighLevelToken."""

import json

import pytest

from highlevel.tokens import TokenError, read_tokens
from tests.factories import LOCATION
from tests.unit.world import NEW_TOKEN, TOKEN


@pytest.mark.parametrize(
    "secret",
    [
        TOKEN,
        f"  {TOKEN}\n",
        json.dumps(TOKEN),
        json.dumps({"token": TOKEN}),
        json.dumps({"token": f" {TOKEN}\n"}),
        json.dumps({"tokens": {LOCATION: TOKEN}}),
        json.dumps({"tokens": {"*": TOKEN}}),
        json.dumps({"tokens": {"*": NEW_TOKEN, LOCATION: TOKEN}}),
        json.dumps({"tokens": {"*": TOKEN, LOCATION: ""}}),
        json.dumps({"tokens": {"*": TOKEN, LOCATION: None}}),
    ],
)
def test_each_format_gives_the_locations_token(secret: str) -> None:
    assert read_tokens(secret).of(LOCATION) == TOKEN


def test_whatever_the_rotation_stores_is_short_enough_to_be_sent() -> None:
    """Otherwise it would make a token current that the other function rejects."""
    longest = "x" * 8192
    assert read_tokens(connection("Location", access_token=longest)).of(LOCATION) == longest
    with pytest.raises(TokenError, match=r"oauth\.access_token"):
        read_tokens(connection("Location", access_token=longest + "x"))


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "no_token"),
        (" \n", "no_token"),
        ('{"token": ""}', "no_token"),
        ('{"token": null}', "no_token"),
        ('{"token": " "}', "no_token"),
        ('{"tokens": {}}', "no_token"),
        (json.dumps({"tokens": {"another-location": TOKEN}}), "no_token"),
        ("{}", "token_malformed"),
        ("[]", "token_malformed"),
        (json.dumps([TOKEN]), "token_malformed"),
        ('{"token": 12345678}', "token_malformed"),
        ('{"token": ["12345678"]}', "token_malformed"),
        ('{"tokens": ["12345678"]}', "token_malformed"),
        ('{"tokens": {"*": 12345678}}', "token_malformed"),
        (json.dumps({"token": TOKEN, "tokens": {}}), "token_malformed"),
        (json.dumps({"Token": TOKEN}), "token_malformed"),
        (f'{{"token": "{TOKEN}"', "token_malformed"),
        ("[" * 100_000, "token_malformed"),
        ("null", "token_malformed"),
        ("short", "token_malformed"),
        ("x" * 8193, "token_malformed"),
        (f"Bearer {TOKEN}", "token_malformed"),
        (f"{TOKEN}\r\nX-Injected: 1", "token_malformed"),
        (json.dumps({"token": f"{TOKEN}\n\n{TOKEN}"}), "token_malformed"),
        (json.dumps({"token": TOKEN + "\u00fc"}), "token_malformed"),
        (json.dumps({"token": TOKEN + "\ud800"}), "token_malformed"),
        ("\ufeff" + TOKEN, "token_malformed"),
    ],
)
def test_what_no_header_may_carry_is_refused_without_a_word_of_it(secret: str, reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        read_tokens(secret).of(LOCATION)
    assert caught.value.reason == reason
    assert TOKEN[4:] not in str(caught.value)


def connection(user_type: str, **members: object) -> str:
    required = {"client_id": "app", "client_secret": "hush-secret", "refresh_token": "hush-refresh"}
    return json.dumps({"oauth": required | {"user_type": user_type} | members})


def test_a_sub_accounts_connection_has_one_token_and_an_agencys_none() -> None:
    tokens = read_tokens(connection("Location", access_token=TOKEN))
    assert tokens.of(LOCATION) == TOKEN
    assert tokens.oauth is not None
    agency = read_tokens(connection("Company", access_token=TOKEN))
    assert agency.oauth is not None
    for text in (connection("Company", access_token=TOKEN), connection("Location")):
        with pytest.raises(TokenError) as caught:
            read_tokens(text).of(LOCATION)
        assert caught.value.reason == "no_token"
    assert "hush" not in repr(tokens) + repr(agency)
    assert TOKEN not in repr(tokens) + repr(agency)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (connection("Agency"), "user_type"),
        (connection("Location", acess_token=TOKEN), "acess_token"),
        (json.dumps({"oauth": {"client_id": "app"}}), "client_secret"),
        (json.dumps({"oauth": "hush"}), "object"),
        (json.dumps({"oauth": {}, "token": "hush"}), "nothing beside"),
    ],
)
def test_a_malformed_connection_is_named_precisely(text: str, named: str) -> None:
    with pytest.raises(TokenError, match=named) as caught:
        read_tokens(text)
    assert caught.value.reason == "token_malformed"
    assert "hush" not in str(caught.value)


def test_tokens_do_not_show_in_a_repr() -> None:
    assert TOKEN not in repr(read_tokens(TOKEN))
