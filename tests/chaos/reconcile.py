"""Account for the load: what became of each delivery, one by one."""

import base64
import collections
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from create_conversation.submission import Submission
from local.application import Answer
from local.highlevel_faults import KINDS
from tests.chaos.canary_secrets import Canary
from tests.chaos.deliveries import NAME, REFUSED, SICK, UNREADABLE, Asked, Delivery
from tests.chaos.function_log import FunctionLog
from tests.chaos.results import Figure, Part
from tests.integration.aws_faults import FaultyWorld

ANSWER_SECONDS = 5.0
LATE_MS = 1000 * ANSWER_SECONDS
TRANSIENT_REASONS = ("expired", "unhandled", "message_failed")
DYING_SECONDS = 0.5
POSSIBLE, UNREADABLE_REASON = '"message":"possible_duplicate"', "scope_missing"
WRITES = ("/conversations/messages", "/contacts/{contactId}/notes")
SHOWN = 5  # of each kind of problem


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to a request that was sent at `at` (Unix time, seconds)."""

    delivery: Delivery
    at: float
    answer: Answer


@dataclass(frozen=True, slots=True)
class Sample:
    """How many submissions were accepted, opened, waiting and dead after so many seconds."""

    at: float
    accepted: int
    opened: int
    waiting: int
    dead: int


@dataclass(frozen=True, slots=True)
class Shade:
    """A failure of AWS from one second to another."""

    name: str
    begins: float
    ends: float


@dataclass(slots=True)
class LoadPart(Part):
    """What else the chart and the document show."""

    samples: list[Sample] = field(default_factory=list)
    shades: list[Shade] = field(default_factory=list)
    outcomes: list[tuple[str, int]] = field(default_factory=list)
    recovered_at: float = 0.0
    redriven_at: float = 0.0


@dataclass(slots=True)
class Observed:
    """Everything that was observed from outside. `kills`: begin and end of each, Unix time in seconds; `queued`: the
    messages that the function sent to its queues."""

    answers: list[Answered] = field(default_factory=list)
    queued: list[dict[str, Any]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    shades: list[Shade] = field(default_factory=list)
    kills: list[tuple[float, float]] = field(default_factory=list)
    workers_killed: int = 0
    calls_during_faults: int = 0  # the calls to HighLevel before it recovered
    opened_before: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # as of the redrive
    dead: list[list[dict[str, Any]]] = field(default_factory=list)  # the dead letters before the redrive, and after
    recovered_at: float = 0.0  # seconds after the beginning
    redriven_at: float = 0.0
    errors: list[str] = field(default_factory=list)  # of the load itself
    complete: threading.Event = field(default_factory=threading.Event)

    def was_killed(self, began: float, ended: float) -> bool:
        """Whether workers were killed in that time, so that an invocation may have died with its worker."""
        return any(killed <= ended and over + DYING_SECONDS >= began for killed, over in self.kills)


def reconcile(
    world: FaultyWorld, deliveries: list[Delivery], seen: Observed, log: FunctionLog, canary: Canary, *, is_short: bool
) -> LoadPart:
    """Account for each delivery; each broken promise is a problem. `is_short`: other work shares the machine, so that a
    late answer says nothing about the application. The function's own clock still does."""
    part = LoadPart("Load with faults", samples=seen.samples, shades=seen.shades)
    part.recovered_at, part.redriven_at = seen.recovered_at, seen.redriven_at
    records = _HighLevelRecords(world, seen.opened_before)
    accepted = [delivery for delivery in deliveries if delivery.accepted_at]
    asked = [one for delivery in accepted for one in delivery.asked]
    before, after = DeadLetters(seen.dead[0]), DeadLetters(seen.dead[-1])
    lines = log.submissions()
    answers = _Answers(seen, records, {line["request_id"] for line in lines if line["cold_start"]})
    exceptions, died, handed_back = _exceptions(seen, log)

    part.figures += _load_figures(world, deliveries, seen)
    part.figures += [
        Figure("requests, events and batches that died with them", died),
        Figure("events handed back to Lambda because SQS was unreachable", handed_back),
        Figure("deliveries accepted, duplicates not counted", len(accepted)),
    ]
    part.figures += _end_figures(asked, records, before, after)
    words = Words(world)
    twice, permitted = words.twice(deliveries, _possible_duplicates(log))
    part.figures += [
        *words.figures(),
        Figure(f"words written twice, logged as possible_duplicate ({UNREADABLE_REASON})", permitted),
    ]
    for title, problems, must in (
        ("lost", [f"{one}" for one in asked if not records.was_opened(one) and not before.reasons(one)], 0),
        ("words lost", words.lost(accepted), 0),
        ("words written twice", twice, 0),
        ("unread counts above the number of submissions", words.wrong_counts, 0),
        ("with another end than expected", _wrong_ends(asked, records, before, after), 0),
        ("dead letters without a reason or a known submission", before.strange + after.strange, 0),
        ("second conversations", records.second_conversations(asked), 0),
        ("conversations without a submission", records.unknown_conversations(deliveries), 0),
        ("answers with another contact's conversation", answers.foreign, 0),
        ("answers that the API does not document", answers.unexpected, 0),
        ("answers after more than 5 s by a warm worker", answers.late, None if is_short else 0),
        ("unhandled exceptions besides the killed workers", exceptions, 0),
        ("secrets, e-mails or phones in a reply, log line, metric or queue attribute", _leaks(seen, log, canary), 0),
        ("errors of the load itself", seen.errors, 0),
    ):
        part.figures.append(Figure(title, len(problems), must))
        part.problems += [f"{title}: {problem}" for problem in problems[:SHOWN] if must is not None]
    part.figures += _time_figures(answers, lines)
    ends = collections.Counter(
        f"{line['trigger']}: {line['outcome']} {line.get('reason') or ''}".strip() for line in lines
    )
    part.outcomes = sorted(ends.items())
    return part


