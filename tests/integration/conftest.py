"""The deployed application, shared by the tests of this folder: the unchanged template, its roles enforced."""

import itertools
import uuid
from collections.abc import Iterator

import pytest

from local.application import Application
from local.highlevel import LocalHighLevel
from local.stack import LocalAws, deploy
from tests.integration.world import TOKEN, World

_numbers = itertools.count(1)


@pytest.fixture
def contact() -> str:
    return f"contact{next(_numbers):05d}x{uuid.uuid4().hex[:6]}"


@pytest.fixture
def location() -> str:
    return f"location{next(_numbers):05d}x{uuid.uuid4().hex[:6]}"


@pytest.fixture(scope="session")
def _world() -> Iterator[World]:
    with LocalHighLevel(tokens={TOKEN: "*"}) as highlevel, LocalAws(enforce_iam=True) as aws:
        application = Application(aws, deploy(aws, {"HighLevelBaseUrl": highlevel.url}))
        application.store_token(TOKEN)
        yield World(highlevel, application)


@pytest.fixture
def world(_world: World) -> Iterator[World]:
    """The session's application with a healthy HighLevel."""
    yield _world
    _world.highlevel.heal()
    _world.highlevel.search_lag = 0.0
    _world.highlevel.inactive_locations.clear()
    _world.highlevel.scopes.clear()
