"""Fixtures for all tests: a test depends neither on how it was started nor on what another test leaves open."""

import functools
import gc
import sys
import warnings
from collections.abc import Generator, Iterator
from dataclasses import is_dataclass

import botocore.session
import pytest

from tests import children

children.remove_settings()  # before any module reads them

# Each command opens a session of its own; in one process of tests they all read each service's description
# once.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)

STACK_TESTS = {"chaos", "integration"}  # folders
LONGEST = ["aws_faults", "crash_points_short", "page", "verify", "pausing", "stored", "location_tokens", "load_short"]
LONGEST += ["noisy_neighbour", "deployment", "cli", "cli_senders", "rotation_short", "outcomes", "rotation"]
LONGEST += ["fuzzing_short", "serve", "environments", "local_aws", "foreign_pages", "connect", "webhooks"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files for several processes: those that deploy a stack mostly wait, the longest of them begin first,
    and the others, which use the processor, are spread between them."""
    files = list(dict.fromkeys(item.path for item in items))
    ranks = {f"test_{name}.py": number for number, name in enumerate(LONGEST)}
    waiting = sorted(
        (file for file in files if file.parent.name in STACK_TESTS), key=lambda file: ranks.get(file.name, len(ranks))
    )
    working = [file for file in files if file not in waiting]
    place = {file: number / len(group) for group in (waiting, working) for number, file in enumerate(group)}
    items.sort(key=lambda item: place[item.path])


def pytest_collection_finish() -> None:
    """Thirteen thousand tests live until the end: the garbage collector need not look at them again."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _default_signals() -> None:
    """Only in the process that runs tests: pytest-xdist's child processes ignore the signals that it ignores."""
    children.default_signals_for_children()


@pytest.fixture(autouse=True)
def _no_child_outlives_its_test() -> Iterator[None]:
    yield
    children.end_all()


def pytest_make_parametrize_id(val: object) -> str | None:
    """At most 40 characters of a value: pytest would show all of a text, and of others only the argument's name."""
    if isinstance(val, str):
        text = val
    elif isinstance(val, bytes | dict | list | tuple | Exception) or is_dataclass(val):
        text = repr(val)
    else:
        return None
    if " at 0x" in text:
        return None
    text = text.encode("unicode_escape").decode()
    return text if len(text) <= 40 else f"{text[:37]}..."


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Close what a failed test left open (sockets, files, processes) without a warning. The frames of the failure's
    traceback hold it until then; otherwise it would be closed during the next test, which would fail."""
    result = yield
    if hasattr(sys, "last_exc"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in ("last_exc", "last_type", "last_value", "last_traceback"):
                delattr(sys, name)
            gc.collect()
    return result
