"""What may happen for days, and the promise that each of it must leave true."""

import contextlib
import io
import json
import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from create_conversation.errors import NotStoredError
from create_conversation.queues import MIN_DELAY_SECONDS, Queues
from create_conversation.submission import Submission
from tests.factories import SETTINGS
from tests.simulation.aws import SimulatedDynamoDb, SimulatedSecretsManager, SimulatedSqs, Throttle
from tests.simulation.highlevel import MEDIAN_SECONDS, Fault, HighLevelModel, Limits
from tests.simulation.instances import TIMEOUT_SECONDS, Account
from tests.simulation.loop import START, Loop

HOUR, DAY = 3600.0, 86_400.0
GIVE_UP_HOURS = SETTINGS.give_up_after / HOUR
VISIBILITY_SECONDS = 450.0  # as template.yaml has it
CONSUMERS = 2  # RetryConcurrency, as template.yaml has it
ARRIVAL_SECONDS = 600.0  # within which the submissions come, if a scenario says nothing else
TOKEN = "pit-11111111-2222-3333-4444-555555555555"
MAX_RECEIVES_EACH = 700
MIN_LEFT = 4
DRAIN_SECONDS, DRAIN_SHARE, MAX_429_SHARE = 900.0, 0.95, 0.005
# That a submission of a quiet location waits; beside one that hangs, for one attempt of 10 s.
MAX_QUIET_SECONDS, MAX_QUIET_SECONDS_BESIDE_HANG = 6.0, 11.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """`hours` it lasts at most; it ends when the queue is empty. `healthy_from`: the hour in which the last fault ends,
    if the submissions are to be opened then; None if they are to expire."""

    name: str
    hours: float
    faults: tuple[Fault, ...] = ()
    healthy_from: float | None = 0.0
    arrival: float = ARRIVAL_SECONDS
    locations: int = 20
    are_people: bool = False  # by their e-mail address: a contact's look-up is a call too
    waiting: int | None = None  # other than what was asked for
    limits: Limits = field(default_factory=Limits)
    pauses: tuple[tuple[float, float], ...] = ()
    is_mapping_off: bool = True  # during a pause
    killed: float = 0.0
    consumers: int = CONSUMERS
    quiet: int = 0  # so many come later, of all locations but the first; the others are the first one's
    is_fair: bool = True  # the queue
    median: float = MEDIAN_SECONDS  # of HighLevel's answers
    dynamodb: tuple[Throttle, ...] = ()
    sqs: tuple[Throttle, ...] = ()


def outage(name: str, hours: float, **fault: Any) -> Scenario:
    """HighLevel is down for that long; longer than submissions are retried, they expire."""
    faults = (Fault(begin=0.0, end=hours * HOUR, **fault),)
    if hours > GIVE_UP_HOURS:
        return Scenario(name, GIVE_UP_HOURS + 4, faults, healthy_from=None)
    return Scenario(name, hours + 12, faults, healthy_from=hours)


