"""Which texts `./hlc token set` accepts as a token. It never prints any part of one."""

import getpass
import io
import warnings

import pytest

from cli import highlevel_token
from cli.stack import StackError

PIT = "pit-01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        (PIT, "a private integration token"),
        (PIT.upper().replace("PIT", "pit"), "a private integration token"),
        ("eyJhbGciOi.eyJhdXRo.c2lnbmF0dXJl", "an access token (JWT)"),
    ],
)
def test_known_kinds_of_token(token: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert highlevel_token._check(token) == kind
    assert capsys.readouterr().err == ""


def test_unknown_kind_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert highlevel_token._check("some-other-token") == "a token of unknown kind"
    hint = capsys.readouterr().err
    assert "looks like neither" in hint
    assert "some-other-token" not in hint


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("", "nothing was entered"),
        (f"Bearer {PIT}", 'without "Bearer"'),
        (f"bearer:{PIT}", 'without "Bearer"'),
        (f"{PIT} x", "no blanks"),
        (f'"{PIT}"', "characters"),
        ('{"token":"secretsecret"}', "characters"),
        ("tökensecret", "characters"),
        ("short", "length"),
        ("x" * 8193, "length"),
    ],
)
def test_malformed_token_is_refused_and_not_printed(token: str, expected: str) -> None:
    with pytest.raises(StackError, match=expected) as raised:
        highlevel_token._check(token)
    assert "stored" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert PIT not in str(raised.value)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_token_from_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"  {PIT}\r\nmore\n"))
    assert highlevel_token._ask() == PIT


def test_token_from_a_terminal_without_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", lambda prompt: f"{PIT} ")
    assert highlevel_token._ask() == PIT


def test_terminal_that_cannot_hide_the_token_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_echo_control(prompt: str) -> str:
        warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, stacklevel=2)
        return PIT

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", no_echo_control)
    with pytest.raises(StackError, match="pipe the token in"):
        highlevel_token._ask()
