"""The short form of `make simulate`: each scenario with few submissions, and some schedules of chance.

A seed of chance that has failed is added to SEEDS.
"""

from dataclasses import replace

import pytest

from tests.simulation.scenarios import MESSAGE_STEP, SCENARIOS, Scenario, random_scenario, run

WAITING = 6
SEEDS = range(1, 9)


def named(name: str) -> Scenario:
    (scenario,) = [scenario for scenario in SCENARIOS if scenario.name == name]
    return scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_each_promise_holds(scenario: Scenario) -> None:
    if scenario.quiet:
        scenario = replace(scenario, waiting=150, quiet=50)
    result = run(scenario, WAITING, seed=1)
    assert result.broken() == []
    assert result.opened + result.expired_tried == result.waiting


def test_a_submission_that_sqs_delivers_again_after_its_deletion_counts_once() -> None:
    scenario = named("outage-5xx")
    result = run(replace(scenario, duplicates=0.05), 20, seed=1)
    assert (result.broken(), result.expired_tried) == ([], 20)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_promise_holds_whatever_happens(seed: int) -> None:
    result = run(random_scenario(seed), WAITING, seed)
    assert result.broken() == []


@pytest.mark.parametrize("name", ["drain-after-pause", "drain-people-after-pause", "healthy"])
def test_a_large_backlog_drains_in_time_and_leaves_calls_to_callers(name: str) -> None:
    scenario = named(name)
    result = run(scenario, 1500, seed=1)
    assert (result.broken(), result.opened) == ([], 1500)


@pytest.mark.parametrize("consumers", [2, 5])
def test_a_steady_drain_uses_the_limit_but_for_four_calls_of_each_window(consumers: int) -> None:
    scenario = named("drain-steady")
    result = run(replace(scenario, consumers=consumers), 1000, seed=1)
    assert (result.broken(), result.opened, result.left, result.share_429) == ([], 1000, 4, 0.0)
    assert result.steady


def test_a_burst_uses_the_limit_too() -> None:
    """Before, its messages waited at least 5 s although the next window began sooner: 70 to 95 % were used. With this
    seed a call that came too early once left three calls to callers."""
    scenario = named("drain-burst")
    result = run(scenario, WAITING, seed=15)
    assert (result.broken(), result.opened, result.left, result.share_429) == ([], 2000, 4, 0.0)
    assert result.steady


def test_words_are_written_once() -> None:
    """Crashes around the claim and the call, late commits, unreadable threads, DynamoDB down, repeats, a redrive."""
    result = run(MESSAGE_STEP, 200, seed=1)
    assert (result.broken(), result.opened, result.words_lost, result.words_twice) == ([], 200, 0, 0)
    assert result.possible_duplicates, "a location cannot be read"
