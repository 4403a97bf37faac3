"""The short form of `make chaos`: each seam once, at each door."""

from tests.chaos import crash_points


def test_killed_at_every_seam_nothing_is_lost_or_opened_twice() -> None:
    part = crash_points.run(0, print)
    assert part.passed, part