def _load_figures(world: FaultyWorld, deliveries: list[Delivery], seen: Observed) -> list[Figure]:
    """What was sent, and what failed meanwhile."""
    calls = [
        call
        for call in world.highlevel.calls[: seen.calls_during_faults]
        if not (call.contact or "").startswith((REFUSED, SICK))
    ]
    failed = [call.fault for call in calls if call.fault is not None]
    return [
        Figure("requests, messages and events sent, repeats included", sum(each.attempts for each in deliveries)),
        Figure("calls to HighLevel meanwhile", len(calls)),
        Figure("per cent of them that failed or were damaged", round(100 * len(failed) / max(1, len(calls)))),
        Figure("kinds of faults that met them", len(set(failed)), len(KINDS)),
        Figure("workers killed", seen.workers_killed),
    ]


def _end_figures(
    asked: list[Asked], records: "_HighLevelRecords", before: "DeadLetters", after: "DeadLetters"
) -> list[Figure]:
    """What became of the accepted submissions."""
    opened = [one for one in asked if records.was_opened(one)]
    others = [one for one in asked if not records.was_opened(one)]
    return [
        Figure("submissions in them (an array has several)", len(asked)),
        Figure("of these, opened before the redrive", len(opened)),
        Figure("of these, dead letters with a reason before the redrive", sum(bool(before.reasons(o)) for o in others)),
        Figure("opened by the redrive of transient failures", sum(records.is_open(one) for one in others)),
        Figure("dead letters left that need an operator", sum(bool(after.reasons(one)) for one in asked)),
    ]


