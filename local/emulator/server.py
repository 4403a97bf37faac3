"""The HTTP server: how many connections may wait, and the content type of responses."""

from hypercorn.config import Config  # type: ignore[import-not-found]
from ministack import app  # type: ignore[import-not-found]

from local.emulator.shared import Json

# By default a hundred: Linux drops one more, which is tried again after a second, when the function has given up.
Config.backlog = 2048


def keep_content_type(_service: str, _status: int, _headers: Json) -> None:
    """Leave the content type as it is. MiniStack loads each service's description, in 0.5 s, to make it AWS's own."""


app.fix_success_content_type = app.fix_error_content_type = keep_content_type
