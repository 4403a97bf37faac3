"""What the doctor makes of entries, answers and quotas."""

from typing import get_args

import pytest

from create_conversation.errors import REASONS
from create_conversation.senders import load
from highlevel.verdict import RateLimit, Verdict
from operate import doctor

SENDERS = {name: sender for name, sender in load().items() if sender.scheme != "event"}


@pytest.mark.parametrize(
    ("name", "entry", "said"),
    [
        ("api", "generated", ""),
        ("api", ["new", "old"], ""),
        ("typefrom", ["hush"], "did you mean typeform"),
        ("our-shop", ["hush"], "add it to senders.toml"),
        ("api", [], "a list of texts"),
        ("api", {"hush": 1}, "a list of texts"),
        ("api", ["hush", 17], "a list of texts"),
        ("api", "", "a list of texts"),
        ("api", [" hush"], "cannot work"),
        ("standard-webhooks", "whsec_hush!", "cannot work"),
        ("standard-webhooks-v1a", ["whsk_hush"], "cannot work"),
    ],
)
def test_entries(name: str, entry: object, said: str) -> None:
    told = doctor._wrong(name, entry, SENDERS)
    assert said in told
    assert bool(told) is bool(said)
    assert "hush" not in told


@pytest.mark.parametrize("reason", [*REASONS, ""])
@pytest.mark.parametrize("outcome", get_args(Verdict.__annotations__["outcome"]))
def test_every_verdict_is_told_with_what_to_do(reason: str, outcome: str) -> None:
    told = doctor._explain(Verdict(outcome, reason, status=401))  # type: ignore[arg-type]
    title, _, todo = told.partition(" (401): ")
    assert title
    assert todo


def test_what_helps_names_only_known_reasons() -> None:
    assert doctor._TODO.keys() <= REASONS.keys()


@pytest.mark.parametrize(
    ("limit", "mark", "said"),
    [
        (None, "✓", "announces none"),
        (RateLimit(100, 97, 10_000, 199_997), "✓", "97 of 100 calls left in this 10 s, 199,997 left today"),
        (RateLimit(None, 3, None, None), "✓", "3 of ? calls left in this window, ? left today"),
        (RateLimit(100, 97, 10_000, 0), "✗", "none left today"),
    ],
)
def test_quota(limit: RateLimit | None, mark: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = doctor._Report()
    doctor._check_quota(limit, report)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{mark} quota: ")
    assert said in printed
    assert report.failed is (mark == "✗")
