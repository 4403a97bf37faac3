"""The deliveries of tests/data/payloads: body and content type of each, unsigned."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

FOLDER = Path(__file__).parent / "data" / "payloads"
NAMES = sorted(file.stem for file in FOLDER.glob("*--*.json"))

_BOUNDARY = "----------------------------d74496d66958873e"


def delivery(name: str) -> dict[str, Any]:
    """Read the file of that name (`<sender>--<variant>`)."""
    spec: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return spec


def on_the_wire(spec: dict[str, Any]) -> tuple[bytes, str]:
    """Return body and content type of a delivery."""
    content_type: str = spec["content_type"]
    if "json" in spec:
        return json.dumps(spec["json"]).encode(), content_type
    if "form" in spec:
        return urlencode([(name, value) for name, value in spec["form"]]).encode(), content_type
    if "multipart" in spec:
        parts = [
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in spec["multipart"]
        ]
        return "".join([*parts, f"--{_BOUNDARY}--\r\n"]).encode(), f"{content_type}; boundary={_BOUNDARY}"
    return spec["body"].encode(), content_type
