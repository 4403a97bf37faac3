"""Measure every handler in turn, round by round, under Lambda's runtime client."""

import copy
import json
import statistics
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from benchmarks.artifacts import ALL, ENVIRONMENT, MESSAGE, NULL, OURS, Peer
from benchmarks.stand_ins import API_SECRET, ROOT, StandIns
from local.lambda_runtime import FunctionError, FunctionProcess

LOCATION = "ve9EPM428h8vShlRW1KT"
EVENT = json.loads((ROOT / "events/http_conversation.json").read_text())
WEBHOOK_EVENT = json.loads((ROOT / "events/webhook_token.json").read_text())
WARM_UP = 30
MEMORY_FROM = 1000  # submissions: what the memory grows by after these
LOCATIONS = 3000
# The variables of this application whose calls to HighLevel are counted: what is written.
WRITES = {
    "nothing": {"MESSAGE": "off", "MARK_UNREAD": "false"},
    "message": {"MESSAGE": "comment", "MARK_UNREAD": "false"},
    "message and badge": {"MESSAGE": "comment", "MARK_UNREAD": "true"},
}
BREAKER_OPENS_AFTER = 5  # failures in a row: a block of one less finds HighLevel called each time
IN_A_ROW = BREAKER_OPENS_AFTER - 1


class WrongAnswerError(Exception):
    """A handler gave a wrong answer, so it cannot be measured."""


@dataclass(frozen=True, slots=True)
class Workload:
    """How much is measured, in each of the two orders of the peers.

    `rounds` of a start and `warm` submissions of each kind; in the first round, and then every `rounds_per_block`, a
    block of `block` opened submissions in one environment. In the first round of the usual order this application also
    opens `long` submissions of many locations in one environment.
    """

    rounds: int = 6
    warm: int = 100
    block: int = 1000
    rounds_per_block: int = 2
    long: int = 40_000


@dataclass(slots=True)
class Measured:
    """The results of one peer.

    The values of each figure, one for each round or block, and the calls for each submission of a kind.
    """

    values: dict[str, list[float]] = field(default_factory=dict)
    calls: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, figure: str, value: float) -> None:
        self.values.setdefault(figure, []).append(value)

    def joined(self, other: "Measured") -> "Measured":
        """Return the values of both; the calls are the same."""
        names = self.values.keys() | other.values.keys()
        values = {name: self.values.get(name, []) + other.values.get(name, []) for name in sorted(names)}
        return Measured(values, self.calls | other.calls)


def measure(
    artifacts: Mapping[str, Path],
    workload: Workload,
    *,
    tls: bool = False,
    in_reverse: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Measured]:
    """Measure every peer, in the usual or in reversed order.

    Each round begins with another one. Raises WrongAnswerError.
    """
    peers = ALL[::-1] if in_reverse else ALL
    measured = {peer.name: Measured() for peer in ALL}
    with StandIns(tls=tls) as stand_ins:
        for number in range(workload.rounds):
            order = _rotated(peers, number)
            progress(f"round {number + 1} of {workload.rounds}")
            for peer in order:
                with _Environment(peer, artifacts[peer.name], stand_ins) as environment:
                    _round(environment, measured[peer.name], workload.warm)
            if number % workload.rounds_per_block == 0:
                progress(
                    f"round {number + 1} of {workload.rounds}: {workload.block} submissions in one environment each"
                )
                for peer in order:
                    with _Environment(peer, artifacts[peer.name], stand_ins) as environment:
                        _block(environment, measured[peer.name], workload.block)
        for peer in () if in_reverse else (OURS, MESSAGE):
            progress(f"{workload.long} submissions of {LOCATIONS} locations: {peer.title}")
            with _Environment(peer, artifacts[peer.name], stand_ins) as environment:
                _long(environment, measured[peer.name], workload.long)
    return measured


