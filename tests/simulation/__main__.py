"""Days in seconds: what becomes of what waits. Exits 1 if a promise is broken.

Environment: SCENARIO (names, or beginnings of them; random-17 is the seventeenth schedule of chance; default: all named
and ten of chance), WAITING (default: 100; for message-step: deliveries), SEED (default: 1),
HOURS (default: as long as each needs).
"""

import os
import sys
from collections.abc import Iterable
from dataclasses import replace

from tests.simulation import message_step
from tests.simulation.scenarios import SCENARIOS, Result, Scenario, random_scenario, run

HEAD = (
    f"{'scenario':24} {'waiting':>7} {'hours':>6} {'opened':>7} {'expired':>7} {'unasked':>7} {'by SQS':>7} "
    f"{'receives':>8} {'mean':>6} {'invocations':>11} {'seconds':>7} {'SQS':>6}"
    f" {'lost':>5} {'twice':>5} {'drain':>6} {'steady':>6} {'quiet s':>7}"
    f" {'words':>11} {'left':>4} {'429':>6} {'wall s':>6}  broken"
)


def row(result: Result) -> str:
    drain = "-" if result.drain is None else f"{result.drain:.2f}"
    steady = "-" if result.steady is None else f"{result.steady:.3f}"
    quiet = "-" if result.quiet_seconds is None else f"{result.quiet_seconds:.1f}"
    words = f"{result.words_lost}/{result.words_twice}/{result.possible_duplicates}"
    return (
        f"{result.scenario.name:24} {result.waiting:7} {result.hours:6.1f} {result.opened:7} {result.expired_tried:7} "
        f"{result.expired_unasked:7} {result.moved:7} {result.receives_max:8} {result.receives_mean:6.0f} "
        f"{result.invocations:11.1f} {result.function_seconds:7.1f} {result.sqs_requests:6.0f} "
        f"{result.lost:5} {result.twice:5} {drain:>6} {steady:>6} {quiet:>7} {words:>11} {result.left:4} "
        f"{100 * result.share_429:5.1f}% {result.wall_seconds:6.1f}  "
        f"{', '.join(result.broken()) or 'none'}"
    )


def chosen(names: Iterable[str]) -> list[Scenario]:
    wanted = tuple(names)
    hours = os.environ.get("HOURS")
    numbers = [int(name.removeprefix("random-")) for name in wanted if name.startswith("random-")]
    found = [scenario for scenario in SCENARIOS if not wanted or scenario.name.startswith(wanted)]
    found += map(random_scenario, numbers if wanted else range(1, 11))
    return [replace(scenario, hours=float(hours)) if hours else scenario for scenario in found]


def _simulate_message_step(name: str, waiting: int, seed: int) -> bool:
    """Print what becomes of that many deliveries. Returns whether a promise is broken."""
    result = message_step.run(name, waiting, seed)
    print(f"{message_step.HEAD}\n{message_step.table(result)}", flush=True)
    return bool(result.broken())


def main() -> int:
    seed, waiting = int(os.environ.get("SEED", "1")), int(os.environ.get("WAITING", "100"))
    wanted = os.environ.get("SCENARIO", "").split()
    of_messages = [name for name in message_step.SCENARIOS if not wanted or name.startswith(tuple(wanted))]
    print(f"seed {seed}", flush=True)
    is_broken = False
    for name in of_messages:
        is_broken |= _simulate_message_step(name, waiting, seed)
    scenarios = chosen(wanted)
    if scenarios:
        print(HEAD, flush=True)
    for scenario in scenarios:
        result = run(scenario, waiting, seed)
        is_broken |= bool(result.broken())
        print(row(result), flush=True)
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
