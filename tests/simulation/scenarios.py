"""What may happen for days, and the promise that each of it must leave true."""

import contextlib
import io
import json
import logging
import random
import time
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from create_conversation.errors import NotStoredError
from create_conversation.queues import AGE_SHARE, MIN_DELAY_SECONDS
from create_conversation.submission import Submission
from tests.factories import RETRY_URL, SETTINGS
from tests.simulation.aws import DUPLICATES, SimulatedDynamoDb, SimulatedSecretsManager, SimulatedSqs, Throttle
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
# The part of a drain that is steady: neither the first calls nor those for which too few submissions are visible.
STEADY_FROM, STEADY_TO = 0.15, 0.5
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
    has_messages: bool = False  # the submissions bring words
    crashes: float = 0.0
    duplicates: float = DUPLICATES
    repeats: float = 0.0  # the share of deliveries that their sender makes again, up to three days later
    lag: float = 0.0  # until HighLevel's lists show what was written
    redrive_at: float | None = None  # when all dead letters are sent to the retry queue again
    dynamodb: tuple[Throttle, ...] = ()
    sqs: tuple[Throttle, ...] = ()


def outage(name: str, hours: float, **fault: Any) -> Scenario:
    """HighLevel is down for that long; longer than submissions are retried, they expire."""
    faults = (Fault(begin=0.0, end=hours * HOUR, **fault),)
    if hours > GIVE_UP_HOURS:
        return Scenario(name, GIVE_UP_HOURS + 4, faults, healthy_from=None)
    return Scenario(name, hours + 12, faults, healthy_from=hours)


# Each row of the message step's rules: crashes around the claim and the call, commits after the caller has given up,
# threads that lag and cannot be read, DynamoDB down, repeats, a redrive after 15 days.
_NO_COMMENTS, UNREADABLE = frozenset({"location-1", "location-2"}), frozenset({"location-3"})
_WRITES = ("/conversations/messages", "/contacts/notes")
_READS = ("/conversations/thread",)
_NO_SCOPE: dict[str, Any] = {"status": 401, "message": "The token is not authorized for this scope."}
MESSAGE_STEP = Scenario(
    "words-under-crashes",
    22 * 24,
    (
        Fault("status", 6 * HOUR, 90 * HOUR, 503, locations=frozenset({"location-4"}), routes=_WRITES),
        Fault("status", 0.0, 30 * DAY, locations=_NO_COMMENTS, routes=_WRITES[:1], **_NO_SCOPE),
        Fault("status", 0.0, 30 * DAY, locations=UNREADABLE, routes=_READS, **_NO_SCOPE),
        Fault("late", 0.0, 5 * DAY, routes=_WRITES, share=0.1),
        Fault("hang", 0.0, 5 * DAY, routes=_WRITES, share=0.05),
        Fault("reset", 0.0, 5 * DAY, share=0.05),
        Fault("status", 0.0, 5 * DAY, 503, routes=(*_READS, "/contacts/notes"), share=0.3),
    ),
    healthy_from=None,
    arrival=2 * DAY,
    has_messages=True,
    crashes=0.03,
    duplicates=0.03,
    repeats=0.2,
    lag=20.0,
    redrive_at=19 * DAY,
    dynamodb=(Throttle(10 * HOUR, 11 * HOUR, 1.0), Throttle(20 * HOUR, 30 * HOUR, 0.2)),
)

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
    Scenario("drain-steady", 24, pauses=((0.0, HOUR),), healthy_from=1.0, locations=1, has_messages=True),
    # They come within a second. None is old enough for long waits, which would spread them over all windows.
    Scenario("drain-burst", 12, arrival=1.0, healthy_from=1.0 / HOUR, locations=1, waiting=2000),
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
    MESSAGE_STEP,
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
    steady: float | None  # share of the limit that was used meanwhile, while as many were visible as it allows
    quiet_seconds: float | None  # that the slowest of the quiet locations' submissions waited after its delay
    words_lost: int
    words_twice: int  # where HighLevel lets itself be read
    possible_duplicates: int  # logged, because the scope to read is missing
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
            "words lost": self.words_lost,
            "words written twice": self.words_twice,
            "opened twice": self.twice,
            "still waiting": self.still_waiting,
            f"more than {MAX_RECEIVES_EACH} receives": self.receives_max > MAX_RECEIVES_EACH,
            "expired, not opened": self.scenario.healthy_from is not None and self.expired_tried,
            "drained too slowly": self.is_slow(),
            f"less than {DRAIN_SHARE:.0%} of the limit used": self.steady is not None and self.steady < DRAIN_SHARE,
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

    faults = list(scenario.faults)
    highlevel = HighLevelModel(loop, rng("highlevel"), faults, limits, scenario.median, scenario.lag)
    throttles, is_fair, duplicates = list(scenario.sqs), scenario.is_fair, scenario.duplicates
    account = Account(
        loop,
        replace(SETTINGS, message="comment") if scenario.has_messages else SETTINGS,
        highlevel,
        SimulatedSqs(loop, rng("sqs"), VISIBILITY_SECONDS, throttles, is_fair=is_fair, duplicates=duplicates),
        SimulatedDynamoDb(loop, rng("dynamodb"), list(scenario.dynamodb)),
        SimulatedSecretsManager(loop, rng("secrets"), TOKEN),
        rng("lambda"),
        scenario.killed,
        scenario.pauses,
        scenario.is_mapping_off,
        scenario.consumers,
        scenario.crashes,
    )
    senders = _Senders(scenario, waiting, account, rng("arrivals"))
    with silence() as warnings:
        loop.start(senders.send)
        loop.start(senders.repeat)
        loop.start(senders.redrive)
        loop.start(senders.stop_at_the_end)
        loop.start(account.pause_and_resume)
        for _ in range(scenario.consumers):
            loop.start(account.consume)
        loop.run(scenario.hours * HOUR)
    result = _result(scenario, waiting, account, limits, time.monotonic() - began)
    return replace(
        result, quiet_seconds=senders.slowest_of_the_quiet(), possible_duplicates=warnings["possible_duplicate"]
    )


