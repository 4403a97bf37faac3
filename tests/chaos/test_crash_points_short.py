"""The short form of the crash points: each once, for each trigger."""

from tests.chaos import crash_points


def test_a_killed_worker_loses_nothing_and_opens_nothing_twice() -> None:
    part = crash_points.run(0, print)
    assert part.passed, part
