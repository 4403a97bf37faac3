"""A function under fuzzed requests in an environment that checks its answers, its calls, its messages and its log."""

import base64
import contextlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from create_conversation.errors import SubmissionError
from create_conversation.senders.config import load
from create_conversation.senders.mapping import target_of
from create_conversation.submission import Submission
from local.highlevel import LocalHighLevel
from local.highlevel_rules import Limits
from local.lambda_runtime import SETTINGS, FunctionError, FunctionProcess, Server
from tests.chaos.fuzz_aws import FakeAws
from tests.chaos.fuzz_calls import unclean
from tests.chaos.fuzz_requests import Request, Requests
from tests.chaos.fuzz_values import FOREIGN, LIMITED, NOT_STORED, SICK
from tests.stopwatch import Stopwatch

ANSWER_SECONDS = 5.0
CPU_SECONDS = 2.0
STATUSES = {
    "conversations": {200, 201, 202, 400, 401, 403, 413, 415, 422, 503},
    "webhooks": {200, 400, 401, 413, 415, 429},
}


@dataclass(slots=True)
class Tally:
    """The results of some requests. `ends`: by endpoint and status, or by trigger and outcome."""

    sent: int = 0
    endpoints: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)  # how many calls, messages, lines were checked
    problems: list[tuple[str, str]] = field(default_factory=list)  # which promise, and what happened
    slowest: tuple[float, str] = (0.0, "")
    memory_kib: int = 0

    def add(self, other: "Tally") -> None:
        self.sent += other.sent
        for mine, theirs in (
            (self.endpoints, other.endpoints),
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
    "internal error": "Errors in the function, caught and logged as internal_error",
    "answer": "Answers that API Gateway cannot send, or that the endpoint does not document",
    "late": f"Answers after more than {ANSWER_SECONDS:.0f} s, or with more than {CPU_SECONDS:.0f} s of CPU",
    "unclean": "Unclean values to HighLevel",
    "oversized": "Messages over the limit of a queue",
    "queue": "Messages and attributes that SQS refuses",
    "lost": "Good messages not opened, bad ones neither dead-lettered nor reported",
    "let in": "Requests let in without authentication",
    "leak": "Canary values in a log, metric, reply, error or queue attribute; secrets in a queue body",
    "log": "Lines of the log that are not one JSON object",
}


@contextlib.contextmanager
def fuzzed_function(artifact: Path, seed: int, level: str, tally: Tally) -> Iterator["FuzzedFunction"]:
    """The function of that artifact with a local HighLevel and a fake AWS."""
    requests = Requests(seed, load(artifact))
    canary = requests.canary
    own, foreign = canary.token(), canary.token(FOREIGN)
    canary.watch("AWS's secret key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    secrets = {
        "arn:token": json.dumps({"tokens": {"*": own, FOREIGN: foreign}}),
        "arn:senders": requests.signer.secret_text(),
    }
    limits = Limits(10**9, 10_000, 10**9)
    with contextlib.ExitStack() as stack:
        tokens: dict[str, str | None] = {own: "*", foreign: "anotherLocation00005"}
        highlevel = stack.enter_context(LocalHighLevel(tokens=tokens, limits=limits))
        for location in (SICK, NOT_STORED):
            highlevel.fail("status", status=503, location=location)
        highlevel.fail("status", status=429, location=LIMITED, headers={"Retry-After": "1"})
        aws = FakeAws(secrets)
        environment = SETTINGS | {
            "AWS_ENDPOINT_URL": f"http://{stack.enter_context(Server(aws.answer)).address}",
            "HIGHLEVEL_BASE_URL": highlevel.url,
            "POWERTOOLS_LOG_LEVEL": level,
            "AWS_LAMBDA_LOG_LEVEL": level,
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
        }
        function = FuzzedFunction(requests, highlevel, aws, tally, partial(FunctionProcess, artifact, environment))
        try:
            yield function
        finally:
            function.end()


