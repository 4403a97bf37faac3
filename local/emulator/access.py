"""Who may call the emulator: local programs with a valid signature. No web page, and no guessed key.

The routes of an HTTP API are open, as on AWS: the function authenticates their callers.
"""

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ministack import app  # type: ignore[import-not-found]
from ministack.core import iam_actions, iam_evaluator, lambda_runtime, responses, router, sigv4  # type: ignore[import-not-found]
from ministack.core.arn import parse_arn  # type: ignore[import-not-found]
from ministack.services import lambda_svc, sts  # type: ignore[import-not-found]

from local.emulator.shared import Json
from local.guard import Message, Receive, Send, headers_of, is_scope_allowed, own_hosts, refusal, refuse

HOSTS = own_hosts(int(os.environ["GATEWAY_PORT"]))
# A fault proxy does not change the Host header, which the functions have signed: the proxy's own address.
HOSTS |= {urlsplit(os.environ.get("LOCAL_FUNCTION_ENDPOINT", "")).netloc} - {""}
# The routes of an HTTP API. Every program may call them, with any Host, as a tunnel for a real sender does.
ROUTE = re.compile(r"/_aws/execute-api/\w+/\$default/[^@].*", re.DOTALL)


def signature_of(headers: Json, query: Json, *, presigned: bool) -> Any:
    """Return the signature of a request if it covers the Host and is fresh; else the error."""
    if presigned and "X-Amz-Signature" not in query:
        return iam_evaluator.AuthError("MissingAuthenticationToken", "Request is missing Authentication Token")
    signature = sigv4.parse_query_signature(query) if presigned else sigv4.parse_header_signature(headers)
    if isinstance(signature, tuple):
        return iam_evaluator.AuthError(*signature)
    if "host" not in signature.signed_headers.split(";"):
        return iam_evaluator.AuthError("SignatureDoesNotMatch", "The signature must cover the header Host.")
    if not presigned:
        failure = sigv4.request_time_failure(signature)
        return iam_evaluator.AuthError(*failure) if failure else signature
    try:
        expired = sigv4.presigned_request_is_expired(signature.amz_date, query["X-Amz-Expires"][0])
    except (KeyError, ValueError):
        expired = True
    return iam_evaluator.AuthError("AccessDenied", "Request has expired") if expired else signature


def credential_failure(scope: Json, headers: Json, query: Json, body: bytes) -> Any:
    """Return why this request is refused; None if a key of this run has signed it.

    MiniStack does not check the root user's signature, and requires none on its own routes.
    """
    presigned = not headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 ")
    signature = signature_of(headers, query, presigned=presigned)
    if isinstance(signature, iam_evaluator.AuthError):
        return signature
    token = query.get("X-Amz-Security-Token", [""])[0] if presigned else headers.get("x-amz-security-token", "")
    key = signature.access_key_id
    account = responses._account_from_sts_session(key) or iam_evaluator.find_iam_access_key_account(key)
    credential = iam_evaluator.resolve_credential(key, account, token)
    if isinstance(credential, iam_evaluator.CredentialResolutionError):
        return iam_evaluator.AuthError(credential.code, credential.message)
    failure = sigv4.header_signature_failure(
        signature,
        credential.secret_access_key,
        scope["method"],
        scope["raw_path"].decode("latin-1"),
        query,
        headers,
        body,
        presigned=presigned,
    )
    return iam_evaluator.AuthError(*failure) if failure else None


async def body_of(receive: Receive) -> bytes | None:
    """Read the whole body of the request; None if the client has disconnected."""
    chunks = []
    while (message := await receive())["type"] == "http.request":
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)
    return None


