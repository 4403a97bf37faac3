"""The short load of `make chaos`: the same triggers, senders, faults and accounts."""

import re

import pytest

from tests.chaos import load
from tests.chaos.__main__ import size_of


def test_load_with_faults_loses_no_submission() -> None:
    part = load.run(0.01, print)
    assert part.problems == []
    assert part.passed, [figure for figure in part.figures if not figure.passed]
    found = {figure.what: figure.found for figure in part.figures}
    # There was a load, and there were faults; otherwise the zeros show nothing.
    assert found["submissions in them (an array has several)"] > 150
    assert 15 <= found["per cent of them that failed or were damaged"] <= 40
    assert found["comments and notes that HighLevel wrote without an answer"] >= 3
    assert found["words written as a note, because the location refuses comments"] >= 1
    assert found["workers killed"] >= 5
    assert len(part.shades) == len(load.PHASES)
    assert part.samples[-1].waiting == 0


@pytest.mark.parametrize("given", ["0", "-1", "0.0001", "1000", "nan", "inf", "all", "", "1 2"])
def test_an_invalid_size_is_refused_with_a_sentence(given: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"SIZE={given} is not a size")):
        size_of(given.split(" "))


def test_a_size_is_a_fraction() -> None:
    assert [size_of([]), size_of(["1"]), size_of(["0.001"]), size_of(["2.5"])] == [1.0, 1.0, 0.001, 2.5]
