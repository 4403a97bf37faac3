"""A bounded memory of values by key."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator


class LruCache[Value]:
    """Holds one value for each key, `size` at most: the least recently created or used one is dropped first.

    Unlike `functools.lru_cache` it gives all threads the same value of a key, and can be asked without creating one.
    """

    def __init__(self, size: int, create: Callable[[], Value]) -> None:
        self._size = size
        self._create = create
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._lock = threading.Lock()

    def peek(self, key: str) -> Value | None:
        """Return the value of a key, or None; this does not count as a use."""
        return self._values.get(key)

    def get(self, key: str) -> Value:
        """Return the value of a key, a new one if there is none."""
        with self._lock:
            if key not in self._values:
                self._values[key] = self._create()
            self._values.move_to_end(key)
            if len(self._values) > self._size:
                self._values.popitem(last=False)
            return self._values[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys, the least recently used first."""
        return iter(list(self._values))
