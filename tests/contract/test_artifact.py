"""The artifact of `sam build` runs under Lambda's own runtime client, beside only what Lambda has."""

import ast
import contextlib
import copy
import hashlib
import importlib.util
import io
import json
import marshal
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from local import lambda_runtime
from local.highlevel import LocalHighLevel
from local.lambda_runtime import API, PYTHON, Answer, FunctionProcess, Server, environment_of
from local.stack import ARCHITECTURE, TOOLS, build

ROOT = Path(__file__).parents[2]
MAX_ZIPPED_BYTES = 5_000_000
TOKEN = "pit-11111111-2222-3333-4444-555555555555"
API_SECRET = "api-secret-of-forty-characters-0123456789"
SECRETS = {"arn:token": TOKEN, "arn:senders": json.dumps({"api": API_SECRET})}
LOCATION, CONTACT = "ve9EPM428h8vShlRW1KT", "ocQHyuzHvysMo5N5VsXc"
SETTINGS = lambda_runtime.SETTINGS | {"HIGHLEVEL_BASE_URL": "http://127.0.0.1:1"}
EVENT = json.loads((ROOT / "events/http_conversation.json").read_text())

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="Lambda's runtime client (awslambdaric) is for Linux only"),
]


@pytest.fixture(scope="session")
def artifact() -> Path:
    return build().parent / "CreateConversation"


# Contents


def names(artifact: Path) -> list[str]:
    return [path.relative_to(artifact).as_posix() for path in sorted(artifact.rglob("*")) if path.is_file()]


def test_the_artifact_has_the_function_and_its_requirements_only(artifact: Path) -> None:
    required = {"aws_lambda_powertools", "jmespath", "nacl", "typing_extensions.py", "urllib3"}
    packages = {path.name for path in artifact.iterdir() if "-" not in path.name}
    assert packages - required == {
        "__pycache__",
        "shared",
        "create_conversation",
        "highlevel",
        "requirements.txt",
        "rotate_token",
        "senders.toml",
    }
    sources = {path.relative_to(ROOT / "functions").as_posix() for path in (ROOT / "functions").rglob("*.py")}
    assert sources <= set(names(artifact))
    for name in names(artifact):
        assert not {"tests", "test", "local", "cli"} & set(name.split("/")[:-1]), name
        assert not name.endswith((".env", ".pem")), name
    assert names(artifact.parent / "TokenRotation") == names(artifact)


def test_no_module_imports_what_the_artifact_leaves_out(artifact: Path) -> None:
    imported = set()
    for path in artifact.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    assert {"aws_lambda_powertools", "urllib3"} <= imported
    assert not imported & {"cffi", "pycparser"}


def test_powertools_is_whole(artifact: Path) -> None:
    [record] = artifact.glob("aws_lambda_powertools-*.dist-info/RECORD")
    files = {line.split(",")[0] for line in record.read_text().splitlines()}
    modules = {name for name in files if name.startswith("aws_lambda_powertools/") and name.endswith(".py")}
    assert len(modules) > 100
    assert modules <= set(names(artifact))


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact for the other architecture, of a clone with files of a developer."""
    clone = tmp_path_factory.mktemp("a clone")
    shutil.copy(ROOT / "template.yaml", clone)
    shutil.copytree(ROOT / "packaging", clone / "packaging")
    functions = shutil.copytree(ROOT / "functions", clone / "functions")
    for name in (".env", "create_conversation/.cache/notes.txt", "highlevel/__pycache__/client.cpython-313.pyc"):
        (functions / name).parent.mkdir(exist_ok=True)
        (functions / name).write_text("of this clone alone")
    return (
        build(clone / "template.yaml", "x86_64" if ARCHITECTURE == "arm64" else "arm64").parent / "CreateConversation"
    )


def test_only_the_compiled_libraries_depend_on_the_architecture(artifact: Path, foreign: Path) -> None:
    machines = {"x86_64": b"\x3e\x00", "arm64": b"\xb7\x00"}  # e_machine of ELF
    other = "x86_64" if ARCHITECTURE == "arm64" else "arm64"
    for folder, architecture in ((artifact, ARCHITECTURE), (foreign, other)):
        libraries = sorted(folder.rglob("*.so"))
        assert [path.name.split(".")[0] for path in libraries] == ["_cffi_backend", "_sodium"]
        assert {path.read_bytes()[18:20] for path in libraries} == {machines[architecture]}

    def common(folder: Path) -> dict[str, bytes]:
        portable = (name for name in names(folder) if not name.endswith(".so") and ".dist-info/" not in name)
        return {name: (folder / name).read_bytes() for name in portable}

    assert common(foreign) == common(artifact)


def test_every_module_has_byte_code_that_lambda_loads_unchecked(artifact: Path) -> None:
    """The files' times do not matter, and no path of the machine that built it is left."""
    sources = {path.relative_to(artifact).as_posix(): path for path in artifact.rglob("*.py")}
    compiled = {Path(importlib.util.cache_from_source(str(path))) for path in sources.values()}
    assert compiled == set(artifact.rglob("*.pyc"))
    for name, path in sources.items():
        content = Path(importlib.util.cache_from_source(str(path))).read_bytes()
        unchecked = b"\x01\x00\x00\x00"
        source_hash = importlib.util.source_hash(path.read_bytes())
        assert content[:16] == importlib.util.MAGIC_NUMBER + unchecked + source_hash, name
        assert marshal.loads(content[16:]).co_filename == f"/var/task/{name}"
        assert str(ROOT).encode() not in content, name


