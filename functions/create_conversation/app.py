"""The Lambda function: what it is made of, and which door an event belongs to. Nothing calls out at start."""

import os
import random
from typing import Any

from create_conversation import aws
from create_conversation.circuit_breaker import CircuitBreaker
from create_conversation.events import EventDoor
from create_conversation.flow import Flow
from create_conversation.http import HttpDoor
from create_conversation.location_tokens import LocationTokens
from create_conversation.queue import Queue
from create_conversation.quota import Quota
from create_conversation.records import Records
from create_conversation.results import Results
from create_conversation.retries import RetryDoor
from create_conversation.secrets import Secret
from create_conversation.senders import load
from create_conversation.settings import Settings
from highlevel.client import HighLevel

TOKEN_MAX_AGE_SECONDS = 300.0
SENDER_SECRETS_MAX_AGE_SECONDS = 60.0


def handler(event: Any, context: Any) -> dict[str, Any] | None:
    """Lambda's entry point for HTTP API events (payload format 2.0), SQS batches and EventBridge events. What is none
    of them is kept as an event that cannot be mapped."""
    told = event if isinstance(event, dict) else {}
    if isinstance(told.get("Records"), list):
        return _retries.handle(told, context)
    # Any of them: an event of the bus is kept whole, and headers hold secrets.
    if told.keys() & {"requestContext", "routeKey", "headers"}:
        return _http.handle(told, context)
    _events.handle(event, context)
    return None


def _doors(settings: Settings, access: aws.Access) -> tuple[HttpDoor, EventDoor, RetryDoor]:
    senders = load()
    secrets_manager = aws.secrets_manager(access)
    token = Secret(secrets_manager, settings.highlevel_token_arn, TOKEN_MAX_AGE_SECONDS)
    sender_secrets = Secret(secrets_manager, settings.sender_secrets_arn, SENDER_SECRETS_MAX_AGE_SECONDS)
    records = Records(aws.dynamodb(access), settings.records_table, settings.record_ttl)
    queue = Queue(aws.sqs(access), settings.retry_queue_url, settings.dead_letter_queue_url)
    highlevel = HighLevel(settings.highlevel_base_url, settings.highlevel_version)
    breaker = CircuitBreaker()
    tokens = LocationTokens(token, highlevel, records, breaker)
    flow = Flow(highlevel, tokens, records, breaker, Quota(), paused=settings.paused)
    results = Results(aws.eventbridge(access), settings.result_bus, settings.metrics_namespace)
    return (
        HttpDoor(settings, senders, sender_secrets, flow, queue, results),
        EventDoor(settings, senders, flow, queue, results),
        RetryDoor(settings, senders, flow, queue, random.Random(), results),  # noqa: S311 jitter, no secret
    )


_http, _events, _retries = _doors(Settings.read(os.environ), aws.Access.read(os.environ))
