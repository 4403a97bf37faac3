"""`make run`: deploy to a local AWS, send every sample event to its real trigger, and show the outcome of each.

Exits 0 only if each ends as expected. Leaves no process, open port or temporary file.
"""

import base64
import contextlib
import json
import os
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nacl.signing import SigningKey

from cli.signing import sign_event
from create_conversation.senders.config import Sender, SendersError, load
from local.application import Answer, Application
from local.highlevel import Limits, LocalHighLevel
from local.stack import ROOT, LocalAws, LocalAwsError, build, deploy, exit_on_sigterm

LOCATION = "ve9EPM428h8vShlRW1KT"


@dataclass(frozen=True, slots=True)
class Sample:
    """A file of `events/` and its expected result: status of the answer (None for events), and logged outcomes."""

    file: str
    about: str
    status: int | None
    outcomes: tuple[str, ...]
    highlevel_is_down: bool = False


SAMPLES = (
    Sample("http_conversation", "a contact's first submission", 201, ("opened",)),
    Sample("http_conversation", "the same again: no call to HighLevel", 200, ("existing",)),
    Sample("http_conversation_latin1_base64", "declared charset, base64 from the gateway", 201, ("opened",)),
    Sample("http_deferred", "HighLevel fails: queued, opened by a retry", 202, ("deferred", "opened"), True),
    Sample("http_other_location", "a location that this stack does not serve", 403, ("rejected",)),
    Sample("http_without_contact", "no contact id", 422, ("invalid",)),
    Sample("http_not_json", "half a body", 400, ("invalid",)),
    Sample("http_urlencoded", "a form's body instead of JSON", 415, ("invalid",)),
    Sample("http_wrong_secret", "a wrong secret", 401, ("unauthorized",)),
    Sample("http_without_secret", "no secret at all", 401, ("unauthorized",)),
    Sample("webhook_typeform", "signed; e-mail and phone become a contact", 200, ("opened",)),
    Sample("webhook_typeform", "the same delivery again", 200, ("existing",)),
    Sample("webhook_tally", "signed", 200, ("opened",)),
    Sample("webhook_standard_webhooks", "signed, with id and time", 200, ("opened",)),
    Sample("webhook_standard_webhooks_v1a", "signed with Ed25519", 200, ("opened",)),
    Sample("webhook_highlevel_workflow", "secret in the URL", 200, ("opened",)),
    Sample("webhook_token", "secret in a header", 200, ("opened",)),
    Sample("webhook_token_form", "a form's fields, secret in the URL", 200, ("opened",)),
    Sample("webhook_jotform", "multipart, secret in the URL", 200, ("opened",)),
    Sample("webhook_webflow", "signed, with the time in milliseconds", 200, ("opened",)),
    Sample("webhook_wpforms", "signed", 200, ("opened",)),
    Sample("webhook_formstack", "a form's fields, signed", 200, ("opened",)),
    Sample("webhook_calendly", "signed", 200, ("opened",)),
    Sample("webhook_shopify", "signed", 200, ("opened",)),
    Sample("webhook_stripe", "signed", 200, ("opened",)),
    Sample("webhook_google_ads", "key in the body", 200, ("opened",)),
    Sample("webhook_elementor", "a form's fields, secret in the URL", 200, ("opened",)),
    Sample("webhook_gravity_forms", "secret in a header", 200, ("opened",)),
    Sample("webhook_paperform", "secret in the URL", 200, ("opened",)),
    Sample("webhook_contact_form_7", "secret in a header", 200, ("opened",)),
    Sample("webhook_woocommerce", "signed, in base64", 200, ("opened",)),
    Sample("webhook_ninja_forms", "a form's fields, secret in the URL", 200, ("opened",)),
    Sample("webhook_fluent_forms", "secret in a header", 200, ("opened",)),
    Sample("webhook_formidable_forms", "secret as HTTP Basic", 200, ("opened",)),
    Sample("webhook_unbounce", "JSON in a form's field, secret in the URL", 200, ("opened",)),
    Sample("webhook_hubspot_workflow", "secret in a header", 200, ("opened",)),
    Sample("webhook_wufoo", "a form's fields, secret among them", 200, ("opened",)),
    Sample("webhook_callrail", "signed with SHA-1", 200, ("opened",)),
    Sample("webhook_whatconverts", "secret in the URL", 200, ("opened",)),
    Sample("webhook_cognito_forms", "secret in the URL", 200, ("opened",)),
    Sample("webhook_clickfunnels", "signed, with time", 200, ("opened",)),
    Sample("webhook_clickfunnels_classic", "secret in the URL", 200, ("opened",)),
    Sample("webhook_framer", "signed, with id", 200, ("opened",)),
    Sample("webhook_fillout", "secret in a header", 200, ("opened",)),
    Sample("webhook_heyflow", "secret in a header", 200, ("opened",)),
    Sample("webhook_activecampaign", "a form's fields, secret in the URL", 200, ("opened",)),
    Sample("webhook_highlevel_app", "closed: senders.toml has no app_id", 401, ("unauthorized",)),
    Sample("event_conversation_requested", "an event on the event bus", None, ("opened",)),
    Sample("event_without_contact", "an event without contact: a dead letter", None, ("invalid",)),
)

