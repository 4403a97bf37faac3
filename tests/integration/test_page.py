"""The page of `make serve` in a real Chromium, and the requests that its backend refuses.

Screenshots go to a temporary folder; SCREENSHOTS=docs (`make screenshots`) replaces those of the README.
"""

import base64
import http.client
import json
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from local.page.server import Page as Served
from local.run import LOCATION
from tests.integration.chromium import chromium
from tests.integration.world import TOKEN, World, deployed_world, eventually, served_page

STEPS = ("verified", "mapped", "contact", "token", "highlevel", "outcome")
ALL_PASSED = ("passed",) * 6
# A retry waits for at least 5 s, and longer on a busy machine.
RETRY_MS = 60_000


# --- Fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """An application for this file only: the page creates secrets for its senders."""
    with deployed_world(LocationId=LOCATION) as world:
        yield world


@pytest.fixture(scope="module")
def served(world: World) -> Iterator[Served]:
    with served_page(world) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, served: Served, world: World) -> Iterator[Page]:
    """A new page. In the end the browser may have logged nothing but refusals, which the page shows."""
    page = browser.new_page(viewport={"width": 1180, "height": 900}, reduced_motion="reduce")
    logged: list[str] = []
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.set_default_timeout(15_000)
    page.goto(served.url)
    yield page
    page.close()
    world.highlevel.heal()
    assert not [text for text in logged if not text.startswith("Failed to load resource: the server responded")]


# --- Actions of the user ---------------------------------------------------------------------------------------------


def text_of(page: Page) -> Locator:
    return page.get_by_label("Test submission (editable)")


def pick(page: Page, sender: str) -> None:
    page.get_by_label("Sender", exact=True).select_option(sender)
    expect(text_of(page)).to_have_attribute("data-sender", sender)


def change(page: Page, button: str) -> None:
    before = text_of(page).input_value()
    page.get_by_role("button", name=button).click()
    expect(text_of(page)).not_to_have_value(before)


def send(page: Page) -> None:
    page.locator("#send").click()


def shows(page: Page, *states: str, timeout: float = 15_000) -> None:
    """Expect these states of the steps, in the list and in the diagram."""
    for step, state in zip(STEPS, states, strict=True):
        expect(page.locator(f"#steps [data-step={step}]")).to_have_attribute("data-state", state, timeout=timeout)
        box = page.locator(f".architecture [data-step={step}]")
        if state == "unreached":
            expect(box).not_to_have_attribute("data-state", re.compile("."))
        else:
            expect(box).to_have_attribute("data-state", state)


def email_in(page: Page) -> str:
    found = re.search(r"[\w.]+@example\.com", text_of(page).input_value())
    assert found
    return found[0]


def count(page: Page, queue: str) -> int:
    shown = page.locator(f"#{queue}-count")
    expect(shown).to_have_text(re.compile(r"\d"))  # the page has read the queues
    return int(shown.inner_text())


# --- Scenarios -----------------------------------------------------------------------------------------------------


def test_sample_is_opened_and_a_repeat_is_existing(page: Page) -> None:
    pick(page, "typeform")
    expect(text_of(page)).to_have_value(re.compile("form_response"))
    change(page, "Another person")
    email = email_in(page)
    send(page)
    shows(page, *ALL_PASSED)
    expect(page.locator("#summary")).to_have_text("typeform: opened; answered 200.")
    expect(page.locator("#line")).to_contain_text('"outcome": "opened"')
    expect(page.locator("#answer")).to_contain_text("200 after")
    expect(page.locator("#conversations")).to_contain_text(email)
    expect(page.locator(".architecture [data-trigger=webhook]")).to_have_attribute("data-state", "passed")

    page.get_by_role("button", name="Send again").click()
    shows(page, "passed", "passed", "passed", "skipped", "skipped", "passed")
    expect(page.locator("#summary")).to_contain_text("existing")


def test_wrong_signature_is_refused(page: Page) -> None:
    pick(page, "typeform")
    for secret in ("wrong secret", "no secret"):
        page.get_by_label(secret).check()
        send(page)
        expect(page.locator("#answer")).to_contain_text("401 after")
        shows(page, "failed", *["unreached"] * 4, "failed")
    expect(page.locator("#summary")).to_contain_text("not stored")


