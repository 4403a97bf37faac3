"""HighLevel, Secrets Manager, DynamoDB and SQS for the benchmark.

The least that answers as they do, in a process of its own, the same for every handler.

    with StandIns() as stand_ins:
        FunctionProcess(artifact, stand_ins.environment | …)
        ...
        stand_ins.counted()   # what arrived since the last time
        stand_ins.fail(True)  # from now on HighLevel answers 503

It ends with its standard input, so nothing outlives the `with`, not even when this process is killed.
"""

import asyncio
import contextlib
import hashlib
import json
import re
import ssl
import subprocess
import sys
import tempfile
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from operator import eq, le
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import SplitResult, parse_qsl, urlsplit

ROOT = Path(__file__).parents[1]
TOKEN = "pit-11111111-2222-3333-4444-555555555555"
API_SECRET = "api-secret-of-forty-characters-0123456789"  # of each sender
SECRETS = {"arn:token": TOKEN, "arn:senders": json.dumps({"api": API_SECRET, "token": API_SECRET})}
QUOTA = {
    "X-RateLimit-Max": "100",
    "X-RateLimit-Remaining": "99",  # never out of quota: the benchmark sends more than HighLevel allows
    "X-RateLimit-Interval-Milliseconds": "10000",
    "X-RateLimit-Limit-Daily": "200000",
    "X-RateLimit-Daily-Remaining": "199999",
}

type Reply = tuple[int, Mapping[str, str], bytes]
type Answer = tuple[int, dict[str, Any]]  # status and JSON


class StandIns:
    """Starts with the `with`.

    `environment`: where a function finds them. With `tls`, HighLevel is https, signed by an authority of this run.
    """

    def __init__(self, *, tls: bool = False) -> None:
        self._tls = tls
        self._directory = tempfile.TemporaryDirectory(prefix="benchmark-")
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        certificate = _certificate(Path(self._directory.name)) if self._tls else None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stand_ins", *([str(certificate)] if certificate else [])],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C does not end it before this process
        )
        highlevel, aws = self._reply()["ports"]
        self.environment = {
            "HIGHLEVEL_BASE_URL": f"{'https' if self._tls else 'http'}://127.0.0.1:{highlevel}",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws}",
        }
        if self._tls:
            # urllib3 and httpx look at the first, requests at the second.
            authorities = str(Path(self._directory.name) / "authorities.pem")
            self.environment |= {"SSL_CERT_FILE": authorities, "REQUESTS_CA_BUNDLE": authorities}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.wait(10)
            self._process.stdout.close()
        self._directory.cleanup()

    def counted(self) -> Counter[str]:
        """Count what arrived since the last time.

        Calls to `highlevel`, `secretsmanager`, `dynamodb`, `sqs`, and `connections` that HighLevel accepted; each
        route of HighLevel, too, such as `PUT /conversations/{id}`.
        """
        return Counter(self._ask({}))

    def fail(self, failing: bool) -> None:
        """From now on HighLevel answers 503, or serves again."""
        self._ask({"failing": failing})

    def add_contact(self, email: str) -> None:
        """Give HighLevel a contact that has no conversation."""
        self._ask({"contact": email})

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the stand-ins have ended")
        reply: dict[str, Any] = json.loads(line)
        return reply


def _certificate(directory: Path) -> Path:
    """Make a key with its certificate for 127.0.0.1, in one file, and beside it `authorities.pem`.

    That holds the machine's authorities too: what a function loads at start is as long as in Lambda.
    """
    import trustme

    authority = trustme.CA()
    certificate = directory / "highlevel.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    known = ssl.get_default_verify_paths().cafile
    (directory / "authorities.pem").write_bytes(
        (Path(known).read_bytes() if known else b"") + authority.cert_pem.bytes()
    )
    return certificate


# The process


