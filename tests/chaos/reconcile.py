"""The accounting of the load: what became of each delivery, one by one."""

import base64
import collections
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from create_conversation.submission import Submission
from local.application import Answer
from local.highlevel_faults import KINDS
from tests.chaos.canary_secrets import Canary
from tests.chaos.deliveries import REFUSED, SICK, Asked, Delivery
from tests.chaos.function_log import Log
from tests.chaos.results import Figure, Part
from tests.integration.aws_faults import FaultyWorld

ANSWER_SECONDS = 5.0
TIME_MENDS = ("expired", "unhandled")
DYING_SECONDS = 0.5
SHOWN = 5  # of each kind of problem


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, begun to be waited for at `at` (Unix time, seconds)."""

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
    """Trouble with AWS from one second to another."""

    name: str
    begins: float
    ends: float


@dataclass(slots=True)
class LoadPart(Part):
    """What else the picture and the document show."""

    samples: list[Sample] = field(default_factory=list)
    shades: list[Shade] = field(default_factory=list)
    outcomes: list[tuple[str, int]] = field(default_factory=list)
    healed_at: float = 0.0
    redriven_at: float = 0.0


@dataclass(slots=True)
class Observed:
    """Everything that was seen from outside. `kills`: from when to when, Unix time in seconds; `queued`: what the
    function sent to its queues."""

    answers: list[Answered] = field(default_factory=list)
    queued: list[dict[str, Any]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    shades: list[Shade] = field(default_factory=list)
    kills: list[tuple[float, float]] = field(default_factory=list)
    workers_killed: int = 0
    calls_in_trouble: int = 0  # of HighLevel's calls, those before it was well again
    opened_before: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # the redrive
    dead: list[list[dict[str, Any]]] = field(default_factory=list)  # the dead letters before it, and after
    healed_at: float = 0.0  # seconds after the beginning
    redriven_at: float = 0.0
    errors: list[str] = field(default_factory=list)  # of the load itself
    complete: threading.Event = field(default_factory=threading.Event)

    def was_killed(self, began: float, ended: float) -> bool:
        """Whether workers were killed in that time, so that what failed then may have died with one."""
        return any(killed <= ended and over + DYING_SECONDS >= began for killed, over in self.kills)


def reconcile(
    world: FaultyWorld, deliveries: list[Delivery], seen: Observed, log: Log, canary: Canary, *, is_short: bool
) -> LoadPart:
    """What was found, with a problem for whatever broke a promise. `is_short`: on a machine that does other things,
    too, where a late answer tells nothing of the application; the function's own clock still does."""
    part = LoadPart("Load with faults", samples=seen.samples, shades=seen.shades)
    part.healed_at, part.redriven_at = seen.healed_at, seen.redriven_at
    books = _Books(world, seen.opened_before)
    accepted = [delivery for delivery in deliveries if delivery.accepted_at]
    asked = [one for delivery in accepted for one in delivery.asked]
    before, after = Letters(seen.dead[0]), Letters(seen.dead[-1])

    lost = [one for one in asked if not books.was_opened(one) and not before.reasons(one)]
    wrong_end = _wrong_ends(asked, books, before, after)
    wanted = {books.key(one) for delivery in deliveries for one in delivery.asked}
    unknown = [f"{key} has a conversation" for key in world.highlevel.conversations if key not in wanted]
    second = books.second_conversations(asked)
    lines = log.submissions()
    answers = _Answers(seen, books, {line["request_id"] for line in lines if line["cold_start"]})
    exceptions, died, handed_back = _exceptions(seen, log)
    leaks = _leaks(seen, log, canary)
    door_ms = [line["duration_ms"] for line in lines if line["trigger"] in ("http", "webhook")]
    failing = [
        call
        for call in world.highlevel.calls[: seen.calls_in_trouble]
        if not (call.contact or "").startswith((REFUSED, SICK))
    ]
    faulted = sum(call.fault is not None for call in failing)
    kinds = len({call.fault for call in failing} - {None})

    part.figures += [
        Figure(
            "requests, messages and events that these took, repeats of the senders included",
            sum(delivery.attempts for delivery in deliveries),
        ),
        Figure("calls of HighLevel meanwhile", len(failing)),
        Figure("per cent of them that failed or were spoilt", round(100 * faulted / max(1, len(failing)))),
        Figure("kinds of faults that met them", kinds, len(KINDS)),
        Figure("workers killed", seen.workers_killed),
        Figure("requests, events and batches that died with them", died),
        Figure("events handed back to Lambda because SQS was away", handed_back),
        Figure("deliveries accepted, duplicates not counted", len(accepted)),
        Figure("submissions in them (an array has several)", len(asked)),
        Figure("of these, opened before the redrive", sum(books.was_opened(one) for one in asked)),
        Figure(
            "of these, dead letters with a reason before the redrive",
            sum(_is_dead(one, books, before) for one in asked),
        ),
        Figure(
            "opened by the redrive of what time had mended",
            sum(books.is_open(one) and not books.was_opened(one) for one in asked),
        ),
        Figure("dead letters that only a person mends, left", sum(bool(after.reasons(one)) for one in asked)),
        Figure("lost", len(lost), 0),
        Figure("ended otherwise than they should", len(wrong_end), 0),
        Figure("dead letters without a reason, or of nobody", len(before.strange) + len(after.strange), 0),
        Figure("second conversations", len(second), 0),
        Figure("conversations that nobody asked for", len(unknown), 0),
        Figure("answers with another contact's conversation", len(answers.foreign), 0),
        Figure("answers that the interface does not have", len(answers.unexpected), 0),
        Figure("answers after more than 5 s by a warm worker", len(answers.late), None if is_short else 0),
        Figure(
            "answers after more than 5 s by a worker that was started for them, on shared processors",
            answers.late_by_a_start,
        ),
        Figure(
            "answers after more than 5 s by the function's own clock",
            sum(ms > 1000 * ANSWER_SECONDS for ms in door_ms),
            0,
        ),
        Figure("the slowest, in ms, as the sender saw it", answers.slowest_ms),
        Figure("the slowest, in ms, by the function's own clock", max(door_ms, default=0)),
        Figure("unhandled exceptions besides the killed workers", len(exceptions), 0),
        Figure("secrets, e-mails or phones in a reply, log line, metric or queue attribute", len(leaks), 0),
    ]
    for kind in (
        [f"lost: {one}" for one in lost],
        wrong_end,
        [*before.strange, *after.strange],
        second,
        unknown,
        answers.foreign,
        answers.unexpected,
        [] if is_short else answers.late,
        exceptions,
        leaks,
        seen.errors,
    ):
        part.problems += kind[:SHOWN]
        if len(kind) > SHOWN:
            part.problems.append(f"… and {len(kind) - SHOWN} more like the last")
    ends = collections.Counter(
        f"{line['trigger']}: {line['outcome']} {line.get('reason') or ''}".strip() for line in lines
    )
    part.outcomes = sorted(ends.items())
    return part


