"""The secret HighLevelToken: reading it, with the errors that a submission ends with if it cannot be used."""

from create_conversation.errors import HLC, DeferredError, RejectedError
from create_conversation.issued_token_cache import MARGIN_SECONDS
from create_conversation.secret_cache import CachedSecret, SecretError, SecretMissingError, SecretUnavailableError
from highlevel.oauth import OAuth
from highlevel.tokens import TokenError, Tokens, read_tokens


def current(secret: CachedSecret) -> str:
    """Return the secret's text. Raises RejectedError if it has no value, DeferredError if it cannot be read now."""
    try:
        return secret.get()
    except SecretMissingError:
        raise RejectedError("no_token", f"The secret HighLevelToken has no value yet: run {HLC} token set.") from None
    except SecretUnavailableError:
        raise DeferredError("token_unavailable") from None


def newer_than(secret: CachedSecret, text: str) -> str | None:
    """Return a text that is newer than this one; None if there is none or the secret cannot be read now."""
    try:
        return secret.newer_than(text)
    except SecretError:
        return None


def unexpired(secret: CachedSecret, text: str, tokens: Tokens, now: float) -> tuple[str, Tokens]:
    """Return the text and its tokens, or those that a rotation has stored since the access token expired.

    `now`: Unix time. Raises DeferredError if the access token has expired and there is no newer one.
    """
    if tokens.oauth and tokens.oauth.has_expired(now + MARGIN_SECONDS):
        newer = newer_than(secret, text)
        if newer is not None:
            text, tokens = newer, read(newer)
    if tokens.oauth and tokens.oauth.has_expired(now):
        raise DeferredError("token_expired")
    return text, tokens


def read(text: str) -> Tokens:
    """Return the tokens in the secret's text. Raises RejectedError if it is malformed."""
    try:
        return read_tokens(text)
    except TokenError as error:
        raise RejectedError(error.reason, f"HighLevelToken: {error}.") from None


def token_of(tokens: Tokens, location: str) -> str:
    """Return the token of a location. Raises RejectedError if there is none, or it is malformed."""
    try:
        return tokens.of(location)
    except TokenError as error:
        raise RejectedError(error.reason, f"HighLevelToken: {error}.") from None


def agency(tokens: Tokens) -> OAuth:
    """Return the agency's connection, with which tokens can be issued. Raises DeferredError or RejectedError."""
    oauth = tokens.oauth
    if oauth is None or oauth.access_token is None or oauth.user_type != "Company":
        raise DeferredError("token_refused")  # the secret is of another kind now: the next attempt reads it as such
    if oauth.company_id is None:
        raise RejectedError("token_malformed", "HighLevelToken: oauth.company_id is missing.")
    return oauth
