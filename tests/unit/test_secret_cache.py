"""Secrets Manager through a cache that neither hides a new value nor asks a thousand times."""

import pytest

from create_conversation.secret_cache import (
    FORCED_READS,
    GUARD_SECONDS,
    CachedSecret,
    SecretMissingError,
    SecretUnavailableError,
)
from tests.unit.conftest import Log
from tests.unit.fakes import Clock, FakeSecretsManager, no_answer, refusal, together

MAX_AGE = 60.0
FAULTS = [
    no_answer(),
    refusal("ThrottlingException", "GetSecretValue"),
    refusal("AccessDeniedException", "GetSecretValue"),
    refusal("DecryptionFailure", "GetSecretValue"),
]


@pytest.fixture
def manager() -> FakeSecretsManager:
    return FakeSecretsManager(arn="old")


@pytest.fixture
def secret(manager: FakeSecretsManager, clock: Clock) -> CachedSecret:
    return CachedSecret(manager, "arn", MAX_AGE, clock)


def test_nothing_is_read_before_it_is_needed(manager: FakeSecretsManager, secret: CachedSecret) -> None:
    assert manager.calls == []
    assert secret.get() == "old"
    assert manager.calls == [("GetSecretValue", {"SecretId": "arn"})]


def test_a_text_is_read_once_until_its_maximum_age(
    manager: FakeSecretsManager, secret: CachedSecret, clock: Clock
) -> None:
    assert [secret.get() for _ in range(100)] == ["old"] * 100
    manager.texts["arn"] = "new"
    clock.now += MAX_AGE - 1
    assert secret.get() == "old"
    clock.now += 2
    assert secret.get() == "new"
    assert len(manager.calls) == 2


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_a_stale_text_serves_while_reading_fails(
    manager: FakeSecretsManager, secret: CachedSecret, clock: Clock, error: Exception, log: Log
) -> None:
    secret.get()
    manager.error = error
    clock.now += MAX_AGE + 1
    assert [secret.get() for _ in range(100)] == ["old"] * 100
    assert len(manager.calls) == 2
    manager.error, manager.texts["arn"] = None, "new"
    clock.now += GUARD_SECONDS + 1
    assert secret.get() == "new"
    assert "message-of-aws" not in log.text
    assert [line["service"] for line in log.failures] == ["Secrets Manager"]


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_nothing_cached_and_no_answer_is_unavailable(
    manager: FakeSecretsManager, secret: CachedSecret, error: Exception
) -> None:
    manager.error = error
    with pytest.raises(SecretUnavailableError):
        secret.get()
    manager.error = None
    assert secret.get() == "old"


def test_a_secret_without_a_value_is_missing_until_it_has_one(
    manager: FakeSecretsManager, secret: CachedSecret
) -> None:
    manager.texts["arn"] = None
    with pytest.raises(SecretMissingError):
        secret.get()
    manager.texts["arn"] = "first"
    assert secret.get() == "first"


def test_a_secret_that_has_gone_is_not_used_any_more(
    manager: FakeSecretsManager, secret: CachedSecret, clock: Clock
) -> None:
    secret.get()
    manager.texts["arn"] = None
    clock.now += MAX_AGE + 1
    with pytest.raises(SecretMissingError):
        secret.get()


def test_a_binary_secret_is_an_empty_text(manager: FakeSecretsManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "handle", lambda *_: {"SecretBinary": b"x"})
    assert CachedSecret(manager, "arn", MAX_AGE).get() == ""


def test_a_refused_text_is_compared_with_the_cache_before_any_read(
    manager: FakeSecretsManager, secret: CachedSecret
) -> None:
    secret.get()
    assert secret.newer_than("much older") == "old"
    assert len(manager.calls) == 1


def test_a_refused_text_is_read_again_once(manager: FakeSecretsManager, secret: CachedSecret, clock: Clock) -> None:
    secret.get()
    manager.texts["arn"] = "new"
    assert secret.newer_than("old") == "new"
    assert secret.newer_than("old") == "new"
    assert secret.get() == "new"
    assert len(manager.calls) == 2


def test_a_thousand_refusals_cause_a_handful_of_reads(
    manager: FakeSecretsManager, secret: CachedSecret, clock: Clock
) -> None:
    secret.get()
    assert {secret.newer_than("old") for _ in range(1000)} == {None}
    assert len(manager.calls) <= 1 + FORCED_READS <= 6
    clock.now += GUARD_SECONDS + 1
    manager.texts["arn"] = "new"
    assert secret.newer_than("old") == "new"


def test_a_thousand_refusals_together_cause_a_handful_of_reads(
    manager: FakeSecretsManager, secret: CachedSecret
) -> None:
    secret.get()
    assert set(together(secret.newer_than, ["old"] * 20)) == {None}
    assert len(manager.calls) <= 6


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_a_newer_text_is_unknown_while_reading_fails(
    manager: FakeSecretsManager, secret: CachedSecret, clock: Clock, error: Exception
) -> None:
    secret.get()
    manager.error = error
    for _ in range(100):
        with pytest.raises(SecretUnavailableError):
            secret.newer_than("old")
    assert len(manager.calls) <= 1 + FORCED_READS
    assert secret.get() == "old", "it serves whom it served before"
    assert secret.newer_than("much older") == "old"
    manager.error = None
    clock.now += GUARD_SECONDS + 1
    assert secret.newer_than("old") is None
    manager.texts["arn"] = "new"
    clock.now += GUARD_SECONDS + 1
    assert secret.newer_than("old") == "new"


def test_a_failed_read_that_was_not_forced_counts_too(
    manager: FakeSecretsManager, secret: CachedSecret, clock: Clock
) -> None:
    secret.get()
    assert secret.newer_than("old") is None
    clock.now += MAX_AGE + 1
    manager.error = FAULTS[0]
    secret.get()
    with pytest.raises(SecretUnavailableError):
        secret.newer_than("old")


def test_a_refused_text_of_a_secret_that_has_gone_is_missing(manager: FakeSecretsManager, secret: CachedSecret) -> None:
    secret.get()
    manager.texts["arn"] = None
    with pytest.raises(SecretMissingError):
        secret.newer_than("old")
    with pytest.raises(SecretMissingError):
        secret.get()
    manager.texts["arn"] = "first"
    assert secret.get() == "first"


def test_a_flood_of_refusals_leaves_reads_for_every_window(
    manager: FakeSecretsManager, secret: CachedSecret, clock: Clock
) -> None:
    secret.get()
    for _ in range(600):
        clock.now += 0.1
        secret.newer_than("old")
    assert len(manager.calls) <= 1 + 7 * FORCED_READS
    manager.texts["arn"] = "new"
    clock.now += GUARD_SECONDS + 0.1
    assert secret.newer_than("old") == "new"


def test_one_wrong_text_does_not_keep_the_next_reader_from_the_newer_one(
    manager: FakeSecretsManager, secret: CachedSecret, clock: Clock
) -> None:
    """A text may change right after a sender was refused."""
    secret.get()
    assert secret.newer_than("old") is None
    manager.texts["arn"] = "new"
    assert secret.newer_than("old") == "new"
