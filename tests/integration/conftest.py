"""The deployed application, shared by the tests of this folder."""

import itertools
import uuid
from collections.abc import Iterator

import pytest

from tests.integration.aws_faults import FaultyWorld, faulty_world
from tests.integration.world import World, deployed_world

_numbers = itertools.count(1)


@pytest.fixture
def contact() -> str:
    return f"contact{next(_numbers):05d}x{uuid.uuid4().hex[:6]}"


@pytest.fixture
def location() -> str:
    return f"location{next(_numbers):05d}x{uuid.uuid4().hex[:6]}"


@pytest.fixture(scope="session")
def _world() -> Iterator[World]:
    with deployed_world() as world:
        yield world


@pytest.fixture(scope="session")
def _faulty_world() -> Iterator[FaultyWorld]:
    with faulty_world() as world:
        yield world


@pytest.fixture
def faulty(_faulty_world: FaultyWorld) -> Iterator[FaultyWorld]:
    """The session's application behind a fault proxy. Each test has processes of its own, because a process backs off
    after failures."""
    yield _faulty_world
    _faulty_world.recover()


@pytest.fixture
def world(_world: World) -> Iterator[World]:
    """The session's application with a healthy HighLevel."""
    yield _world
    _world.highlevel.heal()
    _world.highlevel.search_lag = 0.0
    _world.highlevel.inactive_locations.clear()
    _world.highlevel.scopes.clear()
