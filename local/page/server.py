"""The page of `make serve`: choose a sender, send a test submission and follow it step by step.

Its backend signs with the senders' secrets and sends requests. It therefore listens on this machine only, answers no
other page (`local.guard`), and requires an Origin for every POST. No answer contains a secret.
"""

import base64
import hashlib
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import uvicorn
from nacl.signing import SigningKey
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cli.dead_letter_reader import DeadLetter
from create_conversation.errors import REASONS
from create_conversation.senders.config import Sender, load
from create_conversation.senders.mapping import Target
from create_conversation.submission import Submission
from local.application import Application
from local.guard import guarded, own_hosts, refusal, refuse
from local.highlevel import Call, Fault, LocalHighLevel
from local.page.inbox import inbox_of
from local.page.samples import Sample, SampleError, Samples
from local.page.submission_trace import queue_of, trace
from local.stack import ROOT, clean_environment

FOLDER = Path(__file__).parent
DIAGRAM = ROOT / "docs" / "architecture.svg"
LOOK_SECONDS = 0.5
MAX_SUBMISSIONS = 30
MAX_SHOWN = 50
MAX_BODY_BYTES = 1024 * 1024
# The modes of the local HighLevel that the page can select, and the fault of each.
FAULTS: dict[str, dict[str, Any]] = {
    "works": {},
    "503": {"kind": "status", "status": 503},
    "429": {"kind": "status", "status": 429},
    "hangs": {"kind": "hang"},
}


@dataclass
class _Seen:
    """A submission: its canonical log lines so far, and the answer if this page has sent it."""

    at: float
    sender: str | None
    trigger: str
    target: Target | None = None
    earlier: dict[str, Any] | None = None  # the local HighLevel before it
    answer: dict[str, Any] | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)


