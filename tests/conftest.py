"""What all tests share: they neither depend on how they were started nor on each other's leaks."""

import gc
import sys
import warnings
from collections.abc import Generator, Iterator

import pytest

from tests import children

children.remove_settings()  # before any module reads them


@pytest.fixture(scope="session", autouse=True)
def _default_signals() -> None:
    """In the process that runs tests only: pytest-xdist's own child processes shall ignore what it ignores."""
    children.default_signals_for_children()


@pytest.fixture(autouse=True)
def _no_child_outlives_its_test() -> Iterator[None]:
    yield
    children.end_all()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """What a failed test leaves open (sockets, files, processes) is closed here, where nothing reports it, and not
    during the next test, which would fail of it: the frames in the failure's traceback hold it until then."""
    result = yield
    if hasattr(sys, "last_exc"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in ("last_exc", "last_type", "last_value", "last_traceback"):
                delattr(sys, name)
            gc.collect()
    return result
