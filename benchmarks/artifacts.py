"""The handlers that are measured, and their artifacts: built by `sam build`, with requirements pinned in uv.lock."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from local.lambda_runtime import HANDLER, SETTINGS
from local.stack import ARCHITECTURE, ROOT, TOOLS, build

PEERS = ROOT / "benchmarks" / "peers"
# One environment for all; each handler reads the variables that it knows.
ENVIRONMENT = SETTINGS | {"POWERTOOLS_SERVICE_NAME": "highlevel-conversations"}


@dataclass(frozen=True, slots=True)
class Peer:
    """A handler that is measured.

    `repeated`, `failing`: the status that its caller gets for a contact with a conversation, and while HighLevel
    answers 503. `stores`: it stores a submission that HighLevel cannot accept now. `message`: the words of each
    submission. `environment`: variables of its own."""

    name: str
    title: str
    repeated: int
    failing: int
    stores: bool = False
    handler: str = "app.handler"
    group: str | None = None  # of pyproject.toml: what it bundles
    message: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


OURS = Peer(
    "ours",
    "highlevel-conversations",
    200,
    202,
    stores=True,
    handler=HANDLER,
    environment={"MESSAGE": "off", "MARK_UNREAD": "false"},
)
# The same artifact as it is deployed by default: it also writes the words as a comment, and sets the unread badge.
MESSAGE = replace(
    OURS,
    name="message",
    title="highlevel-conversations, message and badge on",
    message="Could you come and look at our roof? It leaks above the kitchen.",
    environment={"MESSAGE": "comment", "MARK_UNREAD": "true"},
)
TUTORIAL = Peer("tutorial", "tutorial: requests, boto3", 400, 503, group="bench-tutorial")
POWERTOOLS = Peer("powertools", "Powertools documentation", 201, 502, group="bench-powertools")
SDK = Peer("sdk", "official SDK", 400, 503, group="bench-sdk")
FLOOR = Peer("floor", "floor: urllib3, one secret", 400, 503)
NULL = Peer("null", "null: the runtime client alone", 201, 201)
ALL = (OURS, MESSAGE, TUTORIAL, POWERTOOLS, SDK, FLOOR, NULL)


def artifacts() -> dict[str, Path]:
    """Return the folder of each peer's artifact, built unless the same was built before. Raises LocalAwsError."""
    ours = build().parent / "CreateConversation"
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        template = _template(Path(directory))
        built = build(template).parent
    return {peer.name: ours if peer.handler == HANDLER else built / peer.name.title() for peer in ALL}


def versions(artifact: Path) -> dict[str, str]:
    """Read what a folder has installed: name → version."""
    names = (found.name.removesuffix(".dist-info").rsplit("-", 1) for found in sorted(artifact.glob("*.dist-info")))
    return {name.replace("_", "-"): version for name, version in names}


def _template(directory: Path) -> Path:
    """Write an application with one function for each peer, its requirements exported from uv.lock."""
    resources: dict[str, Any] = {}
    for peer in ALL:
        if peer.handler == HANDLER:
            continue
        folder = directory / "functions" / peer.name
        folder.mkdir(parents=True)
        shutil.copy(PEERS / f"{peer.name}.py", folder / "app.py")
        (folder / "requirements.txt").write_text(_requirements(peer.group) if peer.group else "")
        resources[peer.name.title()] = {
            "Type": "AWS::Serverless::Function",
            "Properties": {
                "CodeUri": f"functions/{peer.name}/",
                "Handler": peer.handler,
                "Runtime": "python3.13",
                "Architectures": [{"Ref": "Architecture"}],
            },
        }
    template = {
        "Transform": "AWS::Serverless-2016-10-31",
        "Parameters": {"Architecture": {"Type": "String", "Default": ARCHITECTURE}},
        "Resources": resources,
    }
    path = directory / "template.yaml"
    path.write_text(json.dumps(template))  # JSON is YAML
    return path


def _requirements(group: str) -> str:
    uv = str(TOOLS / "uv" / "bin" / "uv")
    options = ["--quiet", "--frozen", "--no-emit-project", "--no-hashes", "--no-header", "--no-annotate"]
    command = [uv, "export", *options, "--only-group", group]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
