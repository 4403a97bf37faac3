"""Inputs of the function: submissions, events of API Gateway and records of SQS. Each has good values by default."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from create_conversation.senders.config import Sender, load
from create_conversation.settings import Settings
from create_conversation.submission import Submission
from highlevel.oauth import OAuth
from local.highlevel_oauth import Installation, OAuthServer

ROOT = Path(__file__).parents[1]
LOCATION = "ve9EPM428h8vShlRW1KT"
CONTACT = "ocQHyuzHvysMo5N5VsXc"
API_SECRET = "api-secret-of-forty-characters-0123456789"
TOKEN_SECRET = "the-secret-of-the-sender-named-token"
REQUEST_ID = "UZ1hXjYbFiAEPvw="  # of the sample events/http_conversation.json

RETRY_URL = "https://sqs.invalid/retry"
DEAD_LETTER_URL = "https://sqs.invalid/dead-letters"
SETTINGS = Settings(
    highlevel_base_url="http://127.0.0.1:1",
    highlevel_version="2021-04-15",
    highlevel_token_arn="HighLevelToken",
    sender_secrets_arn="SenderSecrets",
    records_table="Records",
    retry_queue_url=RETRY_URL,
    dead_letter_queue_url=DEAD_LETTER_URL,
    metrics_namespace="unit",
    location_id=None,
    give_up_after=72 * 3600.0,
    backoff_cap=900.0,
    record_ttl=86_400.0,
    message="off",
)


def sample(name: str, directory: str = "events") -> Any:
    return json.loads((ROOT / directory / f"{name}.json").read_text())


def make_ids(location: str | None = LOCATION, contact: str | None = CONTACT) -> dict[str, str]:
    """The body of a good request; None leaves a member out."""
    named = {"locationId": location, "contactId": contact}
    return {name: value for name, value in named.items() if value is not None}


def make_submission(location: str = LOCATION, contact: str = CONTACT, **changes: Any) -> Submission:
    """A submission by POST /conversations, received now."""
    body = json.dumps(make_ids(location, contact)).encode()
    return replace(Submission("http", "api", "request-1", time.time(), "application/json", body), **changes)


def make_message(contact: str = CONTACT, location: str = LOCATION) -> str:
    """The same, as the retry queue stores it."""
    return make_submission(location, contact).to_message()


def make_senders(folder: Path, **entries: Mapping[str, Any]) -> dict[str, Sender]:
    """The presets, and these entries as the user's senders.toml in that folder; names with _ for -."""
    lines = [
        line
        for name, entry in entries.items()
        for line in (f"[{name.replace('_', '-')}]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items()))
    ]
    (folder / "senders.toml").write_text("\n".join(lines), "utf-8")
    return load(folder, check_presets=False)


def make_http_event(body: str | None = None, *, age: float = 0.0, **headers: str | None) -> dict[str, Any]:
    """API Gateway's event of a good POST /conversations, received `age` seconds ago; None leaves a header out."""
    event: dict[str, Any] = sample("http_conversation")
    event["requestContext"]["timeEpoch"] = int(1000 * (time.time() - age))
    event["headers"]["authorization"] = f"Bearer {API_SECRET}"
    event["headers"] |= {name.replace("_", "-"): value for name, value in headers.items()}
    event["headers"] = {name: value for name, value in event["headers"].items() if value is not None}
    event["body"] = json.dumps(make_ids()) if body is None else body
    return event


def make_webhook_event(
    body: object, sender: str = "token", *, secret: str | None = TOKEN_SECRET, **headers: str | None
) -> dict[str, Any]:
    """API Gateway's event of a POST /webhooks/{sender}; a body that is not a text is sent as JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    authorization = None if secret is None else f"Bearer {secret}"
    event = make_http_event(text, age=0.0, **{"authorization": authorization} | headers)
    path = {"rawPath": f"/webhooks/{sender}", "pathParameters": {"sender": sender}}
    return event | {"routeKey": "POST /webhooks/{sender}", **path}


def make_oauth(app: Installation, client_secret: str) -> OAuth:
    """What the secret of this installed app holds."""
    pair = (app.company_id, app.access_token, int(app.expires_at))
    return OAuth(app.client_id, client_secret, app.refresh_token, app.user_type, *pair)


def make_connection(server: OAuthServer, location: str | None = None) -> tuple[OAuth, Installation]:
    """A new app that is installed at the local HighLevel: what its secret holds, and HighLevel's side of it."""
    client_id, client_secret = server.client()
    installed = server.install(client_id, location=location)
    return make_oauth(installed, client_secret), installed


def make_sqs_record(
    message: str | None = None, number: int = 1, *, receives: int = 1, age: float = 10.0
) -> dict[str, Any]:
    """A message as Lambda passes it to the function, `age` seconds after it was sent."""
    message = make_message() if message is None else message
    record: dict[str, Any] = sample("retry_batch")["Records"][0]
    record |= {"messageId": f"message-{number}", "receiptHandle": f"handle-{number}", "body": message}
    record["attributes"]["ApproximateReceiveCount"] = str(receives)
    record["attributes"]["SentTimestamp"] = str(int(1000 * (time.time() - age)))
    return record


def make_sqs_batch(size: int, location: str = LOCATION, **options: Any) -> list[dict[str, Any]]:
    """Messages of that many contacts of one location; the options are those of a record."""
    return [make_sqs_record(make_message(f"contact-{number}", location), number, **options) for number in range(size)]
