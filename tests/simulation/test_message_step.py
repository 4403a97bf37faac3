"""The short form of the scenario `message-step`, and each rule broken once: the scenario must see it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from create_conversation import contact_step, message_claims, message_step
from create_conversation.errors import DeferredError, MessageStatus, NotStoredError
from create_conversation.message_claims import ClaimItem, ClaimStore
from create_conversation.message_step import MessageStep
from create_conversation.open_conversation import ConversationOpener
from create_conversation.senders import mapping, redaction
from create_conversation.triggers.http_api import HttpApiHandler
from highlevel import texts
from shared.connection_pool import SendGuard
from tests.simulation.message_rows import ROWS
from tests.simulation.message_step import SCENARIOS, run
from tests.unit.fakes import FakeDynamoDb

# Seeds of chance that have failed are added.
SEEDS = (1, 2, 3)


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_promise_holds(name: str) -> None:
    result = run(name, 60, seed=1)
    assert (result.broken(), result.doubled if result.can_read else [], result.missing) == ([], [], [])
    assert set(result.rows) >= {row.name for row in ROWS}


@pytest.mark.parametrize("seed", SEEDS)
def test_each_promise_holds_whatever_happens(seed: int) -> None:
    result = run("message-step", 40, seed, rows=())
    assert (result.broken(), result.doubled, result.missing) == ([], [], [])


def test_the_same_seed_gives_the_same_run() -> None:
    results = [run("message-step", 20, seed, rows=()) for seed in (1, 1, 2)]
    prints = [(result.calls, result.counted, result.days, result.total) for result in results]
    assert prints[0] == prints[1] != prints[2]


# --- each rule, broken ------------------------------------------------------------------------------------------------

type Patch = pytest.MonkeyPatch


def _no_wait(patch: Patch) -> None:
    patch.setattr(message_claims, "TAKE_OVER_SECONDS", 0.0)


def _no_read(patch: Patch) -> None:
    patch.setattr(MessageStep, "_is_written", lambda *_: False)


def _unreadable_is_not_written(patch: Patch) -> None:
    is_written = MessageStep._is_written

    def read(*arguments: Any) -> bool:
        try:
            return is_written(*arguments)
        except DeferredError:
            return False

    patch.setattr(MessageStep, "_is_written", read)


def _first_page_only(patch: Patch) -> None:
    patch.setattr(texts, "_next_from", lambda *_: None)


def _unclaimed_if_dynamodb_fails(patch: Patch) -> None:
    write = ClaimStore.write

    def write_or_go_on(store: ClaimStore, item: Any, claim: Any, replaces: Any = None) -> Any:
        try:
            return write(store, item, claim, replaces)
        except DeferredError:
            return item

    patch.setattr(ClaimStore, "write", write_or_go_on)


def _unconditional_claims(patch: Patch) -> None:
    handle = FakeDynamoDb._handle

    def without_condition(table: FakeDynamoDb, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        return handle(table, operation, {**parameters, "ConditionExpression": None})

    patch.setattr(FakeDynamoDb, "_handle", without_condition)


def _claims_live_a_day(patch: Patch) -> None:
    patch.setattr(message_claims, "TTL_SECONDS", 86_400.0)


def _sent_however_late(patch: Patch) -> None:
    patch.setattr(SendGuard, "begin", lambda _: None)


def _place_not_in_the_claim(patch: Patch) -> None:
    read_back = MessageStep._read_back

    def read_comments(step: MessageStep, attempt: Any, earlier: Any) -> Any:
        return read_back(step, attempt, replace(earlier, place="comment"))

    patch.setattr(MessageStep, "_read_back", read_comments)


def _refused_is_not_written(patch: Patch) -> None:
    patch.setattr(message_step, "_may_be_written", lambda *_: False)


def _records_end_the_submission(patch: Patch) -> None:
    recall = ConversationOpener._recall

    def recall_as_written(opener: ConversationOpener, target: Any) -> Any:
        record, message = recall(opener, target)
        return record, message or (MessageStatus.WRITTEN if record else None)

    patch.setattr(ConversationOpener, "_recall", recall_as_written)


def _not_stored_is_accepted(patch: Patch) -> None:
    store = HttpApiHandler._store

    def store_or_not(handler: HttpApiHandler, call: Callable[[], None], answer_by: float) -> None:
        try:
            store(handler, call, answer_by)
        except NotStoredError:
            return

    patch.setattr(HttpApiHandler, "_store", store_or_not)


def _equal_bodies_are_one_for_ever(patch: Patch) -> None:
    patch.setattr(message_step, "SAME_BODY_SECONDS", float("inf"))


def _unsigned_ids_count(patch: Patch) -> None:
    patch.setattr(redaction, "has_signed_id", lambda _: True)


def _events_by_their_body(patch: Patch) -> None:
    find = mapping._delivery

    def by_body(sender: Any, submission: Any, payload: Any) -> tuple[str, bool]:
        return find(sender, replace(submission, trigger="webhook"), payload)

    patch.setattr(mapping, "_delivery", by_body)


def _contacts_unclaimed(patch: Patch) -> None:
    def claim(step: contact_step.ContactStep, *_: object) -> contact_step._Held:
        return contact_step._Held(((ClaimItem("unused"), step.claims.new("contact", 0.0)),))

    patch.setattr(contact_step.ContactStep, "_claim", claim)


def _contacts_without_lag(patch: Patch) -> None:
    patch.setattr(contact_step, "SEARCH_LAG_SECONDS", 0.0)


TWICE, LOST, CONTACTS, LATE = "words twice", "words lost", "contacts twice", "sent after the deadline"
BROKEN_RULES: list[tuple[Callable[[Patch], None], str, tuple[str, ...]]] = [
    (_no_wait, TWICE, ("carried out at 5 s", "carried out at 20 s, shown at 80 s")),
    (_no_read, TWICE, ("answer lost", "killed after HighLevel had it")),
    (_unreadable_is_not_written, TWICE, ("thread answers 503", "thread answers 429", "thread hangs")),
    (_unreadable_is_not_written, TWICE, ("thread not shown by the search",)),
    (_first_page_only, TWICE, ("staff comment meanwhile",)),
    (_unclaimed_if_dynamodb_fails, TWICE, ("DynamoDB down",)),
    (_unconditional_claims, TWICE, ("two at the same moment", "two take over together")),
    (_claims_live_a_day, TWICE, ("repeat after 3 days", "redrive after 15 days, location refused")),
    (_sent_however_late, LATE, ("frozen before the call",)),
    (_place_not_in_the_claim, TWICE, ("note lost",)),
    (_refused_is_not_written, TWICE, ("comment written, answered 422",)),
    (_records_end_the_submission, LOST, ("killed before the call",)),
    (_not_stored_is_accepted, LOST, ("no time left, SQS refuses",)),
    (_equal_bodies_are_one_for_ever, LOST, ("same words next week",)),
    (_unsigned_ids_count, TWICE, ("repeat with another unsigned id",)),
    (_events_by_their_body, TWICE, ("archive replay",)),
    (_contacts_unclaimed, CONTACTS, ("two of one new person",)),
    (_contacts_without_lag, CONTACTS, ("two of one new person, search lags",)),
]


@pytest.mark.parametrize(
    ("break_rule", "promise", "names"),
    BROKEN_RULES,
    ids=[f"{rule.__name__.strip('_')}-{names[0]}" for rule, _, names in BROKEN_RULES],
)
def test_a_broken_rule_is_seen(
    break_rule: Callable[[Patch], None], promise: str, names: tuple[str, ...], monkeypatch: Patch
) -> None:
    rows = tuple(row for row in ROWS if row.name in names)
    break_rule(monkeypatch)
    result = run("message-step", 2 * len(names), seed=1, rows=rows)
    assert promise in result.broken(), result.rows
