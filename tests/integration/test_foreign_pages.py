"""Web pages cannot use the servers of `make serve`: pages of other origins in a real Chromium send every request that a
page can send. Other users of this machine find no secret of the servers.

The pages come from another port of this machine, from another name that resolves to it, from an opaque origin (`null`),
and from the servers themselves under a foreign name (DNS rebinding).
"""

import contextlib
import functools
import http.server
import json
import os
import stat
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Frame, Response

from local import serve
from local.fault_proxy import FaultProxy
from local.page.server import Page as Served
from local.run import LOCATION
from local.stack import CODE
from tests.integration.chromium import chromium
from tests.integration.world import TOKEN, World, deployed_world, served_page

FOREIGN = "evil.example"
# Credentials that everyone knows (MiniStack's documented ones), and an invalid signature.
FORGED = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=00"
)

# Sends each request in every way that a page can. Returns the status and text that it could read.
ATTACK = """async ({url, posts, gets}) => {
    const read = [];
    const ask = async (path, init) => {
        try {
            const answer = await fetch(url + path, init);
            if (answer.type !== "opaque") read.push([answer.status, await answer.text()]);
        } catch {}
    };
    const loaded = (element, name, value) => new Promise(done => {
        element.onload = element.onerror = done;
        element[name] = value;
        document.body.append(element);
        setTimeout(done, 2000);
    });
    const submitted = ({path, type, name, value}) => new Promise(done => {
        const frame = document.createElement("iframe"), form = document.createElement("form");
        frame.name = `to${Math.random()}`;
        document.body.append(frame);
        Object.assign(form, {method: "POST", action: url + path, enctype: type, target: frame.name});
        const input = document.createElement("input");
        Object.assign(input, {name, value});
        form.append(input);
        document.body.append(form);
        frame.onload = done;
        setTimeout(done, 2000);
        form.submit();
    });
    for (const {path, headers, body, form} of posts) {
        await ask(path, {method: "POST", headers, body});
        await ask(path, {method: "POST", mode: "no-cors", body});
        await ask(path, {method: "POST", mode: "no-cors", body: new URLSearchParams(body)});
        navigator.sendBeacon(url + path, body);
        if (form) await submitted({path, ...form});
    }
    for (const path of gets) {
        await ask(path, {});
        await ask(path, {mode: "no-cors"});
        await loaded(document.createElement("img"), "src", url + path);
        await loaded(document.createElement("script"), "src", url + path);
        await loaded(document.createElement("iframe"), "src", url + path);
    }
    await new Promise(done => {
        const socket = new WebSocket(url.replace("http", "ws") + "/");
        socket.onopen = () => { read.push([101, "a WebSocket"]); done(); };
        socket.onerror = done;
        setTimeout(done, 2000);
    });
    return read;
}"""


@dataclass(frozen=True)
class Target:
    """A server, and the requests that a page tries."""

    url: str
    posts: list[dict[str, Any]]
    gets: list[str]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """An application for this file only, which a page may break."""
    with deployed_world(LocationId=LOCATION) as world:
        yield world