class _State:
    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.failing = False
        self.conversations: dict[tuple[str, str], str] = {}  # location, contact → id
        self.threads: dict[str, str] = {}  # contact → the id of its conversation
        self.unread: Counter[str] = Counter()
        self.contacts: dict[str, str] = {}  # e-mail address → id
        self.items: dict[tuple[str, str], dict[str, Any]] = {}

    # --- HighLevel

    def highlevel(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        self.counted["highlevel"] += 1
        status, content = self._highlevel(method, urlsplit(path), headers, body)
        return status, QUOTA, json.dumps(content | {"traceId": str(uuid.uuid4())}).encode()

    def _highlevel(self, method: str, url: SplitResult, headers: Mapping[str, str], body: bytes) -> Answer:
        if self.failing:
            return _refusal(503, "Service Unavailable")
        route, id_ = _route(method, url.path)
        self.counted[route] += 1
        if route not in self._routes:
            return _refusal(404, f"Cannot {method} {url.path}")
        if not headers.get("version"):
            return _refusal(401, "version header was not found.")
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return _refusal(401, "Invalid Private Integration token")
        if body and "json" not in headers.get("content-type", ""):
            return _refusal(422, "application/json is expected")
        members = json.loads(body) if body else dict(parse_qsl(url.query))
        return self._routes[route](self, id_, members)

    def _create_conversation(self, _: str, members: dict[str, Any]) -> Answer:
        if members.keys() != {"locationId", "contactId"}:
            return _refusal(422, "locationId and contactId are expected")
        key = location, contact = members["locationId"], members["contactId"]
        if key in self.conversations:
            return _refusal(400, f"Conversation with the contact id:{contact} already exists!")
        self.conversations[key] = self.threads[contact] = _new_id()
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        conversation = {
            "id": self.conversations[key],
            "dateUpdated": now,
            "dateAdded": now,
            "deleted": False,
            "contactId": contact,
            "locationId": location,
            "lastMessageDate": now,
            "assignedTo": None,
        }
        return 201, {"success": True, "conversation": conversation}

    def _add_comment(self, _: str, members: dict[str, Any]) -> Answer:
        if members.keys() != {"type", "contactId", "message"} or members["type"] != "InternalComment":
            return _refusal(422, "an InternalComment is expected")
        return 201, {"conversationId": self.threads[members["contactId"]], "messageId": _new_id()}

    def _get_conversation(self, id_: str, _: dict[str, Any]) -> Answer:
        return 200, {"id": id_, "unreadCount": self.unread[id_]}

    def _update_conversation(self, id_: str, members: dict[str, Any]) -> Answer:
        self.unread[id_] = members["unreadCount"]
        return 200, {"success": True, "conversation": {"id": id_, "unreadCount": self.unread[id_]}}

    def _search_contact(self, _: str, members: dict[str, Any]) -> Answer:
        email = members.get("email", "")
        if email not in self.contacts:
            return 200, {"contact": None}
        return 200, {"contact": {"id": self.contacts[email], "locationId": members["locationId"], "email": email}}

    def _create_contact(self, _: str, members: dict[str, Any]) -> Answer:
        self.contacts[members["email"]] = _new_id()
        return 201, {"contact": members | {"id": self.contacts[members["email"]]}}

    _routes: ClassVar[dict[str, Callable[["_State", str, dict[str, Any]], Answer]]] = {
        "POST /conversations/": _create_conversation,
        "POST /conversations/messages": _add_comment,
        "GET /conversations/{id}": _get_conversation,
        "PUT /conversations/{id}": _update_conversation,
        "GET /contacts/search/duplicate": _search_contact,
        "POST /contacts/": _create_contact,
    }

    # --- AWS

    def aws(self, _method: str, _path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        service, _, operation = headers["x-amz-target"].partition(".")
        service = {"secretsmanager": "secretsmanager", "AmazonSQS": "sqs"}.get(service, "dynamodb")
        self.counted[service] += 1
        answer: Callable[[dict[str, Any]], Answer] = getattr(self, f"_{operation}")
        status, content = answer(json.loads(body))
        written = json.dumps(content).encode()
        return (status, {"x-amzn-RequestId": str(uuid.uuid4()), "x-amz-crc32": str(zlib.crc32(written))}, written)

    def _GetSecretValue(self, asked: dict[str, Any]) -> Answer:
        return 200, {
            "ARN": asked["SecretId"],
            "CreatedDate": 1795358768.123,
            "Name": "token",
            "SecretString": SECRETS[asked["SecretId"]],
            "VersionId": "a1b2c3d4-5678-90ab-cdef-EXAMPLE11111",
            "VersionStages": ["AWSCURRENT"],
        }

    def _GetItem(self, asked: dict[str, Any]) -> Answer:
        item = self.items.get(_key(asked["TableName"], asked["Key"]))
        return 200, {"Item": item} if item else {}

    def _BatchGetItem(self, asked: dict[str, Any]) -> Answer:
        found = {
            table: [self.items[key] for each in of_table["Keys"] if (key := _key(table, each)) in self.items]
            for table, of_table in asked["RequestItems"].items()
        }
        return 200, {"Responses": found, "UnprocessedKeys": {}}

    def _PutItem(self, asked: dict[str, Any]) -> Answer:
        """With a condition it is an idempotency record, and refused while there is one (none expires during a run)."""
        item = asked["Item"]
        key = _key(asked["TableName"], {"id": item["id"]})
        if "ConditionExpression" in asked and key in self.items:
            status, content = CONDITION_FAILED
            return status, content | {"Item": self.items[key]}
        self.items[key] = item
        return 200, {}

    def _UpdateItem(self, asked: dict[str, Any]) -> Answer:
        names, values = asked.get("ExpressionAttributeNames", {}), asked["ExpressionAttributeValues"]
        key = _key(asked["TableName"], asked["Key"])
        if not _holds(asked.get("ConditionExpression"), self.items.get(key, {}), values):
            return CONDITION_FAILED
        item = self.items.setdefault(key, dict(asked["Key"]))
        for name, value in re.findall(r"([#\w]+) = (:\w+)", asked["UpdateExpression"]):
            item[names.get(name, name)] = values[value]
        return 200, {}

    def _DeleteItem(self, asked: dict[str, Any]) -> Answer:
        self.items.pop(_key(asked["TableName"], asked["Key"]), None)
        return 200, {}

    def _SendMessage(self, asked: dict[str, Any]) -> Answer:
        digest = hashlib.md5(asked["MessageBody"].encode(), usedforsecurity=False).hexdigest()
        return 200, {"MD5OfMessageBody": digest, "MessageId": str(uuid.uuid4())}


CONDITION_FAILED: Answer = (
    400,
    {
        "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
        "message": "The conditional request failed",
    },
)


def _refusal(status: int, message: str) -> Answer:
    return status, {"statusCode": status, "message": message}


def _new_id() -> str:
    return uuid.uuid4().hex[:20]


def _route(method: str, path: str) -> tuple[str, str]:
    """Return the route as HighLevel's document has it, and the id of a conversation in the path."""
    if found := re.fullmatch(r"/conversations/([0-9a-f]{20})", path):
        return f"{method} /conversations/{{id}}", found[1]
    return f"{method} {path}", ""


def _holds(condition: str | None, item: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Return whether one of the terms between OR holds: `attribute_not_exists(name)`, `name = :value`, or `<=`."""
    if condition is None:
        return True
    for term in condition.split(" OR "):
        if absent := re.fullmatch(r"attribute_not_exists\((\w+)\)", term):
            holds = absent[1] not in item
        else:
            name, operator, value = term.split(" ")
            compare = {"=": eq, "<=": le}[operator]
            holds = name in item and compare(float(item[name]["N"]), float(values[value]["N"]))
        if holds:
            return True
    return False


def _key(table: str, key: dict[str, dict[str, str]]) -> tuple[str, str]:
    ((value,),) = (attribute.values() for attribute in key.values())
    return table, value


class _Http(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, for bodies with a Content-Length: all that its callers send."""

    def __init__(self, answer: Callable[[str, str, Mapping[str, str], bytes], Reply], connected: Callable[[], None]):
        self._answer = answer
        self._connected = connected
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connected()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, separator, rest = self._received.partition(b"\r\n\r\n")
            if not separator:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return
            self._received = rest[length:]
            method, path, _ = first.split(" ")
            status, own, body = self._answer(method, path, headers, rest[:length])
            own = {"Content-Type": "application/json", **own, "Content-Length": str(len(body))}
            written = "".join(f"{name}: {value}\r\n" for name, value in own.items())
            self._transport.write(f"HTTP/1.1 {status} Status\r\n{written}\r\n".encode() + body)


async def _serve(certificate: str | None = None) -> None:
    state, loop = _State(), asyncio.get_running_loop()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    def connected() -> None:
        state.counted["connections"] += 1

    highlevel = await loop.create_server(lambda: _Http(state.highlevel, connected), "127.0.0.1", 0, ssl=context)
    aws = await loop.create_server(lambda: _Http(state.aws, lambda: None), "127.0.0.1", 0)
    print(json.dumps({"ports": [server.sockets[0].getsockname()[1] for server in (highlevel, aws)]}), flush=True)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command = json.loads(line)
        state.failing = command.get("failing", state.failing)
        if email := command.get("contact"):
            state.contacts[email] = _new_id()
        print(json.dumps(state.counted), flush=True)
        state.counted.clear()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(*sys.argv[1:]))