def _time_figures(answers: "_Answers", lines: list[dict[str, Any]]) -> list[Figure]:
    own_ms = [line["duration_ms"] for line in lines if line["trigger"] in ("http", "webhook")]
    return [
        Figure("answers after more than 5 s by a cold worker, on shared processors", answers.late_by_a_start),
        Figure(
            "answers after more than 5 s by the function's clock", sum(ms > 1000 * ANSWER_SECONDS for ms in own_ms), 0
        ),
        Figure("the slowest, in ms, as the sender saw it", answers.slowest_ms),
        Figure("the slowest, in ms, by the function's clock", max(own_ms, default=0)),
    ]


def missing(world: FaultyWorld, deliveries: list[Delivery], letters: list[dict[str, Any]]) -> list[Asked]:
    """The accepted submissions whose words are neither written nor in a dead letter at this moment."""
    words, dead = Words(world), DeadLetters(letters)
    return [
        one
        for delivery in deliveries
        for one in delivery.asked
        if delivery.accepted_at and words.written[one.name] < delivery.submissions and not dead.reasons(one)
    ]


def reason_of(letter: dict[str, Any]) -> str:
    """Why it is a dead letter. `unhandled`, as `./hlc dead-letters list` says: Lambda got it back."""
    return letter["attributes"].get("reason") or ("unhandled" if "requestPayload" in letter["text"] else "")


class DeadLetters:
    """Dead letters by the submission whose name is in their body. `strange`: those without a reason or a name."""

    def __init__(self, letters: list[dict[str, Any]]) -> None:
        self.strange: list[str] = []
        self._reasons: dict[str, set[str]] = collections.defaultdict(set)
        for letter in letters:
            try:
                body = Submission.from_message(letter["text"]).body.decode()
            except ValueError:
                body = ""
            reason = reason_of(letter)
            names = NAME.findall(body)
            if not reason or not names:
                self.strange.append(f"dead letter {letter['attributes']}, {letter['text'][:300]}")
            for name in names:
                self._reasons[name].add(reason)

    def reasons(self, one: Asked) -> set[str]:
        return self._reasons.get(one.name, set())


class Words:
    """The words in the local HighLevel's threads and notes. `written`: how often each submission's are there."""

    def __init__(self, world: FaultyWorld) -> None:
        highlevel = world.highlevel
        self.written: collections.Counter[str] = collections.Counter()
        self.wrong_counts: list[str] = []
        self._notes = 0
        self._unanswered = sum(
            call.method == "POST" and call.route in WRITES and call.fault == "commit_then_drop"
            for call in list(highlevel.calls)
        )
        for (_, contact), conversation in list(highlevel.conversations.items()):
            thread = highlevel.thread(conversation["id"])
            notes = [note["body"] for note in (highlevel.contact_now(contact) or {"notes": []})["notes"]]
            texts = [comment.message["body"] for comment in thread.comments] + notes
            self.written.update(name for text in texts for name in set(NAME.findall(text)))
            self._notes += len(notes)
            if thread.unread_count > len(texts):
                self.wrong_counts.append(f"{contact}: {thread.unread_count} unread, {len(texts)} submissions")

    def lost(self, accepted: list[Delivery]) -> list[str]:
        """Submissions that were accepted and can be opened, but whose words are not there."""
        return [
            f"{one}: {self.written[one.name]} of {each.submissions}"
            for each in accepted
            for one in each.asked
            if one.dead_for in ("", "expired") and self.written[one.name] < each.submissions
        ]

    def twice(self, deliveries: list[Delivery], possible: int) -> tuple[list[str], int]:
        """Submissions whose words are there too often; and how many more, that the log has as possible duplicates."""
        found = {one: self.written[one.name] - each.submissions for each in deliveries for one in each.asked}
        permitted = sum(more for one, more in found.items() if more > 0 and one.location == UNREADABLE)
        twice = [f"{one}: {more} too many" for one, more in found.items() if more > 0 and one.location != UNREADABLE]
        if permitted > possible:
            twice.append(f"{UNREADABLE}: {permitted} too many, but {possible} in the log")
        return twice, permitted

    def figures(self) -> list[Figure]:
        return [
            Figure("comments and notes that HighLevel wrote without an answer", self._unanswered),
            Figure("words written as a note, because the location refuses comments", self._notes),
        ]


