"""Fixtures for unit tests."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from create_conversation.triggers import api_gateway, http_api
from local.highlevel import Limits, LocalHighLevel
from shared import observability
from tests.unit.fakes import Clock
from tests.unit.rotations import rotation_app, rotation_lines, rotations
from tests.unit.world import NEW_TOKEN, SENDERS, TOKEN, World

__all__ = ["rotation_app", "rotation_lines", "rotations"]  # fixtures that are defined beside their classes


@pytest.fixture(scope="session")
def running() -> Iterator[LocalHighLevel]:
    with LocalHighLevel() as highlevel:
        yield highlevel


@pytest.fixture
def highlevel(running: LocalHighLevel) -> LocalHighLevel:
    running.reset()
    running.tokens = {TOKEN: "*", NEW_TOKEN: "*"}
    running.limits = Limits()
    running.search_lag = running.latency = 0.0
    running.oauth.access_seconds = 86_399
    return running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of each time of the HTTP API, so that a test takes a quarter of its own."""
    monkeypatch.setattr(api_gateway, "ANSWER_SECONDS", api_gateway.ANSWER_SECONDS / 4)
    monkeypatch.setattr(http_api, "HIGHLEVEL_SECONDS", http_api.HIGHLEVEL_SECONDS / 4)
    for module in (api_gateway, http_api):
        monkeypatch.setattr(module, "STORE_SECONDS", 1.0 / 4)


@pytest.fixture
def world(highlevel: LocalHighLevel) -> Iterator[World]:
    world = World(highlevel, senders=dict(SENDERS))
    yield world
    for client in (world.secrets, world.dynamodb, world.sqs, world.eventbridge):
        client.release()


class Log:
    """What the logger and the metrics wrote, as text and as JSON."""

    def __init__(self, stream: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
        self._stream = stream
        self._capsys = capsys
        self._printed = ""

    @property
    def text(self) -> str:
        printed = self._capsys.readouterr()
        self._printed += printed.out + printed.err
        return self._stream.getvalue() + self._printed

    def _objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [line for line in self._objects() if line.get("level") == "INFO"]

    @property
    def line(self) -> dict[str, Any]:
        """The only line at INFO."""
        (line,) = self.lines
        return line

    @property
    def failures(self) -> list[dict[str, Any]]:
        return [line for line in self._objects() if line.get("level") in ("WARNING", "ERROR")]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [line for line in self._objects() if "_aws" in line]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Log:
    stream = io.StringIO()
    for handler in logging.getLogger(observability.logger.service).handlers:
        monkeypatch.setattr(handler, "stream", stream)
    return Log(stream, capsys)
