"""HighLevel's OAuth: the shape `{"oauth": {…}}` of the secret, and the three calls that answer with a token.

An access token lives a day. Its refresh token lives a year and is **single use**: whoever has sent it must keep what
was answered. For 30 seconds HighLevel gives the same answer again, which is the only way back to one that got lost.
"""

import json
import re
import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlencode

from highlevel.client import HighLevel
from highlevel.responses import classify_response
from shared.connection_pool import HttpResponse

SAME_ANSWER_SECONDS = 30.0  # in which a refresh token that was used is answered as the first time

type UserType = Literal["Company", "Location"]

_CREDENTIAL = re.compile(r"[!-~]{1,8192}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REQUIRED = ("client_id", "client_secret", "refresh_token", "user_type")
_OPTIONAL = ("company_id", "access_token", "expires_at")


class InvalidOAuthSecretError(ValueError):
    """The secret's `oauth` cannot be read; the text names what is wrong with it, never a value."""


class OAuthError(Exception):
    """HighLevel gave no token. `reason` is a word for logs; neither it nor the text holds anything of a request or an
    answer. `status`: the answer's, None without one."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(f"{reason}, status {status}" if status else reason)
        self.reason = reason
        self.status = status


class OAuthDeferredError(OAuthError):
    """Time mends it: the same call again. Whether this one was carried out is unknown.

    Reasons: upstream_unreachable, upstream_timeout, upstream_connection_lost, upstream_error, upstream_unexpected,
    rate_limited; of minting also token_refused (a newer access token of the agency may help). `retry_after`: seconds.
    """

    def __init__(self, reason: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(reason, status)
        self.retry_after = retry_after


class LocationInactiveError(OAuthDeferredError):
    """The sub-account is suspended (`location_inactive`). Nothing is used up: once it is active the same call works."""


class OAuthRefusedError(OAuthError):
    """A person must mend it.

    Reasons: grant_refused (the refresh token or code is spent, revoked or too old: connect anew), client_refused
    (client id or secret), oauth_refused (anything else about the call), base_url_refused; of a code also
    user_type_refused (it stands for the other type); of minting also scope_missing, token_kind_refused (no agency's
    token), version_refused, location_refused (not the agency's, or the app is not installed there).
    """


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What `POST /oauth/token` answered. `expires_at`: Unix time in seconds, None if HighLevel did not say.
    `refresh_token` is None if there is no new one: the old one then stays good (RFC 6749, 6)."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_at: int | None
    company_id: str | None = None
    location_id: str | None = None
    user_type: str | None = None


@dataclass(frozen=True, slots=True)
class LocationToken:
    """A location's access token, minted from its agency's; it has no refresh token."""

    access_token: str = field(repr=False)
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class OAuth:
    """A connection: the secret's `oauth`. `expires_at`: of the access token, Unix time in seconds."""

    client_id: str
    client_secret: str = field(repr=False)
    refresh_token: str = field(repr=False)
    user_type: UserType
    company_id: str | None = None
    access_token: str | None = field(default=None, repr=False)
    expires_at: int | None = None

    def with_token_pair(self, pair: TokenPair) -> "OAuth":
        """The connection after an answer of the token endpoint."""
        return replace(
            self,
            refresh_token=pair.refresh_token or self.refresh_token,
            access_token=pair.access_token,
            expires_at=pair.expires_at,
            company_id=self.company_id or pair.company_id,  # by which the rotation knows its own
        )

    def has_expired(self, now: float) -> bool:
        """Whether the access token is known to be dead at that Unix time, or there is none."""
        return self.access_token is None or (self.expires_at is not None and now >= self.expires_at)

    def to_secret(self) -> str:
        """The secret's text, as `read_oauth` takes it."""
        members = {name: getattr(self, name) for name in _REQUIRED + _OPTIONAL}
        return json.dumps({"oauth": {name: value for name, value in members.items() if value is not None}})


def read_oauth(text: str) -> OAuth | None:
    """The connection in the secret's text; None when the text is of another shape (a plain token, tokens by location).

    Raises OAuthShapeError for an `oauth` that cannot be used.
    """
    try:
        shape = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(shape, dict) or "oauth" not in shape:
        return None
    if len(shape) > 1:
        raise InvalidOAuthSecretError('the secret must be {"oauth": {…}} with nothing beside it')
    members = shape["oauth"]
    if not isinstance(members, dict):
        raise InvalidOAuthSecretError("oauth must be an object")
    if unknown := members.keys() - {*_REQUIRED, *_OPTIONAL}:
        # A name is not a value, but a value pasted in the wrong place would be shown.
        named = sorted(name for name in unknown if re.fullmatch(r"[A-Za-z_]{1,24}", name))
        raise InvalidOAuthSecretError(f"oauth has members it does not know: {', '.join(named) or len(unknown)}")
    stripped = {name: value.strip() if isinstance(value, str) else value for name, value in members.items()}
    given: dict[str, Any] = {name: value for name, value in stripped.items() if value not in (None, "")}
    for name in _REQUIRED:
        if name not in given:
            raise InvalidOAuthSecretError(f"oauth.{name} is missing")
    for name in ("client_id", "client_secret", "refresh_token", "access_token"):
        value = given.get(name)
        if value is not None and not (isinstance(value, str) and _CREDENTIAL.fullmatch(value)):
            raise InvalidOAuthSecretError(f"oauth.{name} must be a text without blanks or letters beyond ASCII")
    if given["user_type"] not in ("Company", "Location"):
        raise InvalidOAuthSecretError("oauth.user_type must be Company or Location")
    company = given.get("company_id")
    if company is not None and not (isinstance(company, str) and _ID.fullmatch(company)):
        raise InvalidOAuthSecretError("oauth.company_id must be an id: up to 64 letters, digits, _ or -")
    expires_at = given.get("expires_at")
    if expires_at is not None and (
        isinstance(expires_at, bool) or not isinstance(expires_at, int | float) or not 0 < expires_at < 10**11
    ):
        raise InvalidOAuthSecretError("oauth.expires_at must be a Unix time in seconds")
    return OAuth(**given | {"expires_at": None if expires_at is None else int(expires_at)})


def refresh(highlevel: HighLevel, oauth: OAuth, *, within: float) -> TokenPair:
    """Use the refresh token up: a new pair within that many seconds. **Store it before anything else can fail.**

    Raises LocationInactive, OAuthDeferred or OAuthRefused.
    """
    form = {
        "client_id": oauth.client_id,
        "client_secret": oauth.client_secret,
        "grant_type": "refresh_token",
        "refresh_token": oauth.refresh_token,
        "user_type": oauth.user_type,
    }
    return _ask_for_pair(highlevel, form, within)


def exchange_code(
    highlevel: HighLevel,
    client_id: str,
    client_secret: str,
    code: str,
    *,
    user_type: UserType,
    redirect_uri: str | None = None,
    within: float,
) -> tuple[OAuth, str | None]:
    """The connection that the code of an authorisation (the redirected URL's `code`) stands for, and its location's id;
    a code works once.

    Raises as `refresh` does.
    """
    form = {
        "client_id": client_id,
        "client_secret": client_secret,
        "grant_type": "authorization_code",
        "code": code,
        "user_type": user_type,
    }
    pair = _ask_for_pair(highlevel, form | ({"redirect_uri": redirect_uri} if redirect_uri else {}), within)
    if pair.refresh_token is None:
        raise OAuthDeferredError("upstream_unexpected", 200)
    if pair.user_type not in (user_type, None):
        raise OAuthRefusedError("user_type_refused", 200)
    return OAuth(client_id, client_secret, pair.refresh_token, user_type).with_token_pair(pair), pair.location_id


def issue_location_token(
    highlevel: HighLevel, access_token: str, company_id: str, location: str, *, within: float
) -> LocationToken:
    """A token of that location, from its agency's access token (scope `oauth.write`).

    Raises LocationInactive, OAuthDeferred or OAuthRefused.
    """
    sent_at = time.time()
    body = urlencode({"companyId": company_id, "locationId": location}).encode()
    result = highlevel.call("POST", "/oauth/locationToken", access_token, body, within, media=FORM)
    payload = _granted(result, "mint")
    return LocationToken(payload["access_token"], _expiry(payload, sent_at))


FORM = "application/x-www-form-urlencoded"


def _ask_for_pair(highlevel: HighLevel, form: dict[str, str], within: float) -> TokenPair:
    sent_at = time.time()
    result = highlevel.call("POST", "/oauth/token", None, urlencode(form).encode(), within, media=FORM)
    payload = _granted(result, "token")
    refresh_token = payload.get("refresh_token")
    return TokenPair(
        payload["access_token"],
        refresh_token if _is_credential(refresh_token) else None,
        _expiry(payload, sent_at),
        _id(payload.get("companyId")),
        _id(payload.get("locationId")),
        _id(payload.get("userType")),
    )


def _granted(result: HttpResponse | Exception, call: Literal["token", "mint"]) -> dict[str, Any]:
    """What an answer of the two OAuth routes means: its body when it holds an access token, else the error to raise.

    Network, quota, 5xx, pages of an edge and suspended locations are judged as on every other route. What is left is a
    4xx in HighLevel's own words: on the token route about the grant (400) or the client (401), never about a token of
    ours; on the minting route about the agency's access token and the location.
    """
    status = None if isinstance(result, Exception) else result.status
    if isinstance(result, HttpResponse) and result.status in (200, 201):
        try:
            payload = json.loads(result.body)
        except (ValueError, RecursionError):
            payload = None
        if isinstance(payload, dict) and _is_credential(payload.get("access_token")):
            return payload
        # Granted, and not readable: within its window the same call is answered the same.
        raise OAuthDeferredError("upstream_unexpected", status)
    judged = classify_response(result, "", "")
    if judged.reason == "location_inactive":
        raise LocationInactiveError(judged.reason, status)
    if judged.outcome == "deferred" and not (call == "token" and judged.token_suspect):
        raise OAuthDeferredError(judged.reason, status, judged.retry_after)
    if isinstance(result, Exception):
        raise OAuthRefusedError(judged.reason)
    if call == "mint":
        known = ("scope_missing", "token_kind_refused", "location_refused", "version_refused")
        refused = "location_refused" if judged.reason == "ids_refused" else "oauth_refused"
        raise OAuthRefusedError(judged.reason if judged.reason in known else refused, status)
    told = result.body.lower()
    if b"grant" in told or b"refresh token" in told or b"authorization code" in told:
        raise OAuthRefusedError("grant_refused", status)
    raise OAuthRefusedError("client_refused" if status == 401 or b"client" in told else "oauth_refused", status)


def _is_credential(value: object) -> bool:
    return isinstance(value, str) and _CREDENTIAL.fullmatch(value) is not None


def _expiry(payload: dict[str, Any], sent_at: float) -> int | None:
    """When the access token dies, from when it was asked for: a slow answer must not seem to prolong its life."""
    seconds = payload.get("expires_in")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 10**9:
        return None
    return int(sent_at + seconds)


def _id(value: object) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None
