"""The function's AWS client beside botocore's own: the same requests, signatures, hosts and error codes."""

import base64
import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.parsers import create_parser

from create_conversation import aws_client
from create_conversation.aws_client import AwsAccess, AwsError, ServiceApi
from create_conversation.idempotency import IdempotencyStore
from create_conversation.issued_token_cache import IssuedToken, IssuedTokenCache
from create_conversation.pause import Pause
from create_conversation.queues import Queues
from create_conversation.request_signer import RequestSigner
from create_conversation.result_events import ResultEvents
from create_conversation.secret_cache import CachedSecret
from highlevel.oauth import OAuth
from local.lambda_runtime import RESERVED, Answer, Server
from tests.factories import make_submission

SERVICES = (aws_client.SECRETS_MANAGER, aws_client.DYNAMODB, aws_client.SQS, aws_client.EVENTBRIDGE)
SESSION = botocore.session.Session()
URL_SUFFIXES = {  # AWS::URLSuffix in each partition
    "aws": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-us-gov": "amazonaws.com",
    "aws-iso": "c2s.ic.gov",
    "aws-iso-b": "sc2s.sgov.gov",
    "aws-iso-e": "cloud.adc-e.uk",
    "aws-iso-f": "csp.hci.ic.gov",
    "aws-eusc": "amazonaws.eu",
}
ANSWER = {"SecretString": "secret", "Item": {}, "Attributes": {}, "Successful": [], "Failed": [], "Entries": []}
CONNECTION = OAuth("client", "secret", "refresh", "Company", "company", "access", 2_000_000_000)

type AwsRequest = tuple[str, dict[str, str], bytes]  # path, headers by lower-case name, body


class Recorder:
    """Accepts every request."""

    def __init__(self) -> None:
        self.requests: list[AwsRequest] = []

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        assert method == "POST"
        self.requests.append((path, {name.lower(): value for name, value in headers.items()}, body))
        return 200, {}, json.dumps(ANSWER).encode()


def make_every_call(access: AwsAccess) -> None:
    """Have the function's parts make each kind of call that they make."""
    CachedSecret(aws_client.secrets_manager(access), "arn:aws:secretsmanager:eu-central-1:1:secret:a-b", 60.0).get()
    records = IdempotencyStore(aws_client.dynamodb(access), "Records", 60.0)
    records.get("contact#ä#1", consistent=True)
    records.save("contact#1", "conversation", "contact")
    records.save("contact#1", None)
    assert not Pause(records).is_active
    tokens = IssuedTokenCache(records)
    tokens.read("location", CONNECTION)
    tokens.take_lease("location", CONNECTION)
    tokens.save("location", CONNECTION, IssuedToken("token", 1.0, 2.0))
    queues = Queues(aws_client.sqs(access), "https://sqs.invalid/1/retry", "https://sqs.invalid/1/dead-letters")
    queues.enqueue(make_submission(), "location", 7.0)
    queues.enqueue_batch([(make_submission(), "location")] * 2, 1e12)
    queues.dead_letter("message", reason="ids_refused", attempts=3)
    queues.change_visibility("handle", 5.0)
    queues.change_visibility_batch({"one": 5.0, "two": 6.0})
    ResultEvents(aws_client.eventbridge(access), "bus", "metrics").publish([{"outcome": "opened", "sender": "ä"}], 5.0)


@pytest.fixture(scope="module")
def peer() -> Iterator[tuple[Recorder, AwsAccess]]:
    recorder = Recorder()
    with Server(recorder.answer) as server:
        own = {"URL_SUFFIX": "amazonaws.com", "AWS_ENDPOINT_URL": f"http://{server.address}"}
        yield recorder, AwsAccess.read(RESERVED | own)


@pytest.fixture(scope="module")
def sent(peer: tuple[Recorder, AwsAccess]) -> list[AwsRequest]:
    recorder, access = peer
    make_every_call(access)
    assert len(recorder.requests) == 14
    return [*recorder.requests]