@dataclass(slots=True)
class FuzzedFunction:
    """The function, and what the checks of its answers, calls and log have found. It handles one request at a time."""

    requests: Requests
    highlevel: LocalHighLevel
    aws: FakeAws
    tally: Tally
    start: Any
    function: FunctionProcess | None = None
    marks: list[tuple[int, str]] = field(default_factory=list)  # lines written before a request, and which it is

    def send(self, request: Request) -> Any:
        """Invoke the function with the request, check everything that it caused, and return its answer."""
        self.function = self.function or self.start().__enter__()
        name = f"#{request.number} {request.endpoint}, {request.kind}"
        group = request.endpoint.partition("/")[0]
        self.tally.sent += 1
        self.tally.endpoints[request.endpoint] += 1
        self.tally.kinds[f"{group}: {request.kind}"] += 1
        self.marks.append((len(self.function.written), name))
        cpu, stopwatch = _cpu_seconds(self.function), Stopwatch(self.function.process.pid)
        answer, is_read = None, True
        try:
            answer = self.function.invoke(request.payload, 30)
        except FunctionError as error:
            is_read = False
            self._check_error(group, name, str(error))
        except TimeoutError:
            self._report("exception", name, "no answer within 30 s, or the process ended")
            self._end_function()
            return None
        took, used = stopwatch.seconds, _cpu_seconds(self.function) - cpu
        self.tally.slowest = max(self.tally.slowest, (used, name))
        is_http = group in STATUSES
        # Many submissions in one request may cost as much CPU as many requests.
        costly = used > CPU_SECONDS and request.kind not in ("long array", "huge", "long")
        if costly or (is_http and took > ANSWER_SECONDS):
            self._report("late", name, f"{took:.1f} s, {used:.1f} s of CPU")
        if is_read and (answer is not None or is_http):
            self._check_answer(request, name, answer)
        self._check_calls(request, name, answer)
        return answer

    def _check_error(self, group: str, name: str, error: str) -> None:
        if json.loads(error).get("errorType") == "Runtime.UnmarshalError":
            # Lambda's runtime client failed before the function: more levels or digits than Python reads. Nothing is
            # lost: Lambda sends an event to the failure destination, a batch stays in the queue, and API Gateway never
            # sends such an event.
            self.tally.ends[f"{group} unreadable for Lambda's runtime client"] += 1
        else:
            self._report("exception", name, error[:600])
            self._check_leaks("an error report", name, error)

    def end(self) -> None:
        """Check what the last process wrote, too."""
        self._end_function()

    def _report(self, promise: str, name: str, what: str) -> None:
        self.tally.problems.append((promise, f"{name}: {what} [seed {self.requests.seed}]"))

    # --- what it answers ----------------------------------------------------------------------------------------------

    def _check_answer(self, request: Request, name: str, answer: Any) -> None:
        if isinstance(answer, dict) and "statusCode" in answer:
            self._check_reply(request, name, answer)
        elif request.endpoint.startswith(("conversations", "webhooks")):
            if request.kind != "several pieces odd":
                self._report("answer", name, f"no HTTP answer: {str(answer)[:200]}")
        elif request.endpoint == "events":
            self._report("answer", name, f"an event is answered: {str(answer)[:200]}")
        self._check_leaks("a reply", name, json.dumps(answer))

    def _check_reply(self, request: Request, name: str, answer: dict[str, Any]) -> None:
        status, headers, body = answer.get("statusCode"), answer.get("headers"), answer.get("body")
        endpoint = request.endpoint.partition("/")[0]
        self.tally.ends[f"{endpoint} {status}"] += 1
        try:
            if type(status) is not int or not isinstance(headers, dict) or not isinstance(body, str):
                raise ValueError("status, headers or body of another type")
            for header, text in headers.items():
                if not re.fullmatch(r"[a-z0-9-]+", header) or not re.fullmatch(r"[ -~]*", text):
                    raise ValueError(f"header {header}")
            json.loads(body.encode().decode("ascii"))
            if status not in STATUSES.get(endpoint, STATUSES["conversations"] | STATUSES["webhooks"]):
                raise ValueError(f"status {status}")
            if "internal" in body or ":failed" in body:
                raise ValueError("shows an internal error")
        except (ValueError, TypeError) as error:
            self._report("answer", name, f"{error}: {json.dumps(answer)[:300]}")
        if request.unauthenticated and status not in (401, 413, 415):
            self._report("let in", name, f"status {status}: {body}")

    # --- what it calls ------------------------------------------------------------------------------------------------

    def _check_calls(self, request: Request, name: str, answer: Any) -> None:
        calls, self.highlevel.calls[:] = [*self.highlevel.calls], []
        self.highlevel.contacts.clear()  # its search among them is linear
        self.tally.seen["calls to HighLevel, checked"] += len(calls)
        for call in calls:
            for finding in unclean(call):
                what = f"{finding}: {call.method} {call.path!r} {call.query} {call.body[:300]!r}"
                self._report("unclean", name, what)
        messages, dead_letters = self.aws.take_messages()
        self.tally.seen["messages to the queues, checked"] += len(messages)
        for promise, wrong in self.aws.take_refusals():
            # Lambda passes 10 records at most, so a longer batch may make a call with too many entries.
            if not (promise == "queue" and request.endpoint == "queue" and "entries" in wrong):
                self._report(promise, name, wrong)
        for body, attributes in messages:
            self._check_leaks("a queue attribute", name, attributes)
            secrets = [leak for leak in self.requests.canary.leaks(body) if leak not in ("e-mail", "phone")]
            if secrets:
                self._report("leak", name, f"{', '.join(secrets)} in a queue body: {_submitted(body)[:300]}")
        if request.messages is not None and isinstance(answer, dict):
            self._check_batch(request, name, answer, dead_letters)

    def _check_batch(self, request: Request, name: str, answer: dict[str, Any], dead_letters: set[str]) -> None:
        """Each good message has its conversation; each bad one is a dead letter or stays in the queue."""
        failures = answer.get("batchItemFailures")
        if not isinstance(failures, list) or not all(isinstance(each.get("itemIdentifier"), str) for each in failures):
            self._report("answer", name, f"no answer to SQS: {str(answer)[:300]}")
            return
        self.tally.ends["queue: with failures" if failures else "queue: all processed"] += 1
        stay = {each["itemIdentifier"] for each in failures}
        for location, contact in request.good:
            if (location, contact) not in self.highlevel.conversations:
                self._report("lost", name, f"{contact} was not opened")
        for one in json.loads(request.payload)["Records"]:
            members = one if isinstance(one, dict) else {}
            body, message_id = members.get("body"), members.get("messageId")
            text = body if isinstance(body, str) and body else json.dumps(one)
            stays = (message_id if isinstance(message_id, str) else "") in stay or "" in stay
            if not stays and text not in dead_letters and not self._is_done(text):
                self._report("lost", name, f"{message_id}: neither opened, dead-lettered nor reported: {text[:500]}")
        if unknown := stay - {*(request.messages or ()), ""}:
            self._report("answer", name, f"reports unknown ids: {sorted(unknown)[:5]}")

    def _is_done(self, text: str) -> bool:
        """Whether HighLevel has the conversation that this message asks for."""
        try:
            target = target_of(Submission.from_message(text), self.requests.senders, None)
        except (ValueError, SubmissionError):
            return False
        # A contact id that HighLevel refuses is replaced by the person's contact.
        by_person = target.person is not None and any(
            key.startswith(f"delivery#{target.delivery}#") for key in self.aws.records
        )
        return by_person or (target.location, target.contact) in self.highlevel.conversations

    # --- what it writes -----------------------------------------------------------------------------------------------

    def _check_leaks(self, where: str, name: str, text: str) -> None:
        if leaks := self.requests.canary.leaks(text):
            self._report("leak", name, f"{', '.join(leaks)} in {where}")

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
        self.tally.seen["lines of the log, checked"] += len(lines)
        for place, line in enumerate(lines):
            self._check_log_line(place, line)
        if leaks := self.requests.canary.leaks("".join(lines)):
            self._report("leak", "the whole log", ", ".join(leaks))
            for place, line in enumerate(lines):
                self._check_leaks(f"the log: {_shortened(line)}", self._request_at(place), line)
        self.marks.clear()

    def _check_log_line(self, place: int, line: str) -> None:
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or not (entry.keys() & {"level", "_aws", "log_level"}):
                raise ValueError
        except ValueError:
            self._report("log", self._request_at(place), line[:300])
            return
        if "_aws" in entry:
            self.tally.ends[f"{entry.get('trigger')} {entry.get('outcome')}"] += 1
        elif entry.get("message") == "internal_error" or entry.get("reason") in ("internal_error", "failed"):
            self._report("internal error", self._request_at(place), line[:700])

    def _request_at(self, place: int) -> str:
        """Which request wrote that line; the log comes a little later than the answer."""
        before = [name for line, name in self.marks if line <= place]
        return before[-1] if before else "at start"


def _submitted(message: str) -> str:
    """The submission's body where the message has one."""
    try:
        return base64.b64decode(json.loads(message)["submission"]["body"]).decode(errors="backslashreplace")
    except (ValueError, TypeError, KeyError):
        return message


def _shortened(line: str) -> str:
    return re.sub(r'"[^"]{40,}"', '"…"', line)[:200]


def _cpu_seconds(function: FunctionProcess) -> float:
    try:
        fields = Path(f"/proc/{function.process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
