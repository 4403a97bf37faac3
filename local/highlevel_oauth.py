"""The OAuth server of the local HighLevel: installations, their single-use refresh tokens, an agency's location tokens.

It follows HighLevel's documentation and measurements exactly. Two things are unknown and assumed: an access token is
valid until it expires, even if its pair was refreshed; and the wording of refusals that `highlevel-api` does not show.
"""

import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

from starlette.responses import JSONResponse, RedirectResponse, Response

type UserType = Literal["Company", "Location"]
type Refusal = Callable[[int, str | list[str]], Response]

FORM = "application/x-www-form-urlencoded"
_FIELDS = ("client_id", "client_secret", "grant_type", "code", "refresh_token", "user_type", "companyId", "locationId")
SCOPES = (
    "conversations.write conversations.readonly conversations/message.write conversations/message.readonly "
    "contacts.write contacts.readonly"
)
AGENCY_VERSION = "2021-07-28"
NO_ACCESS = "The token does not have access to this location."


@dataclass(eq=False)
class Installation:
    """An app's installation in a location or an agency, with its current tokens.

    `location_id`: None for an agency; None for a location means any. `locations`: those of an agency, None for any.
    `expires_at`: Unix time.
    """

    client_id: str
    user_type: UserType
    company_id: str
    location_id: str | None = None
    locations: set[str] | None = None
    revoked: bool = False
    access_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    expires_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Access:
    """What an access token gives access to: a location, or an agency if that is None."""

    installation: Installation
    location: str | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class Sent:
    """A received refresh token: the status of the answer, and whether the answer was a repeated one."""

    at: float
    refresh_token: str = field(repr=False)
    status: int
    again: bool = False