def with_body(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns this body, which has been read already, and then continues."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return left.pop() if left else await receive()

    return receive_again


def without_cors(send: Send) -> Send:
    """Remove the CORS headers: MiniStack allows every origin to read its answers."""

    async def send_without(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [each for each in message["headers"] if not each[0].lower().startswith(b"access-control-")]
            message = {**message, "headers": headers}
        await send(message)

    return send_without


def with_own_host(scope: Json) -> Json:
    """Set the Host to the emulator's own: MiniStack selects a service by the Host, which a tunnel changes."""
    host = f"127.0.0.1:{os.environ['GATEWAY_PORT']}".encode()
    headers = [(name, host if name.lower() == b"host" else value) for name, value in scope["headers"]]
    return {**scope, "headers": headers}


async def emulator(scope: Json, receive: Receive, send: Send, run: Callable[..., Any] = app.app) -> None:
    """Serve local programs with a valid signature, and everyone on the routes of an HTTP API; refuse web pages."""
    if scope["type"] == "lifespan":
        await run(scope, receive, send)
        return
    is_route = bool(ROUTE.fullmatch(scope["path"]))
    if not is_scope_allowed(scope, HOSTS, any_host=is_route):
        await refuse(scope, send, refusal(HOSTS))
        return
    if is_route:
        await run(with_own_host(scope), receive, without_cors(send))
        return
    if (body := await body_of(receive)) is None:
        return
    headers: Json = {}
    for name, value in headers_of(scope):
        headers[name.lower()] = f"{headers[name.lower()]},{value}" if name.lower() in headers else value
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if failure := credential_failure(scope, headers, query, body):
        service = router.detect_service(scope["method"], scope["path"], headers, query)
        await app._send_response(send, *app._credential_failure(service, "", lambda_svc.new_uuid(), failure, headers))
        return
    await run(scope, with_body(body, receive), without_cors(send))


app.app = emulator


def derived_secret(*parts: str) -> str:
    """Derive a text from these parts with the secret of this run."""
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    return hmac.new(secret, "\n".join(parts).encode(), hashlib.sha256).hexdigest()


def execution_credentials(
    config: Json, issue: Callable[[Json], Json] = lambda_runtime.execution_credentials
) -> dict[str, str]:
    """Return a session of the function's role. MiniStack's keys can be computed from the function's name."""
    if not app.AUTH:
        return issue(config)
    function, role = config["FunctionArn"], config["Role"].rpartition("/")[2]
    credentials = {
        "AWS_ACCESS_KEY_ID": f"ASIA{derived_secret('key', function, role)[:16].upper()}",
        "AWS_SECRET_ACCESS_KEY": derived_secret("secret", function, role),
        "AWS_SESSION_TOKEN": derived_secret("token", function, role),
    }
    name = config["FunctionName"][:64]
    session = {
        "Arn": f"arn:aws:sts::{parse_arn(function).account_id}:assumed-role/{role}/{name}",
        "UserId": f"{role}:{name}",
        "SecretAccessKey": credentials["AWS_SECRET_ACCESS_KEY"],
        "SessionToken": credentials["AWS_SESSION_TOKEN"],
    }
    sts.register_session(credentials["AWS_ACCESS_KEY_ID"], session)
    return credentials


lambda_runtime.execution_credentials = lambda_svc.execution_credentials = execution_credentials


def iam_action(
    service: str, *arguments: Any, extract: Callable[..., str | None] = iam_actions.extract_iam_action
) -> str | None:
    """Return the IAM action of a request. IAM has no `sqs:SendMessageBatch`: the single action allows batches."""
    action = extract(service, *arguments)
    return action.removesuffix("Batch") if action and service == "sqs" else action


iam_actions.extract_iam_action = iam_action


def request_context(
    service: str, action: str, body: bytes, params: Json, read: Callable[..., Json] = iam_actions.request_tag_context
) -> Json:
    """Add the condition key events:source of PutEvents, which MiniStack does not know."""
    context = read(service, action, body, params)
    if action != "events:PutEvents":
        return context
    sources = sorted({str(entry.get("Source")) for entry in json.loads(body)["Entries"]})
    return {**context, "events:source": sources[0] if len(sources) == 1 else sources}


iam_actions.request_tag_context = request_context
