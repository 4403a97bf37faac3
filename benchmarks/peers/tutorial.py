"""What tutorials show.

`requests` for HighLevel, a boto3 client made outside the handler, and the token read from Secrets Manager in each
event, as the console's sample code (`get_secret`) does. Kinder than that sample, which makes a new session and client
each time, and with the timeout that requests' documentation asks for.

It has no sender check, no retry and no storage. Its caller gets every answer of HighLevel unchanged (for a repeated
contact a 400), or a 500 of API Gateway's when the handler raises.
"""

import json
import os

import boto3
import requests

secrets_manager = boto3.client("secretsmanager")


def get_secret():
    return secrets_manager.get_secret_value(SecretId=os.environ["HIGHLEVEL_TOKEN_ARN"])["SecretString"]


def handler(event, _context):
    body = json.loads(event["body"])
    response = requests.post(
        os.environ["HIGHLEVEL_BASE_URL"] + "/conversations/",
        headers={
            "Authorization": f"Bearer {get_secret()}",
            "Version": os.environ["HIGHLEVEL_VERSION"],
            "Accept": "application/json",
            "User-Agent": "benchmark-tutorial/1",
        },
        json={"locationId": body["locationId"], "contactId": body["contactId"]},
        timeout=10,
    )
    return {
        "statusCode": response.status_code,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(response.json()),
    }
