"""`./hlc doctor` and `./hlc token` try each scope on the local HighLevel, and change nothing."""

from collections.abc import Iterator

import pytest

from cli.options import Settings
from cli.report import Report
from cli.token_check import MESSAGE_SCOPES, SCOPES, check_token
from highlevel.client import HighLevel
from local.highlevel import LocalHighLevel

LOCATION, TOKEN = "ve9EPM428h8vShlRW1KT", "pit-01234567-89ab-cdef-0123-456789abcdef"
NAMES = [scope.name for scope in (*SCOPES, *MESSAGE_SCOPES)]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalHighLevel]:
    with LocalHighLevel(tokens={TOKEN: LOCATION}) as highlevel:
        yield highlevel


@pytest.fixture
def highlevel(server: LocalHighLevel) -> LocalHighLevel:
    server.reset()
    return server


def checked(highlevel: LocalHighLevel, *, comments: bool = True) -> tuple[bool, dict[str, str]]:
    """Whether the token opens conversations, and what failed."""
    report = Report(Settings(json=True))
    opens = check_token(HighLevel(highlevel.url), TOKEN, LOCATION, report, comments=comments)
    assert not highlevel.conversations
    assert not highlevel.contacts
    return opens, {each["check"]: each["detail"] for each in report.checks if not each["ok"]}


@pytest.mark.parametrize("envelope", ["nest", "http_exception"])
def test_a_token_with_all_scopes(highlevel: LocalHighLevel, envelope: str) -> None:
    highlevel.envelope = envelope  # type: ignore[assignment]
    assert checked(highlevel) == (True, {})
    calls = {(call.method, call.path.split("/")[1]) for call in highlevel.calls}
    assert calls == {("GET", "conversations"), ("POST", "conversations"), ("GET", "contacts"), ("POST", "contacts")}


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_scope_is_named_with_what_still_works(highlevel: LocalHighLevel, name: str) -> None:
    highlevel.scopes[TOKEN] = set(NAMES) - {name}
    opens, failed = checked(highlevel)
    assert list(failed) == [f"scope {name}"]
    [scope] = [scope for scope in (*SCOPES, *MESSAGE_SCOPES) if scope.name == name]
    assert scope.without in failed[f"scope {name}"]
    assert opens is (name != "conversations.write")


def test_a_stack_without_comments_needs_no_message_scope(highlevel: LocalHighLevel) -> None:
    highlevel.scopes[TOKEN] = {scope.name for scope in SCOPES}
    assert checked(highlevel, comments=False) == (True, {})
    assert not [call for call in highlevel.calls if "messages" in call.path]
