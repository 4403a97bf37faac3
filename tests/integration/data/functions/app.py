"""A function that does what a test asks for, so that the test sees what the local AWS makes of it."""

import importlib.util
import json
import os
import time
from typing import Any

import boto3

clients: dict[str, Any] = {
    "sqs": boto3.client("sqs"),
    "dynamodb": boto3.client("dynamodb"),
    "secretsmanager": boto3.client("secretsmanager"),
}


def ask(command: dict[str, Any], event: dict[str, Any], context: Any) -> Any:
    """Do what `command["do"]` says."""
    match command.get("do"):
        case "environment":
            return dict(os.environ)
        case "event":
            return event
        case "context":
            return {"request_id": context.aws_request_id, "remaining": context.get_remaining_time_in_millis()}
        case "find":
            return importlib.util.find_spec(command["module"]) is not None
        case "raise":
            raise RuntimeError("a detail that must stay private")
        case "sleep":
            time.sleep(command["seconds"])
        case "call":
            return getattr(clients[command["service"]], command["operation"])(**command["arguments"])
    return None


def handler(event: dict[str, Any], context: Any) -> Any:
    """Answer an HTTP call, a rule's event or a batch of messages."""
    print(json.dumps({"request_id": context.aws_request_id, "event": event}))
    if "Records" in event:
        return batch(event["Records"], context)
    if "detail" in event:
        return ask(event["detail"], event, context)
    answer = ask(json.loads(event.get("body") or "{}"), event, context)
    return {"statusCode": 200, "body": json.dumps(answer, default=str)}


def batch(records: list[dict[str, Any]], context: Any) -> Any:
    """Handle each message as it says; its `answer`, if any, is the answer to the whole batch."""
    failed = []
    for record in records:
        command = json.loads(record["body"])
        queue = {"QueueUrl": os.environ["QUEUE_URL"], "ReceiptHandle": record["receiptHandle"]}
        if "visibility" in command:
            clients["sqs"].change_message_visibility(**queue, VisibilityTimeout=command["visibility"])
            failed.append({"itemIdentifier": record["messageId"]})
        if command.get("delete"):
            clients["sqs"].delete_message(**queue)
        if "answer" in command:
            return command["answer"]
        ask(command, record, context)
    return {"batchItemFailures": failed}
