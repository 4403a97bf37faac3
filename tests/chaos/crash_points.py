"""Crash points: the worker is killed once at each step of a submission, for each trigger, when a service has its call.

The sender then does what it does in production: a caller and a webhook sender repeat an unanswered request, Lambda
repeats an event, SQS shows a message again, an operator runs the redrive again. It must end in one conversation, which
has the submission's words once.
"""

import json
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from create_conversation.errors import MessageStatus
from create_conversation.message_claims import LOOK_AGAIN_SECONDS, TAKE_OVER_SECONDS
from create_conversation.triggers.retry_queue import LEASE_JITTER_SECONDS, LEASE_SECONDS
from local.application import Answer
from local.fault_proxy import Request
from local.stack import ROOT, clean_environment
from tests.chaos.results import Figure, Part, Progress
from tests.integration.aws_faults import FaultyWorld, faulty_world

ROUNDS = 5
QUEUES = ("RetryQueue", "DeadLetterQueue")
SENDER = "token"
WORDS = {"message": "Please call me"}
REPEATS = 5
TRIES = 3  # of a crash point: on a busy machine the function may give up on the call before it is killed
REDRIVE_CRASH_POINTS = 2
FIRST_JITTER_SECONDS = LEASE_JITTER_SECONDS + 6.5
# Two leases with their jitter, if a kill met another message's try, the take-over of a message's claim, and what a busy
# machine needs.
BACK_WITHIN_SECONDS = 2 * (LEASE_SECONDS + FIRST_JITTER_SECONDS) + TAKE_OVER_SECONDS + LOOK_AGAIN_SECONDS + 60
VISIBILITY_SECONDS = 45  # of the retry queue, for a worker that dies before it takes its lease; 450 in production
HIDDEN_SECONDS = 5  # for which a killed redrive's dead letters stay hidden; 300 in production
REDRIVE = f"""
import cli.app, cli.dead_letter_reader
cli.dead_letter_reader.HIDDEN_SECONDS = {HIDDEN_SECONDS}
cli.app.main(["redrive", "--wait", "0"])
"""


@dataclass(frozen=True)
class CrashPoint:
    """A step at which the worker is killed. `arm` prepares one kill for a contact and returns an event, which is set
    when it has happened."""

    step: str
    triggers: tuple[str, ...]
    arm: Callable[[FaultyWorld, str, str], threading.Event]


def run(size: float, progress: Progress) -> Part:
    """Kill at every crash point of every trigger, ROUNDS times `size` each, and reconcile."""
    part = Part("Crash points")
    rounds = max(1, round(ROUNDS * size))
    kills = 0
    with faulty_world() as world, world.configured(BACKOFF_CAP_SECONDS="2"):
        world.show_again_after(VISIBILITY_SECONDS)
        sender_secret = uuid.uuid4().hex
        world.application.store_sender_secret(SENDER, sender_secret)
        location = f"crash{uuid.uuid4().hex[:8]}"
        sent: list[str] = []  # contacts, whose ids contain the trigger
        for number in range(rounds):
            for crash_point in CRASH_POINTS:
                for trigger in crash_point.triggers:
                    met = False
                    for _ in range(TRIES):
                        contact = f"{trigger}{len(sent)}x{uuid.uuid4().hex[:6]}"
                        sent.append(contact)
                        killed = crash_point.arm(world, location, contact)
                        if problem := SENDERS[trigger](world, location, contact, sender_secret):
                            part.problems.append(f"{trigger}, {crash_point.step}, contact {contact}: {problem}")
                        if met := killed.wait(15):
                            break
                    kills += met
                    if not met:
                        part.problems.append(f"{trigger}, {crash_point.step}: the crash point was not reached")
            progress(f"crash points: round {number + 1} of {rounds}, {kills} kills")
            redriven = f"redriven{number}x{uuid.uuid4().hex[:6]}"
            sent.append(redriven)
            kills += _redrive_killed(world, location, redriven)
        progress("crash points: waiting for the leases of killed batches to end")
        part.problems += _reconcile(world, location, sent)
        errors = [line for line in world.application.stack.logs() if line.get("message") == "internal_error"]
        part.problems += [f"internal error: {line}" for line in errors]
        twice = [contact for contact, times in Counter(world.creations(location)).items() if times > 1]
        part.problems += [f"two conversations: {contact}" for contact in twice]
        lost = [contact for contact in sent if not world.is_open(location, contact)]
        part.problems += [f"no conversation: {contact}" for contact in lost]
        words = {contact: world.comments(location, contact) for contact in sent}
        without_words = [contact for contact in sent if words[contact] == 0]
        part.problems += [f"no words: {contact}" for contact in without_words]
        words_twice = [contact for contact in sent if words[contact] > 1]
        part.problems += [f"words twice: {contact}" for contact in words_twice]
        part.figures += [
            Figure(
                "kills: each crash point, for each trigger that has it", kills, rounds * (_KILLS + REDRIVE_CRASH_POINTS)
            ),
            Figure("submissions lost", len(lost), 0),
            Figure("second conversations", len(twice), 0),
            Figure("submissions without their words", len(without_words), 0),
            Figure("submissions with their words twice", len(words_twice), 0),
            Figure("internal errors", len(errors), 0),
        ]
    return part