def count_calls(artifact: Path) -> dict[str, dict[str, list[str]]]:
    """Return the routes of HighLevel that this application calls for one submission: by what it writes, and by kind.

    Each is a webhook that arrives in a warm environment. Raises WrongAnswerError.
    """
    counted: dict[str, dict[str, list[str]]] = {}
    for writes, variables in WRITES.items():
        peer = replace(OURS, environment={**variables, "LOCATION_ID": LOCATION})
        with StandIns() as stand_ins, _Environment(peer, artifact, stand_ins) as environment:
            stand_ins.add_contact("known@example.com")
            environment.send({"contactId": "first"})  # reads the secrets
            id_, new, known = {"contactId": "known"}, {"email": "new@example.com"}, {"email": "known@example.com"}
            counted[writes] = {
                "contact id": environment.routes(id_),
                "e-mail address, known": environment.routes(known),
                "e-mail address, new": environment.routes(new),
                "contact id, its second submission": environment.routes(id_ | {"question": "And a second one?"}),
                "the same again": environment.routes(new),
            }
    return counted


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles, extremes and how many."""
    first, median, third = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [values[0]]
    spread = {"median": median, "q1": first, "q3": third, "min": min(values), "max": max(values)}
    return {name: round(value, 4) for name, value in spread.items()} | {"n": len(values)}


def zipped_bytes(artifact: Path) -> int:
    """Return the size of the artifact as a zip; the same files give the same size."""
    written = BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(artifact.rglob("*")):
            if path.is_file():
                archive.writestr(
                    zipfile.ZipInfo(path.relative_to(artifact).as_posix()), path.read_bytes(), zipfile.ZIP_DEFLATED
                )
    return len(written.getvalue())


def _rotated(peers: Sequence[Peer], by: int) -> list[Peer]:
    at = by % len(peers)
    return [*peers[at:], *peers[:at]]


def _round(environment: "_Environment", measured: Measured, count: int) -> None:
    """One start, then each kind of submission, warm."""
    peer = environment.peer
    environment.submit(201, next(environment.contacts))
    measured.add("first_answer_ms", 1000 * (time.monotonic() - environment.process.started))
    measured.add("init_ms", 1000 * (environment.process.initialized - environment.process.started))
    measured.calls["cold"] = _calls(environment.stand_ins.counted(), 1)

    contacts = [next(environment.contacts) for _ in range(WARM_UP)]
    for _ in range(2):  # the first time opened, the second time repeated
        for contact in contacts:
            environment.submit(None, contact)
    _warm(environment, measured, "opened", 201, [next(environment.contacts) for _ in range(count)])
    _warm(environment, measured, "repeated", peer.repeated, [contacts[0]] * count)
    _failing(environment, measured, count)
    if peer.stores:
        _breaker_open(environment, measured, count)


def _warm(environment: "_Environment", measured: Measured, kind: str, status: int, contacts: Sequence[str]) -> None:
    environment.stand_ins.counted()
    before = environment.cpu_seconds()
    for contact in contacts:
        environment.submit(status, contact)
    measured.add(f"cpu_{kind}_ms", 1000 * (environment.cpu_seconds() - before) / len(contacts))
    measured.calls[kind] = _calls(environment.stand_ins.counted(), len(contacts))


def _failing(environment: "_Environment", measured: Measured, count: int) -> None:
    """While HighLevel answers 503. A submission that is opened between the blocks keeps a breaker closed."""
    blocks = max(count // IN_A_ROW, 1)
    spent, calls = 0.0, Counter[str]()
    for _ in range(blocks):
        environment.submit(201, next(environment.contacts))
        environment.stand_ins.fail(True)
        before = environment.cpu_seconds()
        for _ in range(IN_A_ROW):
            environment.submit(environment.peer.failing, next(environment.contacts))
        spent += environment.cpu_seconds() - before
        calls += environment.stand_ins.counted()
        environment.stand_ins.fail(False)
    measured.add("cpu_failing_ms", 1000 * spent / (blocks * IN_A_ROW))
    measured.calls["failing"] = _calls(calls, blocks * IN_A_ROW)


def _breaker_open(environment: "_Environment", measured: Measured, count: int) -> None:
    """While HighLevel is known to be down it is not called."""
    environment.stand_ins.fail(True)
    for _ in range(BREAKER_OPENS_AFTER):
        environment.submit(environment.peer.failing, next(environment.contacts))
    environment.stand_ins.counted()
    before = environment.cpu_seconds()
    seconds = [environment.submit(environment.peer.failing, next(environment.contacts)) for _ in range(count)]
    measured.add("cpu_breaker_open_ms", 1000 * (environment.cpu_seconds() - before) / count)
    measured.add("breaker_open_ms", 1000 * statistics.median(seconds))
    measured.calls["breaker_open"] = _calls(environment.stand_ins.counted(), count)
    environment.stand_ins.fail(False)


def _block(environment: "_Environment", measured: Measured, count: int) -> None:
    """Many opened submissions in one environment: its connections, the time of each, its memory at the end."""
    environment.stand_ins.counted()
    seconds = sorted([environment.submit(201, next(environment.contacts)) for _ in range(count)][WARM_UP:])
    connections = environment.stand_ins.counted()["connections"]
    measured.add("connections_per_1000", connections * 1000 / count)
    measured.add("submission_p50_ms", 1000 * statistics.median(seconds))
    measured.add("submission_p99_ms", 1000 * seconds[int(0.99 * len(seconds))])
    measured.add("peak_mb", environment.peak_mb())


def _long(environment: "_Environment", measured: Measured, count: int) -> None:
    """Very many opened submissions of many locations in one environment: does its memory grow?"""
    before = 0.0
    for number in range(count):
        if number == min(MEMORY_FROM, count // 2):
            before = environment.peak_mb()
        environment.submit(201, next(environment.contacts), f"location{number % LOCATIONS:05}")
    measured.add("long_peak_mb", environment.peak_mb())
    measured.add("long_growth_mb", environment.peak_mb() - before)


def _calls(counted: Counter[str], submissions: int) -> dict[str, float]:
    return {name: round(counted[name] / submissions, 2) for name in ("highlevel", "secretsmanager", "dynamodb", "sqs")}


class _Environment:
    """One execution environment of a peer; a context manager."""

    _number = 0

    def __init__(self, peer: Peer, artifact: Path, stand_ins: StandIns) -> None:
        self.peer = peer
        self.stand_ins = stand_ins
        self.process = FunctionProcess(
            artifact, ENVIRONMENT | stand_ins.environment | dict(peer.environment), peer.handler
        )
        _Environment._number += 1
        self.contacts = _contacts(_Environment._number)

    def __enter__(self) -> "_Environment":
        self.stand_ins.counted()
        self.process.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stand_ins.fail(False)
        self.process.__exit__(*error)

    def submit(self, status: int | None, contact: str, location: str = LOCATION) -> float:
        """Post a submission for that contact; return the seconds until its answer.

        Raises WrongAnswerError if the answer has another status, or is a success without the contact's conversation, or
        without the message of a peer that writes one.
        """
        members = {"locationId": location, "contactId": contact}
        event = _event(EVENT, members | ({"message": self.peer.message} if self.peer.message else {}))
        before = time.perf_counter()
        try:
            answer = self.process.invoke(event, within=60)
        except (FunctionError, TimeoutError) as error:
            raise WrongAnswerError(f"{self.peer.title}: {error}\n{self.process.end()}") from None
        seconds = time.perf_counter() - before
        if status is not None and answer["statusCode"] != status:
            raise WrongAnswerError(f"{self.peer.title}: {answer} instead of {status}\n{self.process.end()}")
        if status in (200, 201) and self.peer is not NULL:
            body = json.loads(answer["body"])
            if body.get("conversation", {}).get("contactId") != contact:
                raise WrongAnswerError(f"{self.peer.title}: {answer} without the conversation of {contact}")
            if self.peer.message and body["messageStatus"] != "written":
                raise WrongAnswerError(f"{self.peer.title}: {answer} without the message")
        return seconds

    def send(self, members: dict[str, str]) -> None:
        """Post a webhook with a question. Raises WrongAnswerError unless its conversation is open."""
        answer = self.process.invoke(_event(WEBHOOK_EVENT, {"question": "What does it cost?"} | members), within=60)
        if json.loads(answer["body"]).get("outcome") not in ("opened", "existing"):
            raise WrongAnswerError(f"{self.peer.title}: {answer}\n{self.process.end()}")

    def routes(self, members: dict[str, str]) -> list[str]:
        """Post such a webhook; return the routes of HighLevel that were called."""
        self.stand_ins.counted()
        self.send(members)
        return [name for name, times in self.stand_ins.counted().items() if "/" in name for _ in range(times)]

    def cpu_seconds(self) -> float:
        """CPU time of the process with its ended threads, from its clock: clock_getcpuclockid(3)."""
        return time.clock_gettime((~self.process.process.pid << 3) | 2)

    def peak_mb(self) -> float:
        """Its peak memory in MiB."""
        status = Path(f"/proc/{self.process.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _contacts(number: int) -> Iterator[str]:
    return (f"contact{number:06}x{each:06}" for each in range(1_000_000))


def _event(sample: dict[str, Any], members: dict[str, str]) -> bytes:
    # The time stays the sample's, which the function ignores because it is long ago. With the current time, a start
    # that takes seconds on a busy machine would rightly defer the first submission.
    event = copy.deepcopy(sample)
    event["headers"]["authorization"] = f"Bearer {API_SECRET}"
    event["body"] = json.dumps(members)
    return json.dumps(event).encode()
