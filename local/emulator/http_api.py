"""API Gateway: the routes of an HTTP API."""

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from ministack.services import apigateway  # type: ignore[import-not-found]
from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]

from local.emulator.shared import RESOURCES, Created, Json

# The id of the first API, so that the addresses stay the same when the emulator starts again.
FIRST_ID = "local"
# What a browser shows where only a POST is served. AWS answers 404 without a text.
ADDRESS = """This address takes POST requests ({}), so a browser has nothing to show here.

Paste it into the settings of the form builder, CRM or script that sends the submissions. It needs the sender's secret
too: ./hlc sender show <name> --reveal --stack local prints both. To see what a submission does, send one from the page
of make serve.

On AWS a browser gets {{"message":"Not Found"}} here.
"""
ROUTE_SETTINGS = re.compile(r"/v2/apis/(?P<api>\w+)/stages/(?P<stage>[^/]+)/routesettings/(?P<route>.+)")


def import_routes(api_id: str, properties: Json) -> None:
    """Create the routes of the OpenAPI document that SAM writes for an HttpApi. MiniStack ignores it."""
    if "Body" not in properties:
        return
    apigateway._routes[api_id], apigateway._integrations[api_id] = {}, {}
    for path, operations in properties["Body"]["paths"].items():
        for method, definition in operations.items():
            integration = definition["x-amazon-apigateway-integration"]
            _status, _headers, body = apigateway._create_integration(
                api_id,
                {
                    "integrationType": "AWS_PROXY",
                    "integrationUri": integration["uri"],
                    "payloadFormatVersion": integration["payloadFormatVersion"],
                },
            )
            target = f"integrations/{json.loads(body)['integrationId']}"
            verb = "ANY" if method.startswith("x-") else method.upper()
            key = "$default" if path == "/$default" else f"{verb} {path}"
            status, _headers, body = apigateway._create_route(api_id, {"routeKey": key, "target": target})
            if status >= 400:
                raise ValueError(f"route {key}: {body!r}")


def create_api(
    logical_id: str, properties: Json, stack: str, create: Callable[..., Created] = provisioners._apigw_v2_api_create
) -> Created:
    if FIRST_ID not in apigateway._apis:
        properties = {**properties, "Tags": {**properties.get("Tags", {}), "ms-custom-id": FIRST_ID}}
    created = create(logical_id, properties, stack)
    import_routes(created[0], properties)
    return created


def update_api(
    physical_id: str,
    old: Json,
    new: Json,
    stack: str,
    logical_id: str | None = None,
    update: Callable[..., Created] = provisioners._apigw_v2_api_update,
) -> Created:
    updated = update(physical_id, old, new, stack, logical_id)
    import_routes(updated[0], new)
    return updated


RESOURCES["AWS::ApiGatewayV2::Api"].update(create=create_api, update=update_api)


# --- Route settings ---------------------------------------------------------------------------------------------------


def route_settings(api_id: str, stage: str) -> Json:
    """Return the settings of the routes of a stage, by route key."""
    found: Json = apigateway._stages.get(api_id, {}).get(stage, {}).get("routeSettings", {})
    return found


async def execute(
    api_id: str,
    stage: str,
    path: str,
    method: str,
    headers: Json,
    *arguments: Any,
    run: Callable[..., Any] = apigateway._handle_execute_in_scope,
) -> Any:
    """Answer 429 on a route whose rate limit is 0, which MiniStack ignores, and explain an address to a browser."""
    route = apigateway._match_route(api_id, method, "/" + path.lstrip("/"))
    settings = route_settings(api_id, stage).get(route["routeKey"], {}) if route else {}
    if settings.get("throttlingRateLimit") == 0:
        return 429, {"Content-Type": "application/json"}, b'{"message":"Too Many Requests"}'
    if route is None and method == "GET" and "text/html" in headers.get("accept", ""):
        return explain_address(api_id, path)
    return await run(api_id, stage, path, method, headers, *arguments)


apigateway._handle_execute_in_scope = execute


def explain_address(api_id: str, path: str) -> tuple[int, Json, bytes]:
    """Say what an address is for to the person who opens it in a browser. The status is AWS's: there is no such GET."""
    posts = apigateway._match_route(api_id, "POST", "/" + path.lstrip("/"))
    text = ADDRESS.format(posts["routeKey"]) if posts else "There is nothing at this address.\n"
    return 404, {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}, text.encode()


async def manage(
    method: str, path: str, *arguments: Any, run: Callable[..., Any] = apigateway.handle_request
) -> tuple[int, Json, bytes]:
    """Delete the settings of one route. MiniStack would delete the stage."""
    deleted = ROUTE_SETTINGS.fullmatch(unquote(path))
    if method != "DELETE" or not deleted:
        answer: tuple[int, Json, bytes] = await run(method, path, *arguments)
        return answer
    route_settings(deleted["api"], deleted["stage"]).pop(deleted["route"], None)
    return 204, {}, b""


apigateway.handle_request = manage