@dataclass(slots=True)
class _Senders:
    """Who stores submissions in the retry queue, as the other triggers do, and who redrives dead letters."""

    scenario: Scenario
    waiting: int
    account: Account
    rng: random.Random
    have_all_come: bool = False
    stored_at: dict[str, float] = field(default_factory=dict)  # of the quiet locations' contacts
    again: list[tuple[float, Submission, str]] = field(default_factory=list)

    def send(self) -> None:
        loop, scenario, rng = self.account.loop, self.scenario, self.rng
        noisy = self.waiting - scenario.quiet
        times = sorted(rng.uniform(0.0, scenario.arrival) for _ in range(noisy))
        times += sorted(rng.choice([20.0, rng.uniform(20.0, 600.0)]) for _ in range(scenario.quiet))
        for number, at in enumerate(times):
            loop.sleep(at - loop.now)
            location = f"location-{_place(scenario, number, noisy)}"
            submission = self._submission(number, location)
            while not self._is_stored(submission, location):
                loop.sleep(5.0)  # its sender sends it again
            if scenario.repeats and rng.random() < scenario.repeats:
                self.again.append((loop.now + rng.choice([1.0, 30.0, 75 * HOUR]), submission, location))
            if number >= noisy:
                self.stored_at[f"contact-{number}"] = loop.now
        self.have_all_come = True

    def _submission(self, number: int, location: str) -> Submission:
        scenario = self.scenario
        who = {"email": f"contact-{number}@example.com"} if scenario.are_people else {"contactId": f"contact-{number}"}
        words = {"message": f"The words of {number}."} if scenario.has_messages else {}
        body = json.dumps({"locationId": location} | who | words).encode()
        trigger, sender = ("webhook", "token") if scenario.are_people else ("http", "api")
        received_at = self.account.loop.time()
        return Submission(trigger, sender, f"r{number}", received_at, "application/json", body, f"delivery-{number}")

    def _is_stored(self, submission: Submission, location: str) -> bool:
        try:
            self.account.queue().enqueue(submission, location, None)
        except NotStoredError:
            return False
        return True

    def repeat(self) -> None:
        """Store again what senders send again: the same delivery, received later."""
        loop = self.account.loop
        while not self.have_all_come or self.again:
            loop.sleep(10.0)
            for each in [each for each in self.again if each[0] <= loop.now]:
                self.again.remove(each)
                self._is_stored(replace(each[1], received_at=loop.time()), each[2])

    def redrive(self) -> None:
        if self.scenario.redrive_at is None:
            return
        self.account.loop.sleep(self.scenario.redrive_at)
        sqs = self.account.sqs
        letters, sqs.dead_letters = sqs.dead_letters, []
        for _, body, attributes in letters:
            group = attributes["location"]
            sqs.call("SendMessage", QueueUrl=RETRY_URL, MessageBody=body, MessageGroupId=group, DelaySeconds=0)

    def stop_at_the_end(self) -> None:
        loop, redrive_at = self.account.loop, self.scenario.redrive_at or 0.0
        while not self.have_all_come or self.again or self.account.sqs.messages or loop.now < redrive_at + 60.0:
            loop.sleep(60.0)
        loop.stop()

    def slowest_of_the_quiet(self) -> float | None:
        opened_at = self.account.highlevel.opened_at
        waits = [opened_at.get(who, float("inf")) - at - MIN_DELAY_SECONDS for who, at in self.stored_at.items()]
        return max(waits, default=None)


def _place(scenario: Scenario, number: int, noisy: int) -> int:
    """Number the location of a submission: all in turn, or the first for the noisy ones and the others for the rest."""
    if not scenario.quiet:
        return number % scenario.locations
    return 0 if number < noisy else 1 + number % (scenario.locations - 1)


