"""What responses look like."""

from ministack import app  # type: ignore[import-not-found]

from local.emulator.shared import Json


def keep_content_type(_service: str, _status: int, _headers: Json) -> None:
    """Leave the content type as it is. MiniStack loads each service's description, in 0.5 s, to make it AWS's own."""


app.fix_success_content_type = app.fix_error_content_type = keep_content_type
