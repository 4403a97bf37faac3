"""100,000 hostile requests to the built artifact under Lambda's runtime client: nothing is raised, nothing unclean goes
to HighLevel or into a queue, nothing planted comes out.

    python -m tests.chaos.fuzzing SEED NUMBER     # one of them again, with all that came of it

The requests are those of `hostile_requests`; HighLevel is the local one; AWS is a stand-in that refuses what SQS
refuses. Each chunk of requests has a function of its own, at another log level than the one before.
"""

import base64
import contextlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from create_conversation.errors import SubmissionError
from create_conversation.senders.config import FUNCTIONS, load
from create_conversation.senders.mapping import target_of
from create_conversation.submission import Submission
from local.highlevel import Call, LocalHighLevel
from local.highlevel_rules import Limits
from local.lambda_runtime import SETTINGS, Answer, FunctionError, FunctionProcess, Server
from local.stack import build
from tests.chaos.fuzz_http_api import through_the_door
from tests.chaos.fuzz_requests import FOREIGN, LIMITED, OWN_SENDERS, SICK, UNKEPT, Request, Requests
from tests.chaos.part import Figure, Part, Progress

COUNT = 100_000
CHUNK = 2_500
RAW = 40
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
ANSWER_SECONDS = 5.0
CPU_SECONDS = 2.0
MAX_SHOWN = 60
# What a queue message of ours may have: 256 KiB in base64, and what is written around it.
MAX_MESSAGE_BYTES = 256 * 1024 * 4 // 3 + 4096
SQS_BYTES = 1 << 20
STATUSES = {
    "conversations": {200, 201, 202, 400, 401, 403, 413, 415, 422, 503},
    "webhooks": {200, 400, 401, 413, 415, 429},
}
# Each of these must have occurred, or the run proves too little.
WANTED = (
    *(f"conversations {status}" for status in (200, 201, 202, 400, 401, 403, 413, 415, 422, 503)),
    *(f"webhooks {status}" for status in (200, 400, 401, 413, 415, 429)),
    *(f"webhook {outcome}" for outcome in ("opened", "deferred", "rejected", "invalid", "ignored", "unauthorized")),
    *(f"event {outcome}" for outcome in ("opened", "deferred", "rejected", "invalid")),
    *(f"retry {outcome}" for outcome in ("opened", "deferred", "rejected", "invalid")),
)


