"""Load with faults: submissions by all triggers while HighLevel, AWS and workers fail; then each is accounted for."""

import collections
import contextlib
import heapq
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

from nacl.signing import SigningKey

from local.application import Answer
from local.fault_proxy import Mode, Request
from local.highlevel import Fault, Limits
from local.highlevel_oauth import SCOPES
from tests.chaos.canary_secrets import Canary
from tests.chaos.deliveries import (
    REFUSED,
    SENDERS_TOML,
    SICK,
    STRANGE_LOCATION,
    UNREADABLE,
    WITHOUT_COMMENTS,
    Delivery,
    Senders,
    detail,
    plan,
)
from tests.chaos.function_log import FunctionLog
from tests.chaos.reconcile import (
    TRANSIENT_REASONS,
    WRITES,
    Answered,
    LoadPart,
    Observed,
    Sample,
    Shade,
    missing,
    reason_of,
    reconcile,
)
from tests.chaos.results import Figure, Progress
from tests.integration.aws_faults import FaultyWorld, faulty_world

DELIVERIES = 20_000
LOCATIONS = 50
SHORT = 0.02
DUPLICATES = 0.3
PARALLEL_SENDERS = 6
WORKERS_AT_FIRST = 10
PER_SECOND = 32.0
LONGEST_PHASE = 3  # times its planned duration: on a busy machine senders that repeat delay all others
TRIES = 8  # of a sender that repeats
SHORTEST_SECONDS = 13.0
PROGRESS_SECONDS = 5.0
LONGEST_DRAIN_SECONDS = 600.0
LONGEST_EVENT_SECONDS = 90.0  # three tries of 20 s, and the pauses between them

HIGHLEVEL_FAILS = 0.25
# Kinds of faults with their weights. Faults that make a worker wait are rare, or two processors would only wait.
FAULTS: list[tuple[int, Fault]] = [
    *((4, Fault("status", status)) for status in (500, 502, 503, 504, 520, 408, 425)),
    (3, Fault("status", 401, "Invalid Private Integration token")),
    (3, Fault("status", 429, "Too Many Requests")),
    (3, Fault("status", 429, "Too Many Requests", headers={"retry-after": "1"})),
    (4, Fault("html", 403)),
    (3, Fault("html", 401)),
    (3, Fault("html", 502)),
    (5, Fault("empty")),
    (5, Fault("garbage")),
    (3, Fault("garbage", 503)),
    (6, Fault("reset")),
    (6, Fault("close")),
    (10, Fault("commit_then_drop")),
    (3, Fault("commit_then_status", 503)),
    (3, Fault("late_commit", seconds=0.3, commit_seconds=1)),
    (4, Fault("slow", seconds=0.7)),
    (2, Fault("slow", seconds=4)),
    (2, Fault("drip", seconds=0.002)),
    (1, Fault("drip", seconds=1)),
    (1, Fault("drip_headers", seconds=1)),
    (2, Fault("hang")),
]
# The worst fault of a call that HighLevel would carry out twice: the words are written, and the response is lost.
WORDS_LOSE_THEIR_ANSWER = 0.1

type AwsFault = tuple[str, Mode]


@dataclass(frozen=True, slots=True)
class Phase:
    """Faults of AWS while the load is between two shares of its deliveries. `cold`: workers are killed then, because
    warm workers have read the secrets."""

    name: str
    begins: float
    ends: float
    faults: tuple[AwsFault, ...]
    cold: bool = False


PHASES = (
    Phase("Secrets Manager throttled", 0.05, 0.11, (("secretsmanager", "throttle"),), cold=True),
    Phase("Secrets Manager gone", 0.16, 0.22, (("secretsmanager", "gone"),), cold=True),
    Phase("DynamoDB throttled", 0.28, 0.35, (("dynamodb", "throttle"),)),
    Phase("DynamoDB gone", 0.41, 0.48, (("dynamodb", "gone"),)),
    Phase("SQS throttled", 0.54, 0.60, (("sqs", "throttle"),)),
    Phase("SQS gone", 0.66, 0.72, (("sqs", "gone"),)),
    Phase(
        "all three at the same time",
        0.80,
        0.86,
        (("dynamodb", "gone"), ("sqs", "throttle"), ("secretsmanager", "gone")),
    ),
)