def missing(world: FaultyWorld, asked: Iterable[Asked], letters: list[dict[str, Any]]) -> list[Asked]:
    """Those that have neither a conversation nor a dead letter at this moment."""
    books, dead = _Books(world), Letters(letters)
    return [one for one in asked if not books.is_open(one) and not dead.reasons(one)]


def reason_of(letter: dict[str, Any]) -> str:
    """Why it was put aside; `unhandled`, as `make dead-letters` calls it: by Lambda, to which the event was handed
    back."""
    return letter["attributes"].get("reason") or ("unhandled" if "requestPayload" in letter["text"] else "")


class Letters:
    """Dead letters, each traced back to whose it is by the name in its body. `strange`: those that cannot be."""

    def __init__(self, letters: list[dict[str, Any]]) -> None:
        self.strange: list[str] = []
        self._reasons: dict[str, set[str]] = collections.defaultdict(set)
        for letter in letters:
            try:
                body = Submission.from_message(letter["text"]).body.decode()
            except ValueError:
                body = ""
            reason = reason_of(letter)
            names = re.findall(r"delivery-\d{6}-\d", body)
            if not reason or not names:
                self.strange.append(f"dead letter {letter['attributes']}, {letter['text'][:300]}")
            for name in names:
                self._reasons[name].add(reason)

    def reasons(self, one: Asked) -> set[str]:
        return self._reasons.get(one.name, set())


class _Books:
    """HighLevel's: whose contact is whose, and what is open."""

    def __init__(self, world: FaultyWorld, before: dict[tuple[str, str], dict[str, Any]] | None = None) -> None:
        self._world, self._before = world, before or {}
        self._contacts: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
        for contact in world.highlevel.contacts.values():
            for by in filter(None, {contact.get("email"), contact.get("phone")}):
                self._contacts[contact["locationId"], by].append(contact["id"])

    def key(self, one: Asked) -> tuple[str, str]:
        """Location and contact id; an empty one where HighLevel has not met the person."""
        return one.location, one.contact or next(iter(self._contacts_of(one)), "")

    def was_opened(self, one: Asked) -> bool:
        return self.key(one) in self._before

    def is_open(self, one: Asked) -> bool:
        return self.key(one) in self._world.highlevel.conversations

    def id_of(self, one: Asked) -> str | None:
        conversation = self._world.highlevel.conversations.get(self.key(one))
        return conversation["id"] if conversation else None

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


