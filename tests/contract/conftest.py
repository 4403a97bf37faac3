"""A local HighLevel for the tests of this folder."""

from collections.abc import Iterator

import pytest

from local.highlevel import LocalHighLevel
from tests.contract.local_calls import OAUTH, PIT


@pytest.fixture(scope="module")
def running() -> Iterator[LocalHighLevel]:
    with LocalHighLevel(tokens={PIT: "*", OAUTH: "mine"}) as local:
        yield local


@pytest.fixture
def local(running: LocalHighLevel) -> LocalHighLevel:
    running.reset()
    return running
