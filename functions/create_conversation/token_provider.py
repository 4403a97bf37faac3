"""The token that each location is called with: from the secret HighLevelToken, or issued by an agency's connection."""

import time
from dataclasses import dataclass, field

from create_conversation import token_secret
from create_conversation.location_tokens import LocationTokens, TokenRequest
from create_conversation.secret_cache import CachedSecret
from shared.clock import Clock


@dataclass(frozen=True, slots=True)
class Token:
    """A token to call with, and the text of the secret that it comes from. `is_issued`: by an agency's connection."""

    text: str = field(repr=False)
    secret: str = field(repr=False)
    is_issued: bool = False


class TokenProvider:
    """Gives the token for a location. All threads may share it. `until` is always in monotonic seconds."""

    def __init__(self, secret: CachedSecret, location_tokens: LocationTokens, clock: Clock = time) -> None:
        self._secret = secret
        self.location_tokens = location_tokens
        self._clock = clock

    def token_for(self, location: str, until: float) -> Token:
        """Return the token to call HighLevel with for that location, never one that is known to have expired.

        Raises DeferredError or RejectedError.
        """
        secret = token_secret.current(self._secret)
        tokens = token_secret.read(secret)
        if tokens.oauth and tokens.oauth.user_type == "Company":
            issued = self.location_tokens.get(TokenRequest(location, secret, tokens.oauth, until))
            return Token(issued, secret, is_issued=True)
        secret, tokens = token_secret.unexpired(self._secret, secret, tokens, self._clock.time())
        return Token(token_secret.token_of(tokens, location), secret)

    def replacement_token(self, refused: Token, location: str, until: float) -> Token | None:
        """Return a token other than this one, which HighLevel has just refused; None when there is none.

        Raises DeferredError or RejectedError if one cannot be issued.
        """
        oauth = token_secret.read(refused.secret).oauth
        if oauth and oauth.user_type == "Company":
            request = TokenRequest(location, refused.secret, oauth, until, refused.text)
            issued = self.location_tokens.get(request)
            return None if issued == refused.text else Token(issued, refused.secret, is_issued=True)
        newer = token_secret.newer_than(self._secret, refused.secret)
        return self.token_for(location, until) if newer else None
