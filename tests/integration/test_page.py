"""The page of `make serve` in a real Chromium, and the requests that its backend refuses.

Screenshots go to a temporary folder; SCREENSHOTS=docs (`make screenshots`) replaces those of the README.
"""

import base64
import http.client
import importlib.resources
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
from playwright.sync_api import Browser, Locator, Page, Route, expect

from create_conversation.senders.config import load
from local.page.server import Page as Served
from local.run import LOCATION
from tests.integration.chromium import chromium
from tests.integration.world import TOKEN, World, built_with_senders, deployed_world, eventually, served_page

STEPS = ("verified", "mapped", "contact", "token", "highlevel", "outcome")
ALL_PASSED = ("passed",) * 6
# A retry waits for at least 5 s, and longer on a busy machine.
RETRY_MS = 60_000
DESKTOP, PHONE = (1280, 720), (390, 844)
OWN = """
[our-site]
scheme = "token"
where = ["header:x-our-key"]
email = "contact.mail"
"""


# --- Fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """An application for this file only: the page creates secrets for its senders."""
    with deployed_world(built_with_senders(OWN), LocationId=LOCATION) as world:
        yield world


@pytest.fixture(scope="module")
def served(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("functions")
    (folder / "senders.toml").write_text(OWN)
    with served_page(world) as served:
        served.use(load(folder))
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def tab(browser: Browser) -> tuple[Page, list[str]]:
    """One for all tests, and what it has logged: a new one starts processes, which take longer than most tests."""
    page, logged = browser.new_page(), []
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.set_default_timeout(15_000)
    return page, logged


@pytest.fixture
def page(tab: tuple[Page, list[str]], served: Served, world: World) -> Iterator[Page]:
    """The page, loaded again. In the end the browser may have logged nothing but refusals, which the page shows."""
    page, logged = tab
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    logged.clear()
    page.goto(served.url)
    yield page
    page.unroute_all(behavior="wait")
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
    """By the keyboard: what arrives meanwhile may move the button away from under the pointer."""
    page.locator("#send").press("Enter")


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
    expect(page.locator(".architecture [data-count=retry]")).to_have_text("this one waits")

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
    expect(page.locator("#text-hint")).to_contain_text("not JSON: line 1, column 14")
    send(page)
    shows(page, "passed", "failed", *["unreached"] * 3, "failed")
    expect(page.locator("#answer")).to_contain_text("400 after")
    page.get_by_role("button", name="Reset").click()
    expect(text_of(page)).to_have_value(re.compile("form_response"))
    expect(page.locator("#text-hint")).to_have_text("Sent as application/json")


def test_page_shows_an_error(page: Page) -> None:
    pick(page, "event")
    text_of(page).fill("{")
    send(page)
    expect(page.get_by_role("alert")).to_contain_text("must be JSON")
    expect(page.get_by_role("alert")).to_contain_text("Line 1, column 2")
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


# --- Own senders ------------------------------------------------------------------------------------------------------


def test_own_sender_is_the_first_one_and_has_a_body(page: Page) -> None:
    options = page.get_by_label("Sender", exact=True).locator("optgroup")
    expect(options.first).to_have_attribute("label", "Your senders")
    expect(page.get_by_label("Sender", exact=True)).to_have_value("our-site")
    expect(text_of(page)).to_have_value(re.compile('"mail": "jane@example.com"'))
    expect(page.locator("#about")).to_contain_text("/webhooks/our-site; carries a secret: header x-our-key.")
    change(page, "Another person")
    email = email_in(page)
    send(page)
    shows(page, *ALL_PASSED)
    expect(page.locator("#conversations")).to_contain_text(email)


def test_pasted_form_shows_the_paths_that_were_tried_and_the_fields_that_came(page: Page) -> None:
    pick(page, "our-site")
    text_of(page).fill("kind=signup&your-name=Jane")
    expect(page.locator("#text-hint")).to_have_text("Sent as application/x-www-form-urlencoded")
    send(page)
    shows(page, "passed", "failed", *["unreached"] * 3, "failed")
    mapped = page.locator("#steps [data-step=mapped]")
    expect(mapped).to_contain_text("No contact is named")
    expect(mapped).to_contain_text("looked at: contact.mail")
    expect(mapped).to_contain_text("fields that came: kind; your-name")
    expect(page.locator(".architecture [data-queue=dead]")).to_have_attribute("data-state", "failed")
    expect(page.locator("#dead")).to_contain_text("Compare the fields")


def test_edited_senders_are_listed_and_a_changed_text_stays(page: Page, served: Served, tmp_path: Path) -> None:
    pick(page, "our-site")
    text_of(page).fill('{"contact": {"mail": "mine@example.com"}}')
    (tmp_path / "senders.toml").write_text(f"{OWN}\n[second]{OWN.partition(']')[2]}")
    served.notice = {"text": "functions/senders.toml is in use.", "wrong": False}
    served.use(load(tmp_path))
    expect(page.get_by_role("status")).to_have_text("functions/senders.toml is in use.")
    expect(page.get_by_label("Sender", exact=True).locator("optgroup").first).to_contain_text("second")
    expect(text_of(page)).to_have_value('{"contact": {"mail": "mine@example.com"}}')
    pick(page, "second")

    (tmp_path / "senders.toml").write_text(OWN.replace("contact.mail", "person.address"))
    served.notice = {"text": "functions/senders.toml: line 3 …", "wrong": True}
    served.use(load(tmp_path))
    expect(page.locator("#senders-notice")).to_have_class(re.compile("wrong"))
    expect(page.get_by_label("Sender", exact=True)).to_have_value("our-site")  # `second` is gone
    expect(text_of(page)).to_have_value(re.compile('"address": "jane@example.com"'))
    (tmp_path / "senders.toml").write_text(OWN)
    served.notice = {"text": "", "wrong": False}
    served.use(load(tmp_path))
    expect(page.locator("#senders-notice")).to_be_hidden()


# --- The result -------------------------------------------------------------------------------------------------------


def is_in_view(page: Page, *ids: str) -> bool:
    return bool(
        page.evaluate(
            """ids => ids.every(id => {
                const {top, bottom} = document.getElementById(id).getBoundingClientRect();
                return top >= 0 && bottom <= innerHeight;
            })""",
            ids,
        )
    )


@pytest.mark.parametrize("scrolled", ["at the top", "at the end"])
@pytest.mark.parametrize(
    ("size", "ids"),
    [(DESKTOP, ("send", "summary", "steps", "inbox", "result")), (PHONE, ("summary", "steps", "inbox-title"))],
    ids=["desktop", "phone"],
)
def test_result_is_in_view_after_a_click(
    page: Page, size: tuple[int, int], ids: tuple[str, ...], scrolled: str
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    pick(page, "typeform")
    change(page, "Another person")
    if scrolled == "at the end":
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator("#send").evaluate("button => button.click()")  # Playwright's click would scroll
    shows(page, *ALL_PASSED)
    assert is_in_view(page, *ids)


def test_failed_mapping_is_in_view_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    pick(page, "our-site")
    text_of(page).fill('{"contact": {"recipient": "jane"}}')
    send(page)
    shows(page, "passed", "failed", *["unreached"] * 3, "failed")
    assert is_in_view(page, "summary", "steps")


def test_marks_belong_to_the_submission_that_is_shown(page: Page) -> None:
    """Dead letters of others are in the queue, and do not mark it."""
    pick(page, "token")
    change(page, "Without a contact")
    send(page)
    dead = page.locator(".architecture [data-queue=dead]")
    expect(dead).to_have_attribute("data-state", "failed")
    expect(page.locator(".architecture [data-count=dead]")).to_have_text("this one is here")
    page.get_by_role("button", name="Reset").click()
    change(page, "Another person")
    send(page)
    shows(page, *ALL_PASSED)
    assert count(page, "dead")
    expect(dead).not_to_have_attribute("data-state", re.compile("."))
    expect(page.locator(".architecture [data-count=dead]")).to_have_text("an operator fixes, redrives")
    page.locator("#recent button").nth(1).click()
    expect(dead).to_have_attribute("data-state", "failed")


def test_words_badge_and_contact_arrive_in_highlevel(page: Page) -> None:
    """A second form of the same person: her contact stays as it is, and only the new words are marked."""
    pick(page, "typeform")
    change(page, "Another person")
    email = email_in(page)
    send(page)
    shows(page, *ALL_PASSED)
    expect(page.locator("#unread")).to_have_text("1 unread")
    expect(page.locator("#contact caption")).to_have_text("Contact: new")
    expect(page.locator("#contact tbody")).to_contain_text(email)
    expect(page.locator("#thread .fresh")).to_contain_text(f"Your e-mail address: {email}")

    text = text_of(page).input_value()
    event = json.loads(text)["event_id"]
    text_of(page).fill(text.replace(event, f"{event}X").replace('"Jane"', '"jane"'))
    send(page)
    expect(page.locator("#unread")).to_have_text("2 unread")
    expect(page.locator("#inbox-state")).to_contain_text("Unread before: 1.")
    expect(page.locator("#thread li")).to_have_count(2)
    expect(page.locator("#thread .fresh")).to_have_count(1)
    expect(page.locator("#contact caption")).to_have_text("Contact: unchanged")
    page.locator("#recent button").nth(1).click()
    expect(page.locator("#contact caption")).to_have_text("Contact: new")


INBOX = {
    "who": "Jane McDonald",
    "unread": 2,
    "unread_before": 1,
    "comments": [
        {"text": "older <b>words</b>", "at": "2026-01-01T00:00:00.000Z", "is_new": False},
        {"text": "Typeform: Contact\nYour name: Jane", "at": "2026-01-02T00:00:00.000Z", "is_new": True},
    ],
    "notes": [{"text": "a note", "at": "2026-01-02T00:00:00.000Z", "is_new": True}],
    "is_new": False,
    "contact": [
        {"field": "e-mail", "before": "jane@example.com", "after": "jane@example.com"},
        {"field": "phone", "before": "", "after": "+15555550100"},
    ],
}


def with_inbox(route: Route) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, json=answer.json() | {"inbox": INBOX})


def test_inbox_shows_words_badge_and_contact_as_the_agency_sees_them(page: Page) -> None:
    page.route("**/state?*", with_inbox)
    pick(page, "typeform")
    change(page, "Another person")
    send(page)
    shows(page, *ALL_PASSED)
    expect(page.locator("#unread")).to_have_text("2 unread")
    expect(page.locator("#inbox-state")).to_have_text("Conversation with Jane McDonald. Unread before: 1.")
    words = page.locator("#thread li")
    expect(words).to_have_count(3)
    expect(words.nth(0)).to_contain_text("older <b>words</b>")
    expect(words.nth(0)).not_to_have_class("fresh")
    expect(words.nth(1)).to_have_class("fresh")
    expect(words.nth(1)).to_contain_text("of this submission")
    assert words.nth(1).locator("p").inner_text() == "Typeform: Contact\nYour name: Jane"
    expect(words.nth(2)).to_contain_text("Contact note")
    expect(page.locator("#contact caption")).to_have_text("Contact: changed")
    rows = page.locator("#contact tbody tr")
    expect(rows.nth(0)).not_to_have_class("changed")
    expect(rows.nth(1)).to_have_class("changed")
    expect(rows.nth(1).locator("td").nth(1)).to_have_text("+15555550100")
    page.unroute_all(behavior="wait")


# --- For everyone -----------------------------------------------------------------------------------------------------

AXE = (importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text()


def barriers(page: Page) -> list[str]:
    """What axe-core finds, and what it cannot decide, but for the contrast of signs and drawings."""
    page.evaluate(AXE)
    found = page.evaluate(
        """axe.run().then(({violations, incomplete}) =>
            [...violations, ...incomplete.filter(rule => rule.id !== "color-contrast")])"""
    )
    return [f"{each['id']}: {node['html']} {node['failureSummary']}" for each in found for node in each["nodes"]]


def test_axe_finds_nothing(page: Page, world: World) -> None:
    """In light and dark, at both sizes: with nothing sent, a failure, fifty submissions, and every notice."""
    page.route("**/state?*", with_inbox)

    def check(what: str) -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="light" if scheme == "light" else "dark", reduced_motion="reduce")
            for width, height in (DESKTOP, PHONE):
                page.set_viewport_size({"width": width, "height": height})
                assert not barriers(page), (what, scheme, width)

    check("at the start")
    pick(page, "our-site")
    text_of(page).fill('{"contact": {"recipient": ')
    send(page)
    expect(page.locator("#summary")).to_contain_text("invalid")
    check("a body that is not JSON")
    for number in range(50):
        world.application.post({"locationId": LOCATION, "contactId": f"axe{number}"})
    expect(page.locator("#conversations li")).to_have_count(50)
    expect(page.locator("#recent li")).to_have_count(30)
    pick(page, "typeform")
    change(page, "Another person")
    page.get_by_label("answers 503").check()
    eventually(lambda: world.highlevel.faults)
    send(page)
    expect(page.locator("#retry-count")).to_have_text("1")
    check("fifty submissions and one that waits")
    page.unroute_all(behavior="wait")


def test_page_works_with_the_keyboard_alone(page: Page) -> None:
    """From the sender to the result and the lists, each with a visible focus."""

    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} cannot be reached")

    expect(page.get_by_label("Sender", exact=True)).to_have_value("our-site")
    tab_to("#sender")
    page.keyboard.type("typeform")
    expect(text_of(page)).to_have_attribute("data-sender", "typeform")
    tab_to("#text")
    tab_to("#fresh")
    page.keyboard.press("Enter")
    expect(text_of(page)).not_to_have_value(re.compile('"jane@example.com"'))
    for _ in range(5):
        page.keyboard.press("Tab")
    expect(page.locator("#send")).to_be_focused()
    page.keyboard.press("Enter")
    shows(page, *ALL_PASSED)
    expect(page.locator("#send")).to_be_focused()
    for region in ("#inbox-scroll", "#answer", "#line", "#diagram figure", "#lists .scroll", "#recent button"):
        tab_to(region)
    page.keyboard.press("Enter")
    expect(page.locator("#recent button").first).to_have_attribute("aria-current", "true")


