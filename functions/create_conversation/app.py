"""The Lambda function: what it is made of, and which door an event belongs to. Nothing calls out at start."""

import os
import random
from typing import Any

import botocore.session
from botocore.config import Config

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


def _aws(session: botocore.session.Session, service: str, attempts: int = 2) -> Any:
    config = Config(connect_timeout=0.5, read_timeout=1, retries={"total_max_attempts": attempts, "mode": "standard"})
    return session.create_client(service, config=config)


def _doors(settings: Settings) -> tuple[HttpDoor, EventDoor, RetryDoor]:
    senders = load()
    session = botocore.session.get_session()
    secrets_manager = _aws(session, "secretsmanager")
    token = Secret(secrets_manager, settings.highlevel_token_arn, TOKEN_MAX_AGE_SECONDS)
    sender_secrets = Secret(secrets_manager, settings.sender_secrets_arn, SENDER_SECRETS_MAX_AGE_SECONDS)
    # One attempt: the records may fail, and a second hanging second would leave HighLevel no time.
    records = Records(_aws(session, "dynamodb", attempts=1), settings.records_table, settings.record_ttl)
    queue = Queue(_aws(session, "sqs"), settings.retry_queue_url, settings.dead_letter_queue_url)
    highlevel = HighLevel(settings.highlevel_base_url, settings.highlevel_version)
    breaker = CircuitBreaker()
    tokens = LocationTokens(token, highlevel, records, breaker)
    flow = Flow(highlevel, tokens, records, breaker, Quota(), paused=settings.paused)
    # No client where it is not asked for: it would make each cold start longer.
    events = _aws(session, "events") if settings.result_bus else None
    results = Results(events, settings.result_bus, settings.metrics_namespace)
    return (
        HttpDoor(settings, senders, sender_secrets, flow, queue, results),
        EventDoor(settings, senders, flow, queue, results),
        RetryDoor(settings, senders, flow, queue, random.Random(), results),  # noqa: S311 jitter, no secret
    )


_http, _events, _retries = _doors(Settings.read(os.environ))
