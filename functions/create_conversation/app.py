"""The Lambda function: its parts, and which trigger an event belongs to. It makes no call when it starts."""

import os
import random
from typing import Any

from create_conversation import aws_client
from create_conversation.circuit_breaker import CircuitBreaker
from create_conversation.contact_step import ContactStep
from create_conversation.highlevel_calls import HighLevelCalls
from create_conversation.idempotency import IdempotencyStore
from create_conversation.location_tokens import LocationTokens
from create_conversation.message_claims import ClaimStore
from create_conversation.message_step import MessageStep
from create_conversation.open_conversation import ConversationOpener
from create_conversation.pause import Pause
from create_conversation.queues import Queues
from create_conversation.rate_limit import RateLimits
from create_conversation.result_events import ResultEvents
from create_conversation.secret_cache import CachedSecret
from create_conversation.senders.config import load
from create_conversation.settings import Settings
from create_conversation.token_provider import TokenProvider
from create_conversation.triggers.eventbridge import EventBridgeHandler
from create_conversation.triggers.http_api import HttpApiHandler
from create_conversation.triggers.retry_queue import RetryQueueHandler
from highlevel.client import HighLevel

TOKEN_MAX_AGE_SECONDS = 300.0
SENDER_SECRETS_MAX_AGE_SECONDS = 60.0


def handler(event: Any, context: Any) -> dict[str, Any] | None:
    """Lambda's entry point for HTTP API events (payload format 2.0), SQS batches and EventBridge events.

    Any other event is processed as an EventBridge event, and dead-lettered because it cannot be mapped.
    """
    members = event if isinstance(event, dict) else {}
    if isinstance(members.get("Records"), list):
        return _retries.handle(members, context)
    # Any of them: an event of the bus is stored whole, and headers hold secrets.
    if members.keys() & {"requestContext", "routeKey", "headers"}:
        return _http.handle(members, context)
    _events.handle(event, context)
    return None


def _handlers(
    settings: Settings, access: aws_client.AwsAccess
) -> tuple[HttpApiHandler, EventBridgeHandler, RetryQueueHandler]:
    senders = load(check_presets=False)
    secrets_manager = aws_client.secrets_manager(access)
    token = CachedSecret(secrets_manager, settings.highlevel_token_arn, TOKEN_MAX_AGE_SECONDS)
    sender_secrets = CachedSecret(secrets_manager, settings.sender_secrets_arn, SENDER_SECRETS_MAX_AGE_SECONDS)
    dynamodb = aws_client.dynamodb(access)
    records = IdempotencyStore(dynamodb, settings.records_table, settings.record_ttl)
    queues = Queues(aws_client.sqs(access), settings.retry_queue_url, settings.dead_letter_queue_url)
    highlevel = HighLevel(settings.highlevel_base_url, settings.highlevel_version)
    breaker = CircuitBreaker()
    tokens = TokenProvider(token, LocationTokens(token, highlevel, records, breaker))
    rate_limits = RateLimits(retry_concurrency=settings.retry_concurrency)
    calls = HighLevelCalls(highlevel, tokens, breaker, rate_limits, Pause(records))
    claims = ClaimStore(dynamodb, settings.records_table)
    messages = MessageStep(calls, claims, settings.message)
    opener = ConversationOpener(calls, records, ContactStep(calls, claims), messages, settings.mark_unread)
    results = ResultEvents(aws_client.eventbridge(access), settings.result_bus, settings.metrics_namespace)
    return (
        HttpApiHandler(settings, senders, sender_secrets, opener, queues, results),
        EventBridgeHandler(settings, senders, opener, queues, results),
        RetryQueueHandler(settings, senders, opener, queues, random.Random(), results),  # noqa: S311 jitter, not a secret
    )


_http, _events, _retries = _handlers(Settings.read(os.environ), aws_client.AwsAccess.read(os.environ))