def test_outage_is_queued_and_retried_automatically(page: Page, world: World) -> None:
    pick(page, "tally")
    change(page, "Another person")
    page.evaluate("window.loadedOnce = true")
    page.get_by_label("answers 503").check()
    eventually(lambda: world.highlevel.faults)
    send(page)
    shows(page, "passed", "passed", "waiting", "passed", "failed", "waiting")
    expect(page.locator("#summary")).to_contain_text("stored in the retry queue")
    expect(page.locator("#retry-count")).to_have_text("1")
    expect(page.locator("#retry")).to_contain_text("tally")
    expect(page.locator(".architecture [data-queue=retry]")).to_have_attribute("data-state", "waiting")
    expect(page.locator(".architecture [data-count=retry]")).to_have_text("1 waiting")

    page.get_by_label("works", exact=True).check()
    shows(page, *ALL_PASSED, timeout=RETRY_MS)
    expect(page.locator("#summary")).to_contain_text("opened by the retry queue")
    expect(page.locator("#retry-count")).to_have_text("0")
    expect(page.locator("#line")).to_contain_text('"trigger": "retry"')
    assert page.evaluate("window.loadedOnce"), "the page was loaded again"


def test_sample_without_a_contact_is_a_dead_letter_that_can_be_redriven(page: Page) -> None:
    pick(page, "highlevel-workflow")
    before = count(page, "dead")
    change(page, "Without a contact")
    send(page)
    shows(page, "passed", "failed", *["unreached"] * 3, "failed")
    expect(page.locator("#dead-count")).to_have_text(str(before + 1))
    expect(page.locator("#dead")).to_contain_text("no_contact: No contact is named")
    expect(page.locator(".architecture [data-queue=dead]")).to_have_attribute("data-state", "failed")

    # Nothing was fixed: the retry queue dead-letters it again, as its log line shows.
    page.get_by_role("button", name="Redrive all").click()
    expect(page.locator("#redrive-result")).to_contain_text("came back", timeout=40_000)
    expect(page.locator("#line")).to_contain_text('"trigger": "retry"', timeout=RETRY_MS)
    expect(page.locator("#dead-count")).to_have_text(str(before + 1))


def test_malformed_body_can_be_sent_and_is_refused(page: Page) -> None:
    pick(page, "typeform")
    text_of(page).fill('{"event_id": ')
    expect(page.locator("#text-hint")).to_contain_text("not JSON")
    send(page)
    shows(page, "passed", "failed", *["unreached"] * 3, "failed")
    expect(page.locator("#answer")).to_contain_text("400 after")
    page.get_by_role("button", name="Reset").click()
    expect(text_of(page)).to_have_value(re.compile("form_response"))
    expect(page.locator("#text-hint")).to_have_text("application/json")


def test_page_shows_an_error(page: Page) -> None:
    pick(page, "event")
    text_of(page).fill("{")
    send(page)
    expect(page.get_by_role("alert")).to_contain_text("must be JSON")
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_role("alert")).to_be_hidden()


@pytest.mark.parametrize("sender", ["api", "event"])
def test_other_triggers(page: Page, sender: str) -> None:
    pick(page, sender)
    change(page, "Another person")
    send(page)
    shows(page, *ALL_PASSED)
    trigger = {"api": "http", "event": "event"}[sender]
    expect(page.locator(f".architecture [data-trigger={trigger}]")).to_have_attribute("data-state", "passed")


def test_submission_of_another_program_can_be_selected(page: Page, world: World, contact: str) -> None:
    pick(page, "api")
    change(page, "Another person")
    send(page)
    shows(page, *ALL_PASSED)
    answer = world.application.post({"locationId": LOCATION, "contactId": contact})
    entry = page.locator(f"[data-key='{answer.headers['x-request-id']}']")
    expect(entry).to_contain_text("api: opened")
    entry.click()
    expect(page.locator("#line")).to_contain_text(contact)
    expect(entry).to_be_focused()


