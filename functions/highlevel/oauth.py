"""HighLevel's OAuth: the format `{"oauth": {…}}` of the secret, and the three calls that return a token.

An access token lives a day. Its refresh token lives a year and is **single use**: the response must be stored.
For 30 seconds HighLevel gives the same response again, which is the only way back to one that got lost.
"""

import json
import re
import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlencode

from highlevel.client import HighLevel
from highlevel.ids import is_id
from highlevel.responses import ApiResult, classify_response
from shared.connection_pool import HttpResponse
from shared.json_text import json_object

SAME_ANSWER_SECONDS = 30.0  # in which HighLevel repeats its response to a refresh token

type UserType = Literal["Company", "Location"]

_CREDENTIAL = re.compile(r"[!-~]{1,8192}")
_REQUIRED = ("client_id", "client_secret", "refresh_token", "user_type")
_OPTIONAL = ("company_id", "access_token", "expires_at")


class InvalidOAuthSecretError(ValueError):
    """The secret's `oauth` cannot be read; the text names what is wrong with it, never a value."""


class OAuthError(Exception):
    """HighLevel gave no token.

    `reason` is a reason code for logs; neither it nor the text holds any part of a request or a response. `status`: the
    HTTP status, None without a response.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(f"{reason}, status {status}" if status else reason)
        self.reason = reason
        self.status = status


class OAuthDeferredError(OAuthError):
    """A transient failure: make the same call again. HighLevel may have carried this one out.

    Reasons: upstream_unreachable, upstream_timeout, upstream_connection_lost, upstream_error, upstream_unexpected,
    rate_limited; for a location token also token_refused (a newer access token of the agency may help). `retry_after`:
    seconds.
    """

    def __init__(self, reason: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(reason, status)
        self.retry_after = retry_after


class LocationInactiveError(OAuthDeferredError):
    """The sub-account is suspended (`location_inactive`). Nothing is used up: once it is active the same call works."""


class OAuthRefusedError(OAuthError):
    """A permanent failure: an operator must act.

    Reasons: grant_refused (the refresh token or code is used, revoked or too old: connect again), client_refused
    (client id or secret), oauth_refused (anything else about the call), base_url_refused; for a code also
    user_type_refused (it stands for the other type); for a location token also scope_missing, token_kind_refused (not
    an agency's token), version_refused, location_refused (not the agency's, or the app is not installed there).
    """


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The response of `POST /oauth/token`. `expires_at`: Unix time in seconds, None if HighLevel did not say.

    `refresh_token` is None if there is no new one: the old one then stays valid (RFC 6749, 6).
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_at: int | None
    company_id: str | None = None
    location_id: str | None = None
    user_type: str | None = None


@dataclass(frozen=True, slots=True)
class LocationToken:
    """A location's access token, issued for its agency's; it has no refresh token."""

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
        """Return the connection with the tokens of a response."""
        return replace(
            self,
            refresh_token=pair.refresh_token or self.refresh_token,
            access_token=pair.access_token,
            expires_at=pair.expires_at,
            company_id=self.company_id or pair.company_id,  # a rotation recognises its connection by it
        )

    def has_expired(self, now: float) -> bool:
        """Return whether the access token is known to have expired at that Unix time, or there is none."""
        return self.access_token is None or (self.expires_at is not None and now >= self.expires_at)

    def to_secret(self) -> str:
        """Return the secret's text, as `read_oauth` takes it."""
        members = {name: getattr(self, name) for name in _REQUIRED + _OPTIONAL}
        return json.dumps({"oauth": {name: value for name, value in members.items() if value is not None}})


def read_oauth(text: str) -> OAuth | None:
    """Return the connection in the secret's text; None when its format is another (a plain token, tokens by location).

    Raises InvalidOAuthSecretError for an `oauth` that cannot be used.
    """
    secret = json_object(text)
    if secret is None or "oauth" not in secret:
        return None
    if len(secret) > 1:
        raise InvalidOAuthSecretError('the secret must be {"oauth": {…}} with nothing beside it')
    members = secret["oauth"]
    if not isinstance(members, dict):
        raise InvalidOAuthSecretError("oauth must be an object")
    if unknown := members.keys() - {*_REQUIRED, *_OPTIONAL}:
        # A name is not a value, but a value pasted in the wrong place would be shown.
        named = sorted(name for name in unknown if re.fullmatch(r"[A-Za-z_]{1,24}", name))
        raise InvalidOAuthSecretError(f"oauth has members it does not know: {', '.join(named) or len(unknown)}")
    stripped = {name: value.strip() if isinstance(value, str) else value for name, value in members.items()}
    given: dict[str, Any] = {name: value for name, value in stripped.items() if value not in (None, "")}
    _check_members(given)
    expires_at = given.get("expires_at")
    return OAuth(**given | {"expires_at": None if expires_at is None else int(expires_at)})


def _check_members(given: dict[str, Any]) -> None:
    """Raise InvalidOAuthSecretError for the first member that is missing or malformed."""
    for name in _REQUIRED:
        if name not in given:
            raise InvalidOAuthSecretError(f"oauth.{name} is missing")
    for name in ("client_id", "client_secret", "refresh_token", "access_token"):
        if name in given and not _is_credential(given[name]):
            raise InvalidOAuthSecretError(f"oauth.{name} must be a text without blanks or letters beyond ASCII")
    if given["user_type"] not in ("Company", "Location"):
        raise InvalidOAuthSecretError("oauth.user_type must be Company or Location")
    if "company_id" in given and not is_id(given["company_id"]):
        raise InvalidOAuthSecretError("oauth.company_id must be an id: up to 64 letters, digits, _ or -")
    if "expires_at" in given and not _is_number_between(given["expires_at"], 0, 10**11):
        raise InvalidOAuthSecretError("oauth.expires_at must be a Unix time in seconds")


