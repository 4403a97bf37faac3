"""The OAuth server of the local HighLevel: installations, their single-use refresh tokens, an agency's location tokens.

What is documented or was measured is played to the letter. Assumed, as nothing is known: an access token lives to its
end, whether its pair was refreshed or not, and the wording of refusals that `highlevel-api` does not give.
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
AGENCY_VERSION = "2021-07-28"
NO_ACCESS = "The token does not have access to this location."


@dataclass(eq=False)
class Installation:
    """What one authorisation gave an app. `location_id`: None with an agency; with a location it then stands for any.
    `locations`: those of an agency, None for any.

    Of its current tokens: `access_token`, `refresh_token`, `expires_at` (Unix time).
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
    """Whom an access token stands for: a location, or with None an agency."""

    installation: Installation
    location: str | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class Sent:
    """A refresh token that arrived, and what became of it: the status, and whether the answer was one given before."""

    at: float
    refresh_token: str = field(repr=False)
    status: int
    again: bool = False


@dataclass
class OAuthServer:
    """`clients`: id -> secret. `access_seconds`: an access token's life. `window_seconds`: how long a used refresh
    token is answered as the first time. `refuse` makes HighLevel's error envelope.

    To be read: `sent`, every refresh token that arrived, in order; `minted`, the location of every token given for one.
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
        """Forget what arrived; keep clients, installations and their tokens."""
        self.sent.clear()
        self.issued.clear()

    # What a person does in HighLevel

    def client(self) -> tuple[str, str]:
        """Register an app: its client id and secret."""
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
        """Install an app with a location, or with an agency; it has its first pair of tokens."""
        installation = Installation(client_id, user_type, company, location, locations)
        self.installations.append(installation)
        self._issue(installation)
        return installation

    def authorize(self, installation: Installation) -> str:
        """The code with which the redirected URL ends after somebody has approved."""
        code = secrets.token_hex(20)
        self._codes[code] = installation
        return code

    def revoke(self, installation: Installation) -> None:
        """Uninstall the app: every token of it is refused from now on."""
        installation.revoked = True

    # What the routes answer

    def access(self, token: str) -> Access | None:
        """Whom this access token stands for; None if it is unknown, dead or revoked."""
        access = self._access.get(token)
        return access if access and time.time() < access.expires_at and not access.installation.revoked else None

    def choose_location(self, query: dict[str, str]) -> Response:
        """`GET /oauth/chooselocation` in a browser: approve at once what `chooses` names, by default where the app is
        installed, and go back with a code."""
        installed = [each for each in self.installations if each.client_id == query.get("client_id")]
        chosen = self.chooses or next(reversed(installed), None)
        if chosen not in installed or "redirect_uri" not in query:
            return self.refuse(400, "error.noAppVersionIdFound")
        back = urlencode({"code": self.authorize(chosen)} | {name: query[name] for name in ("state",) if name in query})
        return RedirectResponse(f"{query['redirect_uri']}?{back}", 302)

    def token(self, media: str, body: bytes) -> Response:
        """`POST /oauth/token`."""
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
        """`POST /oauth/locationToken`: 201, though the documentation says 200, and no refresh token."""
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
            "scope": "conversations.write conversations.readonly contacts.write",
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
        """A new pair of tokens, as the token route answers it."""
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
            "scope": "conversations.write conversations.readonly contacts.write",
            "userType": installation.user_type,
            "companyId": installation.company_id,
            "userId": "user0000000000000001",
            "traceId": str(uuid.uuid4()),
        }
        return answer | ({"locationId": installation.location_id} if installation.location_id else {})


def _form(media: str, body: bytes) -> dict[str, str]:
    """The fields of a form, "" for those it lacks; a body of another type is not looked at."""
    given = dict(parse_qsl(body.decode(errors="replace"))) if media == FORM else {}
    return {name: given.get(name, "") for name in _FIELDS}


def _unauthorized() -> Response:
    return JSONResponse({"error": "UnAuthorized!", "error_description": "Invalid client credentials!"}, 401)


def _jwt() -> str:
    """As long as HighLevel's are, and as unreadable."""
    return f"eyJhbGciOiJSUzI1NiJ9.{secrets.token_urlsafe(420)}.{secrets.token_urlsafe(128)}"