@pytest.mark.parametrize("width", [390, 400, 830, 1180, 1280])
def test_page_fits_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_layout_does_not_move_while_a_submission_is_sent(page: Page, world: World) -> None:
    places = (
        "['#steps', '#result', '#lists'].map(id => document.querySelector(id).getBoundingClientRect().top + scrollY)"
    )
    pick(page, "typeform")
    change(page, "Another person")
    send(page)
    shows(page, *ALL_PASSED)  # until now the page showed the newest submission, which may be of another test
    before = page.evaluate(places)
    world.highlevel.fail("slow", times=1, seconds=1.0)
    change(page, "Another person")
    send(page)
    expect(page.locator("#summary")).to_contain_text("sending")
    assert page.evaluate(places) == before
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


def test_first_submission_finds_a_started_function(page: Page, served: Served, world: World) -> None:
    """A cold start may use up the time for an answer, so that the user's first submission would be deferred."""

    def processes() -> set[str]:
        return {file.read_text() for file in world.application.aws._directory.glob("ministack-lambda-*/pid")}

    before = processes()  # before the kill: a poll of the retry queue may start another one after it
    world.application.aws.kill_workers()
    world.application.start_function()
    assert processes() != before
    started = processes()
    pick(page, "api")
    change(page, "Another person")
    send(page)
    shows(page, *ALL_PASSED)
    assert processes() == started


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


# --- The screenshots in the documentation -----------------------------------------------------------------------------


def test_screenshots(page: Page, world: World, tmp_path: Path) -> None:
    """They show what the window shows after a click on Send."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    for sender in ("api", "tally", "typeform"):
        pick(page, sender)
        change(page, "Another person")
        send(page)
        shows(page, *ALL_PASSED)
    capture(page, folder / "page-phone", *PHONE)
    capture(page, folder / "page", *DESKTOP)


def capture(page: Page, file: Path, width: int, height: int) -> None:
    """Save the window in light and dark as WebP, which is less than half as large as PNG."""
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate("document.querySelector(innerWidth < 961 ? '#trace' : 'body').scrollIntoView()")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="light" if scheme == "light" else "dark", reduced_motion="reduce")
        chromium = page.context.new_cdp_session(page)
        answer = chromium.send("Page.captureScreenshot", {"format": "webp", "quality": 80})
        saved = file.with_name(f"{file.name}-{scheme}.webp")
        saved.write_bytes(base64.b64decode(answer["data"]))
        assert saved.stat().st_size < 150_000
