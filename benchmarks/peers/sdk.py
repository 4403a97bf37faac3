"""HighLevel's official Python SDK, constructed once with a private integration token.

The SDK is async; its quick start wraps each call in `asyncio.run()` with a client of its own. Here one client and one
event loop serve all events, so that connections are reused. The SDK picks the API version and the 30 s timeout itself.
It only makes the call: no sender check, no retry, no storage. Its caller gets the status of HighLevel's refusal, a 400
for a repeated contact.
"""

import asyncio
import json
import os

import boto3

from highlevel import GHLError, HighLevel

HighLevel.BASE_URL = os.environ["HIGHLEVEL_BASE_URL"]  # no setting for it

secrets_manager = boto3.client("secretsmanager")
loop = asyncio.new_event_loop()
token = secrets_manager.get_secret_value(SecretId=os.environ["HIGHLEVEL_TOKEN_ARN"])["SecretString"]
client = HighLevel(private_integration_token=token)


def handler(event, _context):
    asked = json.loads(event["body"])
    body = {"locationId": asked["locationId"], "contactId": asked["contactId"]}
    try:
        conversation = loop.run_until_complete(client.conversations.create_conversation(body))
    except GHLError as error:
        return {"statusCode": error.status_code or 502, "body": json.dumps({"message": error.message})}
    return {
        "statusCode": 201,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(conversation),
    }
