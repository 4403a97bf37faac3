"""The least that opens a conversation: one pooled urllib3 call, and the token read once, through botocore.

Both are in Lambda's runtime, so nothing is bundled. It has no sender check, no log, no retry and no storage, and
ignores a rotated token. Do not run it in production; it shows the lower bound.
"""

import json
import os

import botocore.session
import urllib3

http = urllib3.PoolManager(timeout=urllib3.Timeout(10), retries=False)
secrets_manager = botocore.session.get_session().create_client("secretsmanager")
url = os.environ["HIGHLEVEL_BASE_URL"] + "/conversations/"
headers = {}


def handler(event, _context):
    if not headers:
        token = secrets_manager.get_secret_value(SecretId=os.environ["HIGHLEVEL_TOKEN_ARN"])["SecretString"]
        headers.update(
            {
                "Authorization": f"Bearer {token}",
                "Version": os.environ["HIGHLEVEL_VERSION"],
                "Accept": "application/json",
                "Content-Type": "application/json",
                "User-Agent": "benchmark-floor/1",
            }
        )
    asked = json.loads(event["body"])
    body = json.dumps({"locationId": asked["locationId"], "contactId": asked["contactId"]})
    response = http.request("POST", url, body=body, headers=headers)
    return {"statusCode": response.status, "body": response.data.decode()}
