"""Idempotency records in DynamoDB; a submission goes on without them."""

import pytest

from create_conversation.idempotency import (
    CACHE_SECONDS,
    MAX_CACHED,
    SKIP_SECONDS,
    IdempotencyRecord,
    IdempotencyStore,
    contact_key,
    delivery_key,
)
from create_conversation.message_claims import ClaimItem, ClaimStore
from tests.factories import CONTACT, LOCATION
from tests.unit.conftest import Log
from tests.unit.fakes import Clock, FakeDynamoDb, no_answer, refusal

TTL = 3600.0
PK = f"contact#{LOCATION}#{CONTACT}"
KEY = {"pk": {"S": PK}}


@pytest.fixture
def table(clock: Clock) -> FakeDynamoDb:
    return FakeDynamoDb(clock.time)


@pytest.fixture
def records(table: FakeDynamoDb, clock: Clock) -> IdempotencyStore:
    return IdempotencyStore(table, "Records", TTL, clock)


def test_a_saved_record_is_found(records: IdempotencyStore) -> None:
    assert records.get(PK) is None
    records.save(PK, "conv-1")
    assert records.get(PK) == IdempotencyRecord("conv-1")
    assert records.get(contact_key("another", CONTACT)) is None
    assert records.get(contact_key(LOCATION, "another")) is None


def test_a_record_without_an_id_is_saved_and_overwrites_no_known_id(records: IdempotencyStore) -> None:
    records.save(PK, None)
    assert records.get(PK) == IdempotencyRecord(None)
    records.save(PK, "conv-1")
    records.save(PK, None)
    assert records.get(PK) == IdempotencyRecord("conv-1")


def test_a_delivery_is_saved_with_its_contact(records: IdempotencyStore, table: FakeDynamoDb) -> None:
    key = delivery_key("typeform#delivery-1")
    records.save(key, "conv-1", "contact-1")
    assert records.get(key) == IdempotencyRecord("conv-1", "contact-1")
    assert records.get(delivery_key("typeform#delivery-2")) is None
    assert records.get(delivery_key("tally#delivery-1")) is None
    assert delivery_key("typeform#delivery-1", "another@example.com") != key
    assert table.items.keys() == {key}


def test_a_delivery_without_a_known_conversation_is_saved_too(records: IdempotencyStore) -> None:
    key = delivery_key("typeform#delivery-1")
    records.save(key, None, "contact-1")
    assert records.get(key) == IdempotencyRecord(None, "contact-1")
    records.save(key, "conv-1", "contact-1")
    records.save(key, None, "contact-1")
    assert records.get(key) == IdempotencyRecord("conv-1", "contact-1")


def test_a_contact_and_a_delivery_are_never_taken_for_each_other() -> None:
    """Ids and senders' names hold no #; an id of a delivery may."""
    assert contact_key("a", "b").startswith("contact#")
    assert delivery_key("contact#a#b").startswith("delivery#")
    assert contact_key("a", "b_c") != contact_key("a_b", "c")


def test_the_table_is_asked_for_one_item_by_its_key(
    table: FakeDynamoDb, records: IdempotencyStore, clock: Clock
) -> None:
    records.get(PK)
    records.get(PK, consistent=True)
    reads = table.named("GetItem")
    assert [(read["TableName"], read["Key"], read["ConsistentRead"]) for read in reads] == [
        ("Records", KEY, False),
        ("Records", KEY, True),
    ]
    records.save(PK, "conv-1")
    (write,) = table.named("UpdateItem")
    assert (write["TableName"], write["Key"]) == ("Records", KEY)
    assert int(table.items[PK]["expires_at"]["N"]) == clock.now + TTL


@pytest.mark.parametrize(
    ("expires_in", "found"), [(5.0, IdempotencyRecord("conv-1")), (-1.0, None), (-100_000.0, None)]
)
def test_the_time_to_live_is_checked_on_read(
    table: FakeDynamoDb, records: IdempotencyStore, expires_in: float, found: IdempotencyRecord | None
) -> None:
    table.put(LOCATION, CONTACT, "conv-1", expires_in)
    assert records.get(PK) == found


def test_an_item_without_a_time_to_live_is_not_a_record(table: FakeDynamoDb, records: IdempotencyStore) -> None:
    table.items[PK] = KEY | {"conversation_id": {"S": "conv-1"}}
    assert records.get(PK) is None


def test_an_expired_id_does_not_come_back_to_life(table: FakeDynamoDb, records: IdempotencyStore) -> None:
    table.put(LOCATION, CONTACT, "conversation-deleted-since", expires_in=-1.0)
    records.save(PK, None)
    assert records.get(PK) in (None, IdempotencyRecord(None))


