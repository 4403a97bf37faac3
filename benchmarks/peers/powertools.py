"""The same promise put together from the documentation of Powertools for AWS Lambda.

Event handler (HTTP API resolver, `ServiceError`), `get_secret` with `max_age`, `@idempotent_function` on DynamoDB with
the Lambda context registered, Logger with `inject_lambda_context`; a pooled urllib3 makes the call. Without Tracer and
Metrics, which the documentation's examples also have (the X-Ray SDK costs more start than all the rest).

Checks the sender's secret. A repeat gets the stored answer. Keeps nothing: when HighLevel is down its caller gets a 502
and must come again; a conversation that was opened elsewhere is an error.
"""

import hmac
import json
import os

import urllib3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response, content_types
from aws_lambda_powertools.event_handler.exceptions import ServiceError, UnauthorizedError
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

logger = Logger()
app = APIGatewayHttpResolver()
http = urllib3.PoolManager(timeout=urllib3.Timeout(connect=2, read=10), retries=False)
persistence_store = DynamoDBPersistenceLayer(table_name=os.environ["RECORDS_TABLE"])
config = IdempotencyConfig(expires_after_seconds=86_400)


@idempotent_function(data_keyword_argument="submission", config=config, persistence_store=persistence_store)
def open_conversation(submission: dict) -> dict:
    token = parameters.get_secret(os.environ["HIGHLEVEL_TOKEN_ARN"], max_age=300)
    response = http.request(
        "POST",
        os.environ["HIGHLEVEL_BASE_URL"] + "/conversations/",
        json=submission,
        headers={
            "Authorization": f"Bearer {token}",
            "Version": os.environ["HIGHLEVEL_VERSION"],
            "Accept": "application/json",
            "User-Agent": "benchmark-powertools/1",
        },
    )
    if response.status != 201:
        raise ServiceError(502, f"HighLevel answered {response.status}")
    return response.json()


@app.post("/conversations")
def post_conversation() -> Response:
    known = json.loads(parameters.get_secret(os.environ["SENDER_SECRETS_ARN"], max_age=300))["api"]
    given = app.current_event.headers.get("authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), known.encode()):
        raise UnauthorizedError("Unauthorized")
    body = app.current_event.json_body
    submission = {"locationId": body["locationId"], "contactId": body["contactId"]}
    conversation = open_conversation(submission=submission)
    logger.info("submission", extra={"outcome": "opened", "contact_id": submission["contactId"]})
    return Response(201, content_types.APPLICATION_JSON, conversation)


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP)
def handler(event, context):
    config.register_lambda_context(context)
    return app.resolve(event, context)
