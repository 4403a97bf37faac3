"""The message step under faults: each way to lose or to double a submission's words, thousands of times.

A delivery goes through its trigger (a webhook, `POST /conversations`, an event), and through the retry queue until its
words are in HighLevel. Each follows one row of ROWS, or faults at random.
"""

import contextlib
import io
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from cli.signing import sign
from create_conversation.errors import NotStoredError
from tests.simulation.aws import Throttle
from tests.simulation.inbox import InboxModel, Person
from tests.simulation.loop import Loop
from tests.simulation.message_function import SECRETS, SENDERS, Function, Instance, Sqs, Table
from tests.simulation.message_rows import DAY, HOUR, LAST_DAY, REFUSED, ROWS, Row, random_row

ARRIVAL_SECONDS = 6 * HOUR
CONSUMERS = 5
REDRIVE_AFTER = 15 * DAY  # of the delivery
MAX_SENDS = 40


@dataclass(frozen=True, slots=True)
class Delivery:
    """`number`: of its words. `person`: who sends it."""

    number: int
    person: int
    row: Row


class Senders:
    """Those who send: each repeats what got no 2xx."""

    def __init__(self, function: Function, rng: random.Random) -> None:
        self._function = function
        self._loop = function.loop
        self._rng = rng
        self.busy = 0
        self.refused: list[Delivery] = []  # without a 2xx until the end

    def start(self, delivery: Delivery, at: float, words_of: str) -> None:
        """Send it then, until it is accepted."""
        self.busy += 1

        def live() -> None:
            self._send_until_accepted(delivery, words_of)
            self.busy -= 1

        self._loop.at(at, lambda: self._loop.start(live))

    def _send_until_accepted(self, delivery: Delivery, words_of: str) -> None:
        send = self._send_event if delivery.row.trigger == "event" else self._send_request
        for sends in range(MAX_SENDS):
            if send(delivery, words_of):
                return
            self._loop.sleep(max(delivery.row.repeat, sends))
        self.refused.append(delivery)

    def _send_request(self, delivery: Delivery, words_of: str) -> bool:
        event = self._request(delivery, words_of)
        context = SimpleNamespace(aws_request_id=f"lambda-{delivery.number}")
        answer = self._function.invoke(lambda instance: instance.http.handle(event, context))
        return answer is not None and 200 <= answer["statusCode"] < 300

    def _send_event(self, delivery: Delivery, words_of: str) -> bool:
        """Lambda tries an event three times, then it is a dead letter."""
        location = _location(delivery)
        event = {
            "id": f"event-{delivery.number}",
            "detail-type": "ConversationRequested",
            "source": "my.crm",
            "detail": {"locationId": location, "contactId": f"contact-{delivery.person}", "message": words_of},
        }
        if self._rng.random() < 0.5:
            event["replay-name"] = "replay-1"

        def handle(instance: Instance) -> bool:
            with contextlib.suppress(NotStoredError):
                instance.events.handle(event, SimpleNamespace(aws_request_id="lambda-1"))
                return True
            return False

        for wait in (60.0, 120.0, 0.0):
            if self._function.invoke(handle):
                return True
            self._loop.sleep(wait)
        body = json.dumps({"requestPayload": event})
        self._function.sqs.dead_letters.append((self._loop.now, body, {"location": location}))
        return True

    def _request(self, delivery: Delivery, words_of: str) -> dict[str, Any]:
        trigger, loop = delivery.row.trigger, self._loop
        sender = SENDERS[trigger]
        members: dict[str, Any] = {"locationId": _location(delivery)}
        if trigger == "api":
            members |= {"contactId": f"contact-{delivery.person}", "message": words_of}
        elif trigger == "token":
            members |= {"email": f"person-{delivery.person}@example.com", "Question": words_of}
        else:
            members = {"type": "form", "data": members | {"contactId": f"contact-{delivery.person}", "q": words_of}}
        delivery_id = f"msg_{delivery.number}"
        if trigger == "unsigned-id":
            delivery_id += f"_{self._rng.getrandbits(32)}"
        body = json.dumps(members).encode()
        headers, query, body = sign(
            sender, SECRETS[trigger], body, "application/json", loop.time(), delivery=delivery_id
        )
        if trigger == "api":
            headers["idempotency-key"] = delivery_id
        path = {"routeKey": "POST /conversations"}
        if trigger != "api":
            path = {"routeKey": "POST /webhooks/{sender}", "pathParameters": {"sender": trigger}}  # type: ignore[dict-item]
        return {
            "headers": headers | {"content-type": "application/json"},
            "rawQueryString": query,
            "body": body.decode(),
            "isBase64Encoded": False,
            "requestContext": {"requestId": f"r{delivery.number}", "timeEpoch": int(1000 * loop.time())},
            **path,
        }