# --- what a sender does -----------------------------------------------------------------------------------------------


def _http(world: FaultyWorld, location: str, contact: str, _secret: str) -> str | None:
    members = {"locationId": location, "contactId": contact, **WORDS}
    return _repeated(world, location, contact, lambda: world.application.post(members))


def _webhook(world: FaultyWorld, location: str, contact: str, secret: str) -> str | None:
    body = json.dumps({"locationId": location, "contactId": contact, **WORDS}).encode()
    headers = {"content-type": "application/json", "x-webhook-token": secret}
    return _repeated(world, location, contact, lambda: world.application.deliver(SENDER, body, headers))


def _repeated(world: FaultyWorld, location: str, contact: str, send: Callable[[], Answer]) -> str | None:
    """Send until there is an answer; return what is wrong with it, if anything."""
    for _ in range(REPEATS):
        answer = send()
        if answer.status < 500:
            break
        time.sleep(0.5)
    if answer.status not in (200, 201, 202):
        return f"repeated, the answer was {answer.status}"
    conversation = answer.body.get("conversation")
    if conversation and conversation != {**conversation, "contactId": contact, "locationId": location}:
        return "the answer was another contact's"
    if conversation and conversation["id"] != world.highlevel.conversations[location, contact]["id"]:
        return "the answer had another id"
    return None


def _event(world: FaultyWorld, location: str, contact: str, _secret: str) -> None:
    world.put_event(location, contact, **WORDS)


def _retry(world: FaultyWorld, location: str, contact: str, _secret: str) -> None:
    world.enqueue(location, contact, **WORDS)


SENDERS = {"http": _http, "webhook": _webhook, "event": _event, "retry": _retry}


# --- the crash points -------------------------------------------------------------------------------------------------


def _in_highlevel(kind: str, path: str) -> Callable[[FaultyWorld, str, str], threading.Event]:
    """HighLevel has the call and answers too late: with `hang` it has not handled the call, with `slow` it has."""

    def arm(world: FaultyWorld, _location: str, contact: str) -> threading.Event:
        seconds = {"seconds": 8} if kind == "slow" else {}
        fault = world.highlevel.fail(kind, path=path, contact=contact, times=1, **seconds)
        killed = threading.Event()

        def watch() -> None:
            while not killed.wait(0.01):
                if fault.times == 0:
                    time.sleep(0.05)
                    world.kill()
                    killed.set()

        threading.Thread(target=watch, daemon=True).start()
        return killed

    return arm


def _at(operation: str, item: str, *texts: str, answered: bool) -> Callable[[FaultyWorld, str, str], threading.Event]:
    """DynamoDB has a call for an item of the contact: its record (`contact`), or the claim of its words (`message`)."""

    def arm(world: FaultyWorld, location: str, contact: str) -> threading.Event:
        return world.kill_at("dynamodb", operation, f"{item}#{location}#{contact}", *texts, answered=answered)

    return arm


def _while_storing(*, answered: bool) -> Callable[[FaultyWorld, str, str], threading.Event]:
    """HighLevel fails, so the submission goes into the retry queue; a retry opens it."""

    def arm(world: FaultyWorld, _location: str, contact: str) -> threading.Event:
        world.highlevel.fail("status", status=503, contact=contact, times=1)
        return world.kill_at("sqs", "SendMessage", contact, answered=answered)

    return arm


def _while_dead_lettering(*, answered: bool) -> Callable[[FaultyWorld, str, str], threading.Event]:
    """HighLevel refuses it for now, so the submission becomes a dead letter; a redrive opens it."""

    def arm(world: FaultyWorld, _location: str, contact: str) -> threading.Event:
        world.highlevel.fail("status", status=422, contact=contact, times=1 if answered else 2)
        return world.kill_at("sqs", "SendMessage", contact, answered=answered)

    return arm


