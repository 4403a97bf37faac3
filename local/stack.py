"""Run the local AWS as a child process, and deploy this application to it with the real SAM CLI.

    with LocalAws() as aws:
        stack = deploy(aws)
        ...stack.url("/conversations")...

Nothing outlives the `with` block, also after an exception or Ctrl-C, or if this process is killed, because the emulator
ends when its standard input ends. A command calls `exit_on_sigterm()` first, so that SIGTERM ends every `with` block.
"""

import contextlib
import fcntl
import functools
import hashlib
import http.client
import json
import os
import platform
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.session

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
BUILDS = ROOT / ".aws-sam" / "local"
CODE = ROOT / ".aws-sam" / "code"
REGION = "us-east-1"
BUCKET = "local-deployments"
ARCHITECTURE = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
START_SECONDS = 30.0
END_SECONDS = 5.0  # of a killed process


def hlc(command: str) -> str:
    """Return the operator's command that works on the stack of `make serve`."""
    return f"./hlc {command} --stack local"


class LocalAwsError(RuntimeError):
    """The local AWS, a build or a deployment failed. The message contains the tool's own output."""


def exit_on_sigterm() -> None:
    """Make SIGTERM raise SystemExit(143), even if it was blocked or ignored, so that every `with` block ends."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is unused at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """Return this process's environment without the settings for AWS tools (profiles, credentials, regions)."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


class LocalAws:
    """A fresh, empty AWS on 127.0.0.1; a context manager. It accepts the credentials in `env`.

    `enforce_iam`: check every call of a function against its role. `endpoint_for_functions`: the URL where functions
    find AWS, if it is another one (of a FaultProxy). `port`: 0 picks one. `endpoint`: the URL, known before the start.
    `env`: the variables with which an AWS client or CLI uses this AWS, in addition to `clean_environment()`.
    """

    def __init__(self, *, enforce_iam: bool = False, endpoint_for_functions: str | None = None, port: int = 0) -> None:
        self.port = port or free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.env = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": f"AKIA{secrets.token_hex(8).upper()}",
            "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        self._enforce_iam = enforce_iam
        self._endpoint_for_functions = endpoint_for_functions or self.endpoint
        self._clients: dict[str, Any] = {}
        self._directory = Path()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it (0.5 s). Raises LocalAwsError if it does not come up."""
        python = _tool("emulator", "python")
        self._directory = Path(tempfile.mkdtemp(prefix="local-aws-")).resolve()
        environment = {
            "PATH": os.defpath,
            "HOME": str(self._directory),
            "TMPDIR": str(self._directory),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
            "AUTH": str(self._enforce_iam).lower(),
            "AWS_ACCESS_KEY_ID": self.env["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": self.env["AWS_SECRET_ACCESS_KEY"],
            "LOCAL_FUNCTION_PYTHON": str(_tool("runtime", "python")),
            "LOCAL_FUNCTION_CODE": str(CODE),
            "LOCAL_FUNCTION_ENDPOINT": self._endpoint_for_functions,
        }
        try:
            with (self._directory / "emulator.log").open("wb") as log:
                self._process = subprocess.Popen(
                    [python, "-I", "-u", ROOT / "local" / "emulator" / "start.py"],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd=self._directory,
                    start_new_session=True,  # so that Ctrl-C does not end it before this process
                )
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the emulator and its workers, and remove its files. May be called twice."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        process, self._process = self._process, None
        if process:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            shutil.rmtree(self._directory, ignore_errors=True)

    def client(self, service: str) -> Any:
        """Return a botocore client of this AWS (root user), one per service. It ignores the user's AWS settings."""
        if service not in self._clients:
            self._clients[service] = _session().create_client(
                service,
                region_name=REGION,
                endpoint_url=self.endpoint,
                aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
                config=botocore.config.Config(connect_timeout=2, read_timeout=30, proxies={}, max_pool_connections=50),
            )
        return self._clients[service]

    def get(self, path: str, timeout: float = 10) -> tuple[int, bytes]:
        """Get a path of the emulator, such as `/_ministack/sqs/messages`. Returns status and body. Raises OSError."""
        request = botocore.awsrequest.AWSRequest("GET", self.endpoint + path)
        key = botocore.credentials.Credentials(self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"])
        botocore.auth.SigV4Auth(key, "ministack", REGION).add_auth(request)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers=dict(request.headers.items()))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def kill_workers(self, most: int | None = None) -> int:
        """Kill (SIGKILL) all processes of functions, busy or idle, or a random choice of `most` of them.

        Returns how many, when they have ended. A call in flight ends like a crash of the function; the next one starts
        a new process.
        """
        files = list(self._directory.glob("ministack-lambda-*/pid"))
        random.shuffle(files)
        killed: list[int] = []
        for file in files:
            if len(killed) == most:
                break
            with contextlib.suppress(OSError, ValueError):
                pid = int(file.read_text())
                # The file of an ended worker may remain: kill only processes of the emulator's group.
                if self._process and os.getpgid(pid) == self._process.pid:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
        deadline = time.monotonic() + END_SECONDS
        while any(_runs(pid) for pid in killed) and time.monotonic() < deadline:
            time.sleep(0.01)
        return len(killed)

    def log(self) -> str:
        """Return the emulator's own log, for failures that the functions' logs do not explain."""
        return (self._directory / "emulator.log").read_text(errors="replace")

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        # The emulator writes this file once it has the port: another one on this port is not mistaken for it.
        started = self._directory / f"ministack-{self.port}.pid"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise LocalAwsError(f"the local AWS did not start:\n{self.log()}")
            if not started.exists():
                time.sleep(0.05)
                continue
            try:
                if self.get("/_ministack/health", timeout=1)[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise LocalAwsError(f"the local AWS was not ready within {START_SECONDS:.0f} s:\n{self.log()}")


def _runs(pid: int) -> bool:
    """Return whether a thread of this process has not ended. The emulator, its parent, may not have noticed its end."""
    try:
        states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread has just ended, perhaps not the last one
        return True
    return len(states) > 1 or any(state not in ("Z", "X") for state in states)


@functools.cache
def _session() -> botocore.session.Session:
    """Return the session of all clients of this process: it reads each service's description once."""
    variables = {"profile": (None, None, None, None), "config_file": (None, None, os.devnull, None)}
    return botocore.session.Session(session_vars=variables)


def build(template: Path = ROOT / "template.yaml", architecture: str = ARCHITECTURE) -> Path:
    """Run `sam build` for an architecture, by default this machine's. Returns the built template.

    The same content (template, and `functions` and `packaging` beside it) is built once. Where only `senders.toml`
    differs, which a build copies as it is, an earlier build is copied with that file. The result is not in
    `.aws-sam/build`: the user's own build, perhaps for another architecture, does not change. Raises LocalAwsError.
    """
    senders = template.parent / "functions" / "senders.toml"
    digest = _digest(template, architecture, senders)
    own = senders.read_bytes() if senders.exists() else b""  # a benchmark's or a test's application has none
    built = BUILDS / f"{digest}-{hashlib.sha256(own).hexdigest()[:16]}"
    BUILDS.mkdir(parents=True, exist_ok=True)
    with (BUILDS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes that need the same build at the same time build it once
        if not built.exists():
            _build(template, architecture, built, next(BUILDS.glob(f"{digest}-*"), None))
        os.utime(built)  # it is in use: another build must not remove it as old
    return built / "build" / "template.yaml"


def _build(template: Path, architecture: str, built: Path, similar: Path | None) -> None:
    """Build, or copy a build that differs in `senders.toml` only; then remove the builds of yesterday."""
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=BUILDS))
    try:
        if similar:
            _copy_build(similar, template.parent / "functions" / "senders.toml", unfinished)
        else:
            _run_build(template, architecture, unfinished)
        unfinished.rename(built)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    yesterday = time.time() - 86_400
    for old in BUILDS.iterdir():
        if old.is_dir() and old.stat().st_mtime < yesterday:
            shutil.rmtree(old, ignore_errors=True)