def test_page_works_with_the_keyboard_alone(page: Page) -> None:
    pick(page, "typeform")
    page.get_by_label("Sender", exact=True).focus()
    page.keyboard.press("Tab")
    expect(text_of(page)).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(text_of(page)).not_to_have_value(re.compile('"jane@example.com"'))
    for _ in range(5):
        page.keyboard.press("Tab")
    expect(page.locator("#send")).to_be_focused()
    outline = page.locator("#send").evaluate("button => getComputedStyle(button).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    shows(page, *ALL_PASSED)


@pytest.mark.parametrize("width", [400, 830, 1180])
def test_page_fits_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_layout_does_not_move_when_a_submission_ends(page: Page) -> None:
    pick(page, "typeform")
    change(page, "Another person")
    places = (
        "['#steps', '#result', '#lists'].map(id => document.querySelector(id).getBoundingClientRect().top + scrollY)"
    )
    before = page.evaluate(places)
    send(page)
    shows(page, *ALL_PASSED)
    assert page.evaluate(places) == before


def test_another_highlevel_is_named_and_has_no_failure_modes(browser: Browser, world: World) -> None:
    with Served(world.application, None, "https://highlevel.example", LOCATION) as served:
        watching = threading.Thread(target=lambda: deque(served.watch(), maxlen=0))
        watching.start()
        page = browser.new_page()
        page.goto(served.url)
        pick(page, "typeform")
        expect(page.locator("#other-highlevel")).to_contain_text("https://highlevel.example")
        expect(page.get_by_text("Everything runs on this machine.")).to_be_hidden()
        expect(page.get_by_label("answers 503")).to_be_disabled()
        expect(page.locator("#conversations")).to_have_text("not visible from here")
        change(page, "Another person")
        send(page)
        shows(page, *ALL_PASSED)
        page.close()
    watching.join()


def test_server_stops_despite_an_open_browser_and_a_pending_submission(browser: Browser, world: World) -> None:
    page = browser.new_page()
    with Served(world.application, world.highlevel, world.highlevel.url, LOCATION) as served:
        page.goto(served.url)
        pick(page, "api")
        change(page, "Another person")
        world.highlevel.fail("hang")
        send(page)
        eventually(lambda: any(call.fault == "hang" for call in world.highlevel.calls))
        ended = time.monotonic()
    assert time.monotonic() - ended < 4
    world.highlevel.heal()
    expect(page.get_by_role("alert")).to_contain_text("Has it ended?")
    page.close()


# --- The backend ------------------------------------------------------------------------------------------------------


def ask(served: Served, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, str]:
    """Send a request to the backend like the page. A header set to "" is omitted. Returns status, JSON, text."""
    host = urlsplit(served.url).netloc
    sent = {"Host": host}
    if method == "POST":
        sent |= {"Origin": f"http://{host}", "Content-Type": "application/json"}
    sent |= {name.title().replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {name: value for name, value in sent.items() if value})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    return answer.status, json.loads(text) if text.startswith(("{", "[")) else None, text


def test_every_listed_sender_is_accepted(served: Served) -> None:
    """A sender with its own private key is refused, as the list says."""
    for sender in ask(served, "GET", "/senders")[1]:
        name = {"sender": sender["name"]}
        sample = ask(served, "GET", f"/sample?sender={sender['name']}")[1]
        sample = ask(served, "POST", "/sample", {**name, **sample, "change": "fresh"})[1]
        sent = ask(served, "POST", "/send", {**name, **sample, "secret": "right"})[1]

        def ended(request_id: str = sent["request_id"]) -> list[dict[str, str]]:
            submissions = ask(served, "GET", "/state")[1]["submissions"]
            found = [each for each in submissions if each["request_id"] == request_id and each["lines"]]
            return [step for each in found for step in each["steps"]]

        eventually(ended)
        states = tuple(step["state"] for step in ended())
        assert states == (("failed", *["unreached"] * 4, "failed") if sender["note"] else ALL_PASSED), ended()


FOREIGN = "http://evil.example"


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        pytest.param("POST", "/send", {"origin": FOREIGN}, id="foreign origin"),
        pytest.param("POST", "/send", {"origin": "null"}, id="null origin"),
        pytest.param("POST", "/send", {"origin": ""}, id="no origin"),
        pytest.param("POST", "/redrive", {"origin": FOREIGN}, id="redrive"),
        pytest.param("POST", "/highlevel", {"content_type": "text/plain"}, id="text"),
        pytest.param("POST", "/highlevel", {"content_type": ""}, id="no content type"),
        pytest.param("POST", "/send", {"host": "evil.example", "origin": FOREIGN}, id="foreign host"),
        pytest.param("GET", "/state", {"host": "evil.example"}, id="foreign host, GET"),
        pytest.param("GET", "/", {"host": "evil.example:80"}, id="foreign host and port"),
        pytest.param("GET", "/state", {"host": "127.0.0.1"}, id="host without port"),
        pytest.param("GET", "/state", {"origin": FOREIGN}, id="foreign origin, GET"),
        pytest.param("OPTIONS", "/send", {"origin": FOREIGN, "access_control_request_method": "POST"}, id="preflight"),
    ],
)
def test_other_web_pages_are_refused(
    served: Served, world: World, method: str, path: str, headers: dict[str, str]
) -> None:
    body = {"sender": "api", "text": "{}", "delivery": "", "secret": "right", "mode": "503"}
    status, _, text = ask(served, method, path, body if method == "POST" else None, **headers)
    assert status == 403
    assert text.startswith('{"error": "This server answers programs on this machine')
    assert not world.highlevel.faults


