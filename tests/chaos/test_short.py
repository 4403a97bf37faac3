"""The load of `make chaos`, short: the same doors, senders, faults and accounts."""

import re

import pytest

from tests.chaos import load
from tests.chaos.__main__ import size_of


@pytest.mark.alone
def test_under_load_with_faults_every_submission_is_done_or_kept() -> None:
    part = load.run(0.01, print)
    assert part.problems == []
    assert part.passed, [figure for figure in part.figures if not figure.passed]
    found = {figure.what: figure.found for figure in part.figures}
    # It was a load, and there was trouble: else the noughts say nothing.
    assert found["submissions in them (an array has several)"] > 150
    assert 15 <= found["per cent of them that failed or were spoilt"] <= 40
    assert found["workers killed"] >= 5
    assert len(part.shades) == len(load.PHASES)
    assert part.samples[-1].waiting == 0


@pytest.mark.parametrize("given", ["0", "-1", "0.0001", "1000", "nan", "inf", "all", "", "1 2"])
def test_a_size_that_is_none_is_refused_with_a_sentence(given: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"SIZE={given} is no size")):
        size_of(given.split(" "))


def test_a_size_is_a_fraction() -> None:
    assert [size_of([]), size_of(["1"]), size_of(["0.001"]), size_of(["2.5"])] == [1.0, 1.0, 0.001, 2.5]