V1A = "standard-webhooks-v1a"
PRIVATE_KEY = SigningKey.generate()


def main() -> int:
    """Run everything. Returns the exit code."""
    exit_on_sigterm()
    show = Screen()
    try:
        return _run(show)
    except (LocalAwsError, SendersError, TimeoutError) as error:
        show.line(f"\n{error}")
        return 1
    except KeyboardInterrupt:
        show.line("\nstopped")
        return 130


def _run(show: "Screen") -> int:
    load()  # a mistake in senders.toml would stop the function at its start: report it now
    token = f"pit-{uuid.uuid4()}"
    with contextlib.ExitStack() as running:
        with show.step("start HighLevel and AWS on 127.0.0.1"):
            # All samples name one location, at up to five calls each: more in 10 s than its real limit of 100.
            limits = Limits(max=1000)
            highlevel = running.enter_context(LocalHighLevel(tokens={token: LOCATION}, search_lag=1.0, limits=limits))
            aws = running.enter_context(LocalAws(enforce_iam=True))
        with show.step("sam build"):
            built = build()
        with show.step("sam deploy"):
            parameters = {"HighLevelBaseUrl": highlevel.url, "LocationId": LOCATION}
            application = Application(aws, deploy(aws, parameters, built=built))
        application.store_token(token)
        for sender in load().values():
            if _signs(sender):
                application.store_sender_secret(sender.name, _secret_of(sender.name))
        application.store_sender_secret(V1A, public_key(PRIVATE_KEY))
        application.start_function()
        show.heading()
        failed = 0
        for sample in SAMPLES:
            answer, lines = _send(sample, application, highlevel)
            ended = (answer.status if answer else None, tuple(line["outcome"] for line in lines))
            as_expected = ended == (sample.status, sample.outcomes)
            failed += not as_expected
            show.sample(sample, answer, lines, as_expected=as_expected)
        letters = application.count("DeadLetterQueue")
        show.line(
            f"\n  {len(highlevel.conversations)} conversations in HighLevel, "
            f"{letters} {'message' if letters == 1 else 'messages'} in the dead-letter queue."
        )
        with show.step("stop everything"):
            running.close()
    if failed:
        show.line(f"\n  {failed} of {len(SAMPLES)} did not end as expected.")
        return 1
    show.line(f"\n  All {len(SAMPLES)} ended as expected. Next: make serve, and open its page.")
    return 0


def _send(
    sample: Sample, application: Application, highlevel: LocalHighLevel
) -> tuple[Answer | None, list[dict[str, Any]]]:
    """Send one sample. Returns the answer, and the canonical log lines once there are as many as expected."""
    event = json.loads((ROOT / "events" / f"{sample.file}.json").read_text())
    if sample.highlevel_is_down:
        highlevel.fail("status", status=503, times=1)
    answer = None
    if event.get("routeKey") == "POST /webhooks/{sender}":
        sender = load()[event["pathParameters"]["sender"]]
        if sender.name == V1A:
            headers, query, signed = signed_with_ed25519(event, PRIVATE_KEY)
        elif _signs(sender):
            headers, query, signed = sign_event(sender, _secret_of(sender.name), event, time.time())
        else:
            headers, query, signed = event["headers"], "", event["body"].encode()
        answer = application.deliver(sender.name, signed, headers, query)
        request_id = answer.headers["x-request-id"]
    elif "requestContext" in event:
        body = event["body"].encode()
        headers = {"content-type": event["headers"]["content-type"]}
        given = event["headers"].get("authorization", "")
        headers["authorization"] = f"Bearer {application.api_secret}" if "<" in given else given
        answer = application.post(base64.b64decode(body) if event["isBase64Encoded"] else body, headers)
        request_id = answer.headers["x-request-id"]
    else:
        request_id = application.put_event(event["detail"], event["detail-type"], event["source"])
    until = time.monotonic() + 40
    while len(lines := application.lines(request_id=request_id)) < len(sample.outcomes) and time.monotonic() < until:
        time.sleep(0.1)
    return answer, lines


