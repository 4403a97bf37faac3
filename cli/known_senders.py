"""The senders that this repository knows, their secrets in a stack and their URLs. Shared by the commands."""

import base64
import json
import secrets
from typing import Any

from cli.stack import Stack, StackError, printable, suggestion
from create_conversation.senders.config import Sender, SendersError, load


def find_sender(name: str) -> Sender:
    """Return the entry of that name. Raises StackError."""
    senders = all_senders()
    if name in senders:
        return senders[name]
    known = suggestion(name, senders) or f"; known senders: {', '.join(senders)}."
    raise StackError(f"there is no sender {printable(name)}{known} Your own: functions/senders.toml (docs/senders.md)")


def all_senders() -> dict[str, Sender]:
    """Return all entries of presets.toml and senders.toml, by name. Raises StackError for a mistake in them."""
    try:
        return load()
    except SendersError as error:
        raise StackError(str(error)) from None


def locations_missing(name: str) -> str:
    """Say why a sender is closed although it has a secret, and what to do."""
    return (
        "the stack has no LocationId and the entry lists no locations: in functions/senders.toml put "
        f'locations = ["<location id>"] under [{name}] (["*"] for any, if no visitor can choose the location), then '
        "./hlc deploy; or ./hlc deploy LocationId=<location id>"
    )


def read_secrets(stack: Stack) -> tuple[str, str]:
    """Return the text of SenderSecrets and its version; `{}` and no version if it has no value."""
    manager = stack.secrets_manager
    try:
        answer = manager.get_secret_value(SecretId=stack.output("SenderSecretsArn"))
    except manager.exceptions.ResourceNotFoundException:
        return "{}", ""
    return answer.get("SecretString", ""), answer["VersionId"]


def entries_of(text: str) -> dict[str, Any]:
    """Parse SenderSecrets into entries by sender. Raises StackError if it is not a JSON object."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict):
        raise StackError(
            'SenderSecrets is not a JSON object such as {"api": ["<secret>"]}, so every sender is refused: '
            "fix it with aws secretsmanager put-secret-value"
        )
    return entries


def new_secret(sender: Sender) -> str:
    """Return a random secret in the format that this sender uses."""
    if sender.key_format == "whsec_base64":
        return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"
    token = secrets.token_urlsafe(32)
    return f"{sender.name}:{token}" if sender.where == ("basic",) else token


def url_of(stack: Stack, sender: Sender) -> str:
    """Return the URL to which this sender posts."""
    if sender.name == "api":
        return stack.output("ConversationsUrl")
    return f"{stack.output('WebhooksUrl')}/{sender.name}"