MESSAGES = "/conversations/messages"
WRITTEN = MessageStatus.WRITTEN.value  # the result in a claim
ALL = ("http", "webhook", "event", "retry")
CRASH_POINTS = (
    CrashPoint("before the call", ALL, _at("BatchGetItem", "contact", answered=True)),
    CrashPoint("HighLevel has the call and has not handled it", ALL, _in_highlevel("hang", "/conversations/")),
    CrashPoint("after the call, before the answer has come", ALL, _in_highlevel("slow", "/conversations/")),
    CrashPoint("after the call, before the record", ALL, _at("UpdateItem", "contact", answered=False)),
    CrashPoint("after the record, before the claim of the words", ALL, _at("UpdateItem", "contact", answered=True)),
    CrashPoint("after the claim, before the words", ALL, _at("UpdateItem", "message", answered=True)),
    CrashPoint("HighLevel has the words and has not handled them", ALL, _in_highlevel("hang", MESSAGES)),
    CrashPoint("after the words, before the answer has come", ALL, _in_highlevel("slow", MESSAGES)),
    CrashPoint("after the words, before their result", ALL, _at("UpdateItem", "message", WRITTEN, answered=False)),
    CrashPoint(
        "after the result, before the answer or the delete", ALL, _at("UpdateItem", "message", WRITTEN, answered=True)
    ),
    CrashPoint("before storing", ("http", "webhook", "event"), _while_storing(answered=False)),
    CrashPoint("after storing, before the answer", ("http", "webhook", "event"), _while_storing(answered=True)),
    CrashPoint("before dead-lettering", ("webhook", "event", "retry"), _while_dead_lettering(answered=False)),
    CrashPoint(
        "after dead-lettering, before the answer or the delete",
        ("webhook", "event", "retry"),
        _while_dead_lettering(answered=True),
    ),
)
_KILLS = sum(len(crash_point.triggers) for crash_point in CRASH_POINTS)


def _redrive_killed(world: FaultyWorld, location: str, contact: str) -> int:
    """Kill the redrive of a dead letter before it sends, and between send and delete; then let it end. Return the
    number of kills."""
    refused = world.highlevel.fail("status", status=422, contact=contact)
    world.put_event(location, contact, **WORDS)
    world.line(contact, "event", outcome="rejected")
    world.highlevel.faults.remove(refused)
    killed = 0
    for answered in (False, True):
        killed += _kill_redrive(world, answered=answered)
        time.sleep(HIDDEN_SECONDS + 1)
    world.redrive()
    return killed


def _kill_redrive(world: FaultyWorld, *, answered: bool) -> bool:
    killed = threading.Event()
    processes: list[subprocess.Popen[bytes]] = []

    def hook(_request: Request) -> None:
        if not killed.is_set():
            processes[0].kill()
            processes[0].wait()
            killed.set()

    world.proxy.on("sqs", "SendMessageBatch", **{"after" if answered else "before": hook})
    aws = world.application.aws
    processes.append(
        subprocess.Popen(
            [sys.executable, "-c", REDRIVE],
            cwd=ROOT,
            env={**clean_environment(), **aws.env, "AWS_ENDPOINT_URL": world.proxy.url, "PYTHONPATH": "functions:."},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    )
    processes[0].wait(60)
    return killed.is_set()


# --- the end ----------------------------------------------------------------------------------------------------------


def _reconcile(world: FaultyWorld, location: str, sent: list[str]) -> list[str]:
    """Wait until the queues are empty, and redrive dead letters; return what still waits after too long a time.

    The time for which the claim of a killed attempt is respected does not pass: the claims are made older.
    """
    until = time.monotonic() + BACK_WITHIN_SECONDS
    while time.monotonic() < until and not _is_done(world, location, sent):
        world.age_claims()
        if world.application.count("RetryQueue") == 0 and world.application.count("DeadLetterQueue"):
            world.redrive()
        time.sleep(1)
    waiting = {queue: world.application.count(queue) for queue in QUEUES}
    return [f"messages still wait: {waiting}"] if any(waiting.values()) else []


def _is_done(world: FaultyWorld, location: str, sent: list[str]) -> bool:
    return not any(world.application.count(queue) for queue in QUEUES) and world.is_open(location, *sent)
