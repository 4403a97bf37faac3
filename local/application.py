"""The application on the local AWS: its endpoints, events, log and queues. For run, serve and the tests."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from create_conversation.senders.verification import secrets_for
from local.stack import LocalAws, Stack


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of the HTTP API, and after how many seconds it came; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    text: str
    seconds: float

    @property
    def body(self) -> Any:
        return json.loads(self.text)


class Application:
    """A deployed stack, and what a user of it does."""

    def __init__(self, aws: LocalAws, stack: Stack) -> None:
        self.aws = aws
        self.stack = stack
        self.api_secret = secrets_for(self.secret("SenderSecretsArn"), "api")[0]

    def start_function(self) -> None:
        """Start a process of the function: invoke it with an empty batch of the retry queue.

        A cold start may use up the time for an answer: the first submission would be deferred.
        """
        name, functions = self.stack.resource("CreateConversation"), self.aws.client("lambda")
        for alias in functions.list_aliases(FunctionName=name)["Aliases"]:  # what the triggers invoke
            functions.invoke(FunctionName=name, Qualifier=alias["Name"], Payload=b'{"Records": []}')

    def secret(self, output: str) -> str:
        """Return the text of the secret that this output names."""
        client = self.aws.client("secretsmanager")
        return str(client.get_secret_value(SecretId=self.stack.outputs[output])["SecretString"])

    def store_token(self, text: str) -> None:
        """Store this text in HighLevelToken, as `./hlc token set` does."""
        client = self.aws.client("secretsmanager")
        client.put_secret_value(SecretId=self.stack.outputs["HighLevelTokenArn"], SecretString=text)

    def post(self, body: bytes | Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
        """Send `POST /conversations`, by default as JSON with the generated secret. A header set to "" is omitted."""
        sent = {"authorization": f"Bearer {self.api_secret}", "content-type": "application/json", **(headers or {})}
        return self._send("/conversations", body if isinstance(body, bytes) else json.dumps(body).encode(), sent)

    def deliver(self, sender: str, body: bytes, headers: Mapping[str, str], query: str = "") -> Answer:
        """Send `POST /webhooks/{sender}` with these headers only."""
        return self._send(f"/webhooks/{sender}{'?' if query else ''}{query}", body, headers)

    def store_sender_secret(self, sender: str, secret: str | list[str]) -> None:
        """Store this sender's secret beside the others in SenderSecrets, as `./hlc sender add` does."""
        self.store_sender_secrets({sender: secret})

    def store_sender_secrets(self, secrets: Mapping[str, Any]) -> None:
        """Store the secrets of these senders beside the others in SenderSecrets."""
        text = json.dumps(json.loads(self.secret("SenderSecretsArn")) | secrets)
        client = self.aws.client("secretsmanager")
        client.put_secret_value(SecretId=self.stack.outputs["SenderSecretsArn"], SecretString=text)
        self.api_secret = secrets_for(text, "api")[0]

    def _send(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        url = self.stack.url(path)
        request = urllib.request.Request(url, body, {name: value for name, value in headers.items() if value})
        started = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                status, answered, text = response.status, response.headers, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                status, answered, text = error.code, error.headers, error.read().decode()
        lower = {name.lower(): value for name, value in answered.items()}
        return Answer(status, lower, text, time.monotonic() - started)

    def put_event(self, detail: Any, detail_type: str = "ConversationRequested", source: str = "my.crm") -> str:
        """Put an event on the bus. Returns its id."""
        entry = {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail)}
        answer = self.aws.client("events").put_events(
            Entries=[{**entry, "EventBusName": self.stack.outputs["EventBus"]}]
        )
        return str(answer["Entries"][0]["EventId"])

    def lines(self, since: float = 0, **fields: Any) -> list[dict[str, Any]]:
        """Return the canonical log lines from `since` (Unix time) on whose fields have these values."""
        return [
            line
            for line in self.stack.logs(since)
            if line.get("message") == "submission" and all(line.get(name) == fields[name] for name in fields)
        ]

    def wait_for_line(self, within: float = 30.0, **fields: Any) -> dict[str, Any]:
        """Wait for the first canonical log line with these values. Raises TimeoutError."""
        until, since = time.monotonic() + within, 0.0
        while time.monotonic() < until:
            asked = time.time()
            if lines := self.lines(since, **fields):
                return lines[0]
            since = asked - 5  # all lines until then have been read
            time.sleep(0.1)
        raise TimeoutError(f"no canonical log line with {fields} within {within:.0f} s")

    def count(self, queue: str) -> int:
        """Count the messages of RetryQueue or DeadLetterQueue, including those in flight and delayed."""
        names = ["ApproximateNumberOfMessages" + kind for kind in ("", "NotVisible", "Delayed")]
        attributes = self.aws.client("sqs").get_queue_attributes(
            QueueUrl=self.stack.outputs[f"{queue}Url"], AttributeNames=names
        )["Attributes"]
        return sum(int(attributes.get(name, 0)) for name in names)

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """List the messages of that queue as the emulator shows them, without receiving them."""
        query = urllib.parse.urlencode({"QueueUrl": self.stack.outputs[f"{queue}Url"]})
        _status, body = self.aws.get(f"/_ministack/sqs/messages?{query}")
        accounts = json.loads(body)["messages"]
        return [
            message
            for regions in accounts.values()
            for queues in regions.values()
            for found in queues.values()
            for message in found
        ]
