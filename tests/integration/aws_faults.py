"""The application behind a fault proxy, in an AWS of its own: for tests in which something breaks."""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from create_conversation.message_claims import TAKE_OVER_SECONDS, claim_item
from create_conversation.submission import Submission
from create_conversation.triggers.retry_queue import LEASE_SECONDS
from local.application import Answer, Application
from local.fault_proxy import FaultProxy, Request
from local.highlevel import LocalHighLevel
from local.stack import LocalAws, free_port
from tests.factories import make_ids, make_submission
from tests.integration.packaged import deploy_packaged
from tests.integration.world import TOKEN, World, built_with_senders
from tests.samples import ANYWHERE

ATTEMPT_SECONDS = 15.0  # longer than any attempt


@dataclass(frozen=True)
class FaultyWorld(World):
    """A `World` whose function calls AWS through a fault proxy, so that services can fail."""

    proxy: FaultProxy

    def post(self, location: str, contact: str) -> Answer:
        """`POST /conversations`; fails if the answer takes 5 seconds, whatever fails."""
        answer = self.application.post({"locationId": location, "contactId": contact})
        assert answer.seconds < 5
        return answer

    def put_event(self, location: str, contact: str, **members: str) -> str:
        """Put an event on the bus; its id."""
        return self.application.put_event({"locationId": location, "contactId": contact, **members})

    def enqueue(self, location: str, *contacts: str, **members: str) -> None:
        """Put submissions into the retry queue, as the function does but without a delay. Each has its contact as its
        request id."""
        for contact in contacts:
            body = json.dumps(make_ids(location, contact) | members).encode()
            submission = make_submission(body=body, request_id=contact)
            self._sqs.send_message(
                QueueUrl=self.url("RetryQueue"), MessageBody=submission.to_message(), MessageGroupId=location
            )

    def line(self, contact: str, trigger: str, **fields: Any) -> dict[str, Any]:
        """Wait for the first canonical line of that contact and trigger with these values."""
        return self.application.wait_for_line(60, contact_id=contact, trigger=trigger, **fields)

    def is_open(self, location: str, *contacts: str) -> bool:
        """Whether every one of them has its conversation."""
        return all((location, contact) in self.highlevel.conversations for contact in contacts)

    def comments(self, location: str, contact: str) -> int:
        """How many comments the contact's conversation has."""
        conversation = self.highlevel.conversations.get((location, contact))
        return len(self.highlevel.thread(conversation["id"]).comments) if conversation else 0

    def creations(self, location: str) -> list[str]:
        """The contacts of that location, sorted, once for each conversation that HighLevel has created."""
        calls = self.highlevel.calls
        created = [call for call in calls if call.location == location and call.method == "POST" and call.status == 201]
        return sorted(call.contact or "" for call in created)

    def receive(self, times: int) -> None:
        """Receive every message of the retry queue (10 at most) so many times, and return it immediately."""
        for _ in range(times):
            self._sqs.receive_message(QueueUrl=self.url("RetryQueue"), MaxNumberOfMessages=10, VisibilityTimeout=0)

    def resend(self, text: str) -> None:
        """Put the text of a dead letter into the retry queue."""
        self._sqs.send_message(QueueUrl=self.url("RetryQueue"), MessageBody=text)

    def show_again_after(self, seconds: int) -> None:
        """Set the retry queue's visibility timeout, 450 s in the template."""
        self._sqs.set_queue_attributes(QueueUrl=self.url("RetryQueue"), Attributes={"VisibilityTimeout": str(seconds)})

    def age_claims(self) -> None:
        """Make the claims of attempts that have certainly ended as old as another attempt waits to take them over."""
        dynamodb, table = self.application.aws.client("dynamodb"), self.application.stack.resource("IdempotencyTable")
        ended = time.time() - ATTEMPT_SECONDS
        for item in dynamodb.scan(TableName=table)["Items"]:
            found = claim_item(item["pk"]["S"], item, time.time())
            claims = [
                replace(claim, claimed_at=claim.claimed_at - TAKE_OVER_SECONDS)
                if not claim.result and ended - TAKE_OVER_SECONDS < claim.claimed_at < ended
                else claim
                for claim in found.claims
            ]
            if claims == list(found.claims):
                continue
            with contextlib.suppress(dynamodb.exceptions.ConditionalCheckFailedException):  # an attempt has changed it
                dynamodb.update_item(
                    TableName=table,
                    Key={"pk": item["pk"]},
                    UpdateExpression="SET claims = :claims",
                    ConditionExpression="claims_version = :read",
                    ExpressionAttributeValues={
                        ":claims": {"S": json.dumps([asdict(claim) for claim in claims])},
                        ":read": {"N": str(found.version)},
                    },
                )

    def watch_leases(self) -> list[tuple[str, int]]:
        """The leases that the function sets from now on: receipt handle and seconds."""
        leases: list[tuple[str, int]] = []

        def note(request: Request) -> None:
            leases.extend((entry["ReceiptHandle"], entry["VisibilityTimeout"]) for entry in request.json()["Entries"])

        self.proxy.on("sqs", "ChangeMessageVisibilityBatch", after=note)
        return leases

    def end_leases(self, leases: list[tuple[str, int]]) -> None:
        """Make the messages visible as if LEASE_SECONDS had passed: each after the jitter of its lease."""
        due, leases[:] = sorted(leases, key=lambda lease: lease[1]), []
        began = time.monotonic()
        for handle, seconds in due:
            time.sleep(max(0.0, began + seconds - LEASE_SECONDS - time.monotonic()))
            with contextlib.suppress(self._sqs.exceptions.ClientError):  # it was deleted or received again
                self._sqs.change_message_visibility(
                    QueueUrl=self.url("RetryQueue"), ReceiptHandle=handle, VisibilityTimeout=0
                )

    def kill(self) -> int:
        """Kill every process of the function, and return their number. The next call is a cold start."""
        return self.application.aws.kill_workers()

    def kill_at(self, service: str, operation: str, *texts: str, answered: bool) -> threading.Event:
        """Kill the function once, at its next such call that contains these texts, such as a contact's id: before AWS
        sees it or, `answered`, when AWS has carried it out. The event is set when that has happened."""
        killed = threading.Event()

        def hook(request: Request) -> None:
            if all(_contains(request, text) for text in texts) and not killed.is_set():
                self.kill()
                killed.set()

        if answered:
            self.proxy.on(service, operation, after=hook)
        else:
            self.proxy.on(service, operation, before=hook)
        return killed

    @contextlib.contextmanager
    def configured(self, **variables: str) -> Iterator[None]:
        """Within this block the function has these environment variables, as after a deployment with other
        parameters."""
        functions, name = self.application.aws.client("lambda"), self.application.stack.resource("CreateConversation")
        before = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]

        def publish(environment: dict[str, str]) -> None:
            functions.update_function_configuration(FunctionName=name, Environment={"Variables": environment})
            version = functions.publish_version(FunctionName=name)["Version"]
            functions.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
            self.kill()

        publish(before | variables)
        try:
            yield
        finally:
            publish(before)

    @contextlib.contextmanager
    def consumer_paused(self) -> Iterator[None]:
        """Within this block messages pile up in the retry queue; after it they come in batches, in order."""
        functions, name = self.application.aws.client("lambda"), self.application.stack.resource("CreateConversation")
        (mapping,) = functions.list_event_source_mappings(FunctionName=f"{name}:live")["EventSourceMappings"]
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        time.sleep(0.5)  # a poll under way
        try:
            yield
        finally:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)

    def recover(self) -> None:
        """End all faults; leave neither messages nor processes to the next test."""
        self.proxy.heal()
        self.highlevel.heal()
        self.show_again_after(450)
        for queue in ("RetryQueue", "DeadLetterQueue"):
            self._sqs.purge_queue(QueueUrl=self.url(queue))
        self.kill()


