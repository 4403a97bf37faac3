"""API Gateway: the routes of an HTTP API."""

import json
from collections.abc import Callable

from ministack.services import apigateway  # type: ignore[import-not-found]
from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]

from local.emulator.shared import RESOURCES, Created, Json


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