class Page:
    """Serves the page at `url`; a context manager. `watch` must run in another thread.

    `highlevel`: the local one; None if the application uses another, whose conversations cannot be listed.
    `location`: the stack's LocationId. `port`: 0 for a free one. `key`: for Ed25519 signatures, as 64 hexadecimal
    digits; "" for a new one. `notice`: what the page shows about functions/senders.toml.
    """

    def __init__(
        self,
        application: Application,
        highlevel: LocalHighLevel | None,
        highlevel_url: str,
        location: str | None,
        *,
        port: int = 0,
        key: str = "",
    ) -> None:
        self._application = application
        self._highlevel = highlevel
        self._highlevel_url = highlevel_url
        self._location = location
        self._port = port
        self._key = SigningKey(bytes.fromhex(key)) if key else SigningKey.generate()
        self._samples = Samples(load(), location, self._key)
        self._senders_version = 0
        self.notice: dict[str, Any] = {"text": "", "wrong": False}
        self._submissions: OrderedDict[str, _Seen] = OrderedDict()
        self._queues: dict[str, list[dict[str, Any]]] = {"retry": [], "dead": []}
        self._shown: dict[str, Any] = {}  # the state of the local HighLevel
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        self._open_senders()
        self._application.start_function()
        listener = socket.create_server(("127.0.0.1", self._port))
        port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        config = uvicorn.Config(
            _only_for_itself(self._app(), own_hosts(port)),
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="page", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.should_exit = True
        self._thread.join(3)  # do not wait for a request in flight: it ends with the local AWS

    def use(self, senders: Mapping[str, Sender]) -> None:
        """Show these senders, which have been deployed, instead of the previous ones."""
        self._samples = Samples(senders, self._location, self._key)
        self._open_senders()
        self._application.start_function()
        self._senders_version += 1

    def watch(self) -> Iterator[dict[str, Any]]:
        """Read log and queues until the page is closed. Yields the JSON log lines of the functions."""
        seen: set[str] = set()
        while not self._stopped.is_set():
            fresh: list[dict[str, Any]] = []
            for text in self._application.stack.log_lines(time.time() - 60):
                if text.startswith("{") and text not in seen:
                    seen.add(text)
                    fresh.append(json.loads(text))
            queues = {
                "retry": [_waiting(message) for message in self._application.messages("RetryQueue")],
                "dead": [_dead(message) for message in self._application.messages("DeadLetterQueue")],
            }
            shown = self._read_highlevel()
            with self._lock:
                self._queues = queues
                self._shown = shown
                for line in fresh:
                    if line.get("message") == "submission":
                        self._note(line)
            yield from fresh
            self._stopped.wait(LOOK_SECONDS)

    def _note(self, line: dict[str, Any]) -> None:
        submission = self._submission(line["request_id"], line.get("sender"), line["trigger"])
        submission.lines.append(line)

    def _submission(self, request_id: str, sender: str | None, trigger: str) -> _Seen:
        submission = self._submissions.setdefault(request_id, _Seen(time.time(), sender, trigger))
        while len(self._submissions) > MAX_SUBMISSIONS:
            self._submissions.popitem(last=False)
        return submission

    def _open_senders(self) -> None:
        """Create a random secret for every sender that has none."""
        if missing := self._samples.missing_secrets(self._secrets()):
            self._application.store_sender_secrets(missing)

    def _read_highlevel(self) -> dict[str, Any]:
        """Return the state that the local HighLevel shows; {} if another one is used."""
        if self._highlevel is None:
            return {}
        connection = http.client.HTTPConnection(urlsplit(self._highlevel.url).netloc, timeout=5)
        try:
            connection.request("GET", "/_local")
            return dict(json.load(connection.getresponse()))
        except (OSError, ValueError):  # it is ending
            return {}
        finally:
            connection.close()

    def _secrets(self) -> str:
        return self._application.secret("SenderSecretsArn")

    # --- Routes -------------------------------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        diagram = DIAGRAM.read_text(encoding="utf-8")
        page = (FOLDER / "page.html").read_text(encoding="utf-8").replace("<!-- architecture.svg -->", diagram)
        files = {
            "/": (page, "text/html"),
            "/page.js": ((FOLDER / "page.js").read_text(encoding="utf-8"), "text/javascript"),
            "/page.css": ((FOLDER / "page.css").read_text(encoding="utf-8"), "text/css"),
        }
        headers = _headers(diagram)

        def file(request: Request) -> Response:
            text, media_type = files[request.url.path]
            return Response(text, media_type=media_type, headers=headers)

        async def refusal_of(_request: Request, error: Exception) -> Response:
            status = error.status_code if isinstance(error, HTTPException) else 422
            text = error.detail if isinstance(error, HTTPException) else str(error)
            return JSONResponse({"error": text}, status, headers)

        async def failure(_request: Request, error: Exception) -> Response:
            text = f"The page's server failed: {type(error).__name__}. See the terminal of make serve."
            return JSONResponse({"error": text}, 500, headers)

        def answers(handle: Callable[[dict[str, Any]], Any]) -> Callable[[Request], Any]:
            async def endpoint(request: Request) -> Response:
                asked = dict(request.query_params) if request.method == "GET" else await _json(request)
                return JSONResponse(await run_in_threadpool(handle, asked), headers=headers)

            return endpoint

        routes = [Route(path, file) for path in files]
        routes += [Route("/favicon.ico", lambda _request: Response(status_code=204, headers=headers))]
        routes += [
            Route("/senders", answers(lambda _asked: self._listed())),
            Route("/sample", answers(lambda asked: asdict(self._samples.original(_text(asked, "sender"))))),
            Route("/state", answers(self._state)),
            Route("/sample", answers(self._change), methods=["POST"]),
            Route("/send", answers(self._send), methods=["POST"]),
            Route("/highlevel", answers(self._set_mode), methods=["POST"]),
            Route("/redrive", answers(lambda _asked: self._redrive()), methods=["POST"]),
        ]
        return Starlette(
            routes=routes, exception_handlers={HTTPException: refusal_of, SampleError: refusal_of, 500: failure}
        )

    def _listed(self) -> list[dict[str, Any]]:
        urls = {"http": self._application.stack.url("/conversations"), "event": ""}
        return [
            {**sender, "url": urls.get(sender["trigger"], self._application.stack.url(f"/webhooks/{sender['name']}"))}
            for sender in self._samples.listed()
        ]

    def _change(self, asked: dict[str, Any]) -> dict[str, str]:
        sample = _sample(asked)
        change = {"fresh": self._samples.fresh, "without_contact": self._samples.without_contact}
        if asked.get("change") not in change:
            raise SampleError("Unknown change.")
        return asdict(change[asked["change"]](_text(asked, "sender"), sample))

    def _send(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Send the submission to its real trigger. Returns the answer, and the request id of its log lines."""
        name, sample = _text(asked, "sender"), _sample(asked)
        target, earlier = self._samples.target(name, sample.text), self._read_highlevel()
        at = time.time()
        if self._samples.trigger(name) == "event":
            request_id, answer = self._application.put_event(**self._samples.event(name, sample.text)), None
        else:
            request_id, answer = self._post(name, sample, _text(asked, "secret"))
        with self._lock:
            submission = self._submission(request_id, name, self._samples.trigger(name))
            submission.at, submission.target, submission.answer = at, target, answer
            submission.earlier = earlier
        return {"request_id": request_id, "answer": answer}

    def _post(self, name: str, sample: Sample, secret: str) -> tuple[str, dict[str, Any]]:
        headers, query, body = self._samples.signed(name, sample, self._secrets(), secret)
        try:
            if name == "api":
                answer = self._application.post(body, {"authorization": "", **headers})
            else:
                answer = self._application.deliver(name, body, headers, query)
        except OSError as error:
            raise SampleError(f"The local AWS does not answer: {error}.") from None
        shown = {"status": answer.status, "text": answer.text, "ms": round(1000 * answer.seconds)}
        return answer.headers.get("x-request-id", f"unanswered-{time.time_ns()}"), shown

    def _set_mode(self, asked: dict[str, Any]) -> dict[str, str]:
        if self._highlevel is None:
            raise SampleError("This page cannot simulate failures of another HighLevel.")
        mode = _text(asked, "mode")
        if mode not in FAULTS:
            raise SampleError("Unknown mode of HighLevel.")
        self._highlevel.heal()
        if FAULTS[mode]:
            self._highlevel.fail(**FAULTS[mode])
        return {"mode": mode}

    def _redrive(self) -> dict[str, str]:
        """Run `./hlc redrive`, and return its output."""
        finished = subprocess.run(
            [sys.executable, "-m", "cli", "redrive", "--stack", self._application.stack.name, "--wait", "30"],
            cwd=ROOT,
            env={**clean_environment(), **self._application.aws.env, "PYTHONPATH": "functions"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return {"output": (finished.stdout + finished.stderr).strip()}

    def _state(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return what the page shows; `chosen`: the request id of the submission whose inbox is shown, or ""."""
        with self._lock:
            submissions = [self._described(key, seen) for key, seen in reversed(self._submissions.items())]
            queues, shown = self._queues, self._shown
            chosen = asked.get("chosen") or next(reversed(self._submissions), "")
            seen = self._submissions.get(chosen)
        return {
            "submissions": submissions,
            "chosen": chosen,
            "inbox": _inbox(shown, seen) if seen else None,
            "senders": {"version": self._senders_version, **self.notice},
            "highlevel": self._highlevel_state(),
            "retry": queues["retry"][:MAX_SHOWN],
            "retry_count": len(queues["retry"]),
            "dead": queues["dead"][:MAX_SHOWN],
            "dead_count": len(queues["dead"]),
        }

    def _highlevel_state(self) -> dict[str, Any]:
        if self._highlevel is None:
            return {"local": False, "url": self._highlevel_url}
        conversations = list(self._highlevel.conversations.values())
        contacts = dict(self._highlevel.contacts)
        return {
            "local": True,
            "url": self._highlevel_url,
            "mode": _mode(self._highlevel.faults),
            "count": len(conversations),
            "conversations": [
                {
                    "id": conversation["id"],
                    "contact": conversation["contactId"],
                    "location": conversation["locationId"],
                    "who": _who(contacts.get(conversation["contactId"], {})),
                }
                for conversation in conversations[: -MAX_SHOWN - 1 : -1]
            ],
        }

    def _described(self, request_id: str, seen: _Seen) -> dict[str, Any]:
        line = seen.lines[-1] if seen.lines else None
        steps = trace(line, seen.answer, self._calls(seen))
        return {
            "request_id": request_id,
            "at": seen.at,
            "sender": seen.sender,
            "trigger": seen.trigger,
            "answer": seen.answer,
            "lines": [_members(line) for line in seen.lines],
            "steps": [asdict(step) for step in steps],
            "queue": queue_of(line, seen.answer),
        }

    def _calls(self, seen: _Seen) -> list[dict[str, Any]]:
        """Return the calls to HighLevel to which the newest line of this submission belongs."""
        if self._highlevel is None or seen.target is None or not seen.lines:
            return []
        since = _time_of(seen.lines[-2]) if len(seen.lines) > 1 else seen.at
        until, contact = _time_of(seen.lines[-1]), seen.lines[-1].get("contact_id")
        return [
            {"method": call.method, "path": call.path, "status": call.status, "fault": call.fault}
            for call in list(self._highlevel.calls)
            if since <= call.at <= until
            and call.location == seen.target.location
            and ((contact and call.contact == contact) or _is_about(call, seen.target))
        ]


def _inbox(shown: dict[str, Any], seen: _Seen) -> dict[str, Any] | None:
    """Return what the agency sees of this submission; None if nothing has arrived."""
    ids = next((line for line in reversed(seen.lines) if line.get("contact_id")), None)
    if ids is None:
        return None
    first = seen.lines[0]
    started = _time_of(first) - first.get("duration_ms", 0) / 1000 if seen.earlier is None else seen.at
    since = int(1000 * started) / 1000  # HighLevel's times have milliseconds
    return inbox_of(shown, ids.get("location_id"), ids["contact_id"], seen.earlier, since)


def _members(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in ("service", "message", "level")}


def _waiting(message: dict[str, Any]) -> dict[str, Any]:
    """Describe a message of the retry queue. `visible_at`: Unix time of the next attempt, at the latest."""
    submission = _submission_of(message)
    return {
        "request_id": submission.request_id if submission else None,
        "sender": submission.sender if submission else None,
        "location": message["MessageGroupId"],
        "attempts": message["ReceiveCount"],
        "visible_at": message["VisibleAt"],
    }


def _dead(message: dict[str, Any]) -> dict[str, Any]:
    """Describe a dead letter, which is read as `./hlc dead-letters list` reads it."""
    system: dict[Any, str] = {"SentTimestamp": str(1000 * message["SentTimestamp"])}
    if group := message["MessageGroupId"]:
        system["MessageGroupId"] = group
    letter = DeadLetter.read(
        {
            "MessageId": message["MessageId"],
            "ReceiptHandle": "",
            "Body": message["Body"],
            "Attributes": system,
            "MessageAttributes": message["MessageAttributes"],
        }
    )
    submission = letter.submission
    return {
        "id": letter.id,
        "reason": letter.reason,
        "title": REASONS[letter.reason].title if letter.reason in REASONS else "",
        "advice": REASONS[letter.reason].advice if letter.reason in REASONS else "",
        "sender": letter.sender,
        "location": letter.location,
        "request_id": submission.request_id if submission else None,
    }


def _submission_of(message: dict[str, Any]) -> Submission | None:
    try:
        return Submission.from_message(message["Body"])
    except ValueError:
        return None


def _is_about(call: Call, target: Target) -> bool:
    """Whether a call looks this person up or creates it."""
    if target.person is None or not call.path.startswith("/contacts/"):
        return False
    try:
        asked = json.loads(call.body) if call.body else call.query
    except ValueError:
        return False
    known = {target.person.email, target.person.phone} - {None}
    return isinstance(asked, dict) and not known.isdisjoint(value for value in asked.values() if isinstance(value, str))


def _time_of(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def _who(contact: dict[str, Any]) -> str:
    return str(contact.get("email") or contact.get("phone") or "")


def _mode(faults: list[Fault]) -> str:
    """Return the mode of the local HighLevel; `other` for a fault that another program has set."""
    if not faults:
        return "works"
    for mode, settings in FAULTS.items():
        if settings and all(getattr(faults[0], name) == value for name, value in settings.items()):
            return mode
    return "other"


# --- HTTP -------------------------------------------------------------------------------------------------------------


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str):
        raise SampleError(f"The request has no text {name}.")
    return value


def _sample(asked: dict[str, Any]) -> Sample:
    return Sample(_text(asked, "text"), _text(asked, "delivery"))


async def _json(request: Request) -> dict[str, Any]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"The page sends at most {MAX_BODY_BYTES} bytes.")
    try:
        asked = json.loads(body)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise HTTPException(400, "The request is not a JSON object.")
    return asked


def _headers(diagram: str) -> dict[str, str]:
    """Forbid to load, run or frame anything from elsewhere. The only inline style is the diagram's, by its hash."""
    [style] = re.findall("<style>(.*?)</style>", diagram, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {
        "content-security-policy": f"default-src 'self'; style-src 'self' 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }


def _only_for_itself(app: ASGIApp, hosts: Collection[str]) -> ASGIApp:
    """Require an Origin and JSON for every request but GET: a form of another page cannot send that."""

    async def own(scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        reads = scope["method"] in ("GET", "HEAD")
        if reads or ("origin" in headers and headers.get("content-type") == "application/json"):
            await app(scope, receive, send)
        else:
            await refuse(scope, send, refusal(hosts))

    return guarded(own, hosts)