def _result(scenario: Scenario, waiting: int, account: Account, limits: Limits, wall: float) -> Result:
    sqs, highlevel = account.sqs, account.highlevel
    # SQS may deliver a message once more after it was deleted: its submission is dead-lettered again, with one more
    # attempt. The table counts submissions.
    letters = {Submission.from_message(body): (at, attributes) for at, body, attributes in reversed(sqs.dead_letters)}
    tried = unasked = too_early = 0
    for submission, (at, attributes) in letters.items():
        members = json.loads(submission.body)
        contact = members.get("contactId") or members["email"].partition("@")[0]
        if attributes["reason"] == "expired":
            too_early += START + at - submission.received_at < GIVE_UP_HOURS * HOUR
            is_tried = at - highlevel.tried.get(contact, float("-inf")) <= TIMEOUT_SECONDS
            tried, unasked = tried + is_tried, unasked + (not is_tried)
    opened = sum(1 for count in highlevel.conversations.values() if count)
    receives = [*sqs.receives, *(message.receives for message in sqs.messages.values())]
    ended = opened + len(letters) + len(sqs.moved)
    calls = highlevel.statuses.total()
    return Result(
        scenario,
        waiting,
        account.loop.now / HOUR,
        opened,
        tried,
        unasked,
        too_early,
        len(letters) - tried - unasked,
        len(sqs.moved),
        max(receives, default=0),
        sum(receives) / max(1, len(receives)),
        sqs.batches / waiting,
        sqs.function_seconds / waiting,
        sqs.requests / waiting,
        max(0, waiting - ended - len(sqs.messages)) + len(sqs.expired),
        sum(1 for count in highlevel.conversations.values() if count > 1),
        _drain(scenario, waiting, highlevel, limits),
        _steady(scenario, waiting, highlevel, limits),
        None,
        *_words(scenario, waiting, account),
        0,
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
    promised = asked_for + DRAIN_SECONDS + waiting * _calls_each(scenario) / (DRAIN_SHARE * rate)
    return promised / took if took > 0 else None


def _calls_each(scenario: Scenario) -> int:
    """Count a submission's calls: find and create its contact, open the conversation, message and badge."""
    return 1 + 2 * scenario.are_people + 2 * scenario.has_messages


def _steady(scenario: Scenario, waiting: int, highlevel: HighLevelModel, limits: Limits) -> float | None:
    """The share of the limit that was used in the steady part; None if too few were visible at a time for one."""
    if _drain(scenario, waiting, highlevel, limits) is None or scenario.locations > 1 or not scenario.healthy_from:
        return None
    longest = min(AGE_SHARE * scenario.healthy_from * HOUR, SETTINGS.backoff_cap)  # that one waits
    calls = waiting * _calls_each(scenario)
    if calls / longest <= 1.1 * limits.max / limits.seconds:
        return None
    (windows,) = highlevel.windows.values()
    windows = [window for window in windows if window.since >= scenario.healthy_from * HOUR]
    done = list(accumulate(window.used for window in windows))
    first, last = bisect(done, STEADY_FROM * done[-1]), bisect(done, STEADY_TO * done[-1])
    seconds = windows[last].since - windows[first].since
    return (done[last - 1] - done[first - 1]) / (seconds * limits.max / limits.seconds)


def _words(scenario: Scenario, waiting: int, account: Account) -> tuple[int, int]:
    """Count the submissions whose words are nowhere, and those whose words are there twice for no known reason."""
    if not scenario.has_messages:
        return 0, 0
    highlevel = account.highlevel
    stored = [Submission.from_message(body).request_id for _, body, _ in account.sqs.dead_letters]
    stored += [Submission.from_message(message.body).request_id for message in account.sqs.messages.values()]
    counts = {
        f"r{number}": sum(
            f"The words of {number}." in text for _, _, text in highlevel.texts.get(f"contact-{number}", [])
        )
        for number in range(waiting)
    }
    lost = sum(not count for name, count in counts.items() if name not in stored)
    unreadable = {f"r{number}" for number in range(waiting) if f"location-{number % scenario.locations}" in UNREADABLE}
    return lost, sum(count > 1 for name, count in counts.items() if name not in unreadable)


@contextlib.contextmanager
def silence() -> Iterator[Counter[str]]:
    """Write neither log nor metrics, or there would be a line for each of millions of tries; count the warnings."""
    logger = logging.getLogger("highlevel-conversations")
    level, warnings = logger.level, Counter[str]()

    def count(record: logging.LogRecord) -> bool:
        warnings[record.getMessage()] += 1
        return False

    logger.setLevel(logging.WARNING)
    logger.addFilter(count)
    try:
        with contextlib.redirect_stdout(_Nothing()):
            yield warnings
    finally:
        logger.removeFilter(count)
        logger.setLevel(level)


class _Nothing(io.StringIO):
    def write(self, text: str, /) -> int:
        return len(text)