RETRY_AFTER = {
    "absent": None,
    "0": "0",
    "1": "1",
    "past": "Sat, 01 Jan 2022 00:00:00 GMT",
    "garbage": "soon",
    "hour": "3600",
}
PAST_AGE = GIVE_UP_HOURS + 24
NOISY, QUIET = 1000, 200
_FIRST = frozenset({"location-0"})
NOISY_FAULTS = {
    "healthy": (),
    "slow": (Fault("slow", 0.0, HOUR, locations=_FIRST, seconds=2.0),),
    "hang": (Fault("hang", 0.0, HOUR, locations=_FIRST),),
    "5xx": (Fault("status", 0.0, HOUR, 500, locations=_FIRST),),
    "429": (Fault("status", 0.0, HOUR, 429, locations=_FIRST),),
}
SCENARIOS = [
    Scenario("healthy", 4),
    outage("outage-5xx", PAST_AGE, kind="status", status=503),
    outage("outage-hang", PAST_AGE, kind="hang"),
    outage("outage-reset", PAST_AGE, kind="reset"),
    outage("outage-refuse", PAST_AGE, kind="refuse"),
    outage("outage-71h", 71, kind="status", status=503),
    *(outage(f"503-{name}", 71, kind="status", status=503, retry_after=value) for name, value in RETRY_AFTER.items()),
    *(outage(f"429-{name}", 71, kind="status", status=429, retry_after=value) for name, value in RETRY_AFTER.items()),
    replace(outage("flapping", 71, kind="status", status=503, period=300.0), arrival=70 * HOUR),
    Scenario("pause-hour", 12, pauses=((0.0, HOUR),), healthy_from=1.0),
    Scenario("pause-ten-days", 12 * 24, pauses=((0.0, 10 * DAY),), healthy_from=240.0, arrival=9 * DAY),
    # An operator has turned the event source mapping on by hand: each message is received once an hour.
    Scenario(
        "pause-mapping-on",
        12 * 24,
        pauses=((0.0, 10 * DAY),),
        is_mapping_off=False,
        healthy_from=241.4,
        arrival=9 * DAY,
    ),
    Scenario(
        "pause-twelve-days",
        14 * 24,
        (Fault("status", 12 * DAY, 14 * DAY),),
        pauses=((0.0, 12 * DAY),),
        healthy_from=None,
    ),
    outage("token-revoked", 24, kind="status", status=401, message="Invalid JWT"),
    Scenario(
        "one-of-twenty",
        GIVE_UP_HOURS + 4,
        (Fault("status", 0.0, PAST_AGE * HOUR, 500, locations=frozenset({"location-0"})),),
        healthy_from=None,
    ),
    Scenario("dynamodb-throttled", 12, dynamodb=(Throttle(0.0, 2 * HOUR, 1.0),), healthy_from=2.0, arrival=HOUR),
    replace(outage("sqs-throttled", 6, kind="status", status=503), sqs=(Throttle(0.0, 6 * HOUR, 0.5),)),
    replace(outage("killed", 6, kind="status", status=503), killed=0.2),
    replace(outage("drain", 6, kind="status", status=503), locations=1),
    Scenario("drain-after-pause", 24, pauses=((0.0, 6 * HOUR),), healthy_from=6.0, locations=1),
    replace(outage("drain-people", 6, kind="status", status=503), locations=1, are_people=True),
    Scenario("drain-people-after-pause", 24, pauses=((0.0, 6 * HOUR),), healthy_from=6.0, locations=1, are_people=True),
    replace(outage("drain-five", 6, kind="status", status=503), locations=1, consumers=5),
    replace(outage("drain-prompt", 6, kind="status", status=503), locations=1, median=0.03),
    *(
        Scenario(
            f"noisy-{name}",
            12,
            faults,
            healthy_from=1.0,
            arrival=1.0,
            locations=21,
            quiet=QUIET,
            waiting=NOISY + QUIET,
        )
        for name, faults in NOISY_FAULTS.items()
    ),
    Scenario("over-a-days-quota", 60, locations=1, limits=Limits(daily=0), healthy_from=24.0),
]


def random_scenario(seed: int) -> Scenario:
    """Some faults, whatever they are: nothing may be lost, expire unasked or be moved by SQS."""
    rng = random.Random(f"{seed}/scenario")

    def fault() -> Fault:
        begin = rng.choice([0.0, rng.uniform(0.0, 80.0) * HOUR])
        end = begin + rng.choice([0.1, 1.0, 6.0, 24.0, 90.0]) * HOUR
        some = frozenset(f"location-{number}" for number in rng.sample(range(20), rng.randint(1, 20)))
        return Fault(
            rng.choice(["status", "status", "hang", "reset", "refuse"]),
            begin,
            end,
            rng.choice([408, 429, 500, 502, 503, 504]),
            rng.choice([*RETRY_AFTER.values(), "30", "600"]),
            rng.choice([None, some]),
            rng.choice([None, None, 60.0, 3600.0]),
        )

    def throttles() -> tuple[Throttle, ...]:
        begin = rng.uniform(0.0, 40.0) * HOUR
        return rng.choice([(), (Throttle(begin, begin + rng.uniform(0.0, 3.0) * HOUR, rng.uniform(0.1, 1.0)),)])

    pause = rng.uniform(0.0, 20.0) * HOUR
    return Scenario(
        f"random-{seed}",
        13 * 24,
        tuple(fault() for _ in range(rng.randint(1, 5))),
        healthy_from=None,
        arrival=rng.choice([ARRIVAL_SECONDS, 6 * HOUR, 80 * HOUR]),
        locations=rng.choice([1, 3, 20]),
        pauses=rng.choice([(), (), ((pause, pause + rng.uniform(0.1, 72.0) * HOUR),)]),
        killed=rng.choice([0.0, 0.0, 0.1]),
        dynamodb=throttles(),
        sqs=throttles(),
    )


