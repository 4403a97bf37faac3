"""One fuzzed request in a hundred over a bare socket to the deployed stack's HTTP API: what only a raw client can send.

The emulator receives it. The function must stand what the emulator passes on; what the emulator refuses is counted.
"""

import base64
import json
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from create_conversation.senders.config import load
from local.application import Application
from local.highlevel import Call, LocalHighLevel
from local.highlevel_rules import Limits
from local.stack import LocalAws
from tests.chaos.fuzz_requests import Requests
from tests.integration.packaged import deploy_packaged
from tests.integration.world import built_for_any_location

SECONDS = 10.0
ANSWER_MS = 5000


def fuzz_over_sockets(seed: int, count: int) -> tuple[Counter[str], list[tuple[str, str]], list[Call]]:
    """Send that many; return the count of each status, the broken promises and the calls to HighLevel."""
    requests = Requests(seed, load())
    ends: Counter[str] = Counter()
    problems: list[tuple[str, str]] = []
    token = requests.canary.token()
    limits = Limits(10**9, 10_000, 10**9)
    with LocalHighLevel(tokens={token: "*"}, limits=limits) as highlevel, LocalAws(enforce_iam=True) as aws:
        application = Application(
            aws, deploy_packaged(aws, {"HighLevelBaseUrl": highlevel.url}, built=built_for_any_location())
        )
        application.store_token(token)
        secrets = aws.client("secretsmanager")
        secrets.put_secret_value(
            SecretId=application.stack.outputs["SenderSecretsArn"], SecretString=requests.signer.secret_text()
        )
        since = time.time()
        api = urlsplit(application.stack.url())
        number = sent = 0
        while sent < count:
            request = requests.make(number, time.time())
            number += 1
            kind, raw = _raw(request.payload, random.Random(f"{seed} raw {number}"), api.path.rstrip("/"))
            if not raw:
                continue
            sent += 1
            name = f"raw #{request.number} {request.endpoint}, {request.kind}, {kind}"
            answer = _send(str(api.hostname), int(api.port or 80), raw)
            status = re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)
            head, _, body = answer.partition(b"\r\n\r\n")
            if b'"__type": "InternalError"' in body:  # the emulator fails at a path that is not UTF-8
                status = None
            ends[f"raw {status[1].decode()}" if status else "raw refused by the emulator, or without an answer"] += 1
            if status and status[1] in (b"500", b"502", b"504"):
                problems.append(("exception", f"{name}: {answer[:500]!r}"))
            if re.search(rb"(?im)^(x-injected|set-cookie):", head):
                problems.append(("answer", f"{name}: {head[:500]!r}"))
            if leaks := requests.canary.leaks((head + body).decode("latin-1")):
                problems.append(("leak", f"{name}: {', '.join(leaks)} in a reply"))
        calls = [*highlevel.calls]
        problems += _of_the_log(requests, application, since)
        problems += _of_the_queues(requests, application)
    return ends, problems, calls


def _of_the_log(requests: Requests, application: Application, since: float) -> list[tuple[str, str]]:
    problems = []
    for line in application.stack.log_lines(since - 60):
        if leaks := requests.canary.leaks(line):
            problems.append(("leak", f"raw: {', '.join(leaks)} in the log"))
        if '"internal_error"' in line or "Traceback" in line:
            problems.append(("internal error", f"raw: {line[:500]}"))
        duration = re.search(r'"duration_ms":(\d+)', line)
        if duration and int(duration[1]) > ANSWER_MS:
            problems.append(("late", f"raw: {line[:500]}"))
    return problems


def _of_the_queues(requests: Requests, application: Application) -> list[tuple[str, str]]:
    problems = []
    sqs = application.aws.client("sqs")
    url = application.stack.outputs["DeadLetterQueueUrl"]
    # A long array is tens of thousands of messages: what waits would become dead letters for minutes while this reads.
    sqs.purge_queue(QueueUrl=application.stack.outputs["RetryQueueUrl"])
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get(
        "Messages", []
    ):
        for message in messages:
            in_body = [leak for leak in requests.canary.leaks(message["Body"]) if leak not in ("e-mail", "phone")]
            leaks = requests.canary.leaks(json.dumps(message.get("MessageAttributes", {}))) + in_body
            if leaks:
                problems.append(("leak", f"raw: {', '.join(leaks)} in a dead letter"))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return problems


def _send(host: str, port: int, raw: bytes) -> bytes:
    """The answer, as far as it came; empty for none."""
    answer = b""
    try:
        with socket.create_connection((host, port), timeout=SECONDS) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                answer += chunk
    except OSError:
        return answer
    return answer


# --- raw requests -----------------------------------------------------------------------------------------------------