WITH_PIP = {"PATH": f"{TOOLS / 'sam/bin'}{os.pathsep}{os.environ['PATH']}"}


def bundle(environment: Mapping[str, str], artifacts: Path) -> subprocess.CompletedProcess[str]:
    """Run the makefile as SAM does."""
    makefile = ROOT / "packaging" / ARCHITECTURE / "Makefile"
    return subprocess.run(
        ["make", "--silent", "--makefile", str(makefile), "build-CreateConversation"],
        cwd=ROOT / "functions",
        env={**os.environ, **environment, "ARTIFACTS_DIR": str(artifacts)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_is_built_again_without_a_package_index(artifact: Path, tmp_path: Path) -> None:
    shutil.copytree(artifact.parents[1] / "wheels", tmp_path / "wheels")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    nowhere |= {"PIP_USER": "1", "PIP_REQUIRE_VIRTUALENV": "1"}
    again = tmp_path / "build" / "CreateConversation"
    done = bundle(nowhere | WITH_PIP, again)
    assert done.returncode == 0, done.stdout
    assert names(again) == names(artifact)


def wheels_of(artifact: Path) -> Path:
    """The wheels that pip downloaded for this artifact."""
    return artifact.parents[1] / "wheels" / "CreateConversation"


def forge(folder: Path, genuine: Path, name: str) -> Path:
    """Write a wheel with this name and other code."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(genuine) as source, zipfile.ZipFile(folder / name, "w") as forged:
        for each in source.namelist():
            forged.writestr(each, "FORGED = True\n" if each == "jmespath/__init__.py" else source.read(each))
    return folder


FORGERIES = {
    "preferred": "jmespath-1.1.0-9999-py3-none-any.whl",  # pip takes the highest build number
    "of-the-same-name": "jmespath-1.1.0-py3-none-any.whl",
}


@pytest.mark.parametrize("name", FORGERIES.values(), ids=FORGERIES)
def test_a_wheel_that_is_not_the_locked_one_fails_the_build(artifact: Path, tmp_path: Path, name: str) -> None:
    [genuine] = wheels_of(artifact).glob("jmespath-*.whl")
    mirror = shutil.copytree(wheels_of(artifact), tmp_path / "mirror")
    forge(mirror, genuine, name)
    built = tmp_path / "build" / "CreateConversation"
    done = bundle(WITH_PIP | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(mirror)}, built)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stdout
    assert not built.exists()


SETTINGS_OF_PIP = {  # {forged}: a folder with a forged wheel; {file}: requirements that name it by its own hash
    "no hashes asked for": {"PIP_REQUIRE_HASHES": "0"},
    "no wheels": {"PIP_NO_BINARY": ":all:"},
    "source distributions too": {"PIP_ONLY_BINARY": ":none:"},
    "more requirements": {"PIP_REQUIREMENT": "{file}"},
    "constraints": {"PIP_CONSTRAINT": "{file}"},
    "another target": {"PIP_TARGET": "{forged}/target", "PIP_DEST": "{forged}/target"},
    "a dry run": {"PIP_DRY_RUN": "1"},
    "a configuration file": {"PIP_CONFIG_FILE": "{file}.conf"},
}


def settings_of_pip(artifact: Path, folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Return these settings, for a folder with the genuine wheels and a forged one, which pip prefers."""
    [genuine] = wheels_of(artifact).glob("jmespath-*.whl")
    forged = forge(folder / "forged", genuine, FORGERIES["preferred"])
    wheel, file = forged / FORGERIES["preferred"], folder / "file"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    file.write_text(f"jmespath @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    Path(f"{file}.conf").write_text(f"[global]\nfind-links = {forged}\n[install]\nrequirement = {file}\n")
    links = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{forged} {wheels_of(artifact)}"}
    return WITH_PIP | links | {name: value.format(forged=forged, file=file) for name, value in settings.items()}


@pytest.mark.parametrize("settings", SETTINGS_OF_PIP.values(), ids=SETTINGS_OF_PIP)
def test_no_setting_of_pip_lets_a_forged_wheel_in(artifact: Path, tmp_path: Path, settings: dict[str, str]) -> None:
    built = tmp_path / "build" / "CreateConversation"
    done = bundle(settings_of_pip(artifact, tmp_path, settings), built)
    assert done.returncode != 0
    assert not built.exists()


def test_the_installation_ignores_the_settings_of_pip(artifact: Path, tmp_path: Path) -> None:
    shutil.copytree(wheels_of(artifact), tmp_path / "wheels" / "CreateConversation")
    everything = {name: value for settings in SETTINGS_OF_PIP.values() for name, value in settings.items()}
    built = tmp_path / "build" / "CreateConversation"
    done = bundle(settings_of_pip(artifact, tmp_path, everything), built)
    assert done.returncode == 0, done.stdout
    assert contents(built) == contents(artifact)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


def test_a_forged_wheel_among_the_downloaded_ones_is_replaced(artifact: Path, tmp_path: Path) -> None:
    [genuine] = wheels_of(artifact).glob("jmespath-*.whl")
    downloaded = shutil.copytree(wheels_of(artifact), tmp_path / "wheels" / "CreateConversation")
    forge(downloaded, genuine, FORGERIES["preferred"])
    built = tmp_path / "build" / "CreateConversation"
    done = bundle(WITH_PIP | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels_of(artifact))}, built)
    assert done.returncode == 0, done.stdout
    assert contents(built) == contents(artifact)
    assert {path.name for path in downloaded.iterdir()} == {path.name for path in wheels_of(artifact).iterdir()}


def test_every_requirement_is_locked_by_its_hash() -> None:
    requirements = (ROOT / "functions/requirements.txt").read_text().replace("\\\n", " ").splitlines()
    assert len(requirements) > 3
    assert all("==" in line and "--hash=sha256:" in line for line in requirements)


def test_without_a_python_that_has_pip_there_is_no_artifact(tmp_path: Path) -> None:
    tools = tmp_path / "tools"  # the makefile's, without a Python
    tools.mkdir()
    for name in ("make", "sh", "dirname"):
        (tools / name).symlink_to(shutil.which(name) or name)
    folders = f"{tools}{os.pathsep}{Path(sys.executable).parent}"  # uv's Python has no pip
    done = bundle({"PATH": folders}, tmp_path / "build" / "CreateConversation")
    assert done.returncode != 0
    assert "no Python 3.13 with pip on PATH" in done.stdout
    assert not (tmp_path / "build").exists()


def test_the_artifact_is_small(artifact: Path) -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names(artifact):
            archive.write(artifact / name, name)
    assert len(zipped.getvalue()) <= MAX_ZIPPED_BYTES


def test_the_runtime_has_what_lambda_has_and_no_more() -> None:
    (packages,) = (ROOT / ".tools/runtime/lib").glob("python3.*/site-packages")
    installed = {path.name.split("-")[0] for path in packages.glob("*.dist-info")}
    boto3 = {"boto3", "botocore", "jmespath", "python_dateutil", "s3transfer", "six", "urllib3"}
    assert installed == boto3 | {"awslambdaric", "simplejson", "snapshot_restore_py"}


def run(artifact: Path, code: str) -> str:
    """Run the code where the function runs and return what it prints."""
    done = subprocess.run(
        [str(PYTHON), "-c", code],
        cwd=artifact,
        env=environment_of(artifact, SETTINGS),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_it_starts_without_modules_that_few_senders_need(artifact: Path) -> None:
    loaded = run(artifact, "import sys, create_conversation.app; print(*sys.modules)").split()
    assert {"create_conversation.senders.verification", "urllib3"} <= set(loaded)
    assert not {"nacl", "cffi", "_cffi_backend", "pycparser", "cryptography", "boto3"} & set(loaded)


def test_it_compiles_nothing(artifact: Path) -> None:
    code = """
import sys
from importlib.machinery import SourceFileLoader
compile_source = SourceFileLoader.source_to_code
def source_to_code(self, data, path, **options):
    print(path)
    return compile_source(self, data, path, **options)
SourceFileLoader.source_to_code = source_to_code
import create_conversation.app, rotate_token.app, nacl.signing
"""
    assert str(artifact) not in run(artifact, code)


def test_it_verifies_ed25519(artifact: Path) -> None:
    """PyNaCl's library is compiled for this architecture."""
    code = """
import base64
from nacl.signing import SigningKey
from create_conversation.senders.verification import Request, is_authentic
from create_conversation.senders.config import Sender
key = SigningKey.generate()
public = "whpk_" + base64.b64encode(bytes(key.verify_key)).decode()
sender = Sender("own", "pubkey", sig_header="signature", key_format="whpk_base64", public_keys=(public,))
signature = base64.b64encode(key.sign(b"body").signature).decode()
for body in (b"body", b"another"):
    print(is_authentic(sender, Request({"signature": signature}, "", body), (), 0.0))
"""
    assert run(artifact, code).split() == ["True", "False"]


# Under the runtime client


@dataclass
class Aws:
    """The three services that the function calls; `calls` are (operation, arguments)."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        arguments = json.loads(body)
        operation = headers["x-amz-target"].partition(".")[2]
        self.calls.append((operation, arguments))
        content: dict[str, Any] = {}
        if operation == "GetSecretValue":
            content = {"ARN": arguments["SecretId"], "SecretString": SECRETS[arguments["SecretId"]]}
        elif operation == "SendMessage":
            content = {"MessageId": "message-1"}
        return 200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(content).encode()


@dataclass
class Function:
    """The artifact under the runtime client, and the services that it calls."""

    process: FunctionProcess
    aws: Aws
    highlevel: LocalHighLevel

    def post(self, contact: str = CONTACT, secret: str = API_SECRET) -> Any:
        until = time.monotonic() + 20
        while not self.process.initialized and time.monotonic() < until:  # its start does not count: it has 4 s
            time.sleep(0.01)
        event = copy.deepcopy(EVENT)
        event["requestContext"]["timeEpoch"] = int(1000 * time.time())
        event["headers"]["authorization"] = f"Bearer {secret}"
        event["body"] = json.dumps({"locationId": LOCATION, "contactId": contact})
        return self.process.invoke(event)


@pytest.fixture
def start(artifact: Path) -> Iterator[Callable[..., Function]]:
    with contextlib.ExitStack() as stack:

        def start_function(**environment: str) -> Function:
            aws = Aws()
            highlevel = stack.enter_context(LocalHighLevel(tokens={TOKEN: "*"}))
            own = {
                "HIGHLEVEL_BASE_URL": highlevel.url,
                "AWS_ENDPOINT_URL": f"http://{stack.enter_context(Server(aws.answer)).address}",
            }
            process = stack.enter_context(FunctionProcess(artifact, SETTINGS | own | environment))
            return Function(process, aws, highlevel)

        yield start_function


def test_it_answers_a_post_with_the_conversation(start: Callable[..., Function]) -> None:
    function = start()
    answer = function.post()
    conversation = json.loads(answer["body"])["conversation"]
    assert answer["statusCode"] == 201
    assert answer["headers"]["x-request-id"] == EVENT["requestContext"]["requestId"]
    assert conversation == function.highlevel.conversations[LOCATION, CONTACT]
    assert [name for name, _ in function.aws.calls] == [
        "GetSecretValue",
        "GetItem",
        "GetItem",
        "GetSecretValue",
        "UpdateItem",
    ]
    assert function.post(secret="wrong")["statusCode"] == 401


def test_it_stores_a_submission_that_highlevel_cannot_take_now_and_opens_it_later(
    start: Callable[..., Function],
) -> None:
    function = start()
    function.highlevel.fail(kind="status", status=503, times=1)
    assert function.post()["statusCode"] == 202
    operation, message = function.aws.calls[-1]
    assert (operation, message["MessageGroupId"], message["DelaySeconds"]) == ("SendMessage", LOCATION, 5)
    batch = json.loads((ROOT / "events/retry_batch.json").read_text())
    batch["Records"][0]["body"] = message["MessageBody"]
    assert function.process.invoke(batch) == {"batchItemFailures": []}
    assert (LOCATION, CONTACT) in function.highlevel.conversations


def test_it_takes_an_event(start: Callable[..., Function]) -> None:
    function = start()
    assert function.process.invoke(json.loads((ROOT / "events/event_conversation_requested.json").read_text())) is None
    assert len(function.highlevel.conversations) == 1


def test_the_error_of_a_missing_setting_names_it(start: Callable[..., Function]) -> None:
    function = start(RETRY_QUEUE_URL="")
    path, error = function.process.result()
    assert path == f"{API}/init/error"
    assert "RETRY_QUEUE_URL" in error["errorMessage"]


@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_at_debug_it_writes_its_line_and_no_secret(start: Callable[..., Function], log_format: str) -> None:
    function = start(
        POWERTOOLS_LOG_LEVEL="DEBUG", AWS_LAMBDA_LOG_LEVEL="DEBUG", AWS_LAMBDA_LOG_FORMAT=log_format, LOG_LEVEL="DEBUG"
    )
    assert function.post()["statusCode"] == 201
    function.highlevel.fail(kind="status", status=503)
    assert function.post("another")["statusCode"] == 202
    assert function.post(secret=f"{API_SECRET}x")["statusCode"] == 401
    written = function.process.end()
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    outcomes = [line["outcome"] for line in lines if line.get("level") == "INFO"]
    assert outcomes == ["opened", "deferred", "unauthorized"]
    for forbidden in (TOKEN, API_SECRET, "uthorization", "session-token", "wJalrXUtnFEMI"):
        assert forbidden not in written