def _digest(template: Path, architecture: str, excluded: Path) -> str:
    """Identify what a build reads, except one file."""
    digest = hashlib.sha256(architecture.encode())
    folders = (template.parent / name for name in ("functions", "packaging"))
    for source in [template, *(path for folder in folders for path in sorted(folder.rglob("*")))]:
        if source.is_file() and "__pycache__" not in source.parts and source != excluded:
            digest.update(f"\n{source.relative_to(template.parent)}\n".encode())
            digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _copy_build(similar: Path, senders: Path, folder: Path) -> None:
    os.utime(similar)
    shutil.copytree(similar, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("packaged"))
    for copy in folder.glob("build/*/senders.toml"):
        shutil.copyfile(senders, copy)


def _run_build(template: Path, architecture: str, folder: Path) -> None:
    # With the wheels of the newest build, only new requirements need the package index (packaging/bundle.sh).
    if wheels := sorted(BUILDS.glob("[0-9a-f]*/wheels"), key=lambda found: found.parent.stat().st_mtime):
        shutil.copytree(wheels[-1], folder / "wheels")
    arguments: list[str | Path] = ["build", "--template-file", template, "--build-dir", folder / "build"]
    arguments += ["--parameter-overrides", _shorthand("Architecture", architecture)]
    _sam(arguments, environment=clean_environment(), directory=folder)  # pip needs the user's environment