def _location(delivery: Delivery) -> str:
    return f"location-{delivery.person}" if delivery.row.sqs_refusals else _location_of_row(delivery.row)


def _location_of_row(row: Row) -> str:
    numbers = {each.name: number for number, each in enumerate(ROWS)}
    return f"location-of-row-{numbers.get(row.name, len(ROWS))}"


@dataclass(slots=True)
class Figures:
    """What became of some deliveries. `twice`: words too many; `contacts_twice`: contacts too many."""

    deliveries: int = 0
    written: int = 0
    notes: int = 0
    lost: int = 0
    twice: int = 0
    contacts_twice: int = 0


@dataclass(slots=True)
class Result:
    """Of one run. `rows`: by row; `counted`: warnings and errors of the log."""

    name: str
    can_read: bool
    total: Figures
    rows: dict[str, Figures]
    counted: Counter[str]
    dead_letters: int
    left: int  # dead letters, and messages in the retry queue
    too_late: int
    days: float
    wall_seconds: float
    calls: Counter[str]
    doubled: list[Delivery] = field(default_factory=list)
    missing: list[Delivery] = field(default_factory=list)

    @property
    def possible_duplicates(self) -> int:
        return self.counted["possible_duplicate"]

    def broken(self) -> list[str]:
        """The promises that do not hold, in words."""
        total, allowed = self.total, 0 if self.can_read else self.possible_duplicates
        checks = {
            "words lost": total.lost,
            "words twice": total.twice > allowed,
            "contacts twice": total.contacts_twice,
            "possible_duplicate where the thread can be read": self.can_read and self.possible_duplicates,
            "no possible_duplicate where it cannot": not self.can_read and not self.possible_duplicates,
            "sent after the deadline": self.too_late,
            "waiting or dead at the end": self.left,
            "a mistake in the code": self.counted["internal_error"],
        }
        return [what for what, is_broken in checks.items() if is_broken]


SCENARIOS = {"message-step": True, "message-step-unreadable-scope": False}  # whether the token may read


def run(name: str, waiting: int, seed: int, rows: tuple[Row, ...] = ROWS) -> Result:
    """Let that many deliveries happen, the rows in turn and a seventh at random. The same seed, the same result."""
    began = time.monotonic()
    can_read = SCENARIOS[name]

    def rng(part: str) -> random.Random:
        return random.Random(f"{seed}/{part}")

    loop = Loop()
    highlevel = InboxModel(loop, rng("highlevel"), [])
    windows = rng("windows")
    sqs, table = Sqs(loop, rng("sqs"), _outages(windows)), Table(loop, rng("dynamodb"), _outages(windows))
    function = Function(loop, highlevel, sqs, table, rng("lambda"))
    senders = Senders(function, rng("senders"))
    deliveries = _deliveries(waiting, rng("deliveries"), rows)
    expected = Counter[int]()
    times = rng("arrivals")
    for delivery in deliveries:
        _plan(delivery, times.uniform(0.0, ARRIVAL_SECONDS), function, senders, expected, can_read=can_read)

    def watch() -> None:
        while senders.busy or function.sqs.messages:
            loop.sleep(600.0)
            if loop.now > REDRIVE_AFTER + ARRIVAL_SECONDS:
                function.sqs.redrive()
        if function.sqs.dead_letters:
            loop.sleep(max(60.0, REDRIVE_AFTER + ARRIVAL_SECONDS - loop.now))
            function.sqs.redrive()
            watch()
        loop.stop()

    with _counting() as counted:
        loop.start(watch)
        for _ in range(CONSUMERS):
            loop.start(function.consume)
        loop.run(LAST_DAY)
    return _result(name, function, deliveries, expected, counted, time.monotonic() - began)


def _outages(rng: random.Random) -> list[Throttle]:
    """Some minutes in which a service of AWS refuses a share of all calls."""
    begins = [rng.uniform(0.0, ARRIVAL_SECONDS) for _ in range(4)]
    return [Throttle(begin, begin + rng.uniform(10.0, 180.0), rng.choice((0.3, 1.0))) for begin in begins]


