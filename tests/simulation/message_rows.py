"""What may befall a delivery of the message step: a row for each way to lose or to double its words, and chance."""

import random
from dataclasses import dataclass, field
from typing import Literal

from tests.simulation.inbox import CALLS, NONE, CallFault
from tests.unit.inbox import SCOPE

HOUR, DAY = 3600.0, 86_400.0
LAST_DAY = 40 * DAY
type Trigger = Literal["api", "token", "standard-webhooks", "unsigned-id", "event"]


@dataclass(frozen=True, slots=True)
class TableFault:
    """What befalls the claim writes of a message, by their number. `kind`: AWS refuses it, no answer (the write carried
    out or not), or the process dies before or after it."""

    kind: Literal["none", "refused", "timeout", "timeout after", "dies", "dies after"]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of fault. Times are seconds after the first send.

    `sends`: when the sender sends, whatever it is answered. `repeat`: after how long it sends again what got no 2xx.
    `down`: DynamoDB refuses all about the contact until then. `sqs_refusals`: how many times SQS refuses the delivery.
    `words_again`: when the person sends the same words as a new submission. `is_pair`: two submissions of one new
    person at the same moment. `most`: deliveries of this row at most.
    """

    name: str
    trigger: Trigger = "token"
    faults: dict[str, tuple[CallFault, ...]] = field(default_factory=dict)
    spans: tuple[tuple[str, float, float, CallFault], ...] = ()
    table: tuple[TableFault, ...] = ()
    down: float = 0.0
    sqs_refusals: int = 0
    sends: tuple[float, ...] = (0.0,)
    repeat: float = 1.0
    lag: float = 0.0
    chatter: int = 0
    words_again: float | None = None
    is_pair: bool = False
    allows_duplicates: bool = True
    most: int | None = None


LOST, TIMEOUT, DIES, DIES_AFTER = CallFault("lost"), CallFault("timeout"), CallFault("dies"), CallFault("dies after")


def late(seconds: float) -> CallFault:
    return CallFault("late", seconds)


def status(code: int, message: str = "no") -> CallFault:
    return CallFault("status", status=code, message=message)


REFUSED = status(401, SCOPE)
# Longer than an attempt that has died is waited for.
LATER = 125.0
ROWS = (
    Row("no fault"),
    Row("killed before the claim", table=(TableFault("dies"),)),
    Row("killed after the claim", table=(TableFault("dies after"),)),
    Row("killed before the call", faults={"comment": (DIES,)}),
    Row("killed after HighLevel had it", faults={"comment": (DIES_AFTER,)}),
    Row("killed again in the take-over", faults={"comment": (DIES, DIES_AFTER), "comments": (DIES,)}, repeat=130.0),
    Row("answer lost", faults={"comment": (LOST,)}, trigger="api"),
    Row("not carried out, no answer", faults={"comment": (TIMEOUT,)}),
    Row("carried out at 5 s", faults={"comment": (late(5.0),)}),
    Row("carried out at 50 s", faults={"comment": (late(50.0),)}, trigger="event"),
    Row("carried out at 20 s, shown at 80 s", faults={"comment": (late(20.0),)}, lag=60.0),
    Row("staff comment meanwhile", faults={"comment": (LOST,)}, chatter=45),
    Row("thread answers 503", faults={"comment": (LOST,)}, spans=(("comments", 0.0, HOUR, status(503)),)),
    Row("thread answers 429", faults={"comment": (LOST,)}, spans=(("comments", 0.0, HOUR, status(429)),)),
    Row("thread hangs", faults={"comment": (LOST,)}, spans=(("comments", 0.0, HOUR, TIMEOUT),), trigger="api"),
    Row(
        "thread not shown by the search",
        faults={"conversation": (DIES_AFTER,), "comment": (LOST,)},
        spans=(("search conversation", 0.0, HOUR, CallFault("empty")),),
        trigger="api",
    ),
    Row("DynamoDB down", down=300.0, sends=(0.0, 0.0, 10.0, 200.0), trigger="api"),
    Row("claim write timed out", table=(TableFault("timeout"),)),
    Row("claim write timed out, carried out", table=(TableFault("timeout after"),)),
    Row("result not saved", table=(TableFault("none"), TableFault("refused"))),
    Row("frozen before the call", faults={"comment": (CallFault("frozen", 200.0),)}),
    Row("frozen for a day", faults={"comment": (CallFault("frozen", DAY),)}, trigger="standard-webhooks"),
    Row(
        "redrive after 15 days, location refused",
        faults={"comment": (LOST,)},
        spans=(("", 30.0, 10 * DAY, status(403, "The token does not have access to this location.")),),
        trigger="standard-webhooks",
    ),
    Row(
        "redrive after 15 days, given up",
        faults={"comment": (LOST,)},
        spans=(("comments", 0.0, 10 * DAY, status(503)),),
        trigger="standard-webhooks",
        most=10,
    ),
    Row("repeat after 3 days", faults={"comment": (DIES_AFTER,)}, repeat=3 * DAY, trigger="standard-webhooks"),
    Row("two take over together", faults={"comment": (DIES,)}, sends=(0.0, LATER, LATER), trigger="api"),
    Row("two take over what HighLevel had", faults={"comment": (DIES_AFTER,)}, sends=(0.0, LATER, LATER)),
    Row("two at the same moment", sends=(0.0, 0.0)),
    Row("comment refused", faults={"comment": (REFUSED,)}),
    Row("comment lost, then refused", faults={"comment": (LOST,)}, spans=(("comment", 1.0, LAST_DAY, REFUSED),)),
    Row("comment written, answered 422", faults={"comment": (CallFault("created 422"),)}),
    Row("note lost", faults={"comment": (REFUSED,), "note": (LOST,)}, trigger="api"),
    Row("note carried out at 20 s", faults={"comment": (REFUSED,), "note": (late(20.0),)}),
    Row("no time left, SQS refuses", faults={"conversation": (CallFault("slow", 2.0),)}, sqs_refusals=2, repeat=10.0),
    Row("died after the conversation", faults={"conversation": (DIES_AFTER,)}, trigger="api"),
    Row("same words next week", words_again=7 * DAY),
    Row("same words next week, first lost", faults={"comment": (LOST,)}, words_again=7 * DAY),
    Row("two of one new person", is_pair=True),
    Row("two of one new person, search lags", is_pair=True, lag=60.0),
    Row("two of one new person, no duplicates", is_pair=True, allows_duplicates=False),
    Row("contact's answer lost", faults={"contact": (LOST,)}),
    Row("contact created at 20 s, shown at 80 s", faults={"contact": (late(20.0),)}, lag=60.0),
    Row("contact created, answered 422", faults={"contact": (CallFault("created 422"),)}),
    Row("killed after the contact", faults={"contact": (DIES_AFTER,)}),
    Row("repeat with another unsigned id", sends=(0.0, 5.0, HOUR), trigger="unsigned-id"),
    Row("archive replay", sends=(0.0, HOUR, 5 * DAY), trigger="event"),
    Row("archive replay of what was lost", faults={"comment": (LOST,)}, sends=(0.0, 20.0, 5 * DAY), trigger="event"),
)
RANDOM = "at random"
_AT_RANDOM = (
    NONE,
    NONE,
    NONE,
    LOST,
    TIMEOUT,
    DIES,
    DIES_AFTER,
    CallFault("refuse"),
    status(429),
    status(500),
    status(503),
    status(401, "Invalid JWT"),
)


def random_row(rng: random.Random) -> Row:
    """Faults of any kind, for each call: all but those that no rule can make good (an answer after 120 s)."""

    def fault() -> CallFault:
        kind = rng.choice([*_AT_RANDOM, late(rng.uniform(0.0, 50.0)), CallFault("frozen", rng.uniform(0.0, 300.0))])
        return CallFault("slow", rng.uniform(0.0, 3.0)) if rng.random() < 0.1 else kind

    table = rng.choices(("none", "none", "refused", "timeout", "timeout after", "dies", "dies after"), k=4)
    is_by_body = rng.random() < 0.5
    return Row(
        RANDOM,
        trigger="token" if is_by_body else rng.choice(("api", "standard-webhooks", "event")),
        faults={call: tuple(fault() for _ in range(rng.randint(0, 4))) for call in CALLS if call != "update"},
        table=tuple(TableFault(kind) for kind in table) if rng.random() < 0.3 else (),  # type: ignore[arg-type]
        down=rng.choice((0.0, 0.0, 100.0)),
        sqs_refusals=rng.choice((0, 0, 1, 2)),
        sends=(0.0, *sorted(rng.uniform(0.0, 400.0) for _ in range(rng.choice((0, 0, 1, 2))))),
        repeat=rng.choice((1.0, 60.0, 130.0) if is_by_body else (1.0, 60.0, 130.0, 3 * DAY)),
        lag=rng.choice((0.0, 0.0, 30.0)),
        chatter=rng.choice((0, 0, 45)),
        words_again=rng.choice((None, None, 7 * DAY)) if is_by_body else None,
        allows_duplicates=rng.random() < 0.7,
    )