def client(api: ServiceApi, region: str, **options: Any) -> Any:
    return SESSION.create_client(
        api.name,
        region,
        aws_access_key_id=RESERVED["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=RESERVED["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=RESERVED["AWS_SESSION_TOKEN"],
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
        **options,
    )


def with_bytes(value: Any) -> Any:
    """DynamoDB's binary values as botocore takes them."""
    if isinstance(value, dict):
        return {name: base64.b64decode(v) if name == "B" else with_bytes(v) for name, v in value.items()}
    return [with_bytes(item) for item in value] if isinstance(value, list) else value


def test_every_call_is_botocores_own(sent: list[AwsRequest], peer: tuple[Recorder, AwsAccess]) -> None:
    recorder, access = peer
    clients = {
        api.target: client(api, access.region, endpoint_url=access.endpoint(api.name, api.service_id))
        for api in SERVICES
    }
    for path, headers, body in sent:
        target, _, operation = headers["x-amz-target"].partition(".")
        clients[target]._make_api_call(operation, with_bytes(json.loads(body)))
        their_path, theirs, their_body = recorder.requests[-1]
        assert (path, json.loads(body)) == (their_path, json.loads(their_body)), operation
        for name in ("x-amz-target", "content-type", "host", "x-amz-security-token"):
            assert headers[name] == theirs[name], operation
    assert len(recorder.requests) == 2 * len(sent)


def test_every_signature_is_botocores_own(sent: list[AwsRequest], monkeypatch: pytest.MonkeyPatch) -> None:
    access: Any = SimpleNamespace(
        access_key=RESERVED["AWS_ACCESS_KEY_ID"],
        secret_key=RESERVED["AWS_SECRET_ACCESS_KEY"],
        token=RESERVED["AWS_SESSION_TOKEN"],
    )
    names = {api.target: api.name for api in SERVICES}
    for _, headers, body in sent:
        now = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda now=now: now)
        own = {name: headers[name] for name in ("content-type", "x-amz-target", "user-agent")}
        request = AWSRequest("POST", f"http://{headers['host']}/", own, data=body)
        service = names[headers["x-amz-target"].partition(".")[0]]
        SigV4Auth(access, service, RESERVED["AWS_REGION"]).add_auth(request)
        assert request.headers["Authorization"] == headers["authorization"]


@pytest.mark.parametrize("token", ["", "a-token"], ids=["without a session token", "with one"])
@pytest.mark.parametrize("host", ["sqs.eu-central-1.amazonaws.com", "127.0.0.1:4566", "[::1]:4566"])
def test_a_signature_follows_day_host_and_token(token: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    access: Any = SimpleNamespace(access_key="AKID", secret_key="secret", token=token or None)
    signer = RequestSigner(access.access_key, access.secret_key, access.token, "eu-central-1", "sqs", host)
    for day in (1, 2, 1, 31):  # the signing key is that of the day, also if the clock is put back
        now = datetime(2026, 12, day, 23, 59, 59, 999_999, tzinfo=UTC)
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda now=now: now)
        given = {"x-amz-target": "AmazonSQS.SendMessage", "content-type": "application/x-amz-json-1.0"}
        request = AWSRequest("POST", f"http://{host}/", copy.copy(given), data="ä".encode())
        SigV4Auth(access, "sqs", "eu-central-1").add_auth(request)
        assert signer.sign(given, "ä".encode(), now.timestamp())["authorization"] == request.headers["Authorization"]


@pytest.mark.parametrize("partition", SESSION.get_available_partitions())
@pytest.mark.parametrize("api", SERVICES, ids=lambda api: api.name)
def test_every_regions_host_is_botocores_own(api: ServiceApi, partition: str) -> None:
    for region in SESSION.get_available_regions(api.name, partition):
        access = AwsAccess.read(RESERVED | {"AWS_REGION": region, "URL_SUFFIX": URL_SUFFIXES[partition]})
        assert access.endpoint(api.name, api.service_id) == client(api, region).meta.endpoint_url


@pytest.mark.parametrize(
    "body",
    [
        {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "m"},
        {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "Message": "m"},
        {"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "m"},
        {"__type": "aws.protocoltests#FooError:http://internal.amazon.com/coral/com.amazon.coral.validate/"},
        {"__type": "ThrottlingException:http://internal.amazon.com/"},
        {"__type": "ResourceNotFoundException"},
    ],
    ids=lambda body: body["__type"],
)
def test_an_errors_code_is_botocores_own(body: dict[str, str]) -> None:
    raw = json.dumps(body).encode()
    parsed = create_parser("json").parse({"status_code": 400, "headers": {}, "body": raw}, cast("Any", None))
    with Server(lambda *_: (400, {}, raw)) as server:
        own = {"URL_SUFFIX": "amazonaws.com", "AWS_ENDPOINT_URL": f"http://{server.address}"}
        with pytest.raises(AwsError) as raised:
            aws_client.dynamodb(AwsAccess.read(RESERVED | own)).call("GetItem")
    assert raised.value.code == parsed["Error"]["Code"]