def _deliveries(count: int, rng: random.Random, rows: tuple[Row, ...]) -> list[Delivery]:
    """The rows in turn, and one at random after each sixth."""
    made: list[Delivery] = []
    used = Counter[str]()
    number = 0
    while len(made) < count:
        row = rows[number % len(rows)] if rows else random_row(rng)
        number += 1
        if row.most is not None and used[row.name] >= max(1, min(row.most, count // 100)):
            continue
        used[row.name] += 1
        first = len(made)
        made.append(Delivery(first, first, row))
        if row.is_pair:
            made.append(Delivery(first + 1, first, row))
        if rows is ROWS and number % 6 == 0:
            made.append(Delivery(len(made), len(made), random_row(rng)))
    return made


def _plan(
    delivery: Delivery,
    at: float,
    function: Function,
    senders: Senders,
    expected: Counter[int],
    *,
    can_read: bool,
) -> None:
    """Enter what will befall a delivery, and when it is sent."""
    row, people = delivery.row, function.highlevel.people
    if delivery.number == delivery.person:
        spans = [(call, at + begin, at + end, fault) for call, begin, end, fault in row.spans]
        spans += [] if can_read else [(call, 0.0, LAST_DAY, REFUSED) for call in ("comments", "notes")]
        people[delivery.person] = Person(
            _location(delivery),
            {call: [*faults] for call, faults in row.faults.items()},
            spans,
            row.lag,
            row.chatter,
            row.allows_duplicates,
        )
        function.table.down[delivery.person] = at + row.down if row.down else 0.0
        function.table.claims[delivery.person] = [*row.table]
        function.sqs.refusals[_location(delivery)] = row.sqs_refusals
    else:  # the second of a pair comes with the first
        at = people[delivery.person].first_at
    people[delivery.person].first_at = at
    words = f"words-{delivery.number}-"
    expected[delivery.number] = 1
    for after in row.sends:
        senders.start(delivery, at + after, words)
    if row.words_again is not None:
        expected[delivery.number] += 1
        senders.start(delivery, at + row.words_again, words)


def _result(
    name: str,
    function: Function,
    deliveries: list[Delivery],
    expected: Counter[int],
    counted: Counter[str],
    wall: float,
) -> Result:
    highlevel, sqs = function.highlevel, function.sqs
    rows: dict[str, Figures] = {}
    result = Result(
        name,
        SCENARIOS[name],
        Figures(),
        rows,
        counted,
        sqs.redriven + len(sqs.dead_letters),
        len(sqs.dead_letters) + len(sqs.messages) + len(sqs.moved) + len(sqs.expired),
        highlevel.too_late,
        function.loop.now / DAY,
        wall,
        highlevel.sent,
    )
    for delivery in deliveries:
        number = delivery.number
        written, notes = highlevel.written[number], highlevel.written_notes[number]
        difference = written + notes - expected[number]
        contacts = len(highlevel.ids_by_address.get(f"person-{number}@example.com", ()))
        if difference > 0:
            result.doubled.append(delivery)
        if difference < 0:
            result.missing.append(delivery)
        for figures in (result.total, rows.setdefault(delivery.row.name, Figures())):
            figures.deliveries += 1
            figures.written += written
            figures.notes += notes
            figures.lost += max(0, -difference)
            figures.twice += max(0, difference)
            figures.contacts_twice += max(0, contacts - 1)
    return result


@contextlib.contextmanager
def _counting() -> Iterator[Counter[str]]:
    """Count the log's warnings and errors by their text; neither log nor metrics are written."""
    counted = Counter[str]()

    class Count(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            counted[str(record.msg)] += 1

    logger = logging.getLogger("highlevel-conversations")
    level, handlers, logger.handlers, propagate = logger.level, logger.handlers, [Count()], logger.propagate
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        with contextlib.redirect_stdout(_Nothing()):
            yield counted
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


class _Nothing(io.StringIO):
    def write(self, text: str, /) -> int:
        return len(text)


HEAD = (
    f"{'scenario':42} {'deliveries':>10} {'written':>7} {'notes':>6} {'lost':>5} {'twice':>5} "
    f"{'possible_duplicate':>18} {'contacts twice':>14} {'dead letters':>12} {'too late':>8} {'days':>5} "
    f"{'wall s':>6}  broken"
)


def table(result: Result) -> str:
    """The run in a row, and below it a row for each kind of fault."""
    rows = [_figures(f"  {name}", figures, "") for name, figures in result.rows.items()]
    total = (
        f"{_figures(result.name, result.total, str(result.possible_duplicates))} {result.dead_letters:12} "
        f"{result.too_late:8} {result.days:5.1f} {result.wall_seconds:6.1f}  {', '.join(result.broken()) or 'none'}"
    )
    return "\n".join([total, *rows])


def _figures(name: str, of: Figures, possible: str) -> str:
    return (
        f"{name:42} {of.deliveries:10} {of.written:7} {of.notes:6} {of.lost:5} {of.twice:5} {possible:>18} "
        f"{of.contacts_twice:14}"
    )