def _is_dead(one: Asked, books: _Books, letters: Letters) -> bool:
    return not books.was_opened(one) and bool(letters.reasons(one))


def _wrong_ends(asked: list[Asked], books: _Books, before: Letters, after: Letters) -> list[str]:
    """Good ones must be open in the end, dead before only for what time mends; the others dead for their reason."""
    wrong = []
    for one in asked:
        was, now = before.reasons(one), after.reasons(one)
        if one.dead_for in ("", "expired"):
            right = books.is_open(one) and not now and was <= set(TIME_MENDS)
        else:
            right = not books.is_open(one) and now == {one.dead_for} and was <= {one.dead_for, *TIME_MENDS}
        if one.dead_for == "expired" and books.was_opened(one):
            right = False
        if not right:
            wrong.append(
                f"{one}: open {books.is_open(one)}, dead letters before {was or 'none'}, after {now or 'none'}"
            )
    return wrong


class _Answers:
    """Every answer against what was asked."""

    def __init__(self, seen: Observed, books: _Books, cold: set[str]) -> None:
        self.foreign: list[str] = []
        self.unexpected: list[str] = []
        self.slowest_ms = round(1000 * max((answered.answer.seconds for answered in seen.answers), default=0))
        self.late: list[str] = []
        self.late_by_a_start = 0
        for answered in seen.answers:
            if answered.answer.seconds > ANSWER_SECONDS:
                # One without an id died, at its worker's start or later: it was not the application that answered.
                if answered.answer.headers.get("x-request-id", "") in {"", *cold}:
                    self.late_by_a_start += 1
                else:
                    self.late.append(f"{answered.answer.seconds:.2f} s: {_told(answered)}")
            if not self._is_right(answered, books, seen):
                self.unexpected.append(_told(answered))

    def _is_right(self, answered: Answered, books: _Books, seen: Observed) -> bool:
        delivery, answer = answered.delivery, answered.answer
        one = delivery.asked[0]
        if answer.status == 500:  # of API Gateway, for a worker that was killed under it
            return seen.was_killed(answered.at, answered.at + answer.seconds)
        if not answer.headers.get("x-request-id"):
            return False
        if delivery.door == "webhook":
            return answer.status in (200, 429)
        match answer.status:
            case 200 | 201:
                told = answer.body.get("conversation", {})
                expected = {"id": books.id_of(one), "contactId": one.contact, "locationId": one.location}
                if {name: told.get(name) for name in expected} != expected:
                    self.foreign.append(f"{_told(answered)}, where HighLevel has {expected}")
                return not one.dead_for
            case 202:
                # What only a person mends may be found out later, when HighLevel or its token can be asked again.
                is_valid = one.dead_for not in ("invalid_body", "no_contact")
                return is_valid and answer.body["status"] in (
                    ("deferred",) if one.dead_for else ("deferred", "existing")
                )
            case 503:
                return True
        return bool(one.dead_for) and answer.body["type"] == f"urn:highlevel-conversations:{one.dead_for}"


def _told(answered: Answered) -> str:
    answer = answered.answer
    return f"{answered.delivery.asked[0]} by {answered.delivery.sender}: {answer.status} {answer.text[:200]}"


def _exceptions(seen: Observed, log: Log) -> tuple[list[str], int, int]:
    """What raised and should not have; how many calls died with a killed worker; how many events were handed back."""
    failed = [invocation for invocation in log.invocations if invocation.failed]
    by_a_kill = [each for each in failed if each.died and seen.was_killed(each.began, each.ended)]
    handed_back = [each for each in failed if not each.died and each.handed_back]
    others = [each for each in failed if each not in by_a_kill and each not in handed_back]
    found = [each.text[-600:] for each in others]
    if len(by_a_kill) > seen.workers_killed:
        found.append(f"{len(by_a_kill)} calls died, but only {seen.workers_killed} workers were killed")
    return found, len(by_a_kill), len(handed_back)


def _leaks(seen: Observed, log: Log, canary: Canary) -> list[str]:
    """In all replies, all that was logged at DEBUG, and all that went to a queue but for the bodies, in which people
    are, but no secret."""
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
