"""100,000 fuzzed requests to the built artifact under Lambda's runtime client: nothing is raised, nothing unclean goes
to HighLevel or into a queue, no canary value comes out.

    python -m tests.chaos.fuzzing SEED NUMBER     # send one of them again and print everything that it caused

The requests are those of `fuzz_requests`; HighLevel is the local one; AWS is `fuzz_aws`. Each chunk of requests has a
function of its own, at another log level than the one before. The generator stays seeded rather than Hypothesis's,
because a request must be the same in another process and under another runtime, by its number alone.
"""

import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from create_conversation.senders.config import FUNCTIONS, load
from local.stack import build
from tests.chaos.fuzz_calls import unclean
from tests.chaos.fuzz_checks import PROMISES, STATUSES, Tally, fuzzed_function
from tests.chaos.fuzz_http_api import fuzz_over_sockets
from tests.chaos.fuzz_requests import OWN_SENDERS, Requests
from tests.chaos.results import Figure, Part, Progress

COUNT = 100_000
CHUNK = 2_500
RAW = 40
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
MAX_SHOWN = 60
# Each of these must have occurred; otherwise the run shows too little.
WANTED = (
    *(f"{endpoint} {status}" for endpoint, statuses in STATUSES.items() for status in sorted(statuses)),
    *(f"webhook {outcome}" for outcome in ("opened", "deferred", "rejected", "invalid", "ignored", "unauthorized")),
    *(f"event {outcome}" for outcome in ("opened", "deferred", "rejected", "invalid")),
    *(f"retry {outcome}" for outcome in ("opened", "deferred", "rejected", "invalid")),
)


def run(size: float, progress: Progress, seed: int | None = None) -> Part:
    """Send COUNT times `size` requests, and at least one of each kind at each endpoint."""
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    with tempfile.TemporaryDirectory() as folder:
        artifact = artifact_with_own_senders(Path(folder))
        turns = len(Requests(seed, load(artifact)).turns)
        count = max(turns, round(COUNT * size))
        chunk = min(CHUNK, -(-count // len(LEVELS)))
        chunks = [range(start, min(start + chunk, count)) for start in range(0, count, chunk)]
        progress(f"{count} fuzzed requests of {turns} kinds, seed {seed}")
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
    progress(f"{raw} more over a bare socket, to the deployed stack")
    ends, problems, calls = fuzz_over_sockets(seed, raw)
    whole.sent += raw
    whole.endpoints["the deployed stack, over a bare socket"] = raw
    whole.ends.update(ends)
    whole.problems += problems
    whole.seen["calls to HighLevel, checked"] += len(calls)
    whole.problems += [("unclean", f"raw: {wrong}: {call.path}") for call in calls for wrong in unclean(call)]
    return _part(seed, whole)


def _part(seed: int, whole: Tally) -> Part:
    part = Part("Fuzzed requests")
    part.figures.append(Figure(f"Requests (seed {seed})", whole.sent))
    part.figures += [Figure(f"… to {endpoint}", count) for endpoint, count in sorted(whole.endpoints.items())]
    part.figures += [Figure(f"ended as {end}", count) for end, count in sorted(whole.ends.items())]
    part.figures += [Figure(what, count) for what, count in sorted(whole.seen.items())]
    part.figures.append(Figure("Kinds of fuzzing", len(whole.kinds)))
    part.figures.append(Figure("Milliseconds of CPU of the costliest request", round(1000 * whole.slowest[0])))
    part.figures.append(Figure("MiB of memory at most", whole.memory_kib // 1024))
    found = Counter(promise for promise, _ in whole.problems)
    part.figures += [Figure(title, found[promise], 0) for promise, title in PROMISES.items()]
    missing = [end for end in WANTED if not whole.ends[end]]
    part.figures.append(Figure("Ends that did not occur", len(missing), 0))
    part.problems = [f"{PROMISES[promise]}: {text}" for promise, text in whole.problems[:MAX_SHOWN]]
    part.problems += [f"did not occur: {end}" for end in missing]
    return part


def artifact_with_own_senders(folder: Path) -> Path:
    """The built function, with senders of a user."""
    artifact = folder / "function"
    shutil.copytree(build().parent / "CreateConversation", artifact)
    (artifact / "create_conversation" / "senders" / "presets.toml").write_bytes(
        (FUNCTIONS / "create_conversation" / "senders" / "presets.toml").read_bytes()
    )
    (artifact / "senders.toml").write_text(OWN_SENDERS, "utf-8")
    return artifact


def _send(artifact: Path, seed: int, numbers: range, level: str) -> Tally:
    """Send the requests of these numbers, one after the other, and check the results of each."""
    tally = Tally()
    with fuzzed_function(artifact, seed, level, tally) as function:
        for number in numbers:
            function.send(function.requests.make(number, time.time()))
    return tally


def replay(seed: int, number: int) -> None:
    """Send one request alone and print its results, canary values included: for this terminal only."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = artifact_with_own_senders(Path(folder))
        tally = Tally()
        with fuzzed_function(artifact, seed, "DEBUG", tally) as function:
            request = function.requests.make(number, time.time())
            print(request.endpoint, request.kind, request.payload[:3000].decode(), sep="\n")
            print(json.dumps(function.send(request), indent=1))
            time.sleep(0.2)
            if function.function:
                print(*(line.decode(errors="replace")[:1500] for line in function.function.written), sep="")
        for promise, text in tally.problems:
            print(f"{PROMISES[promise]}: {text}")


if __name__ == "__main__":
    replay(int(sys.argv[1]), int(sys.argv[2]))
