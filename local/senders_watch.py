"""Take up each edit of `functions/senders.toml` while `make serve` runs: deploy it to the local AWS.

Queues, secrets and addresses stay. So a wrong mapping can be rehearsed: edit the file, then redrive the dead letters.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from create_conversation.senders.config import FUNCTIONS, Sender, SendersError, load
from local.stack import LocalAwsError

LOOK_SECONDS = 0.5
FILE = FUNCTIONS / "senders.toml"


class SendersWatch:
    """Looks at the file in a thread; a context manager.

    `deploy`: deploys the file as it is now. `show`: reports to the user; its second argument says that the file has a
    mistake, so that the previous one stays in use. `taken_up`: called with the new senders.
    """

    def __init__(
        self,
        deploy: Callable[[], object],
        show: Callable[[str, bool], None],
        taken_up: Callable[[dict[str, Sender]], None],
        file: Path = FILE,
    ) -> None:
        self._deploy = deploy
        self._show = show
        self._taken_up = taken_up
        self._file = file
        self._in_use = self._last_seen = self._read()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="senders.toml", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(1)  # a deployment in progress ends with the local AWS

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Take up the file if it has changed since it was last taken up, and not since the last look."""
        seen = self._read()
        is_complete = seen == self._last_seen  # an editor may write a file in several steps
        self._last_seen = seen
        if is_complete and seen != self._in_use:
            self._in_use = seen
            self._take_up()

    def _take_up(self) -> None:
        try:
            senders = load(self._file.parent)
        except SendersError as error:
            self._show(f"functions/{error}\nFix it and save: until then the previous file stays in use.", True)
            return
        self._show("functions/senders.toml has changed: deploying it (about 10 s) …", False)
        try:
            self._deploy()
            self._taken_up(senders)
        except LocalAwsError as error:
            if not self._stopped.is_set():
                self._show(f"functions/senders.toml was not deployed. Save it again to try again. {error}", True)
            return
        self._show("functions/senders.toml is in use. Dead letters of a wrong mapping can be redriven now.", False)

    def _read(self) -> bytes | None:
        try:
            return self._file.read_bytes()
        except OSError:
            return None