def test_own_page_is_not_refused(served: Served) -> None:
    assert ask(served, "POST", "/highlevel", {"mode": "works"})[0] == 200


def test_no_answer_contains_a_secret(served: Served, world: World) -> None:
    sample = {"sender": "token", "text": '{"locationId": "l", "contactId": "c"}', "delivery": "", "secret": "right"}
    texts = [ask(served, "POST", "/send", sample)[2]]
    texts += [ask(served, "GET", path)[2] for path in ("/", "/page.js", "/senders", "/sample?sender=token", "/state")]
    secrets = json.loads(world.application.secret("SenderSecretsArn"))
    assert len(secrets) > 5
    for secret in (*secrets.values(), TOKEN):
        assert not any(secret in text for text in texts)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param(
            "/send", {"sender": "unknown", "text": "", "delivery": "", "secret": "right"}, 422, id="unknown sender"
        ),
        pytest.param("/send", {"sender": "api"}, 422, id="missing members"),
        pytest.param("/send", [], 400, id="not an object"),
        pytest.param(
            "/sample", {"sender": "api", "text": "{}", "delivery": "", "change": "burn"}, 422, id="unknown change"
        ),
        pytest.param("/highlevel", {"mode": "fire"}, 422, id="unknown mode"),
        pytest.param(
            "/send",
            {"sender": "api", "text": "x" * 1024 * 1024, "delivery": "", "secret": "right"},
            413,
            id="too large",
        ),
        pytest.param("/nowhere", {}, 404, id="unknown path"),
    ],
)
def test_invalid_request_gets_an_error(served: Served, path: str, body: Any, status: int) -> None:
    answered, content, _ = ask(served, "POST", path, body)
    assert answered == status
    assert content["error"]


def test_nothing_is_loaded_from_another_server(served: Served) -> None:
    host = urlsplit(served.url).netloc
    connection = http.client.HTTPConnection(host)
    connection.request("GET", "/")
    answer = connection.getresponse()
    page = answer.read().decode()
    connection.close()
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert not re.search(r"""(src|href)="(?!/)""", page)


# --- The screenshots in the README ------------------------------------------------------------------------------------


def test_screenshots(page: Page, world: World, tmp_path: Path) -> None:
    """The README shows a submission that is queued in an outage, a dead letter and some conversations."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    for sender in ("api", "tally", "token", "typeform"):
        pick(page, sender)
        change(page, "Another person")
        send(page)
        shows(page, *ALL_PASSED)
    change(page, "Without a contact")
    send(page)
    expect(page.locator("#dead-count")).not_to_have_text("0")
    pick(page, "typeform")
    change(page, "Another person")
    page.get_by_label("answers 503").check()
    eventually(lambda: world.highlevel.faults)
    send(page)
    shows(page, "passed", "passed", "waiting", "passed", "failed", "waiting")
    expect(page.locator("#retry-count")).to_have_text("1")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="light" if scheme == "light" else "dark", reduced_motion="reduce")
        capture(page, folder / f"page-{scheme}.webp")
        assert (folder / f"page-{scheme}.webp").stat().st_size < 150_000


def capture(page: Page, file: Path) -> None:
    """Save the whole page as WebP, which is less than half as large as PNG."""
    page.set_viewport_size({"width": 1180, "height": page.evaluate("document.documentElement.scrollHeight")})
    chromium = page.context.new_cdp_session(page)
    answer = chromium.send("Page.captureScreenshot", {"format": "webp", "quality": 75})
    file.write_bytes(base64.b64decode(answer["data"]))