def signed_with_ed25519(event: dict[str, Any], key: SigningKey) -> tuple[dict[str, str], str, bytes]:
    """Sign like a sender of Standard Webhooks that has a private key."""
    body, at, identifier = event["body"].encode(), str(int(time.time())), event["headers"]["webhook-id"]
    signature = key.sign(f"{identifier}.{at}.".encode() + body).signature
    signed = {"webhook-timestamp": at, "webhook-signature": f"v1a,{base64.b64encode(signature).decode()}"}
    return {"content-type": "application/json", "webhook-id": identifier, **signed}, "", body


def _signs(sender: Sender) -> bool:
    """Whether a shared secret suffices to send as this sender."""
    return sender.scheme in ("token", "mac") and sender.name != "api"


def public_key(key: SigningKey) -> str:
    """Return the public key in the format of Standard Webhooks, as SenderSecrets contains it."""
    return f"whpk_{base64.b64encode(bytes(key.verify_key)).decode()}"


def _secret_of(sender: str) -> str:
    """Return a secret for this run in the sender's format."""
    return (
        f"whsec_{base64.b64encode(sender.encode().ljust(32)).decode()}" if "standard" in sender else f"{sender}-secret"
    )


class Screen:
    """Prints progress and a table, with colours and in place on a terminal, in plain lines elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._terminal and "NO_COLOR" not in os.environ

    def line(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show that a step is running, and how long it takes."""
        started = time.monotonic()
        done = threading.Event()

        def tick() -> None:
            while not done.wait(0.1):
                print(f"\r  {name} … {time.monotonic() - started:.1f} s ", end="", flush=True)

        ticking = threading.Thread(target=tick, daemon=True)
        if self._terminal:
            ticking.start()
        try:
            yield
        except BaseException:
            done.set()
            self.line(f"{'\r' if self._terminal else ''}  {name} … failed" + " " * 10)
            raise
        done.set()
        if self._terminal:
            ticking.join()
        self.line(f"{'\r' if self._terminal else ''}  {name} … {time.monotonic() - started:.1f} s ")

    def heading(self) -> None:
        """Print the head of the table."""
        self.line("")
        self.line(self._bold(f"     {'sample':<33}{'what it is':<43}{'answer':<8}{'outcome'}"))

    def sample(self, sample: Sample, answer: Answer | None, lines: list[dict[str, Any]], *, as_expected: bool) -> None:
        """Print the result of a sample, with its answer and log lines."""
        mark = self._paint("✓", "32") if as_expected else self._paint("✗", "31")
        outcomes = " → ".join(_outcome(line) for line in lines) or "nothing logged"
        status = str(answer.status) if answer else "-"
        self.line(f"  {mark}  {sample.file:<33}{sample.about:<43}{status:<8}{outcomes}")
        if not as_expected:
            self.line(self._paint(f"     expected: {sample.status or '-'} {' → '.join(sample.outcomes)}", "31"))
        if answer:
            self.line(self._dim(self._cut(f"        answer  {answer.text}")))
        for line in lines:
            members = {name: value for name, value in line.items() if name not in ("level", "message", "service")}
            self.line(self._dim(self._cut(f"        log     {json.dumps(members)}")))

    def _cut(self, text: str) -> str:
        """Cut a text to the width of the terminal; leave it whole elsewhere."""
        width = shutil.get_terminal_size().columns
        return text if not self._terminal or len(text) <= width else text[: width - 1] + "…"

    def _bold(self, text: str) -> str:
        return self._paint(text, "1")

    def _dim(self, text: str) -> str:
        return self._paint(text, "2")

    def _paint(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text


def _outcome(line: dict[str, Any]) -> str:
    reason = line.get("reason")
    return f"{line['outcome']} ({reason})" if reason and reason != line["outcome"] else str(line["outcome"])


if __name__ == "__main__":
    sys.exit(main())