@dataclass(slots=True)
class Result:
    scenario: Scenario
    waiting: int
    hours: float
    opened: int
    expired_tried: int
    expired_unasked: int
    expired_too_early: int
    rejected: int
    moved: int
    receives_max: int
    receives_mean: float
    invocations: float  # for each submission; so are the next two
    function_seconds: float
    sqs_requests: float
    lost: int
    twice: int
    drain: float | None  # share of the limit at which the waiting were opened, once they could be
    quiet_seconds: float | None  # that the slowest of the quiet locations' submissions waited after its delay
    left: int  # calls that the fullest window of a location still had for callers
    share_429: float
    still_waiting: int
    wall_seconds: float
    fingerprint: int = 0

    def broken(self) -> list[str]:
        """The promises that do not hold, in words."""
        checks = {
            "moved by SQS": self.moved,
            "expired unasked": self.expired_unasked,
            "expired too early": self.expired_too_early,
            "rejected": self.rejected,
            "lost": self.lost,
            "opened twice": self.twice,
            "still waiting": self.still_waiting,
            f"more than {MAX_RECEIVES_EACH} receives": self.receives_max > MAX_RECEIVES_EACH,
            "expired, not opened": self.scenario.healthy_from is not None and self.expired_tried,
            "drained too slowly": self.is_slow(),
            f"less than {MIN_LEFT} calls left to callers": self.left < MIN_LEFT,
            "a noisy location delays others": (self.quiet_seconds or 0.0) > self._max_quiet_seconds(),
            "too many 429": self.share_429 > MAX_429_SHARE and not self._is_429_expected(),
        }
        return [what for what, is_broken in checks.items() if is_broken]

    def _max_quiet_seconds(self) -> float:
        does_hang = any(fault.kind == "hang" for fault in self.scenario.faults)
        return MAX_QUIET_SECONDS_BESIDE_HANG if does_hang else MAX_QUIET_SECONDS

    def _is_429_expected(self) -> bool:
        """HighLevel's fault, or a daily limit so small that the looks for its end count."""
        return not self.scenario.limits.daily or any(fault.status == 429 for fault in self.scenario.faults)

    def is_slow(self) -> bool:
        return self.drain is not None and self.drain < 1.0