def refresh(highlevel: HighLevel, oauth: OAuth, *, within: float) -> TokenPair:
    """Use the refresh token and return a new pair within that many seconds. **Store it before anything else can fail.**

    Raises LocationInactiveError, OAuthDeferredError or OAuthRefusedError.
    """
    form = {
        "client_id": oauth.client_id,
        "client_secret": oauth.client_secret,
        "grant_type": "refresh_token",
        "refresh_token": oauth.refresh_token,
        "user_type": oauth.user_type,
    }
    return _ask_for_pair(highlevel, form, within)


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """The `code` that HighLevel adds to the redirect URL, and the app and account type that it was requested for."""

    client_id: str
    client_secret: str = field(repr=False)
    code: str = field(repr=False)
    user_type: UserType
    redirect_uri: str | None = None


def exchange_code(highlevel: HighLevel, code: AuthorizationCode, *, within: float) -> tuple[OAuth, str | None]:
    """Exchange an authorisation code for a connection; return it and its location's id.

    A code works once. Raises as `refresh` does.
    """
    form = {
        "client_id": code.client_id,
        "client_secret": code.client_secret,
        "grant_type": "authorization_code",
        "code": code.code,
        "user_type": code.user_type,
    }
    if code.redirect_uri:
        form["redirect_uri"] = code.redirect_uri
    pair = _ask_for_pair(highlevel, form, within)
    if pair.refresh_token is None:
        raise OAuthDeferredError("upstream_unexpected", 200)
    if pair.user_type not in (code.user_type, None):
        raise OAuthRefusedError("user_type_refused", 200)
    connection = OAuth(code.client_id, code.client_secret, pair.refresh_token, code.user_type)
    return connection.with_token_pair(pair), pair.location_id


def issue_location_token(
    highlevel: HighLevel, access_token: str, company_id: str, location: str, *, within: float
) -> LocationToken:
    """Return a token of that location, issued for its agency's access token (scope `oauth.write`).

    Raises LocationInactiveError, OAuthDeferredError or OAuthRefusedError.
    """
    sent_at = time.time()
    body = urlencode({"companyId": company_id, "locationId": location}).encode()
    result = highlevel.call("POST", "/oauth/locationToken", access_token, body, within, media=FORM)
    payload = _granted(result, "location token")
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


def _granted(result: HttpResponse | Exception, call: Literal["token", "location token"]) -> dict[str, Any]:
    """Return the body of a response that contains an access token. Raises OAuthError for any other result."""
    if isinstance(result, HttpResponse) and result.status in (200, 201):
        payload = json_object(result.body)
        if payload is not None and _is_credential(payload.get("access_token")):
            return payload
        # Granted, and not readable: within its window HighLevel repeats the response.
        raise OAuthDeferredError("upstream_unexpected", result.status)
    raise _refusal(result, call)


def _refusal(result: HttpResponse | Exception, call: Literal["token", "location token"]) -> OAuthError:
    """Return the error for a result without a token.

    Network errors, rate limits, 5xx, edge pages and suspended locations mean the same as on every other route. The
    other 4xx have their own texts: on the token route about the grant (400) or the client (401), never about a token;
    on the route of location tokens about the agency's access token and the location.
    """
    status = None if isinstance(result, Exception) else result.status
    api_result = classify_response(result, "", "")
    if api_result.reason == "location_inactive":
        return LocationInactiveError(api_result.reason, status)
    if api_result.outcome == "deferred" and not (call == "token" and api_result.token_suspect):
        return OAuthDeferredError(api_result.reason, status, api_result.retry_after)
    if isinstance(result, Exception):
        return OAuthRefusedError(api_result.reason)
    reason = _reason_of_token(result) if call == "token" else _reason_of_location_token(api_result)
    return OAuthRefusedError(reason, status)


def _reason_of_token(response: HttpResponse) -> str:
    text = response.body.lower()
    if b"grant" in text or b"refresh token" in text or b"authorization code" in text:
        return "grant_refused"
    return "client_refused" if response.status == 401 or b"client" in text else "oauth_refused"


def _reason_of_location_token(api_result: ApiResult) -> str:
    if api_result.reason in ("scope_missing", "token_kind_refused", "location_refused", "version_refused"):
        return api_result.reason
    return "location_refused" if api_result.reason == "ids_refused" else "oauth_refused"


def _is_credential(value: object) -> bool:
    return isinstance(value, str) and _CREDENTIAL.fullmatch(value) is not None


def _is_number_between(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low < value < high


def _expiry(payload: dict[str, Any], sent_at: float) -> int | None:
    """Return when the access token expires, counted from the request: a slow response must not prolong its life."""
    seconds = payload.get("expires_in")
    return int(sent_at + seconds) if seconds is not None and _is_number_between(seconds, 0, 10**9) else None


def _id(value: object) -> str | None:
    return value if is_id(value) else None
