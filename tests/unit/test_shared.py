"""The small shared parts: cooldown, LRU cache, JSON from outside, HighLevel's ids, the cold start."""

import pytest

from highlevel.ids import is_id
from shared import observability
from shared.cooldown import Cooldown
from shared.json_text import json_object, json_or_none
from shared.lru_cache import LruCache
from tests.unit.fakes import Clock, together


def test_a_cooldown_is_active_for_its_seconds_after_each_start() -> None:
    clock = Clock()
    cooldown = Cooldown(5.0, clock)
    assert not cooldown.is_active
    for _ in range(2):
        cooldown.start()
        clock.now += 4.9
        assert cooldown.is_active
    clock.now += 0.1
    assert not cooldown.is_active


@pytest.mark.parametrize(("at_least", "seconds"), [(0.0, 5.0), (3.0, 5.0), (60.0, 60.0)])
def test_a_cooldown_can_be_longer(at_least: float, seconds: float) -> None:
    clock = Clock()
    cooldown = Cooldown(5.0, clock)
    cooldown.start(at_least=at_least)
    clock.now += seconds - 0.1
    assert cooldown.is_active
    clock.now += 0.1
    assert not cooldown.is_active


def test_the_least_recently_used_value_is_dropped() -> None:
    cache: LruCache[list[str]] = LruCache(3, list)
    for key in "abc":
        cache.get(key).append(key)
    cache.get("a")
    cache.peek("b")
    cache.get("d")
    assert list(cache) == ["c", "a", "d"]
    assert cache.get("a") == ["a"]
    assert cache.peek("b") is None


def test_all_threads_get_the_same_value_of_a_key() -> None:
    cache: LruCache[object] = LruCache(3, object)
    assert len(set(together(cache.get, ["key"] * 20))) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param('{"a": 1}', {"a": 1}, id="object"),
        pytest.param(b"[1]", [1], id="array"),
        pytest.param("null", None, id="null"),
        pytest.param("", None, id="empty"),
        pytest.param("{", None, id="half"),
        pytest.param(b"\xff", None, id="not UTF-8"),
        pytest.param("[" * 200_000, None, id="too deep"),
    ],
)
def test_json_from_outside(text: str | bytes, value: object) -> None:
    assert json_or_none(text) == value
    assert json_object(text) == (value if isinstance(value, dict) else None)


@pytest.mark.parametrize("value", ["a", "ve9EPM428h8vShlRW1KT", "a_b-c", "x" * 64])
def test_ids(value: str) -> None:
    assert is_id(value)


@pytest.mark.parametrize("value", ["", "x" * 65, "a b", "a/b", "a\n", "é", None, 7, ["a"]])
def test_other_values_are_not_ids(value: object) -> None:
    assert not is_id(value)


def test_only_the_first_call_is_a_cold_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observability, "_is_cold", True)
    assert [observability.take_cold_start() for _ in range(3)] == [True, False, False]