def run(scenario: Scenario, waiting: int, seed: int) -> Result:
    """Let it happen. The same seed gives the same result."""
    began = time.monotonic()
    waiting = scenario.waiting or waiting
    limits = scenario.limits if scenario.limits.daily else replace(scenario.limits, daily=max(1, waiting * 2 // 3))
    loop = Loop()

    def rng(part: str) -> random.Random:
        return random.Random(f"{seed}/{part}")

    highlevel = HighLevelModel(loop, rng("highlevel"), list(scenario.faults), limits, scenario.median)
    sqs = SimulatedSqs(loop, rng("sqs"), VISIBILITY_SECONDS, list(scenario.sqs), is_fair=scenario.is_fair)
    account = Account(
        loop,
        SETTINGS,
        highlevel,
        sqs,
        SimulatedDynamoDb(loop, rng("dynamodb"), list(scenario.dynamodb)),
        SimulatedSecretsManager(loop, rng("secrets"), TOKEN),
        rng("lambda"),
        scenario.killed,
        scenario.pauses,
        scenario.is_mapping_off,
    )
    arrivals = rng("arrivals")
    have_all_come = False
    stored_at: dict[str, float] = {}

    def arrive() -> None:
        nonlocal have_all_come
        queue = account.queue()
        noisy = waiting - scenario.quiet
        times = sorted(arrivals.uniform(0.0, scenario.arrival) for _ in range(noisy))
        times += sorted(arrivals.choice([20.0, arrivals.uniform(20.0, 600.0)]) for _ in range(scenario.quiet))
        for number, at in enumerate(times):
            loop.sleep(at - loop.now)
            location = f"location-{_place(scenario, number, noisy)}"
            who = (
                {"email": f"contact-{number}@example.com"}
                if scenario.are_people
                else {"contactId": f"contact-{number}"}
            )
            body = json.dumps({"locationId": location} | who).encode()
            trigger, sender = ("webhook", "token") if scenario.are_people else ("http", "api")
            submission = Submission(trigger, sender, f"r{number}", loop.time(), "application/json", body)
            while not _is_stored(queue, submission, location):
                loop.sleep(5.0)  # its sender sends it again
            if number >= noisy:
                stored_at[f"contact-{number}"] = loop.now
        have_all_come = True

    def watch() -> None:
        while not have_all_come or sqs.messages:
            loop.sleep(60.0)
        loop.stop()

    with silence():
        loop.start(arrive)
        loop.start(watch)
        loop.start(account.pause_and_resume)
        for _ in range(scenario.consumers):
            loop.start(account.consume)
        loop.run(scenario.hours * HOUR)
    opened_at = highlevel.opened_at
    waits = [opened_at.get(contact, float("inf")) - at - MIN_DELAY_SECONDS for contact, at in stored_at.items()]
    return replace(
        _result(scenario, waiting, account, limits, time.monotonic() - began), quiet_seconds=max(waits, default=None)
    )


def _place(scenario: Scenario, number: int, noisy: int) -> int:
    """Number the location of a submission: all in turn, or the first for the noisy ones and the others for the rest."""
    if not scenario.quiet:
        return number % scenario.locations
    return 0 if number < noisy else 1 + number % (scenario.locations - 1)


def _is_stored(queue: Queues, submission: Submission, location: str) -> bool:
    try:
        queue.enqueue(submission, location, None)
    except NotStoredError:
        return False
    return True


def _result(scenario: Scenario, waiting: int, account: Account, limits: Limits, wall: float) -> Result:
    sqs, highlevel = account.sqs, account.highlevel
    tried = unasked = too_early = 0
    for at, body, attributes in sqs.dead_letters:
        submission = Submission.from_message(body)
        members = json.loads(submission.body)
        contact = members.get("contactId") or members["email"].partition("@")[0]
        if attributes["reason"] == "expired":
            too_early += START + at - submission.received_at < GIVE_UP_HOURS * HOUR
            is_tried = at - highlevel.tried.get(contact, float("-inf")) <= TIMEOUT_SECONDS
            tried, unasked = tried + is_tried, unasked + (not is_tried)
    opened = sum(1 for count in highlevel.conversations.values() if count)
    receives = [*sqs.receives, *(message.receives for message in sqs.messages.values())]
    ended = opened + len(sqs.dead_letters) + len(sqs.moved)
    calls = highlevel.statuses.total()
    return Result(
        scenario,
        waiting,
        account.loop.now / HOUR,
        opened,
        tried,
        unasked,
        too_early,
        len(sqs.dead_letters) - tried - unasked,
        len(sqs.moved),
        max(receives, default=0),
        sum(receives) / max(1, len(receives)),
        sqs.batches / waiting,
        sqs.function_seconds / waiting,
        sqs.requests / waiting,
        max(0, waiting - ended - len(sqs.messages)) + len(sqs.expired),
        sum(1 for count in highlevel.conversations.values() if count > 1),
        _drain(scenario, waiting, highlevel, limits),
        None,
        limits.max if highlevel.least_left is None else highlevel.least_left,
        highlevel.statuses[429] / max(1, calls),
        len(sqs.messages),
        wall,
        hash((round(1e6 * account.loop.now), sqs.received, sqs.batches, calls)),
    )


def _drain(scenario: Scenario, waiting: int, highlevel: HighLevelModel, limits: Limits) -> float | None:
    """The time that the promise gives for it, as a share of what it took."""
    if not scenario.healthy_from or scenario.killed or scenario.quiet or limits.daily < waiting:
        return None
    healthy_from = max(scenario.healthy_from * HOUR, scenario.arrival)
    took = max((at - healthy_from for at in highlevel.opened_at.values()), default=float("inf"))
    rate = limits.max / limits.seconds * scenario.locations
    asked_for = HOUR if any(fault.retry_after == "3600" for fault in scenario.faults) else 0.0
    calls = 2 * waiting if scenario.are_people else waiting
    promised = asked_for + DRAIN_SECONDS + calls / (DRAIN_SHARE * rate)
    return promised / took if took > 0 else None


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Neither log nor metrics: a line for each of millions of tries."""
    logger = logging.getLogger("highlevel-conversations")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with contextlib.redirect_stdout(_Nothing()):
            yield
    finally:
        logger.setLevel(level)


class _Nothing(io.StringIO):
    def write(self, text: str, /) -> int:
        return len(text)