@dataclass(frozen=True, slots=True)
class Scale:
    """What `size` scales, in seconds. Hours of the deployed application become seconds, so that a run ends."""

    deliveries: int
    per_second: float
    give_up_after: float
    backoff_cap: float
    record_ttl: float
    visibility: float
    kill_every: float  # share of the deliveries
    longest_wait: float  # of a sender before it repeats
    window: float  # of HighLevel's rate limit
    ages_claims: bool  # of messages, once HighLevel has recovered: two minutes would be most of the run
    short: bool

    @classmethod
    def of(cls, size: float) -> "Scale":
        deliveries = max(260, round(DELIVERIES * size))
        return cls(
            deliveries=deliveries,
            per_second=min(PER_SECOND, deliveries / SHORTEST_SECONDS),
            give_up_after=min(120.0, max(8.0, 120 * size * 5)),
            backoff_cap=min(15.0, max(2.0, 15 * size * 5)),
            record_ttl=min(60.0, max(3.0, 60 * size * 5)),
            visibility=min(60.0, max(10.0, 60 * size * 5)),
            kill_every=min(0.12, max(0.014, 0.014 / (5 * size))),
            longest_wait=min(5.0, max(1.0, 5 * size * 5)),
            window=min(10.0, max(2.0, 10 * size * 5)),
            ages_claims=size < 0.2,
            short=size < SHORT,
        )


def run(size: float, progress: Progress) -> LoadPart:
    """Send, break, recover, reconcile. `size`: 1.0 for 20,000 deliveries; the kinds of faults are the same for all."""
    scale, rng, canary = Scale.of(size), random.Random(1), Canary.new()
    progress(f"load: {scale.deliveries} deliveries at up to {scale.per_second:.0f} a second, {LOCATIONS} locations")
    with faulty_world(SENDERS_TOML) as world:
        hours = {"GIVE_UP_AFTER_HOURS": f"{scale.give_up_after / 3600:.6f}", "BACKOFF_CAP_SECONDS": scale.backoff_cap}
        hours |= {"RECORD_TTL_SECONDS": f"{scale.record_ttl:.0f}", "POWERTOOLS_LOG_LEVEL": "DEBUG"}
        with world.configured(**{name: str(value) for name, value in hours.items()}):
            load = _Load(world, scale, rng, canary, progress)
            load.prepare()
            load.send()
            load.drain()
            load.redrive()
            return load.account()


@dataclass(eq=False, slots=True)
class _Job:
    """A delivery to send now. `again`: how often to repeat it after its answer; `together`: when its twin is sent
    too."""

    delivery: Delivery
    again: int = 0
    together: threading.Barrier | None = None


