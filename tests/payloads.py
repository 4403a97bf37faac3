"""The deliveries of tests/data/payloads: body and content type of each, unsigned."""

import base64
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
    content_type: str = spec.get("content_type", "application/json")
    if "rawRequest" in spec:  # a report's Jotform delivery, by its answers
        content_type, answers = "multipart/form-data", json.dumps(spec["rawRequest"])
        spec = {"multipart": [("formID", "1"), ("submissionID", "UNIQUE"), ("rawRequest", answers)]}
    if "json" in spec:
        return json.dumps(spec["json"]).encode(), content_type
    if "form" in spec:
        form = spec.get("content_type", "application/x-www-form-urlencoded")
        return urlencode([(name, value) for name, value in spec["form"]]).encode(), form
    if "multipart" in spec:
        content_type = content_type.partition(";")[0] if "multipart" in content_type else "multipart/form-data"
        parts = [
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in spec["multipart"]
        ]
        return "".join([*parts, f"--{_BOUNDARY}--\r\n"]).encode(), f"{content_type}; boundary={_BOUNDARY}"
    return base64.b64decode(spec["body_b64"]) if "body_b64" in spec else spec["body"].encode(), content_type