def run(size: float, progress: Progress, seed: int | None = None) -> Part:
    """Send COUNT times `size` requests, and at least one of each kind at each door."""
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    with tempfile.TemporaryDirectory() as folder:
        artifact = _artifact(Path(folder))
        turns = len(Requests(seed, load(artifact)).turns)
        count = max(turns, round(COUNT * size))
        chunk = min(CHUNK, -(-count // len(LEVELS)))
        chunks = [range(start, min(start + chunk, count)) for start in range(0, count, chunk)]
        progress(f"{count} hostile requests of {turns} kinds, seed {seed}")
        whole = Tally()
        started = time.monotonic()
        with ProcessPoolExecutor(min(os.cpu_count() or 1, 4), mp_context=get_context("spawn")) as pool:
            running = [
                pool.submit(_send, artifact, seed, numbers, LEVELS[place % len(LEVELS)])
                for place, numbers in enumerate(chunks)
            ]
            for done in as_completed(running):
                whole.add(done.result())
                rate = whole.sent / (time.monotonic() - started)
                progress(f"{whole.sent} sent, {rate:.0f} a second, {len(whole.problems)} problems")
    raw = max(RAW, count // 100)
    progress(f"{raw} more over a bare socket, through the deployed stack's door")
    ends, problems, calls = through_the_door(seed, raw)
    whole.sent += raw
    whole.doors["the deployed stack, over a bare socket"] = raw
    whole.ends.update(ends)
    whole.problems += problems
    whole.seen["calls to HighLevel, looked at"] += len(calls)
    whole.problems += [("unclean", f"raw: {wrong}: {call.path}") for call in calls for wrong in _unclean(call)]
    return _part(seed, whole)


@dataclass(slots=True)
class Tally:
    """What came of some requests; goes from one process to another. `ends`: by door, status or outcome."""

    sent: int = 0
    doors: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)  # calls, messages, lines that were looked at
    problems: list[tuple[str, str]] = field(default_factory=list)  # which promise, and what happened
    slowest: tuple[float, str] = (0.0, "")
    memory_kib: int = 0

    def add(self, other: "Tally") -> None:
        self.sent += other.sent
        for mine, theirs in (
            (self.doors, other.doors),
            (self.kinds, other.kinds),
            (self.ends, other.ends),
            (self.seen, other.seen),
        ):
            mine.update(theirs)
        self.problems += other.problems
        self.slowest = max(self.slowest, other.slowest)
        self.memory_kib = max(self.memory_kib, other.memory_kib)


PROMISES = {
    "exception": "Unhandled exceptions",
    "internal error": "Mistakes of ours, caught and logged as internal error",
    "answer": "Answers that API Gateway cannot send, or that are not the door's",
    "late": f"Answers after more than {ANSWER_SECONDS:.0f} s, or with more than {CPU_SECONDS:.0f} s of CPU",
    "unclean": "Unclean values to HighLevel",
    "oversized": "Messages over the limit of a queue",
    "queue": "Messages and attributes that SQS refuses",
    "lost": "Good messages not opened, bad ones neither parked nor reported",
    "let in": "Requests let in without a proof",
    "leak": "Planted values in a log, metric, reply, error or queue attribute; secrets in a queue body",
    "log": "Lines of the log that are not one JSON object",
}


def _part(seed: int, whole: Tally) -> Part:
    part = Part("Hostile input")
    part.figures.append(Figure(f"Requests (seed {seed})", whole.sent))
    part.figures += [Figure(f"… to {door}", count) for door, count in sorted(whole.doors.items())]
    part.figures += [Figure(f"ended as {end}", count) for end, count in sorted(whole.ends.items())]
    part.figures += [Figure(what, count) for what, count in sorted(whole.seen.items())]
    part.figures.append(Figure("Kinds of hostility", len(whole.kinds)))
    part.figures.append(Figure("Milliseconds of CPU of the costliest request", round(1000 * whole.slowest[0])))
    part.figures.append(Figure("MiB of memory at most", whole.memory_kib // 1024))
    found = Counter(promise for promise, _ in whole.problems)
    part.figures += [Figure(title, found[promise], 0) for promise, title in PROMISES.items()]
    missing = [end for end in WANTED if not whole.ends[end]]
    part.figures.append(Figure("Ends that did not occur", len(missing), 0))
    part.problems = [f"{PROMISES[promise]}: {text}" for promise, text in whole.problems[:MAX_SHOWN]]
    part.problems += [f"did not occur: {end}" for end in missing]
    return part


def _artifact(folder: Path) -> Path:
    """The built function, with senders of a user's own."""
    artifact = folder / "function"
    shutil.copytree(build().parent / "CreateConversation", artifact)
    (artifact / "create_conversation" / "senders" / "presets.toml").write_bytes(
        (FUNCTIONS / "create_conversation" / "senders" / "presets.toml").read_bytes()
    )
    (artifact / "senders.toml").write_text(OWN_SENDERS, "utf-8")
    return artifact


# --- one function, and those whom it calls ----------------------------------------------------------------------------


def _send(artifact: Path, seed: int, numbers: range, level: str) -> Tally:
    """Send the requests of these numbers, one after the other; look at all that comes of each."""
    tally = Tally()
    with _world(artifact, seed, level, tally) as world:
        for number in numbers:
            world.send(world.requests.make(number, time.time()))
    return tally


@contextlib.contextmanager
def _world(artifact: Path, seed: int, level: str, tally: Tally) -> Iterator["World"]:
    requests = Requests(seed, load(artifact))
    canary = requests.canary
    own, foreign = canary.token(), canary.token(FOREIGN)
    canary.watch("AWS's secret key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    secrets = {
        "arn:token": json.dumps({"tokens": {"*": own, FOREIGN: foreign}}),
        "arn:senders": requests.sender_secrets(),
    }
    limits = Limits(10**9, 10_000, 10**9)
    with contextlib.ExitStack() as stack:
        tokens: dict[str, str | None] = {own: "*", foreign: "anotherLocation00005"}
        highlevel = stack.enter_context(LocalHighLevel(tokens=tokens, limits=limits))
        for location in (SICK, UNKEPT):
            highlevel.fail("status", status=503, location=location)
        highlevel.fail("status", status=429, location=LIMITED, headers={"Retry-After": "1"})
        aws = Aws(secrets)
        environment = SETTINGS | {
            "AWS_ENDPOINT_URL": f"http://{stack.enter_context(Server(aws.answer)).address}",
            "HIGHLEVEL_BASE_URL": highlevel.url,
            "POWERTOOLS_LOG_LEVEL": level,
            "AWS_LAMBDA_LOG_LEVEL": level,
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
        }
        world = World(requests, highlevel, aws, tally, partial(FunctionProcess, artifact, environment))
        try:
            yield world
        finally:
            world.end()


@dataclass(slots=True)
class World:
    """The function, and what is found out about it. One request at a time."""

    requests: Requests
    highlevel: LocalHighLevel
    aws: "Aws"
    tally: Tally
    start: Any
    function: FunctionProcess | None = None
    marks: list[tuple[int, str]] = field(default_factory=list)  # lines written before a request, and which it is

    def send(self, request: Request) -> Any:
        self.function = self.function or self.start().__enter__()
        name = f"#{request.number} {request.door}, {request.kind}"
        self.tally.sent += 1
        self.tally.doors[request.door] += 1
        self.tally.kinds[f"{request.door.partition('/')[0]}: {request.kind}"] += 1
        self.marks.append((len(self.function.written), name))
        cpu, started = _cpu_seconds(self.function), time.monotonic()
        answer, is_read = None, True
        try:
            answer = self.function.invoke(request.payload, 30)
        except FunctionError as error:
            is_read = False
            told = json.loads(str(error))
            if told.get("errorType") == "Runtime.UnmarshalError":
                # Lambda's client, before us: more levels, or digits, than Python reads. Lambda keeps it all the same:
                # an event goes to the failure destination, a batch stays in the queue, API Gateway sends no such thing.
                self.tally.ends[f"{request.door.partition('/')[0]} unreadable for Lambda's runtime client"] += 1
            else:
                self._wrong("exception", name, str(error)[:600])
                self._look_for_leaks("an error report", name, str(error))
        except TimeoutError:
            self._wrong("exception", name, "no answer within 30 s, or the process ended")
            self._end_function()
            return None
        took, used = time.monotonic() - started, _cpu_seconds(self.function) - cpu
        self.tally.slowest = max(self.tally.slowest, (used, name))
        is_http = request.door.startswith(("conversations", "webhooks"))
        # Many submissions in one cost as much as many: there the time alone counts.
        costly = used > CPU_SECONDS and request.kind not in ("long array", "huge", "long")
        if costly or (is_http and took > ANSWER_SECONDS):
            self._wrong("late", name, f"{took:.1f} s, {used:.1f} s of CPU")
        if is_read and (answer is not None or is_http):
            self._look_at(request, name, answer)
        self._look_at_calls(request, name, answer)
        return answer

    def end(self) -> None:
        """Look at what the last function wrote, too."""
        self._end_function()

    def _wrong(self, promise: str, name: str, what: str) -> None:
        self.tally.problems.append((promise, f"{name}: {what} [seed {self.requests.seed}]"))

    # --- what it answers ----------------------------------------------------------------------------------------------

    def _look_at(self, request: Request, name: str, answer: Any) -> None:
        if isinstance(answer, dict) and "statusCode" in answer:
            self._look_at_reply(request, name, answer)
        elif request.door.startswith(("conversations", "webhooks")):
            if request.kind != "several pieces odd":
                self._wrong("answer", name, f"no HTTP answer: {str(answer)[:200]}")
        elif request.door == "events":
            self._wrong("answer", name, f"an event is answered: {str(answer)[:200]}")
        self._look_for_leaks("a reply", name, json.dumps(answer))

    def _look_at_reply(self, request: Request, name: str, answer: dict[str, Any]) -> None:
        status, headers, body = answer.get("statusCode"), answer.get("headers"), answer.get("body")
        door = request.door.partition("/")[0]
        self.tally.ends[f"{door} {status}"] += 1
        try:
            if type(status) is not int or not isinstance(headers, dict) or not isinstance(body, str):
                raise ValueError("status, headers or body of another type")
            for header, text in headers.items():
                if not re.fullmatch(r"[a-z0-9-]+", header) or not re.fullmatch(r"[ -~]*", text):
                    raise ValueError(f"header {header}")
            json.loads(body.encode().decode("ascii"))
            if status not in STATUSES.get(door, STATUSES["conversations"] | STATUSES["webhooks"]):
                raise ValueError(f"status {status}")
            if "internal" in body or ":failed" in body:
                raise ValueError("tells of an internal error")
        except (ValueError, TypeError) as error:
            self._wrong("answer", name, f"{error}: {json.dumps(answer)[:300]}")
        if request.unproved and status not in (401, 413, 415):
            self._wrong("let in", name, f"status {status}: {body}")

    # --- what it calls ------------------------------------------------------------------------------------------------

    def _look_at_calls(self, request: Request, name: str, answer: Any) -> None:
        calls, self.highlevel.calls[:] = [*self.highlevel.calls], []
        self.highlevel.contacts.clear()  # its search among them is linear
        self.tally.seen["calls to HighLevel, looked at"] += len(calls)
        for call in calls:
            for unclean in _unclean(call):
                self._wrong("unclean", name, f"{unclean}: {call.method} {call.path!r} {call.query} {call.body[:300]!r}")
        messages, parked = self.aws.taken()
        self.tally.seen["messages to the queues, looked at"] += len(messages)
        for promise, wrong in self.aws.wrong():
            if not (promise == "queue" and request.door == "queue" and "entries" in wrong):  # no batch has more than 10
                self._wrong(promise, name, wrong)
        for body, attributes in messages:
            self._look_for_leaks("a queue attribute", name, attributes)
            secrets = [leak for leak in self.requests.canary.leaks(body) if leak not in ("e-mail", "phone")]
            if secrets:
                self._wrong("leak", name, f"{', '.join(secrets)} in a queue body: {_kept(body)[:300]}")
        if request.messages is not None and isinstance(answer, dict):
            self._look_at_batch(request, name, answer, parked)

    def _look_at_batch(self, request: Request, name: str, answer: dict[str, Any], parked: set[str]) -> None:
        """Each good message has its conversation; each bad one is parked, or stays."""
        failures = answer.get("batchItemFailures")
        if not isinstance(failures, list) or not all(isinstance(each.get("itemIdentifier"), str) for each in failures):
            self._wrong("answer", name, f"no answer to SQS: {str(answer)[:300]}")
            return
        self.tally.ends["queue: with failures" if failures else "queue: all settled"] += 1
        stay = {each["itemIdentifier"] for each in failures}
        for location, contact in request.good:
            if (location, contact) not in self.highlevel.conversations:
                self._wrong("lost", name, f"{contact} was not opened")
        for one in json.loads(request.payload)["Records"]:
            told = one if isinstance(one, dict) else {}
            body, message_id = told.get("body"), told.get("messageId")
            text = body if isinstance(body, str) and body else json.dumps(one)
            stays = (message_id if isinstance(message_id, str) else "") in stay or "" in stay
            if not stays and text not in parked and not self._is_done(text):
                self._wrong("lost", name, f"{message_id}: neither done, parked nor reported: {text[:500]}")
        if unknown := stay - {*(request.messages or ()), ""}:
            self._wrong("answer", name, f"reports unknown ids: {sorted(unknown)[:5]}")

    def _is_done(self, text: str) -> bool:
        """Whether HighLevel has the conversation that this message asks for."""
        try:
            target = target_of(Submission.from_message(text), self.requests.senders, None)
        except (ValueError, SubmissionError):
            return False
        if target.contact is None:
            return any(key.startswith(f"delivery#{target.delivery}#") for key in self.aws.records)
        return (target.location, target.contact) in self.highlevel.conversations

    # --- what it writes -----------------------------------------------------------------------------------------------

    def _look_for_leaks(self, where: str, name: str, text: str) -> None:
        if leaks := self.requests.canary.leaks(text):
            self._wrong("leak", name, f"{', '.join(leaks)} in {where}")

    def _end_function(self) -> None:
        if self.function is None:
            return
        function, self.function = self.function, None
        with contextlib.suppress(OSError, AttributeError):
            status = Path(f"/proc/{function.process.pid}/status").read_text()
            peak = re.search(r"VmHWM:\s+(\d+)", status)
            self.tally.memory_kib = max(self.tally.memory_kib, int(peak[1]) if peak else 0)
        function.__exit__(None, None, None)
        lines = [line.decode(errors="backslashreplace") for line in function.written]
        self.tally.seen["lines of the log, looked at"] += len(lines)
        for place, line in enumerate(lines):
            self._look_at_line(place, line)
        if leaks := self.requests.canary.leaks("".join(lines)):
            self._wrong("leak", "the whole log", ", ".join(leaks))
            for place, line in enumerate(lines):
                self._look_for_leaks(f"the log: {_shortened(line)}", self._who(place), line)
        self.marks.clear()

    def _look_at_line(self, place: int, line: str) -> None:
        try:
            told = json.loads(line)
            if not isinstance(told, dict) or not (told.keys() & {"level", "_aws", "log_level"}):
                raise ValueError
        except ValueError:
            self._wrong("log", self._who(place), line[:300])
            return
        if "_aws" in told:
            self.tally.ends[f"{told.get('trigger')} {told.get('outcome')}"] += 1
        elif told.get("message") == "internal_error" or told.get("reason") in ("internal_error", "failed"):
            self._wrong("internal error", self._who(place), line[:700])

    def _who(self, place: int) -> str:
        """Which request wrote that line; the log comes a little later than the answer."""
        before = [name for line, name in self.marks if line <= place]
        return before[-1] if before else "at start"


def _shortened(line: str) -> str:
    return re.sub(r'"[^"]{40,}"', '"…"', line)[:200]


def _cpu_seconds(function: FunctionProcess) -> float:
    try:
        fields = Path(f"/proc/{function.process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- what is clean ----------------------------------------------------------------------------------------------------

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
_NUMBER = re.compile(r"[0-9+() ./\u00a0\u2010-\u2015-]{4,36}")
_HEADERS = {
    "host",
    "accept-encoding",
    "content-length",
    "authorization",
    "version",
    "accept",
    "user-agent",
    "content-type",
}
_MEMBERS = {
    "/conversations/": {"locationId", "contactId"},
    "/contacts/upsert": {"locationId", "email", "phone", "firstName", "lastName", "name"},
}


def _unclean(call: Call) -> Iterator[str]:
    """What HighLevel should never have got."""
    if extra := call.headers.keys() - _HEADERS:
        yield f"header {sorted(extra)}"
    if not all(re.fullmatch(r"[ -~]*", text) for text in call.headers.values()):
        yield "header's value"
    if call.method == "GET":
        members: Any = call.query
        if call.path != "/conversations/search" or members.keys() != {"locationId", "contactId"}:
            yield "path or query"
    else:
        if call.method != "POST" or call.path not in _MEMBERS or call.query:
            yield "path"
            return
        try:
            members = json.loads(call.body.decode("utf-8"), object_pairs_hook=_unique)
        except ValueError:
            yield "body is not JSON"
            return
        if not isinstance(members, dict) or members.keys() - _MEMBERS[call.path]:
            yield "members"
            return
    if not all(isinstance(text, str) and text for text in members.values()):
        yield "a member that is no text"
        return
    for name, text in members.items():
        if name.endswith("Id") and not _ID.fullmatch(text):
            yield name
        elif name == "email" and not _MAIL.fullmatch(text):
            yield "email"
        elif name == "phone" and not _NUMBER.fullmatch(text):
            yield "phone"
        elif len(text) > 254 or not text.replace("\u00a0", " ").isprintable():
            yield f"{name} with characters that nobody sees"
    if call.path == "/contacts/upsert" and not members.keys() & {"email", "phone"}:
        yield "nobody"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("duplicated members")
    return dict(pairs)


def _contact(body: Any) -> str:
    """The contact id that a message of the queue names, if it is easily read."""
    try:
        return str(json.loads(base64.b64decode(json.loads(body)["submission"]["body"]))["contactId"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


def _kept(message: str) -> str:
    try:
        return base64.b64decode(json.loads(message)["submission"]["body"]).decode(errors="backslashreplace")
    except (ValueError, TypeError, KeyError):
        return message


# --- AWS --------------------------------------------------------------------------------------------------------------

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_SQS_TEXT = re.compile(r"[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
_GROUP = re.compile(r"""[A-Za-z0-9!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}""")
_ATTRIBUTE = re.compile(r"(?!(?i:AWS\.|Amazon\.))[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class Aws:
    """Secrets Manager, DynamoDB and SQS as far as the function calls them; SQS refuses what the real one refuses."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets
        self.records: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._messages: list[tuple[str, str]] = []
        self._parked: set[str] = set()
        self._wrong: list[tuple[str, str]] = []

    def taken(self) -> tuple[list[tuple[str, str]], set[str]]:
        """Bodies and attributes since the last time; and the bodies among them that were put aside."""
        with self._lock:
            messages, self._messages = self._messages, []
            parked, self._parked = self._parked, set()
            return messages, parked

    def wrong(self) -> list[tuple[str, str]]:
        with self._lock:
            wrong, self._wrong = self._wrong, []
            return wrong

    def answer(self, _method: str, _path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        operation = headers["X-Amz-Target"].partition(".")[2]
        arguments = json.loads(body)
        with self._lock:
            try:
                content = getattr(self, f"_{operation}")(arguments)
            except _Refused as refused:
                return (
                    400,
                    {"Content-Type": "application/x-amz-json-1.0"},
                    json.dumps({"__type": str(refused)}).encode(),
                )
        return 200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(content).encode()

    def _GetSecretValue(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"ARN": arguments["SecretId"], "SecretString": self._secrets[arguments["SecretId"]]}

    def _GetItem(self, arguments: dict[str, Any]) -> dict[str, Any]:
        item = self.records.get(self._key(arguments))
        return {"Item": item} if item else {}

    def _UpdateItem(self, arguments: dict[str, Any]) -> dict[str, Any]:
        values = arguments["ExpressionAttributeValues"]
        named = {"conversation_id": ":id", "contact_id": ":contact", "expires_at": ":expires_at"}
        item = {name: values[place] for name, place in named.items() if place in values}
        self.records[self._key(arguments)] = item
        return {}

    def _key(self, arguments: dict[str, Any]) -> str:
        key = str(arguments["Key"]["pk"]["S"])
        if not key or len(key.encode("utf-8", "surrogatepass")) > 2048 or not key.isprintable():
            self._refuse("queue", f"the key of a record: {key!r}")
        return key

    def _SendMessage(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._check(arguments, arguments["QueueUrl"])
        if arguments.get("MessageGroupId") == UNKEPT:
            raise _Refused("com.amazonaws.sqs#AccessDenied")
        return {"MessageId": "message-1"}

    def _SendMessageBatch(self, arguments: dict[str, Any]) -> dict[str, Any]:
        entries = arguments["Entries"]
        self._check_entries(entries)
        for entry in entries:
            self._check(entry, arguments["QueueUrl"])
        if sum(len(entry["MessageBody"].encode()) for entry in entries) > SQS_BYTES:
            self._refuse("oversized", "a batch over 1 MiB")
        return {"Successful": [{"Id": entry["Id"], "MessageId": "message-1"} for entry in entries], "Failed": []}

    def _ChangeMessageVisibility(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._check_visibility(arguments)
        return {}

    def _ChangeMessageVisibilityBatch(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._check_entries(arguments["Entries"])
        for entry in arguments["Entries"]:
            self._check_visibility(entry)
        return {"Successful": [], "Failed": []}

    def _check_visibility(self, entry: dict[str, Any]) -> None:
        if not 0 <= entry["VisibilityTimeout"] <= 43_200:
            self._refuse("queue", f"VisibilityTimeout {entry['VisibilityTimeout']}")
        if not entry.get("ReceiptHandle"):
            raise _Refused("com.amazonaws.sqs#ReceiptHandleIsInvalid")

    def _check_entries(self, entries: list[dict[str, Any]]) -> None:
        ids = [entry["Id"] for entry in entries]
        if not 1 <= len(ids) <= 10 or len({*ids}) < len(ids):
            self._refuse("queue", f"{len(ids)} entries in a call")

    def _check(self, message: dict[str, Any], queue: str) -> None:
        body, attributes = message.get("MessageBody", ""), message.get("MessageAttributes", {})
        parked = queue.endswith("dead-letters")
        self._messages.append((body, json.dumps([attributes, message.get("MessageGroupId")], ensure_ascii=False)))
        values = [attribute.get("StringValue", "") for attribute in attributes.values()]
        size = len(body.encode("utf-8", "surrogatepass"))
        if size > (SQS_BYTES if parked else MAX_MESSAGE_BYTES):
            self._refuse("oversized", f"{size} bytes to {queue.rpartition('/')[2]}")
        if not body or not _SQS_TEXT.fullmatch(body):
            self._refuse("queue", f"a body that is empty or has other characters than SQS takes: {body[:200]!r}")
        if len(attributes) > 10 or not all(_ATTRIBUTE.fullmatch(name) for name in attributes):
            self._refuse("queue", f"attributes {list(attributes)}")
        if not all(text and _SQS_TEXT.fullmatch(text) and len(text) < 1000 for text in values):
            self._refuse("queue", f"an attribute: {[text[:100] for text in values]!r}")
        if not parked and not _GROUP.fullmatch(message.get("MessageGroupId", "")):
            self._refuse("queue", f"MessageGroupId {message.get('MessageGroupId')!r}")
        if not 0 <= message.get("DelaySeconds", 0) <= 900:
            self._refuse("queue", f"DelaySeconds {message['DelaySeconds']}")
        if parked:
            self._parked.add(body)

    def _refuse(self, promise: str, what: str) -> None:
        self._wrong.append((promise, what))
        raise _Refused("com.amazonaws.sqs#InvalidMessageContents")


class _Refused(Exception):
    pass


# --- one of them again ------------------------------------------------------------------------------------------------


def replay(seed: int, number: int) -> None:
    """Send one request alone and print what came of it: with planted values in it, for this terminal only."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = _artifact(Path(folder))
        tally = Tally()
        with _world(artifact, seed, "DEBUG", tally) as world:
            request = world.requests.make(number, time.time())
            print(request.door, request.kind, request.payload[:3000].decode(), sep="\n")
            print(json.dumps(world.send(request), indent=1))
            time.sleep(0.2)
            if world.function:
                print(*(line.decode(errors="replace")[:1500] for line in world.function.written), sep="")
        for promise, text in tally.problems:
            print(f"{PROMISES[promise]}: {text}")


if __name__ == "__main__":
    replay(int(sys.argv[1]), int(sys.argv[2]))