@pytest.fixture(scope="module")
def served(world: World) -> Iterator[Served]:
    with served_page(world) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1") as browser:
        yield browser


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server with foreign pages."""
    folder: Path = tmp_path_factory.mktemp("elsewhere")
    (folder / "index.html").write_text("<!doctype html><title>a page</title><body>")
    (folder / "null.html").write_text(
        "<!doctype html><iframe sandbox='allow-scripts allow-forms' srcdoc='<!doctype html><body>'></iframe>"
    )

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def aws_target(world: World) -> Target:
    aws, stack = world.application.aws, world.application.stack
    read_secret = {
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": "secretsmanager.GetSecretValue",
        "authorization": FORGED,
    }
    secret = json.dumps({"SecretId": stack.outputs["HighLevelTokenArn"]})
    make_queue = "Action=CreateQueue&Version=2012-11-05&QueueName="
    form = {"type": "application/x-www-form-urlencoded", "name": "Action", "value": "ListQueues"}
    submission = json.dumps({"locationId": LOCATION, "contactId": "foreign"})
    route = stack.url("/conversations").removeprefix(aws.endpoint)
    messages = urllib.parse.urlencode({"QueueUrl": stack.outputs["RetryQueueUrl"]})
    return Target(
        aws.endpoint,
        [
            {"path": "/", "headers": read_secret, "body": secret},
            {"path": "/", "headers": {}, "body": f"{make_queue}posted", "form": form},
            {"path": f"/?{make_queue}formed", "headers": {}, "body": "", "form": form},
            {"path": route, "headers": {"authorization": "Bearer guessed"}, "body": submission, "form": form},
            {"path": "/_ministack/reset", "headers": {}, "body": ""},
        ],
        [f"/?{make_queue}got", f"/_ministack/sqs/messages?{messages}", "/_ministack/health"],
    )


def highlevel_target(world: World) -> Target:
    fault = {"type": "text/plain", "name": '{"kind": "hang", "message": "', "value": '"}'}
    hang = json.dumps({"kind": "hang"})
    return Target(
        world.highlevel.url,
        [
            {"path": "/_local/faults", "headers": {"content-type": "application/json"}, "body": hang, "form": fault},
            {"path": "/conversations/", "headers": {"authorization": "Bearer guessed"}, "body": "{}"},
            {"path": "/_local/reset", "headers": {}, "body": "", "form": fault},
        ],
        ["/_local", "/oauth/chooselocation?client_id=a&redirect_uri=http://evil.example"],
    )


def page_target(served: Served) -> Target:
    form = {"type": "text/plain", "name": '{"mode": "503", "x": "', "value": '"}'}
    return Target(
        served.url.rstrip("/"),
        [
            {
                "path": "/highlevel",
                "headers": {"content-type": "application/json"},
                "body": '{"mode": "503"}',
                "form": form,
            },
            {
                "path": "/send",
                "headers": {"content-type": "application/json"},
                "body": '{"sender": "api", "text": "{}", "delivery": "", "secret": "right"}',
            },
        ],
        ["/state", "/senders", "/"],
    )


def state(world: World, served: Served) -> dict[str, Any]:
    """Return everything that a page could have changed."""
    aws = world.application.aws
    secrets = aws.client("secretsmanager")
    return {
        "queues": sorted(aws.client("sqs").list_queues()["QueueUrls"]),
        "functions": sorted(each["FunctionName"] for each in aws.client("lambda").list_functions()["Functions"]),
        "secrets": {
            each["Name"]: secrets.get_secret_value(SecretId=each["ARN"])["SecretString"]
            for each in secrets.list_secrets()["SecretList"]
        },
        "log": world.application.stack.log_lines(),
        "calls": len(world.highlevel.calls),
        "faults": len(world.highlevel.faults),
        "tokens": len(world.highlevel.tokens),
        "submissions": len(served._submissions),
    }


def attack(frame: Frame, target: Target, **instead: str) -> list[Any]:
    """Return everything that the page in this frame could read of the target."""
    arguments = {"url": target.url, "posts": target.posts, "gets": target.gets, **instead}
    return list(frame.evaluate(ATTACK, arguments))


@pytest.mark.parametrize("server", ["aws", "highlevel", "page"])
@pytest.mark.parametrize("origin", ["another port", "another name", "null", "the server's port by another name"])
def test_page_reads_and_changes_nothing(
    browser: Browser, world: World, served: Served, elsewhere: int, server: str, origin: str
) -> None:
    target = {
        "aws": lambda: aws_target(world),
        "highlevel": lambda: highlevel_target(world),
        "page": lambda: page_target(served),
    }[server]()
    rebound = target.url.replace("127.0.0.1", FOREIGN)
    opened = {
        "another port": f"http://127.0.0.1:{elsewhere}/",
        "another name": f"http://{FOREIGN}:{elsewhere}/",
        "null": f"http://{FOREIGN}:{elsewhere}/null.html",
        "the server's port by another name": f"{rebound}/",
    }[origin]
    before = state(world, served)
    answers: list[Response] = []
    page = browser.new_page()
    page.on("response", lambda answer: answers.append(answer))
    page.goto(opened)
    frame = page.main_frame.child_frames[0] if origin == "null" else page.main_frame
    url = rebound if origin == "the server's port by another name" else target.url
    read = attack(frame, target, url=url)
    asked = [answer for answer in answers if answer.url.startswith(url)]
    headers = {name for answer in asked for name in answer.headers}
    statuses = {answer.status for answer in asked}
    page.close()

    assert not [(status, text) for status, text in read if "answers programs on this machine" not in text]
    assert asked
    assert statuses == {403}
    assert not [name for name in headers if name.startswith("access-control")]
    time.sleep(0.3)  # a function's log lines appear when it ends
    assert state(world, served) == before


def test_browser_shows_the_local_page_and_highlevel(browser: Browser, world: World, served: Served) -> None:
    """The user types the address, with either host name."""
    page = browser.new_page()
    for url in (served.url, f"{world.highlevel.url}/_local"):
        for typed in (url, url.replace("127.0.0.1", "localhost")):
            answer = page.goto(typed)
            assert answer
            assert answer.status == 200
    page.close()


def test_browser_shows_what_an_address_is_for(browser: Browser, world: World) -> None:
    """The user opens the address of a webhook. A program gets what API Gateway answers."""
    page = browser.new_page()
    stack = world.application.stack
    for path, text in (
        ("/webhooks/our-site", "This address takes POST requests (POST /webhooks/{sender})"),
        ("/conversations", "This address takes POST requests (POST /conversations)"),
        ("/elsewhere", "There is nothing at this address."),
    ):
        answer = page.goto(stack.url(path))
        assert answer
        assert answer.status == 404
        assert page.locator("body").inner_text().startswith(text)
        assert page.request.get(stack.url(path), headers={"accept": "*/*"}).text() == '{"message":"Not Found"}'
    page.close()


# --- Outside a browser ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("server", ["aws", "highlevel", "page", "fault proxy"])
def test_listens_on_loopback_only(world: World, served: Served, server: str) -> None:
    with FaultProxy(world.application.aws.endpoint) as proxy:
        urls = {
            "aws": world.application.aws.endpoint,
            "highlevel": world.highlevel.url,
            "page": served.url,
            "fault proxy": proxy.url,
        }
        port = f":{urllib.parse.urlsplit(urls[server]).port:04X}"
        lines = [line for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]]
    listening = {fields[1] for line in lines if (fields := line.split())[3] == "0A" and fields[1].endswith(port)}
    assert listening == {f"0100007F{port}"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_token_is_in_no_file_argument_or_environment_of_the_emulator(world: World, contact: str) -> None:
    aws = world.application.aws
    assert (
        world.application.post({"locationId": LOCATION, "contactId": contact}).status == 201
    )  # the token has been read
    directory, process = aws._directory, aws._process
    assert process
    of_its_processes = [
        folder / name
        for folder in Path("/proc").glob("[0-9]*")
        if group_of(folder) == process.pid
        for name in ("cmdline", "environ")
    ]
    files = [file for folder in (directory, CODE) for file in folder.rglob("*") if file.is_file()]
    assert len(of_its_processes) >= 4  # the emulator and a function at least
    assert {"emulator.log", "code.zip", "senders.toml"} <= {file.name for file in files}
    for file in [*files, *of_its_processes]:
        with contextlib.suppress(OSError):  # the process has ended or the file was removed meanwhile
            assert TOKEN.encode() not in file.read_bytes(), file


def group_of(process: Path) -> int | None:
    try:
        return os.getpgid(int(process.name))
    except ProcessLookupError:
        return None


def test_files_of_serve_are_private_and_removed(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: tmp_path / f"serve.{name.lower()}" for name in ("WHERE", "CURL", "CREDENTIALS")}
    for name, file in files.items():
        monkeypatch.setattr(serve, name, file)
        file.write_text("of a run that was killed")
        file.chmod(0o644)
    with serve._announced(world.application):
        assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
        assert world.application.aws.env["AWS_SECRET_ACCESS_KEY"] in files["CREDENTIALS"].read_text()
        assert sorted(tmp_path.iterdir()) == sorted(files.values())
    assert not list(tmp_path.iterdir())


def test_token_of_another_highlevel_is_removed_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHLEVEL_TOKEN", " pit-1 ")
    assert serve._token_of_another_highlevel() == "pit-1"
    assert "HIGHLEVEL_TOKEN" not in os.environ
