"""Run a built artifact in its own process with Lambda's real runtime client, and only the packages that Lambda has.

    with FunctionProcess(build().parent / "CreateConversation", {"RECORDS_TABLE": …}) as function:
        answer = function.invoke(event)

Linux only, as the runtime client (awslambdaric) is.
"""

import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from local.stack import TOOLS

PYTHON = TOOLS / "runtime" / "bin" / "python"
HANDLER = "create_conversation.app.handler"
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:highlevel-conversations"
INVOCATION = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
API = "/2018-06-01/runtime"
# Environment variables that Lambda sets.
RESERVED = {
    "PATH": os.defpath,
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
    "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's disk is read-only
    "AWS_LAMBDA_FUNCTION_NAME": "highlevel-conversations",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "session-token",
}
# Environment variables that the template sets, except HIGHLEVEL_BASE_URL. The resources do not exist.
SETTINGS = {
    "HIGHLEVEL_VERSION": "2021-04-15",
    "HIGHLEVEL_TOKEN_ARN": "arn:token",
    "SENDER_SECRETS_ARN": "arn:senders",
    "RECORDS_TABLE": "Records",
    "RETRY_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/retry",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/dead-letters",
    "METRICS_NAMESPACE": "highlevel-conversations",
    "URL_SUFFIX": "amazonaws.com",
    "LOCATION_ID": "",
    "GIVE_UP_AFTER_HOURS": "72",
    "BACKOFF_CAP_SECONDS": "900",
    "RECORD_TTL_SECONDS": "86400",
    "MESSAGE": "comment",
    "MARK_UNREAD": "true",
    "RETRY_CONCURRENCY": "2",
}

type Answer = tuple[int, Mapping[str, str], bytes]
type Answering = Callable[[str, str, Mapping[str, str], bytes], Answer]


class FunctionError(RuntimeError):
    """The function raised or did not start. The message is what it reported to Lambda."""


def environment_of(artifact: Path, environment: Mapping[str, str], handler: str = HANDLER) -> dict[str, str]:
    """Return the environment variables of a function's process in Lambda."""
    own = {"_HANDLER": handler, "PYTHONPATH": str(artifact), "LAMBDA_TASK_ROOT": str(artifact)}
    return RESERVED | own | dict(environment)


class Server(ThreadingHTTPServer):
    """Answers requests on 127.0.0.1 with what `answering(method, path, headers, body)` returns; a context manager.

    The headers' names are in lower case. `address`: host and port.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, answering: Answering) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answering = answering
        self.address = f"127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: the function was ended while it waited."""

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status, headers, content = self.server.answering(
            self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body
        )
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


class FunctionProcess:
    """One execution environment of a function; a context manager, which starts it.

    `artifact`: the folder that `sam build` created. `environment`: variables in addition to those of Lambda. `started`,
    `initialized`: monotonic times when the process was created, and when it first asked for an event (0: not yet).
    """

    def __init__(
        self, artifact: Path, environment: Mapping[str, str], handler: str = HANDLER, python: Path = PYTHON
    ) -> None:
        self._artifact = artifact
        self._environment = environment
        self._handler = handler
        self._python = python
        self._events: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._api = Server(self._answer)
        self.started = 0.0
        self.initialized = 0.0

    def __enter__(self) -> Self:
        environment = environment_of(self._artifact, self._environment, self._handler)
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [self._python, "-u", "-m", "awslambdaric", self._handler],
            cwd=self._artifact,
            env=environment | {"AWS_LAMBDA_RUNTIME_API": self._api.address},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.written: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
        self._api.__exit__()

    def invoke(self, event: Any, within: float = 20.0) -> Any:
        """Return the handler's answer to an event. Raises FunctionError if it raised, TimeoutError after `within` s."""
        self._events.put(event if isinstance(event, bytes) else json.dumps(event).encode())
        path, result = self.result(within)
        if path != f"{API}/invocation/{INVOCATION}/response":
            raise FunctionError(json.dumps(result))
        return result

    def result(self, within: float = 20.0) -> tuple[str, Any]:
        """Return the runtime client's next report to Lambda: path (response, error, init/error) and body."""
        try:
            return self._results.get(timeout=within)
        except queue.Empty:
            raise TimeoutError(f"no answer within {within:.0f} s") from None

    def end(self) -> str:
        """Kill the process. Returns its output. May be called twice."""
        self.process.kill()
        self.process.wait(10)
        self._reader.join(10)
        return b"".join(self.written).decode(errors="replace")

    def _read(self) -> None:
        if self.process.stdout:
            with self.process.stdout as stdout:
                self.written.extend(stdout)

    def _answer(self, method: str, path: str, _headers: Mapping[str, str], body: bytes) -> Answer:
        if (method, path) == ("GET", f"{API}/invocation/next"):
            self.initialized = self.initialized or time.monotonic()
            headers = {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": INVOCATION,
                "Lambda-Runtime-Deadline-Ms": str(int(1000 * (time.time() + 30))),
                "Lambda-Runtime-Invoked-Function-Arn": ARN,
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
            }
            return 200, headers, self._events.get()
        self._results.put((path, json.loads(body or b"null")))
        return 202, {}, b"{}"