class _Load:
    """The state of one run, from its preparation to its accounts."""

    def __init__(
        self, world: FaultyWorld, scale: Scale, rng: random.Random, canary: Canary, progress: Progress
    ) -> None:
        self.world, self.scale, self.rng, self.canary = world, scale, rng, canary
        self.locations = [f"location{number:02d}" for number in range(LOCATIONS)]
        self.senders = Senders(canary, SigningKey.generate())
        originals = round(scale.deliveries * (1 - DUPLICATES))
        self.deliveries = plan(originals, self.locations, canary, rng)
        self.first, self.late, self.duplicates = _with_duplicates(self.deliveries, scale.deliveries - originals, rng)
        self.seen = Observed()
        self.log = FunctionLog(world.application)
        self._progress = progress
        self._lock = threading.Lock()
        self._delayed: list[tuple[float, int, _Job]] = []
        self._order = itertools.count()
        self._ready: collections.deque[tuple[float, _Job]] = collections.deque()
        self._open = 0  # jobs not ended
        self._share = 0.0
        self._phase = "load"
        self._started = 0.0
        self._shown_at = 0.0
        self._over = threading.Event()

    # --- before ---------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Store tokens and secrets, and let HighLevel refuse some contacts and locations."""
        highlevel, application = self.world.highlevel, self.world.application
        tokens = {location: self.canary.token(location) for location in [*self.locations, STRANGE_LOCATION]}
        highlevel.tokens.clear()
        highlevel.tokens.update({token: location for location, token in tokens.items()})
        highlevel.tokens[tokens[STRANGE_LOCATION]] = "another-location"
        application.store_token(json.dumps({"tokens": tokens}))
        for name, secret in self.senders.secrets().items():
            application.store_sender_secret(name, secret)
        self.canary.watch("secret of api", application.api_secret)
        self.world.kill()
        self.world.show_again_after(round(self.scale.visibility))
        highlevel.faults += [_ForContacts("status", 422, ["contactId must be a valid id"], contact=REFUSED)]
        highlevel.faults += [_ForContacts("status", 500, contact=SICK)]
        highlevel.refuse_comments = dict(WITHOUT_COMMENTS)
        highlevel.scopes[tokens[UNREADABLE]] = set(SCOPES.split()) - {"conversations/message.readonly"}
        highlevel.limits = Limits(interval_ms=round(1000 * self.scale.window))
        self._warm_up()
        self._watch_queues()

    def _warm_up(self) -> None:
        """Start workers with unauthenticated requests. Here cold starts share two processors, on AWS each has its own:
        together they would delay the machine, not test the application."""
        warming = [
            threading.Thread(target=self.world.application.post, args=({}, {"authorization": ""}))
            for _ in range(WORKERS_AT_FIRST)
        ]
        for thread in warming:
            thread.start()
        for thread in warming:
            thread.join()

    # --- the load -------------------------------------------------------------------------------------------------

    def send(self) -> None:
        """Send the first part, then the late duplicates: half immediately, half when the idempotency records have
        expired."""
        # Each kind once for certain, soon; then at random.
        self.world.highlevel.faults += [replace(fault, probability=0.1, times=1) for fault in _one_of_each_kind()]
        self.world.highlevel.faults += [
            Fault("commit_then_drop", method="POST", path=path, probability=WORDS_LOSE_THEIR_ANSWER) for path in WRITES
        ]
        self.world.highlevel.faults += _random_faults()
        self._started = time.monotonic()
        background = [self._thread(work) for work in (self._watch, self._break_aws, self._kill_workers)]
        senders = [self._thread(self._work) for _ in range(PARALLEL_SENDERS)]
        for thread in background + senders:
            thread.start()
        try:
            with self._no_batch_yet():
                self._send(self.first, counts=True)
            half = len(self.late) // 2
            self._phase = "late duplicates"
            self._send(self.late[:half])
            self._over.wait(self.scale.record_ttl + 1)
            self._phase = "late duplicates, records expired"
            self._send(self.late[half:])
        finally:
            self._over.set()
            for thread in senders + background[1:]:
                thread.join()

    @contextlib.contextmanager
    def _no_batch_yet(self) -> Iterator[None]:
        """In a short run the retry queue has no consumer until AWS and the workers have recovered: a message whose
        worker dies comes back after a lease, and its 35 s would be most of the run."""
        if not self.scale.short:
            yield
            return

        with contextlib.ExitStack() as paused:
            paused.enter_context(self.world.consumer_paused())

            def resume() -> None:
                self._reaches(PHASES[-1].ends + 0.03)
                paused.close()

            resuming = self._thread(resume)
            resuming.start()
            yield
            resuming.join()

    def _send(self, jobs: list[_Job], *, counts: bool = False) -> None:
        """Send the jobs one after the other at the load's rate; return when each has ended."""
        began = time.monotonic()
        with self._lock:
            self._open += len(jobs)
            self._ready.extend((began + number / self.scale.per_second, job) for number, job in enumerate(jobs))
        while self._open and not self._over.is_set():
            if counts:
                self._share = 1 - len(self._ready) / len(jobs)
            time.sleep(0.05)
        if counts:
            self._share = 1.0

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.seen.errors.append(f"the load itself failed: {error!r}")
                self._over.set()
                raise

        return threading.Thread(target=run, daemon=True)

    def _work(self) -> None:
        while not self._over.is_set():
            if job := self._next():
                self._do(job)
            else:
                time.sleep(0.02)

    def _next(self) -> _Job | None:
        now = time.monotonic()
        with self._lock:
            if self._delayed and self._delayed[0][0] <= now:
                return heapq.heappop(self._delayed)[2]
            if self._ready and self._ready[0][0] <= now:
                return self._ready.popleft()[1]
        return None

    def _do(self, job: _Job) -> None:
        if job.together:
            with contextlib.suppress(threading.BrokenBarrierError):
                job.together.wait(3)
            job.together = None
        wait = self._deliver(job.delivery)
        with self._lock:
            if wait is not None:
                heapq.heappush(self._delayed, (time.monotonic() + wait, next(self._order), job))
            elif job.again:
                job.again -= 1
                heapq.heappush(self._delayed, (time.monotonic(), next(self._order), job))
            else:
                self._open -= 1

    def _deliver(self, delivery: Delivery) -> float | None:
        """Send it once; return the seconds after which its sender repeats it, or None."""
        delivery.attempts += 1
        started = time.time()
        answer: Answer | None = None
        with contextlib.suppress(OSError):
            answer = self._send_once(delivery)
        if answer is not None:
            self.seen.answers.append(Answered(delivery, started, answer))
        if delivery.trigger in ("event", "queue") or (answer and answer.status < 300):
            with self._lock:
                delivery.accepted_at = delivery.accepted_at or time.monotonic()
            return None
        again = answer is None or answer.status in (429, 500, 503, 504)
        if not again or delivery.once or delivery.attempts >= TRIES * (1 + bool(delivery.accepted_at)):
            return None
        after = float(answer.headers.get("retry-after", 1)) if answer else 1.0
        return min(after, self.scale.longest_wait) * self.rng.uniform(0.5, 1)

    def _send_once(self, delivery: Delivery) -> Answer | None:
        application = self.world.application
        match delivery.trigger:
            case "http":
                return application.post(detail(delivery.asked[0]))
            case "webhook":
                headers, query, body = self.senders.request(delivery)
                return application.deliver(delivery.sender, body, headers, query)
            case "event":
                application.put_event(detail(delivery.asked[0]))
            case "queue":
                application.aws.client("sqs").send_message(
                    QueueUrl=self.world.url("RetryQueue"),
                    MessageBody=self.senders.message(delivery),
                    MessageGroupId=delivery.asked[0].location,
                )
        return None

    # --- what breaks ----------------------------------------------------------------------------------------------

    def _break_aws(self) -> None:
        for phase in PHASES:
            self._reaches(phase.begins)
            if self._over.is_set():
                return
            began = self._elapsed()
            for service, mode in phase.faults:
                self.world.proxy.fail(service, mode)
            self._phase = phase.name
            longest = LONGEST_PHASE * (phase.ends - phase.begins) * self.scale.deliveries / self.scale.per_second
            if phase.cold:
                self._kill(3)
                self._reaches((phase.begins + phase.ends) / 2, longest)
                self._kill(0 if self.scale.short else 3)
            self._reaches(phase.ends, longest)
            self._heal_aws()
            self.seen.shades.append(Shade(phase.name, began, self._elapsed()))
            self._phase = "load"

    def _reaches(self, share: float, within: float = float("inf")) -> None:
        """Wait until that share of the load is sent, the load is over, or so many seconds have passed."""
        until = time.monotonic() + within
        while self._share < share and not self._over.is_set() and time.monotonic() < until:
            time.sleep(0.02)

    def _heal_aws(self) -> None:
        self.world.proxy.heal()
        self._watch_queues()

    def _kill_workers(self) -> None:
        share = 0.0
        until = PHASES[-1].ends if self.scale.short else 1.0
        while (share := share + self.scale.kill_every * self.rng.uniform(0.5, 1.5)) < until:
            self._reaches(share)
            if self._over.is_set():
                return
            self._kill(self.rng.randint(1, 2))

    def _kill(self, most: int) -> None:
        began = time.time()
        self.seen.workers_killed += self.world.application.aws.kill_workers(most)
        self.seen.kills.append((began, time.time()))

    # --- what is observed -----------------------------------------------------------------------------------------

    def _watch_queues(self) -> None:
        for operation in ("SendMessage", "SendMessageBatch"):
            self.world.proxy.on("sqs", operation, before=self._see_message)

    def _see_message(self, request: Request) -> None:
        sent = request.json()
        for entry in sent.get("Entries", [sent]):
            self.seen.queued.append(entry)

    def _watch(self) -> None:
        """Take a sample each second, until the queues are empty."""
        while not self.seen.complete.wait(1):
            self.sample()
            if self._elapsed() - self._shown_at >= PROGRESS_SECONDS:
                self._show()

    def sample(self) -> None:
        """Note how much is accepted, opened, waiting and dead."""
        application = self.world.application
        accepted = sum(len(delivery.asked) for delivery in self.deliveries if delivery.accepted_at)
        opened = len(self.world.highlevel.conversations)
        waiting, dead = application.count("RetryQueue"), application.count("DeadLetterQueue")
        self.seen.samples.append(Sample(self._elapsed(), accepted, opened, waiting, dead))

    def _show(self) -> None:
        self.log.read_on()
        self._shown_at, last = self._elapsed(), self.seen.samples[-1]
        self._progress(
            f"load: {self._shown_at:4.0f} s, {last.accepted} accepted, {last.opened} opened, {last.waiting} waiting, "
            f"{last.dead} dead; {self._phase}"
        )

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    # --- after ----------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Let HighLevel recover, except for the contacts that it refuses; wait until nothing waits."""
        highlevel = self.world.highlevel
        self.seen.calls_during_faults = len(highlevel.calls)
        highlevel.faults = [fault for fault in highlevel.faults if isinstance(fault, _ForContacts)]
        self._phase = "all has recovered, the backlog is processed"
        self.seen.recovered_at = self._elapsed()
        self._until_nothing_waits()

    def redrive(self) -> None:
        """Do what an operator does: fix the causes that the dead letters show, and run `./hlc redrive`."""
        self.seen.opened_before = dict(self.world.highlevel.conversations)
        highlevel = self.world.highlevel
        highlevel.faults = [fault for fault in highlevel.faults if fault.contact != SICK]
        self._phase = "./hlc redrive"
        self.seen.redriven_at = self._elapsed()
        for reason in TRANSIENT_REASONS:
            if any(reason == reason_of(letter) for letter in self.seen.dead[0]):
                self.world.redrive("--reason", reason)
        self._until_nothing_waits()
        self.seen.complete.set()
        self.sample()

    def _until_nothing_waits(self) -> None:
        """Until the retry queue is empty, and no event is under way, which no queue shows: until all that was accepted
        is written or dead, or would be by now."""
        until = time.monotonic() + LONGEST_DRAIN_SECONDS
        while self.world.application.count("RetryQueue") and time.monotonic() < until:
            if self.scale.ages_claims:
                self.world.age_claims()
            time.sleep(0.5)
        until = time.monotonic() + LONGEST_EVENT_SECONDS
        while True:
            letters = self.world.dead_letters()
            if not missing(self.world, self.deliveries, letters) or time.monotonic() > until:
                break
            time.sleep(1)
        self.seen.dead.append(letters)

    def account(self) -> LoadPart:
        """The accounts, after the last line of the log."""
        self._progress("load: all is accounted for, one by one")
        self.log.read_on()
        part = reconcile(self.world, self.deliveries, self.seen, self.log, self.canary, is_short=self.scale.short)
        part.figures[:0] = [
            Figure("deliveries", self.scale.deliveries),
            *(Figure(f"duplicates among them, {kind}", count) for kind, count in self.duplicates.items()),
            Figure("locations", LOCATIONS),
        ]
        return part


