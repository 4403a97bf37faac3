"""How the emulator runs functions: interpreter, environment, invocations, failures."""

import contextlib
import hashlib
import json
import os
import queue
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from ministack.core import lambda_runtime  # type: ignore[import-not-found]
from ministack.core.arn import parse_arn  # type: ignore[import-not-found]
from ministack.services import eventbridge, lambda_svc  # type: ignore[import-not-found]
from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]

from local.emulator.shared import RESOURCES, Created, Json, text

# Functions must not see these variables of this process. HOME stays: botocore would else read the user's files.
NOT_FOR_FUNCTIONS = sorted(set(os.environ) - {"PATH", "HOME", "TMPDIR", "LANG", "TZ"})

# Runs first in every worker. Tests that kill a worker read the pid file.
PRELUDE = """
import os, pathlib
for name in {remove!r}:
    if not name.startswith("AWS_"):  # MiniStack has already set the function's region and credentials
        os.environ.pop(name, None)
os.environ.update({add!r})
pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
"""

# The last line that a process writes for an invocation. It precedes the response.
END_OF_LOG = "end of this invocation's log"
LOG_SECONDS = 5.0


def interpreter(runtime: str) -> tuple[str, str]:
    """Return the interpreter of LOCAL_FUNCTION_PYTHON. MiniStack uses its own, with its own packages."""
    binary = os.environ.get("LOCAL_FUNCTION_PYTHON", "")
    if not runtime.startswith("python") or not Path(binary).is_file():
        raise RuntimeError(f"cannot run {runtime}: LOCAL_FUNCTION_PYTHON={binary!r} is not a Python interpreter")
    environment = {"AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}
    if endpoint := os.environ.get("LOCAL_FUNCTION_ENDPOINT"):
        environment["AWS_ENDPOINT_URL"] = endpoint
    prelude = PRELUDE.format(remove=NOT_FOR_FUNCTIONS, add=environment)
    # MiniStack imports botocore into each process, to limit functions that invoke each other: none here does.
    script = lambda_runtime._PYTHON_WORKER_SCRIPT.replace("    _ms_install_invoke_depth()\n", "")
    worker, after, rest = script.rpartition("        _real_stdout.flush()\n")
    return binary, f"{prelude}{worker}        print({END_OF_LOG!r}, file=sys.stderr, flush=True)\n{after}{rest}"


lambda_runtime._detect_runtime_binary = interpreter


def log_of_invocation(worker: Any) -> str:
    """Return the lines that the process has logged until the end of an invocation, or until it died.

    MiniStack waits 50 ms for the first line: on a busy machine a later one would appear with the next invocation.
    """
    lines: list[str] = []
    until = time.monotonic() + LOG_SECONDS
    while time.monotonic() < until:
        has_died = not worker._stderr_thread.is_alive()  # before the look: what it has read is in the queue then
        try:
            line = worker._stderr_queue.get(block=not has_died, timeout=0.05)
        except queue.Empty:
            if has_died:
                break
            continue
        if line == END_OF_LOG:
            break
        lines.append(line)
    return "\n".join(lines)


lambda_runtime.Worker._drain_stderr_bounded = log_of_invocation


def with_text_environment(properties: Json) -> Json:
    """Convert the environment variables to text. MiniStack passes numbers on."""
    variables = (properties.get("Environment") or {}).get("Variables") or {}
    return {**properties, "Environment": {"Variables": {name: text(value) for name, value in variables.items()}}}


def reserve_concurrency(name: str, properties: Json) -> None:
    """Set the reserved concurrency, which MiniStack ignores in a template."""
    reserved = properties.get("ReservedConcurrentExecutions")
    lambda_svc._functions[name]["concurrency"] = None if reserved is None else int(reserved)


def create_function(
    logical_id: str, properties: Json, stack: str, create: Callable[..., Created] = provisioners._lambda_create
) -> Created:
    created = create(logical_id, with_text_environment(properties), stack)
    reserve_concurrency(created[0], properties)
    return created


def update_function(
    physical_id: str,
    old: Json,
    new: Json,
    stack: str,
    logical_id: str | None = None,
    update: Callable[..., Created] = provisioners._lambda_update,
) -> Created:
    updated = update(physical_id, with_text_environment(old), with_text_environment(new), stack, logical_id)
    reserve_concurrency(updated[0], new)
    return updated


RESOURCES["AWS::Lambda::Function"].update(create=create_function, update=update_function)


# --- Processes --------------------------------------------------------------------------------------------------------


CODE = Path(os.environ["LOCAL_FUNCTION_CODE"])
UNUSED_SECONDS = 7 * 86_400.0  # after the last start of a process
EXTRACTING = threading.Lock()


class ExtractedOnce:
    """The zip file of a function's code. All emulators extract it once, into CODE.

    MiniStack extracts it for each process, in 0.3 s of processor time.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def extractall(self, folder: str) -> None:
        """Make the folder a link to the extracted code."""
        extracted = CODE / hashlib.sha256(self._path.read_bytes()).hexdigest()
        with EXTRACTING:
            if not extracted.exists():
                extract(self._path, extracted)
        os.utime(extracted)
        Path(folder).rmdir()
        Path(folder).symlink_to(extracted)


def extract(zipped: Path, folder: Path) -> None:
    """Extract a zip file, and remove the code that was not used for a week."""
    CODE.mkdir(parents=True, exist_ok=True)
    for old in CODE.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another emulator has renamed it
            if old.stat().st_mtime < time.time() - UNUSED_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(dir=CODE))
    with zipfile.ZipFile(zipped) as archive:
        archive.extractall(unfinished)
    try:
        unfinished.rename(folder)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not folder.exists():  # no other emulator was faster
            raise


lambda_runtime.zipfile = SimpleNamespace(**vars(zipfile) | {"ZipFile": ExtractedOnce})


# --- Invocations ------------------------------------------------------------------------------------------------------


def invoke(worker: Any, *arguments: Any, run: Callable[..., Json] = lambda_runtime.Worker.invoke, **named: Any) -> Json:
    """End only the process that fails to start (a failed import, a kill), and log why.

    MiniStack ends every process of the function, also those that handle an event, and reports only to the caller.
    """
    try:
        return run(worker, *arguments, **named)
    except Exception as error:  # noqa: BLE001 MiniStack would only pass it on
        process, worker._proc = worker._proc, None
        if process:
            process.kill()
            process.wait()
        return {"status": "error", "error": str(error), "trace": f"[ERROR] {error}"}


lambda_runtime.Worker.invoke = invoke


def http_reply(
    result: Json, convert: Callable[..., tuple[Json, None]] = lambda_svc.lambda_execute_result_to_api_proxy_response
) -> tuple[Json, None]:
    """Answer 500 without details, as an HTTP API does. MiniStack returns the function's error to the caller."""
    if result.get("error"):
        body = json.dumps({"message": "Internal Server Error"})
        return {"statusCode": 500, "headers": {"content-type": "application/json"}, "body": body}, None
    return convert(result)


lambda_svc.lambda_execute_result_to_api_proxy_response = http_reply


def send_event_to_function(arn: str, payload: str) -> None:
    """Invoke asynchronously, with retries and the failure destination, as EventBridge does. MiniStack tries once."""
    version, config, name = lambda_svc._get_func_record_for_ref(arn)
    if version and config:
        _name, qualifier = lambda_svc._lambda_function_name_and_qualifier_from_arn(arn)
        rules = (lambda_svc._functions[name].get("event_invoke_configs") or {}).get(qualifier or "$LATEST")
        record = lambda_svc._execution_record_for_config(version, config)  # MiniStack ignores the rules of an alias
        lambda_svc.invoke_async_with_retry({**record, "event_invoke_config": rules}, json.loads(payload))
    else:
        eventbridge.logger.error("EventBridge: no function %s", name)


eventbridge._dispatch_to_lambda = send_event_to_function


def send_failure_record(destination: str, name: str, event: Json, result: Json) -> None:
    """Send a complete record to the OnFailure queue. MiniStack's lacks the time, the version and the request id."""
    function = lambda_svc._functions[name]
    # The rules that name this destination, of $LATEST or of an alias. The functions of this application have one.
    [(qualifier, rules)] = (function.get("event_invoke_configs") or {"$LATEST": {}}).items()
    executed = function["aliases"].get(qualifier, {}).get("FunctionVersion", qualifier)
    retries = rules.get("MaximumRetryAttempts")
    record = {
        "version": "1.0",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": lambda_svc.new_uuid(),
            "functionArn": f"{function['config']['FunctionArn']}:{qualifier}",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 1 + (2 if retries is None else retries),
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": executed, "functionError": "Unhandled"},
        "responsePayload": result.get("body"),
    }
    eventbridge._dispatch_to_sqs(parse_arn(destination), json.dumps(record))


lambda_svc._route_async_failure = send_failure_record