def _possible_duplicates(log: FunctionLog) -> int:
    """How often the log has `possible_duplicate` for the location whose token may not read comments."""
    lines = (json.loads(line) for each in log.invocations for line in each.text.splitlines() if POSSIBLE in line)
    return sum(line["location_id"] == UNREADABLE and line["reason"] == UNREADABLE_REASON for line in lines)


class _HighLevelRecords:
    """The contacts and conversations of the local HighLevel."""

    def __init__(self, world: FaultyWorld, before: dict[tuple[str, str], dict[str, Any]] | None = None) -> None:
        self._world, self._before = world, before or {}
        self._contacts: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
        for contact in world.highlevel.contacts.values():
            for by in filter(None, {contact.get("email"), contact.get("phone")}):
                self._contacts[contact["locationId"], by].append(contact["id"])

    def key(self, one: Asked) -> tuple[str, str]:
        """Location and contact id; an empty id where HighLevel does not know the person."""
        return one.location, one.contact or next(iter(self._contacts_of(one)), "")

    def was_opened(self, one: Asked) -> bool:
        return self.key(one) in self._before

    def is_open(self, one: Asked) -> bool:
        return self.key(one) in self._world.highlevel.conversations

    def id_of(self, one: Asked) -> str | None:
        conversation = self._world.highlevel.conversations.get(self.key(one))
        return conversation["id"] if conversation else None

    def unknown_conversations(self, deliveries: list[Delivery]) -> list[str]:
        wanted = {self.key(one) for delivery in deliveries for one in delivery.asked}
        return [f"{key}" for key in self._world.highlevel.conversations if key not in wanted]

    def second_conversations(self, asked: list[Asked]) -> list[str]:
        created = collections.Counter(
            (call.location, call.contact)
            for call in self._world.highlevel.calls
            if call.path == "/conversations/" and call.status == 201
        )
        found = [f"{key} was created {times} times" for key, times in created.items() if times > 1]
        people = [one for one in asked if not one.contact]
        found += [f"{one.name} is several contacts" for one in people if len(self._contacts_of(one)) > 1]
        changed = [
            key for key, was in self._before.items() if self._world.highlevel.conversations[key]["id"] != was["id"]
        ]
        return found + [f"{key} has another conversation now" for key in changed]

    def _contacts_of(self, one: Asked) -> set[str]:
        return {
            contact for by in (one.email, one.phone) if by for contact in self._contacts.get((one.location, by), ())
        }


def _wrong_ends(asked: list[Asked], records: _HighLevelRecords, before: DeadLetters, after: DeadLetters) -> list[str]:
    """Good submissions must be open in the end, and dead before that only for a transient failure; each other one must
    be dead for its reason."""
    wrong = []
    for one in asked:
        was, now = before.reasons(one), after.reasons(one)
        if one.dead_for in ("", "expired"):
            right = records.is_open(one) and not now and was <= set(TRANSIENT_REASONS)
        else:
            right = not records.is_open(one) and now == {one.dead_for} and was <= {one.dead_for, *TRANSIENT_REASONS}
        if one.dead_for == "expired" and records.was_opened(one):
            right = False
        if not right:
            wrong.append(
                f"{one}: open {records.is_open(one)}, dead letters before {was or 'none'}, after {now or 'none'}"
            )
    return wrong


