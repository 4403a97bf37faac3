"""The formats that the secret `HighLevelToken` may have, and which token a location is called with."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from highlevel.oauth import InvalidOAuthSecretError, OAuth, read_oauth

# What a bearer token may hold (RFC 6750, b64token). Anything else must never reach a header.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{8,8192}")


class TokenError(Exception):
    """No usable token. `reason` is `no_token` or `token_malformed`; the text never holds any part of the secret."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one secret, by location id; the key `*` stands for every other location.

    `oauth`: the connection that they come from. An agency's connection has none for a location: HighLevel issues them.
    """

    by_location: Mapping[str, str] = field(repr=False)
    oauth: OAuth | None = None

    def of(self, location: str) -> str:
        """Return the token to call HighLevel with for that location. Raises TokenError."""
        token = self.by_location.get(location) or self.by_location.get("*")
        if not token:
            raise TokenError("no_token", "the secret holds no token for this location")
        if not _TOKEN.fullmatch(token):
            raise TokenError("token_malformed", "the token holds characters, or a length, that no bearer token has")
        return token


def read_tokens(secret: str) -> Tokens:
    """Read the secret's text.

    It is the plain token, `{"token": "…"}`, `{"tokens": {"<locationId>": "…", "*": "…"}}` or `{"oauth": {…}}` (see
    `highlevel.oauth`).

    Raises TokenError that says what is wrong with the format, never a value.
    """
    text = secret.strip()
    if not text:
        raise TokenError("no_token", "the secret is empty")
    if text[0] not in '{["':
        return Tokens({"*": text})
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        raise TokenError("token_malformed", "the secret looks like JSON but is not") from None
    tokens: dict[str, Any]
    match parsed:
        case str():
            tokens = {"*": parsed}
        case {"token": token, **others} if not others:
            tokens = {"*": token}
        case {"tokens": dict(tokens), **others} if not others:
            pass
        case {"oauth": _}:
            return _of_connection(text)
        case _:
            raise TokenError(
                "token_malformed",
                'the secret must be a token, {"token": "…"}, {"tokens": {"<locationId>": "…", "*": "…"}} '
                'or {"oauth": {…}}',
            )
    if not all(token is None or isinstance(token, str) for token in tokens.values()):
        raise TokenError("token_malformed", "every token must be a string")
    return Tokens({location: token.strip() for location, token in tokens.items() if token})


def _of_connection(text: str) -> Tokens:
    try:
        oauth = read_oauth(text)
    except InvalidOAuthSecretError as error:
        raise TokenError("token_malformed", str(error)) from None
    own = oauth.access_token if oauth and oauth.user_type == "Location" else None
    return Tokens({"*": own} if own else {}, oauth)