def warm_up(world: FaultyWorld) -> None:
    """Post until there is a process with its secrets and connections, however long that takes on a busy machine."""
    # Each post has a contact of its own, because an idempotency record would answer without the token.
    while world.application.post({"locationId": "location", "contactId": uuid.uuid4().hex}).status not in (200, 201):
        time.sleep(0.2)


def _contains(request: Request, text: str) -> bool:
    """Whether the call contains that text; a message contains the submission in base64."""
    if request.operation == "SendMessage":
        with contextlib.suppress(ValueError):
            return text.encode() in Submission.from_message(request.json()["MessageBody"]).body
    return text.encode() in request.body


@contextlib.contextmanager
def faulty_world(senders: str = ANYWHERE, **parameters: str) -> Iterator[FaultyWorld]:
    """The unchanged template, its roles enforced, with these parameters; `senders`: the text of senders.toml."""
    port = free_port()
    with (
        LocalHighLevel(tokens={TOKEN: "*"}) as highlevel,
        FaultProxy(f"http://127.0.0.1:{port}") as proxy,
        LocalAws(port=port, endpoint_for_functions=proxy.url, enforce_iam=True) as aws,
    ):
        if bus := parameters.get("EventBusName"):
            aws.client("events").create_event_bus(Name=bus)
        settings = {"HighLevelBaseUrl": highlevel.url, **parameters}
        application = Application(aws, deploy_packaged(aws, settings, built=built_with_senders(senders)))
        application.store_token(TOKEN)
        yield FaultyWorld(highlevel, application, proxy)