@pytest.mark.parametrize(
    "error",
    [
        no_answer(),
        refusal("ProvisionedThroughputExceededException", "GetItem"),
        refusal("ResourceNotFoundException", "GetItem"),
        refusal("AccessDeniedException", "GetItem"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failure_is_logged_and_raises_nothing(
    table: FakeDynamoDb, records: IdempotencyStore, clock: Clock, error: Exception, log: Log
) -> None:
    table.put(LOCATION, CONTACT, "conv-1")
    table.error = error
    assert records.get(PK) is None
    records.save(PK, "conv-1")
    assert len(table.calls) == 1, "a table that fails is left alone for a while"
    table.error = None
    clock.now += SKIP_SECONDS + 0.1
    assert records.get(PK) == IdempotencyRecord("conv-1")
    assert [line["service"] for line in log.failures] == ["DynamoDB"]
    assert "message-of-aws" not in log.text


# In memory


@pytest.mark.parametrize("is_saved_here", [True, False], ids=["saved here", "read"])
def test_a_record_is_read_again_only_after_a_while(
    table: FakeDynamoDb, records: IdempotencyStore, clock: Clock, is_saved_here: bool
) -> None:
    if is_saved_here:
        records.save(PK, "conv-1")
    else:
        table.put(LOCATION, CONTACT, "conv-1", TTL)
        records.get(PK)
    table.calls.clear()
    table.error = no_answer()
    for _ in range(2):
        assert records.get(PK) == IdempotencyRecord("conv-1")
        clock.now += CACHE_SECONDS - 1
    assert [name for name, _ in table.calls] == []
    table.error = None
    clock.now += 1
    assert records.get(PK) == IdempotencyRecord("conv-1")
    assert [name for name, _ in table.calls] == ["GetItem"]


def test_a_record_in_memory_expires_with_its_item(table: FakeDynamoDb, records: IdempotencyStore, clock: Clock) -> None:
    table.put(LOCATION, CONTACT, "conv-1", expires_in=10.0)
    assert records.get(PK) == IdempotencyRecord("conv-1")
    clock.now += 10.0
    assert records.get(PK) is None


def test_a_record_without_an_id_is_read_each_time(table: FakeDynamoDb, records: IdempotencyStore) -> None:
    records.save(PK, None)
    table.put(LOCATION, CONTACT, "conv-1")  # by another instance
    assert records.get(PK) == IdempotencyRecord("conv-1")


def test_a_record_in_memory_is_not_used_if_the_clock_is_put_back(
    table: FakeDynamoDb, records: IdempotencyStore, clock: Clock
) -> None:
    records.save(PK, "conv-1")
    clock.now -= 1.0
    records.get(PK)
    assert table.named("GetItem")


def test_memory_is_bounded(table: FakeDynamoDb, records: IdempotencyStore) -> None:
    for number in range(5 * MAX_CACHED):
        records.save(contact_key(LOCATION, str(number)), "conv-1")
    table.calls.clear()
    for number in range(5 * MAX_CACHED):
        records.get(contact_key(LOCATION, str(number)))
    assert len(table.calls) >= 4 * MAX_CACHED


def test_what_is_saved_stays_in_memory_beside_what_was_saved_before(
    table: FakeDynamoDb, records: IdempotencyStore
) -> None:
    for number in range(MAX_CACHED):
        records.save(contact_key(LOCATION, str(number)), "conv-1")
    assert all(records.in_memory(contact_key(LOCATION, str(number))) for number in range(MAX_CACHED))


def test_what_is_held_is_in_memory_only_until_it_expires(
    table: FakeDynamoDb, records: IdempotencyStore, clock: Clock
) -> None:
    record = IdempotencyRecord("conv-1", CONTACT, "written", clock.now)
    records.hold(PK, record)
    assert records.in_memory(PK) == record
    assert table.calls == []
    clock.now += CACHE_SECONDS
    assert records.in_memory(PK) is None


def test_what_became_of_a_message_is_known_to_this_instance_and_to_another(
    table: FakeDynamoDb, records: IdempotencyStore, clock: Clock
) -> None:
    records.save(PK, "conv-1", CONTACT, "written", 1_000_000.25)
    another = IdempotencyStore(table, "Records", TTL, clock)
    record = IdempotencyRecord("conv-1", CONTACT, "written", 1_000_000.25)
    assert (records.in_memory(PK), another.get(PK)) == (record, record)


# With a claim


def test_a_record_and_a_claim_are_read_in_one_call(
    table: FakeDynamoDb, records: IdempotencyStore, clock: Clock
) -> None:
    claims = ClaimStore(table, "Records", clock)
    claim = claims.new("comment", clock.now)
    written = claims.write(ClaimItem("message#1"), claim)
    table.put(LOCATION, CONTACT, "conv-1", TTL)
    table.calls.clear()
    assert records.get_with_claim(PK, "message#1") == (IdempotencyRecord("conv-1"), written)
    ((operation, arguments),) = table.calls
    keys = [{"pk": {"S": PK}}, {"pk": {"S": "message#1"}}]
    assert (operation, arguments["RequestItems"]) == ("BatchGetItem", {"Records": {"Keys": keys}})
    assert records.in_memory(PK) == IdempotencyRecord("conv-1")
    clock.now += TTL
    assert records.get_with_claim(PK, "message#1") == (None, written), "a claim outlives a record"


@pytest.mark.parametrize("error", [None, no_answer()], ids=["neither is there", "the table fails"])
def test_without_a_record_and_a_claim_both_are_none(
    table: FakeDynamoDb, records: IdempotencyStore, error: Exception | None
) -> None:
    table.error = error
    assert records.get_with_claim(PK, "message#1") == (None, ClaimItem("message#1"))


def test_one_delivery_id_for_two_people_is_two_deliveries() -> None:
    assert delivery_key("shop#loc#777", "a@example.com") != delivery_key("shop#loc#777", "b@example.com")
