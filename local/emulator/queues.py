"""SQS, and the event source mapping that invokes a function for the messages of a queue."""

import re
import threading
import time
from collections.abc import Callable

from ministack.services import lambda_svc, sqs  # type: ignore[import-not-found]
from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]

from local.emulator.shared import RESOURCES, Created, Json


def locked(action: Callable[[Json, str], Json]) -> Callable[[Json, str], Json]:
    """Lock the queues. MiniStack deletes by replacing a queue's list, and loses a message that is sent meanwhile."""

    def run(request: Json, url: str) -> Json:
        with sqs._queues_lock:
            return action(request, url)

    return run


def send_message(request: Json, url: str, send: Callable[[Json, str], Json] = sqs._act_send_message) -> Json:
    """Refuse the groups, attributes and sizes that SQS refuses and MiniStack accepts."""
    group = request.get("MessageGroupId")
    if group is not None and not re.fullmatch(r"[!-~]{1,128}", group):
        raise sqs._Err(
            "InvalidParameterValue", "MessageGroupId can only include alphanumeric and punctuation characters."
        )
    size = len(request.get("MessageBody", "").encode())
    for name, attribute in (request.get("MessageAttributes") or {}).items():
        value = attribute.get("StringValue") or attribute.get("BinaryValue") or ""
        if not value:
            raise sqs._Err(
                "InvalidParameterValue",
                f"Message (user) attribute '{name}' must contain a non-empty value of type '{attribute['DataType']}'.",
            )
        size += len(name) + len(attribute["DataType"]) + len(value.encode() if isinstance(value, str) else value)
    if size > 1_048_576:
        raise sqs._Err("InvalidParameterValue", "Message must be shorter than 1048576 bytes.")
    return send(request, url)


def change_visibility(
    request: Json, url: str, change: Callable[[Json, str], Json] = sqs._act_change_visibility
) -> Json:
    """Refuse a visibility timeout over 12 hours, which MiniStack accepts."""
    if not 0 <= int(request.get("VisibilityTimeout", 30)) <= 43_200:
        raise sqs._Err("InvalidParameterValue", "VisibilityTimeout must be between 0 and 43200 seconds.")
    return change(request, url)


sqs._act_send_message = send_message  # also what SendMessageBatch calls
sqs._HANDLERS.update(SendMessage=send_message, ChangeMessageVisibility=change_visibility)
for operation, handler in sqs._HANDLERS.items():
    if operation != "ReceiveMessage":  # the only asynchronous one
        sqs._HANDLERS[operation] = locked(handler)


def failed_messages(answer: object, batch: set[str]) -> set[str]:
    """Return the message ids that a handler with ReportBatchItemFailures reports as failed.

    As on AWS, an answer without failures means that all succeeded, and a malformed one that all failed.
    """
    try:
        failures = (answer or {}).get("batchItemFailures") or []  # type: ignore[attr-defined]
        named = {failure["itemIdentifier"] for failure in failures}
    except (AttributeError, KeyError, TypeError):
        return batch
    return named if named <= batch else batch


def run_batch(mapping: Json, function: Json, event: Json, _batch: list[Json], queue_url: str, queue: str) -> None:
    """Invoke a function for messages and delete those that succeeded. MiniStack deletes all or none."""
    receipts = {record["messageId"]: record["receiptHandle"] for record in event["Records"]}
    result = lambda_svc._execute_function(function, event)
    if result.get("error"):
        failed = set(receipts)
        lambda_svc.logger.warning("%s failed with a batch from %s: %s", mapping["FunctionName"], queue, result["body"])
        lambda_svc._esm_backoff_until[mapping["UUID"]] = time.time() + lambda_svc._ESM_BACKOFF_SECONDS
    elif "ReportBatchItemFailures" in mapping["FunctionResponseTypes"]:
        failed = failed_messages(result.get("body"), set(receipts))
    else:
        failed = set()
    sqs._delete_messages_for_esm(queue_url, {receipts[message] for message in set(receipts) - failed})


lambda_svc._run_sqs_batch = run_batch


class PromptWake:
    """Wakes the poller every 0.1 s. MiniStack looks once a second for messages that have become visible."""

    def __init__(self, event: threading.Event) -> None:
        self.set, self.clear, self._wait = event.set, event.clear, event.wait

    def wait(self, _seconds: float) -> bool:
        return self._wait(0.1)


lambda_svc._esm_wake = PromptWake(lambda_svc._esm_wake)


def create_mapping(
    logical_id: str, properties: Json, stack: str, create: Callable[..., Created] = provisioners._lambda_esm_create
) -> Created:
    """Refuse a visibility timeout under the function's timeout, as Lambda does and MiniStack does not."""
    queue = sqs._queue_by_arn(properties["EventSourceArn"])
    function, _name, _arn, _qualifier = provisioners._lambda_function_for_cfn_ref(properties["FunctionName"])
    if queue and function:
        visibility, timeout = int(queue["attributes"]["VisibilityTimeout"]), int(function["config"]["Timeout"])
        if visibility < timeout:
            raise ValueError(
                f"Queue visibility timeout: {visibility} seconds is less than Function timeout: {timeout} seconds"
            )
    return create(logical_id, with_numbers(properties), stack)


def update_mapping(
    physical_id: str,
    old: Json,
    new: Json,
    stack: str,
    update: Callable[..., Created] = provisioners._lambda_esm_update,
) -> Created:
    """Convert numbers that a template has as text."""
    return update(physical_id, with_numbers(old), with_numbers(new), stack)


def with_numbers(properties: Json) -> Json:
    """Convert MaximumConcurrency to a number: a parameter's value is text, which MiniStack compares with numbers."""
    scaling = properties.get("ScalingConfig")
    if not scaling:
        return properties
    return {**properties, "ScalingConfig": {"MaximumConcurrency": int(scaling["MaximumConcurrency"])}}


RESOURCES["AWS::Lambda::EventSourceMapping"].update(create=create_mapping, update=update_mapping)