def _with_duplicates(
    deliveries: list[Delivery], count: int, rng: random.Random
) -> tuple[list[_Job], list[_Job], dict[str, int]]:
    """The jobs of the load, so many of them sent twice, right after their answer or at the same time, and those that
    follow late; how many there are of each."""
    chosen = rng.sample(deliveries, count)
    third = count // 3
    sequential, simultaneous, late = set(chosen[:third]), set(chosen[third : 2 * third]), chosen[2 * third :]
    jobs = []
    for delivery in deliveries:
        twins = threading.Barrier(2) if delivery in simultaneous else None
        jobs += [_Job(delivery, again=int(delivery in sequential), together=twins) for _ in range(2 if twins else 1)]
    kinds = {"right after the answer": third, "at the same time": third, "late": len(late)}
    return jobs, [_Job(delivery) for delivery in late], kinds


def _one_of_each_kind() -> list[Fault]:
    return list({fault.kind: fault for _, fault in FAULTS}.values())


def _random_faults() -> list[Fault]:
    """The first that meets a call wins, so each one's own probability is its share of what those before it leave."""
    total, left, faults = sum(weight for weight, _ in FAULTS), 1.0, []
    for weight, fault in FAULTS:
        share = HIGHLEVEL_FAILS * weight / total
        faults.append(replace(fault, probability=share / left))
        left -= share
    return faults


class _ForContacts(Fault):
    """Meets every call for a contact whose id begins so."""

    def meets(self, method: str, paths: Collection[str], location: str | None, contact: str | None) -> bool:
        return contact is not None and contact.startswith(str(self.contact))