class Stack:
    """A deployed stack: its `name`, its `outputs`, its resources and logs."""

    def __init__(self, aws: LocalAws, name: str) -> None:
        self.name = name
        self._aws = aws
        formation = aws.client("cloudformation")
        described = formation.describe_stacks(StackName=name)["Stacks"][0]
        self.outputs: dict[str, str] = {
            output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])
        }
        self._resources = formation.describe_stack_resources(StackName=name)["StackResources"]

    def resource(self, logical_id: str) -> str:
        """Return the physical id of a resource. Raises KeyError."""
        for resource in self._resources:
            if resource["LogicalResourceId"] == logical_id:
                return str(resource["PhysicalResourceId"])
        raise KeyError(logical_id)

    def url(self, path: str = "") -> str:
        """Return the URL of a path of the HTTP API, such as `/conversations`."""
        (api,) = self._physical_ids("AWS::ApiGatewayV2::Api")
        return f"{self._aws.endpoint}/_aws/execute-api/{api}/$default{path}"

    def log_lines(self, since: float = 0) -> list[str]:
        """Return every line that the functions have logged from `since` (Unix time) on, in order.

        The lines of an invocation appear together when it ends, with that time.
        """
        logs = self._aws.client("logs")
        events: list[tuple[int, str]] = []
        for group in self._log_groups:
            with contextlib.suppress(logs.exceptions.ResourceNotFoundException):  # nothing logged yet
                for page in logs.get_paginator("filter_log_events").paginate(
                    logGroupName=group, startTime=int(since * 1000)
                ):
                    events += [(event["timestamp"], event["message"]) for event in page["events"]]
        return [message for _time, message in sorted(events, key=lambda event: event[0])]

    def logs(self, since: float = 0) -> list[dict[str, Any]]:
        """Return the JSON objects among `log_lines`."""
        objects = []
        for line in self.log_lines(since):
            with contextlib.suppress(json.JSONDecodeError):
                objects.append(json.loads(line))
        return [found for found in objects if isinstance(found, dict)]

    @functools.cached_property
    def _log_groups(self) -> list[str]:
        functions = self._aws.client("lambda")
        names = self._physical_ids("AWS::Lambda::Function")
        return sorted(
            {functions.get_function_configuration(FunctionName=name)["LoggingConfig"]["LogGroup"] for name in names}
        )

    def _physical_ids(self, kind: str) -> list[str]:
        return [resource["PhysicalResourceId"] for resource in self._resources if resource["ResourceType"] == kind]


def deploy(
    aws: LocalAws,
    parameters: Mapping[str, str] | None = None,
    *,
    name: str = "highlevel-conversations",
    built: Path | None = None,
) -> Stack:
    """Run `sam deploy` for a built template (by default `build()`). Deploying again updates the stack.

    `parameters`: those of the template; Architecture is this machine's. Raises LocalAwsError with the reasons.
    """
    overrides = {"Architecture": ARCHITECTURE, **(parameters or {})}
    built = built or build()
    aws.client("s3").create_bucket(Bucket=BUCKET)  # `--resolve-s3` would deploy a stack for it, which takes 3 s
    arguments: list[str | Path] = ["deploy", "--template-file", built, "--stack-name", name]
    arguments += ["--s3-bucket", BUCKET]
    arguments += ["--region", REGION, "--capabilities", "CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "--no-progressbar"]
    arguments += ["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-disable-rollback"]
    arguments += ["--parameter-overrides", *(_shorthand(name, value) for name, value in overrides.items())]
    with tempfile.TemporaryDirectory(prefix="local-aws-") as home:
        environment = {"PATH": os.defpath, "HOME": home, "LANG": "C.UTF-8", "SAM_CLI_POLL_DELAY": "0.2", **aws.env}
        try:
            _sam(arguments, environment=environment, directory=Path(home))
        except LocalAwsError as error:
            raise LocalAwsError(f"{error}\n{_failures(aws, name)}") from None
    return Stack(aws, name)


def _shorthand(name: str, value: str) -> str:
    escaped = value.replace('"', '\\"')
    return f'{name}="{escaped}"'


def _failures(aws: LocalAws, name: str) -> str:
    formation = aws.client("cloudformation")
    with contextlib.suppress(formation.exceptions.ClientError):
        return "\n".join(
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
            for event in formation.describe_stack_events(StackName=name)["StackEvents"]
            if event["ResourceStatus"].endswith("FAILED")
        )
    return ""


def _sam(arguments: list[str | Path], *, environment: Mapping[str, str], directory: Path) -> None:
    sam = _tool("sam", "sam")
    path = f"{sam.parent}{os.pathsep}{environment['PATH']}"  # `sam build` looks for python3.13 and its pip there
    # SAM CLI's own settings: not in the user's home, and without a check for a newer version after each command.
    (directory / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time()}))
    finished = subprocess.run(
        [sam, *arguments],
        env={**environment, "PATH": path, "SAM_CLI_TELEMETRY": "0", "__SAM_CLI_APP_DIR": str(directory)},
        cwd=directory,  # not the repository, whose samconfig.toml is for AWS
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise LocalAwsError(f"sam {arguments[0]} failed:\n{finished.stdout}")


def _tool(environment: str, name: str) -> Path:
    tool = TOOLS / environment / "bin" / name
    if not tool.exists():
        raise LocalAwsError(f"{tool.relative_to(ROOT)} is missing: run this through make, which fetches it")
    return tool