@dataclass
class OAuthServer:
    """The OAuth server.

    `clients`: id -> secret. `access_seconds`: lifetime of an access token. `window_seconds`: how long a used refresh
    token gets the same answer again. `refuse`: creates HighLevel's error envelope. To read: `sent`, every received
    refresh token in order; `issued`, the location of every location token.
    """

    refuse: Refusal
    clients: dict[str, str] = field(default_factory=dict, repr=False)
    access_seconds: float = 86_399
    window_seconds: float = 30.0
    inactive: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.installations: list[Installation] = []
        self.sent: list[Sent] = []
        self.issued: list[str] = []
        self.chooses: Installation | None = None
        self._access: dict[str, Access] = {}
        self._refresh: dict[str, Installation] = {}
        self._answered: dict[str, tuple[float, dict[str, Any]]] = {}
        self._codes: dict[str, Installation] = {}

    def reset(self) -> None:
        """Delete the received tokens; keep clients, installations and their tokens."""
        self.sent.clear()
        self.issued.clear()

    # Actions of a person in HighLevel

    def client(self) -> tuple[str, str]:
        """Register an app. Returns its client id and secret."""
        client_id, secret = f"{uuid.uuid4().hex[:24]}-{secrets.token_hex(4)}", str(uuid.uuid4())
        self.clients[client_id] = secret
        return client_id, secret

    def install(
        self,
        client_id: str,
        user_type: UserType = "Location",
        *,
        company: str = "company0000000000001",
        location: str | None = None,
        locations: set[str] | None = None,
    ) -> Installation:
        """Install an app in a location or an agency. The installation has its first pair of tokens."""
        installation = Installation(client_id, user_type, company, location, locations)
        self.installations.append(installation)
        self._issue(installation)
        return installation

    def authorize(self, installation: Installation) -> str:
        """Return the code of the redirect URL after the user has approved."""
        code = secrets.token_hex(20)
        self._codes[code] = installation
        return code

    def revoke(self, installation: Installation) -> None:
        """Uninstall the app. All its tokens are refused from now on."""
        installation.revoked = True

    # Routes

    def access(self, token: str) -> Access | None:
        """Return what this access token gives access to; None if it is unknown, expired or revoked."""
        access = self._access.get(token)
        return access if access and time.time() < access.expires_at and not access.installation.revoked else None

    def choose_location(self, query: dict[str, str]) -> Response:
        """Handle `GET /oauth/chooselocation` of a browser.

        Approves immediately: the installation in `chooses`, by default the app's latest one. Redirects with a code.
        """
        installed = [each for each in self.installations if each.client_id == query.get("client_id")]
        chosen = self.chooses or next(reversed(installed), None)
        if chosen not in installed or "redirect_uri" not in query:
            return self.refuse(400, "error.noAppVersionIdFound")
        back = urlencode({"code": self.authorize(chosen)} | {name: query[name] for name in ("state",) if name in query})
        return RedirectResponse(f"{query['redirect_uri']}?{back}", 302)

    def token(self, media: str, body: bytes) -> Response:
        """Handle `POST /oauth/token`."""
        form = _form(media, body)
        wrong = [
            f"{name} should not be empty" for name in ("client_id", "client_secret", "grant_type") if not form[name]
        ]
        if form["grant_type"] not in ("", "authorization_code", "refresh_token"):
            wrong.append("grant_type must be one of the following values: authorization_code, refresh_token")
        if form["user_type"] not in ("", "Company", "Location"):
            wrong.append("user_type must be one of the following values: Company, Location")
        if wrong:
            return self.refuse(422, wrong)
        if form["grant_type"] == "refresh_token":
            answer, again = self._refreshed(form)
            self.sent.append(Sent(time.time(), form["refresh_token"], answer.status_code, again))
            return answer
        if self.clients.get(form["client_id"]) != form["client_secret"]:
            return _unauthorized()
        installation = self._codes.pop(form["code"], None)
        if installation is None or installation.client_id != form["client_id"]:
            return self.refuse(400, "Invalid grant: authorization code is invalid")
        return JSONResponse(self._issue(installation))

    def location_token(self, version: str, token: str, media: str, body: bytes, agency_refusal: str) -> Response:
        """Handle `POST /oauth/locationToken`: 201, although the documentation says 200, without a refresh token."""
        if version != AGENCY_VERSION:
            return self.refuse(401, "version header is invalid")
        agency = self.access(token)
        if agency is None and not token.startswith("pit-"):
            return self.refuse(401, "Invalid JWT")
        if agency is None or agency.location is not None:
            return self.refuse(401, agency_refusal)
        form = _form(media, body)
        wrong = [f"{name} should not be empty" for name in ("companyId", "locationId") if not form[name]]
        if wrong:
            return self.refuse(422, wrong)
        location, installation = form["locationId"], agency.installation
        installed = installation.locations is None or location in installation.locations
        if form["companyId"] != installation.company_id or not installed:
            return self.refuse(403, NO_ACCESS)
        if location in self.inactive:
            return self.refuse(400, "Location is not active")
        issued = _jwt()
        self._access[issued] = Access(installation, location, time.time() + self.access_seconds)
        self.issued.append(location)
        content = {
            "access_token": issued,
            "token_type": "Bearer",
            "expires_in": self.access_seconds,
            "scope": SCOPES,
            "locationId": location,
            "userId": "user0000000000000001",
            "traceId": str(uuid.uuid4()),
        }
        return JSONResponse(content, 201)

    def _refreshed(self, form: dict[str, str]) -> tuple[Response, bool]:
        if self.clients.get(form["client_id"]) != form["client_secret"]:
            return _unauthorized(), False
        installation = self._refresh.get(form["refresh_token"])
        invalid = self.refuse(400, "Invalid grant: refresh token is invalid")
        if installation is None or installation.client_id != form["client_id"] or installation.revoked:
            return invalid, False
        if used := self._answered.get(form["refresh_token"]):
            at, answer = used
            return (JSONResponse(answer), True) if time.time() - at < self.window_seconds else (invalid, False)
        if installation.location_id in self.inactive:
            return self.refuse(400, "Location is not active"), False
        answer = self._issue(installation)
        self._answered[form["refresh_token"]] = (time.time(), answer)
        return JSONResponse(answer), False

    def _issue(self, installation: Installation) -> dict[str, Any]:
        """Issue a new pair of tokens. Returns the answer of the token route."""
        installation.access_token, installation.refresh_token = _jwt(), _jwt()
        installation.expires_at = time.time() + self.access_seconds
        location = (installation.location_id or "*") if installation.user_type == "Location" else None
        self._access[installation.access_token] = Access(installation, location, installation.expires_at)
        self._refresh[installation.refresh_token] = installation
        answer = {
            "access_token": installation.access_token,
            "token_type": "Bearer",
            "expires_in": self.access_seconds,
            "refresh_token": installation.refresh_token,
            "scope": SCOPES,
            "userType": installation.user_type,
            "companyId": installation.company_id,
            "userId": "user0000000000000001",
            "traceId": str(uuid.uuid4()),
        }
        return answer | ({"locationId": installation.location_id} if installation.location_id else {})


def _form(media: str, body: bytes) -> dict[str, str]:
    """Return the fields of a form, "" for missing ones. A body of another type is ignored."""
    given = dict(parse_qsl(body.decode(errors="replace"))) if media == FORM else {}
    return {name: given.get(name, "") for name in _FIELDS}


def _unauthorized() -> Response:
    return JSONResponse({"error": "UnAuthorized!", "error_description": "Invalid client credentials!"}, 401)


def _jwt() -> str:
    """Return a random token as long as those of HighLevel."""
    return f"eyJhbGciOiJSUzI1NiJ9.{secrets.token_urlsafe(420)}.{secrets.token_urlsafe(128)}"