class _Answers:
    """Every answer compared with its request."""

    def __init__(self, seen: Observed, records: _HighLevelRecords, cold: set[str]) -> None:
        self.foreign: list[str] = []
        self.unexpected: list[str] = []
        self.slowest_ms = round(1000 * max((answered.answer.seconds for answered in seen.answers), default=0))
        self.late: list[str] = []
        self.late_by_a_start = 0
        for answered in seen.answers:
            if answered.answer.seconds > ANSWER_SECONDS:
                # An answer without an id is API Gateway's: the worker died, at its start or later.
                if answered.answer.headers.get("x-request-id", "") in {"", *cold}:
                    self.late_by_a_start += 1
                else:
                    self.late.append(f"{answered.answer.seconds:.2f} s: {_shown(answered)}")
            if not self._is_right(answered, records, seen):
                self.unexpected.append(_shown(answered))

    def _is_right(self, answered: Answered, records: _HighLevelRecords, seen: Observed) -> bool:
        delivery, answer = answered.delivery, answered.answer
        one = delivery.asked[0]
        if answer.status == 500:  # API Gateway answers for a worker that was killed
            return seen.was_killed(answered.at, answered.at + answer.seconds)
        if not answer.headers.get("x-request-id"):
            return False
        if delivery.trigger == "webhook":
            return answer.status in (200, 429)
        match answer.status:
            case 200 | 201:
                conversation = answer.body.get("conversation", {})
                expected = {"id": records.id_of(one), "contactId": one.contact, "locationId": one.location}
                if {name: conversation.get(name) for name in expected} != expected:
                    self.foreign.append(f"{_shown(answered)}, where HighLevel has {expected}")
                return not one.dead_for
            case 202:
                # A permanent failure may be found later, when HighLevel or its token can be asked again.
                is_valid = one.dead_for not in ("invalid_body", "no_contact")
                return is_valid and answer.body["status"] in (
                    ("deferred",) if one.dead_for else ("deferred", "existing")
                )
            case 503:
                return True
        return bool(one.dead_for) and answer.body["type"] == f"urn:highlevel-conversations:{one.dead_for}"


def _shown(answered: Answered) -> str:
    answer = answered.answer
    return f"{answered.delivery.asked[0]} by {answered.delivery.sender}: {answer.status} {answer.text[:200]}"


def _exceptions(seen: Observed, log: FunctionLog) -> tuple[list[str], int, int]:
    """Unexpected exceptions; how many invocations died with a killed worker; how many events were handed back."""
    failed = [invocation for invocation in log.invocations if invocation.failed]
    by_a_kill = [each for each in failed if each.died and seen.was_killed(each.began, each.ended)]
    handed_back = [each for each in failed if not each.died and each.handed_back]
    others = [each for each in failed if each not in by_a_kill and each not in handed_back]
    found = [each.text[-600:] for each in others]
    if len(by_a_kill) > seen.workers_killed:
        found.append(f"{len(by_a_kill)} calls died, but only {seen.workers_killed} workers were killed")
    return found, len(by_a_kill), len(handed_back)


def _leaks(seen: Observed, log: FunctionLog, canary: Canary) -> list[str]:
    """Canary values in replies, in the log at DEBUG and in queue attributes; and secrets in queue bodies, which may
    contain addresses."""
    replies = "\n".join(f"{answered.answer.headers}{answered.answer.text}" for answered in seen.answers)
    attributes = "\n".join(str({**entry, "MessageBody": ""}) for entry in seen.queued)
    attributes += "\n".join(str(letter["attributes"]) for letters in seen.dead for letter in letters)
    found = [f"{name} in a reply" for name in canary.leaks(replies)]
    found += [f"{name} in a queue attribute" for name in canary.leaks(attributes)]
    found += [f"{name} in the log" for name in canary.leaks("\n".join(each.text for each in log.invocations))]
    bodies = "\n".join(_body(entry.get("MessageBody", "")) for entry in seen.queued)
    return found + [f"{name} in a message" for name in canary.leaks(bodies) if name not in ("e-mail", "phone")]


def _body(message: str) -> str:
    try:
        return Submission.from_message(message).body.decode(errors="replace")
    except ValueError:
        return base64.b64encode(message.encode()).decode()
