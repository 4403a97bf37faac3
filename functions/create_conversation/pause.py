"""Whether an operator has paused sending (`./hlc pause`): one item of the table, which every instance reads."""

import time
from typing import TYPE_CHECKING

from shared.clock import Clock

if TYPE_CHECKING:  # the operator's commands read KEY, without the function's log library
    from create_conversation.idempotency import IdempotencyStore

KEY = {"pk": {"S": "pause"}}
# How long an instance uses what it has read. `./hlc resume` waits this long before the retry queue is read again.
MAX_AGE_SECONDS = 5.0


class Pause:
    """The item, cached for MAX_AGE_SECONDS. If DynamoDB fails, the last known state holds; not paused if none is known.

    By Unix time: while Lambda freezes an environment, its monotonic clock may stand still. All threads may share it.
    """

    def __init__(self, records: "IdempotencyStore", clock: Clock = time) -> None:
        self._records = records
        self._clock = clock
        self._is_active = False
        self._read_at = float("-inf")

    @property
    def is_active(self) -> bool:
        """Whether nothing may be sent to HighLevel."""
        now = self._clock.time()
        if not 0 <= now - self._read_at <= MAX_AGE_SECONDS:
            self._read_at = now
            response = self._records.call("GetItem", Key=KEY)
            if response is not None:
                self._is_active = response.get("Item", {}).get("sending_paused", {}).get("BOOL") is True
        return self._is_active
