"""What upper bounds of time are measured with."""

import os
import subprocess
import sys
import time

import pytest

from tests import children
from tests.stopwatch import Stopwatch, costs_less

SPIN = "import os; os.sched_setaffinity(0, {int(os.environ['CPU'])}); print('spins', flush=True)\nwhile True: pass"


def test_waiting_for_something_counts() -> None:
    stopwatch = Stopwatch()
    time.sleep(0.5)
    assert 0.2 < stopwatch.seconds < 0.6  # another thread of this process may wait for a processor meanwhile


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and processor affinity")
def test_waiting_for_a_processor_does_not_count() -> None:
    """Beside a process that wants the same processor all the time, this one gets it for half of the time or less."""
    processors = os.sched_getaffinity(0)
    cpu = min(processors)
    spinning = children.start([sys.executable, "-c", SPIN], env=os.environ | {"CPU": str(cpu)}, stdout=subprocess.PIPE)
    assert spinning.stdout
    assert spinning.stdout.readline() == "spins\n"
    os.sched_setaffinity(0, {cpu})
    try:
        started, stopwatch, used = time.monotonic(), Stopwatch(), time.thread_time()
        while time.thread_time() - used < 0.3:
            pass
        took, counted = time.monotonic() - started, stopwatch.seconds
    finally:
        os.sched_setaffinity(0, processors)
    assert took > 0.4
    assert counted < 0.4


def test_work_that_needs_more_processor_time_is_seen() -> None:
    def spin() -> None:
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass

    assert not costs_less(0.01, spin)
    assert costs_less(0.01, lambda: time.sleep(0.02)), "waiting needs none"