def _raw(payload: bytes, rng: random.Random, base: str) -> tuple[str, bytes]:
    """The bytes of an HTTP request like that event of the gateway, with something wrong in them; none for others."""
    try:
        event = json.loads(payload)
        path, headers, query = event["rawPath"], event["headers"], event["rawQueryString"]
        body = base64.b64decode(event["body"]) if event["isBase64Encoded"] is True else event["body"].encode()
        lines = [_bytes(name) + b": " + _bytes(text) for name, text in headers.items() if isinstance(text, str)]
        target = base.encode() + _bytes(path) + (b"?" + _bytes(query) if query else b"")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", b""
    kind = rng.choice([*KINDS])
    return kind, KINDS[kind](rng, target, [b"connection: close", *lines], body)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _http(
    target: bytes, lines: list[bytes], body: bytes, *, start: bytes = b"POST %s HTTP/1.1", length: Any = None
) -> bytes:
    start = start % target if b"%s" in start else start
    size = b"content-length: " + (str(len(body)).encode() if length is None else length)
    return b"\r\n".join([start, *lines, *([size] if length != b"" else []), b"", body])


def _chunked(rng: random.Random, target: bytes, lines: list[bytes], body: bytes) -> bytes:
    chunks = rng.choice(
        [
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
            b"%x;a=b\r\n%s\r\n0\r\nx-trailer: 1\r\n\r\n" % (len(body), body),
            b"%x\r\n%s\r\n" % (len(body), body),
            b"zz\r\n%s\r\n0\r\n\r\n" % body,
            b"-1\r\n%s\r\n0\r\n\r\n" % body,
            b"ffffffffffffffff\r\n%s" % body,
        ]
    )
    both = rng.choice([b"", b"", str(len(body)).encode()])
    return _http(target, [*lines, b"transfer-encoding: chunked"], chunks, length=both)


def _odd_header(rng: random.Random, target: bytes, lines: list[bytes], body: bytes) -> bytes:
    odd = rng.choice(
        [
            *([b"x-a: b\r\nx-injected: 1"], [b"x-a: b\nauthorization: Bearer x"], [b"x-a: b\r\n folded: c"]),
            *([b"x-a: \0\x01\x7f\xff"], [b"no colon"], [b": no name"], [b"x a: b"], [b"\xc3\xa4: b"]),
            *([b"x-a: " + b"A" * 70_000], [b"x-%d: y" % number for number in range(2_000)]),
            *([b"authorization: Bearer x", b"Authorization: Basic eDp5"], [b"content-type: text/plain"]),
            *([b"host: a", b"host: b"], [b"x-forwarded-for: 127.0.0.1\r\n\r\nGET / HTTP/1.1\r\n"]),
            *([b"expect: 100-continue"], [b"upgrade: websocket", b"connection: upgrade"]),
        ]
    )
    lines = [*lines]
    lines[rng.randrange(len(lines) + 1) : 0] = odd
    return _http(target, lines, body)


def _odd_target(rng: random.Random, target: bytes, lines: list[bytes], body: bytes) -> bytes:
    other = rng.choice(
        [
            *(target + b"/", target + b"%00", target + b"/../conversations"),
            *(target.replace(b"/webhooks/", b"/webhooks/%2e%2e/"), target.replace(b"/webhooks/", b"/webhooks//")),
            *(target + b"%ff%fe", target + b"\xff", target + b"?" + b"token=x&" * 8_000),
            *(b"http://evil.example" + target, target + b" x", target.upper(), b"*"),
        ]
    )
    return _http(other, lines, body)


KINDS: dict[str, Callable[[random.Random, bytes, list[bytes], bytes], bytes]] = {
    "as it is": lambda _rng, *http: _http(*http),
    "as it is again": lambda _rng, *http: _http(*http),
    "odd length": lambda rng, target, lines, body: _http(
        target,
        lines,
        body,
        length=rng.choice(
            [b"", b"0", b"1", b"-1", b"abc", b"99999999999999999999", b"5, 6", b"+3", str(len(body) + 9).encode()]
        ),
    ),
    "two lengths": lambda _rng, target, lines, body: _http(target, [*lines, b"content-length: 1"], body),
    "chunked": _chunked,
    "odd headers": _odd_header,
    "odd target": _odd_target,
    "odd start": lambda rng, target, lines, body: _http(
        target,
        lines,
        body,
        start=rng.choice(
            [
                b"POST %s HTTP/1.0",
                b"POST %s HTTP/9.9",
                b"post %s HTTP/1.1",
                b"GET %s HTTP/1.1",
                b"POST  %s",
                b"\0",
                b"A" * 9_000,
            ]
        ),
    ),
    "no HTTP": lambda rng, _target, _lines, _body: rng.choice(
        [b"\x16\x03\x01\x02\x00", b"\r\n\r\n", b"\0" * 5_000, b"{}"]
    ),
}
