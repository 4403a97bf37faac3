"""Rotation under load: access tokens live 40 s, a rotation begins every 20 s, submissions come steadily.

A second thread reads the secret and its labels all the time: every reader must find a whole, valid token pair.
"""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from highlevel.oauth import InvalidOAuthSecretError, read_oauth
from tests.chaos.results import Figure, Part, Progress
from tests.integration.aws_faults import FaultyWorld, faulty_world
from tests.integration.rotating import CURRENT, PENDING, PREVIOUS, Rotating

FULL_SECONDS, SHORTEST_SECONDS = 600.0, 45.0
TOKEN_SECONDS, EVERY_SECONDS, ENDED_SECONDS = 40, 20, 30
SENDERS, PAUSE_SECONDS = 2, 0.2
WATCH_SECONDS = 0.2
TOKEN_REASONS = ("token_refused", "token_expired", "token_unavailable", "no_token", "token_malformed")


@dataclass
class Load:
    """What was submitted: contacts with the status of the answer."""

    answers: list[tuple[str, int]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def send(self, world: FaultyWorld, location: str) -> None:
        for number in count():
            if self.over.is_set():
                return
            contact = f"c{number}x{uuid.uuid4().hex[:12]}"
            self.answers.append(
                (contact, world.application.post({"locationId": location, "contactId": contact}).status)
            )
            self.over.wait(PAUSE_SECONDS)


def run(size: float, progress: Progress) -> Part:
    """Rotate for `size` of ten minutes, 45 seconds at least, under load; reconcile."""
    part = Part("Rotation of the token under load")
    seconds = max(SHORTEST_SECONDS, FULL_SECONDS * size)
    location = f"rotation{uuid.uuid4().hex[:8]}"
    with faulty_world() as world:
        server = world.highlevel.oauth
        server.access_seconds = TOKEN_SECONDS
        rotating = Rotating.connected(world)
        began = time.time()
        rotating.attach()
        rotating.ended(began)
        rotations = 1
        with _load(world, location) as load, _secret_watched(rotating) as wrong:
            until, due = time.monotonic() + seconds, time.monotonic() + EVERY_SECONDS
            while time.monotonic() < until:
                time.sleep(max(0.0, min(due, until) - time.monotonic()))
                if time.monotonic() >= until:
                    break
                since, due = time.time(), due + EVERY_SECONDS
                rotating.rotate()
                rotations += 1
                ended = rotating.ended(since, within=ENDED_SECONDS)
                if ended["outcome"] != "finished" or not rotating.is_consistent():
                    part.problems.append(f"rotation {rotations} ended {ended['outcome']}: {ended.get('reason')}")
                progress(f"rotation: {rotations} rotations, {len(load.answers)} submissions")
        part.problems += wrong
        refused = [line for line in world.application.lines(began) if line.get("reason") in TOKEN_REASONS]
        part.problems += [f"submission {line['contact_id']}: {line['reason']}" for line in refused]
        lost = [contact for contact, _status in load.answers if not world.is_open(location, contact)]
        part.problems += [f"no conversation: {contact}, answered {dict(load.answers)[contact]}" for contact in lost]
        twice = [token for token, times in Counter(sent.refresh_token for sent in server.sent).items() if times > 1]
        used = [call.token for call in world.highlevel.calls if call.path == "/conversations/" and call.status == 201]
        part.figures += [
            Figure("seconds under load", round(seconds)),
            Figure("rotations; access tokens lived 40 s", rotations, len(server.sent)),
            Figure("submissions", len(load.answers)),
            Figure("of them not answered immediately", sum(status != 201 for _, status in load.answers)),
            Figure("submissions without a conversation", len(lost), 0),
            Figure("submissions that met an expired or missing token", len(refused), 0),
            Figure("refresh tokens sent twice", len(twice), 0),
            Figure("tokens that opened conversations", len(set(used))),
            Figure("reads of the secret that found a wrong label or value", len(wrong), 0),
        ]
        if len(set(used)) < rotations - 1:
            part.problems.append(f"{rotations} rotations, but only {len(set(used))} tokens were used: it shows little")
    return part


@contextmanager
def _load(world: FaultyWorld, location: str) -> Iterator[Load]:
    load = Load()
    threads = [threading.Thread(target=load.send, args=(world, location), daemon=True) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.over.set()
        for thread in threads:
            thread.join(30)


@contextmanager
def _secret_watched(rotating: Rotating) -> Iterator[list[str]]:
    """What a reader of the secret finds wrong at any time within the block."""
    wrong: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            wrong.extend(_wrong(rotating))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield wrong
    finally:
        over.set()
        thread.join(30)


def _wrong(rotating: Rotating) -> list[str]:
    labels = rotating.client.describe_secret(SecretId=rotating.arn)["VersionIdsToStages"]
    of_each = Counter(label for of_it in labels.values() for label in of_it)
    wrong = [f"the label {label} is on {times} versions" for label, times in of_each.items() if times > 1]
    if unknown := of_each.keys() - {CURRENT, PENDING, PREVIOUS}:
        wrong.append(f"unknown labels: {sorted(unknown)}")
    if CURRENT not in of_each:
        return [*wrong, "no version is current"]
    try:
        connection = read_oauth(rotating.client.get_secret_value(SecretId=rotating.arn).get("SecretString", ""))
    except InvalidOAuthSecretError as error:
        return [*wrong, str(error)]
    if connection is None or rotating.world.highlevel.oauth.access(connection.access_token or "") is None:
        wrong.append("the current access token does not work")
    return wrong
