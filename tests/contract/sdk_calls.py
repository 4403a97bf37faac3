"""Make each call of HighLevel's official SDK that the local HighLevel plays; print what came back as JSON.

    python -I tests/contract/sdk_calls.py < {"url": …, "token": …, "client": {…}}

A process of its own, because the SDK's package is named `highlevel` as the one of this project is. The SDK is used as
it is installed; its address is a constant of its class, which has no setting. It writes its own log to standard output:
the JSON is the last line.
"""

import asyncio
import importlib
import json
import sys
import typing
from collections.abc import Awaitable, Callable
from typing import Any

sdk: Any = importlib.import_module("highlevel")
pydantic: Any = importlib.import_module("pydantic")


class Caller:
    """Makes calls. `answers`: method -> its answer or error, and what of the answer the SDK's model does not accept."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}

    async def call(self, name: str, method: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        try:
            answer = await method(*args, **options)
        except sdk.GHLError as error:
            self.answers[name] = {"status": error.status_code, "message": error.message}
            return None
        self.answers[name] = {"answer": answer, "problems": _problems(method, answer)}
        return answer


def _problems(method: Callable[..., Awaitable[Any]], answer: Any) -> list[str]:
    model = typing.get_type_hints(method)["return"]
    try:
        pydantic.TypeAdapter(model).validate_python(answer)
    except pydantic.ValidationError as error:
        return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return []


async def make_calls(client: Any, app: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Make every call once, and some that are refused."""
    contacts, conversations, caller = client.contacts, client.conversations, Caller()
    ann = {"locationId": "mine", "email": "ann@example.com", "firstName": "Ann-Marie", "tags": ["customer"]}
    call = caller.call
    created = await call("create_contact", contacts.create_contact, ann)
    await call("create_contact again", contacts.create_contact, ann)
    contact = created["contact"]["id"]
    await call("get_duplicate_contact", contacts.get_duplicate_contact, "mine", email="ann@example.com")
    await call("get_duplicate_contact without a result", contacts.get_duplicate_contact, "mine", number="+1999")
    await call("get_contact", contacts.get_contact, contact)
    await call("update_contact", contacts.update_contact, contact, {"lastName": "McDoe"})
    await call("add_tags", contacts.add_tags, contact, {"tags": ["lead"]})
    await call("create_note", contacts.create_note, contact, {"body": "a note", "userId": "u1"})
    await call("get_all_notes", contacts.get_all_notes, contact)
    await call("upsert_contact", contacts.upsert_contact, {"locationId": "mine", "email": "bob@example.com"})
    pair = {"locationId": "mine", "contactId": contact}
    opened = await call("create_conversation", conversations.create_conversation, pair)
    await call("create_conversation again", conversations.create_conversation, pair)
    conversation = opened["conversation"]["id"]
    comment = {"type": "InternalComment", "contactId": contact, "message": "Name: Ann", "userId": "u1"}
    await call("send_a_new_message", conversations.send_a_new_message, comment)
    await call("send_a_new_message by SMS", conversations.send_a_new_message, comment | {"type": "SMS"})
    comments = {"type": "TYPE_INTERNAL_COMMENTS", "limit": 20}
    await call("get_messages", conversations.get_messages, conversation, **comments)
    unread = {"locationId": "mine", "unreadCount": 1}
    await call("update_conversation", conversations.update_conversation, conversation, unread)
    await call("get_conversation", conversations.get_conversation, conversation)
    await call("search_conversation", conversations.search_conversation, "mine", contact_id=contact)
    await call("get_access_token", client.oauth.get_access_token, app)
    return caller.answers


def main() -> None:
    """Read the task from standard input."""
    task = json.load(sys.stdin)
    sdk.HighLevel.BASE_URL = task["url"]

    async def run() -> dict[str, dict[str, Any]]:
        client = sdk.HighLevel(private_integration_token=task["token"])
        try:
            return await make_calls(client, task["client"])
        finally:
            await client.http_client.aclose()

    print(json.dumps(asyncio.run(run())))


if __name__ == "__main__":
    main()
