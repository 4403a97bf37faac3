"""Inject faults of AWS: an HTTP proxy between functions and local AWS that hangs, throttles, fails and counts calls.

    port = free_port()
    with FaultProxy(f"http://127.0.0.1:{port}") as proxy, LocalAws(port=port, endpoint_for_functions=proxy.url) as aws:
        ...
        proxy.fail("sqs", "throttle", operation="SendMessage", times=2)

It forwards requests unchanged, including signature and Host, so it works with enforced IAM too. The local AWS accepts
the proxy's Host because it is the `endpoint_for_functions`.
"""

import http.client
import http.server
import json
import os
import re
import select
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from local.guard import is_allowed, own_hosts, refusal

type Mode = Literal["hang", "throttle", "gone", "error"]
type Hook = Callable[["Request"], object]

# Throttling errors by service; all others use ThrottlingException.
THROTTLED = {"dynamodb": "ProvisionedThroughputExceededException", "sqs": "RequestThrottled"}
SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/(?P<service>[^/]+)/aws4_request")
FORWARD_SECONDS = 60  # longer than any function runs


@dataclass(frozen=True)
class Request:
    """A function's call to AWS. `service` as in a signature (`dynamodb`), `operation` as in the API (`PutItem`)."""

    service: str
    operation: str
    body: bytes

    def json(self) -> Any:
        """Return the arguments of the call."""
        return json.loads(self.body)


@dataclass
class _Fault:
    service: str
    operation: str | None
    mode: Mode
    left: float  # how many more calls
    healed: threading.Event = field(default_factory=threading.Event)


class FaultProxy:
    """A proxy on 127.0.0.1 for the AWS at `target_url`; a context manager.

    `url`: where it listens. `calls`: number of requests by (service, operation), including failed ones. An exception in
    a hook is raised at the end of the `with` block.
    """

    def __init__(self, target_url: str) -> None:
        target = urlsplit(target_url)
        self.calls: Counter[tuple[str, str]] = Counter()
        self._faults: list[_Fault] = []
        self._hooks: list[tuple[str, str, Hook | None, Hook | None]] = []
        self._hook_errors: list[Exception] = []
        self._lock = threading.Lock()
        self._server = _Server(self, (target.hostname or "", target.port or 80))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.heal()
        self._server.shutdown()
        self._server.server_close()
        if self._hook_errors and error is None:
            raise self._hook_errors[0]

    def fail(self, service: str, mode: Mode, *, operation: str | None = None, times: int | None = None) -> None:
        """Make calls of `service` fail: all, only those of `operation`, or only the next `times`.

        `hang`: no answer until `heal`. `throttle`: the service's throttling error. `gone`: the connection is reset.
        `error`: status 500. AWS never sees such a call.
        """
        with self._lock:
            self._faults.append(_Fault(service, operation, mode, float("inf") if times is None else times))

    def on(self, service: str, operation: str, *, before: Hook | None = None, after: Hook | None = None) -> None:
        """Run `before` ahead of every such call, and `after` when AWS has answered and the function still waits.

        A hook that kills the function's process hits an exact crash point. With `before` AWS never sees the call.
        """
        with self._lock:
            self._hooks.append((service, operation, before, after))

    def heal(self) -> None:
        """End every fault and remove every hook. Calls that hang end without an answer."""
        with self._lock:
            for fault in self._faults:
                fault.healed.set()
            self._faults.clear()
            self._hooks.clear()

    def _arrive(self, request: Request) -> tuple[_Fault | None, list[Hook], list[Hook]]:
        with self._lock:
            self.calls[request.service, request.operation] += 1
            hooks = [hook for hook in self._hooks if hook[:2] == (request.service, request.operation)]
            chosen = None
            for fault in self._faults:
                if fault.left > 0 and fault.service == request.service and fault.operation in {None, request.operation}:
                    fault.left -= 1
                    chosen = fault
                    break
        return chosen, [hook[2] for hook in hooks if hook[2]], [hook[3] for hook in hooks if hook[3]]

    def _run(self, hooks: list[Hook], request: Request) -> None:
        for hook in hooks:
            try:
                hook(request)
            except Exception as error:  # noqa: BLE001 - raised again where the test sees it
                self._hook_errors.append(error)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: FaultProxy, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy
        self.target = target

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: a killed function breaks its connections."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """Handles one connection of a function."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        """Handle a call: all AWS protocols that the functions use are POST requests."""
        proxy = self.server.proxy
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the caller was killed while it sent: AWS would not see the call either
            self.close_connection = True
            return
        hosts = own_hosts(self.server.server_port)
        if not is_allowed(self.path, self.headers.items(), hosts):
            self.answer(HTTPStatus.FORBIDDEN, {"content-type": "application/json"}, refusal(hosts))
            return
        scope = SCOPE.search(self.headers.get("authorization", ""))
        operation = self.headers.get("x-amz-target", "").rpartition(".")[2]
        request = Request(scope["service"] if scope else "", operation, body)
        fault, before, after = proxy._arrive(request)
        if fault:
            self.misbehave(fault)
            return
        proxy._run(before, request)
        if before and self.is_left():  # a hook has killed the caller: AWS never sees the call
            self.close_connection = True
            return
        upstream = http.client.HTTPConnection(*self.server.target, timeout=FORWARD_SECONDS)
        try:
            upstream.request("POST", self.path, body, dict(self.headers))
            response = upstream.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self.reset()
            return
        finally:
            upstream.close()
        proxy._run(after, request)
        self.answer(response.status, dict(response.getheaders()), content)

    def is_left(self) -> bool:
        """Whether the caller has closed the connection, as a killed process does."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        try:
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return True

    def misbehave(self, fault: _Fault) -> None:
        match fault.mode:
            case "hang":
                fault.healed.wait()
                self.reset()
            case "gone":
                self.reset()
            case "throttle":
                self.answer_error(HTTPStatus.BAD_REQUEST, THROTTLED.get(fault.service, "ThrottlingException"))
            case "error":
                self.answer_error(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError")

    def answer_error(self, status: int, code: str) -> None:
        headers = {"content-type": "application/x-amz-json-1.0", "x-amzn-query-error": f"{code};Sender"}
        self.answer(status, headers, json.dumps({"__type": code, "message": "made by the fault proxy"}).encode())

    def answer(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "connection", "transfer-encoding", "keep-alive"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
