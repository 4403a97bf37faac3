"""The four steps of a rotation. Each may be called twice, or again after the function was killed anywhere.

A refresh token works once, so a new pair is stored as AWSPENDING by the next call after HighLevel's response, and a
pair that is pending is made current, not replaced.
"""

import time
import uuid
from dataclasses import replace

from highlevel.client import HighLevel
from highlevel.oauth import (
    SAME_ANSWER_SECONDS,
    InvalidOAuthSecretError,
    LocationInactiveError,
    OAuth,
    OAuthDeferredError,
    OAuthError,
    OAuthRefusedError,
    TokenPair,
    read_oauth,
    refresh,
)
from rotate_token.rotation_log import RotationLog
from rotate_token.secret_versions import SecretVersions, Stages
from shared.clock import Clock
from shared.connection_pool import HttpResponse

REFRESH_SECONDS = 10.0  # for one response
TEST_SECONDS = 5.0
TESTS = 3
PAUSE_SECONDS = 1.0
ASSUMED_LIFE_SECONDS = 86_399  # if HighLevel's response does not say; it documents this


class RotationFailedError(Exception):
    """The step failed. `reason` is a reason code for the log; neither it nor `detail` holds any part of the secret.

    Reasons: grant_refused, client_refused, oauth_refused, base_url_refused (permanent: an operator runs ./hlc connect),
    location_inactive (suspended; the refresh token stays valid), upstream_* and rate_limited (transient),
    token_refused (HighLevel does not know the new access token), not_oauth, oauth_malformed, no_token (the secret's
    text), not_pending, pending_empty, pending_superseded (its labels), aws_request_failed, internal_error,
    step_unknown.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail or None


class Rotation:
    """One call of one step. `until`: the monotonic time at which it must have ended.

    Each step returns its outcome. It raises RotationFailedError, ClientError or BotoCoreError.
    """

    def __init__(
        self, highlevel: HighLevel, versions: SecretVersions, line: RotationLog, until: float, clock: Clock = time
    ) -> None:
        self._highlevel = highlevel
        self._versions = versions
        self._line = line
        self._until = until
        self._clock = clock

    def create(self) -> str:
        """Leave a living pair pending: the one that is pending, else a new one.

        The new pair is requested with the pending pair's refresh token, else with the current one's.
        """
        stages = self._versions.stages()
        if self._has_ended(stages):
            return "already_current"
        current = self._current(stages)
        text = self._versions.text(stages.pending)
        pending = None if stages.is_stale else _pending(text, current)
        if pending and not pending.has_expired(self._clock.time()):
            return self._log_life(pending, "already_pending")
        # A version that has a value never gets another one.
        version = stages.pending if text is None else replacement_version_id(stages.pending)
        try:
            new = self._refreshed(pending, current)
        except OAuthError as error:
            # Perhaps another call of this step had sent the refresh token, and has stored the response by now.
            stored = _pending(self._versions.text(version), current)
            if stored:
                return self._log_life(stored, "already_pending")
            raise _failed(error) from None
        # Nothing comes between HighLevel's response and this call, not even a log line.
        self._versions.store_pending(version, new.to_secret(), self._until, self._line.token_pair_not_stored)
        self._check_not_superseded(version, stages.current)
        return self._log_life(new, "created")

    def set(self) -> str:
        """Do nothing: HighLevel itself has set the new token."""
        return "nothing_to_do"

    def test(self) -> str:
        """Ask HighLevel whether it knows the pending access token.

        The step fails only if HighLevel says that it does not. HighLevel has just issued the token; to hold it back
        because a search fails would let the current one expire.
        """
        stages = self._versions.stages()
        if self._has_ended(stages):
            return "already_current"
        pending = self._finishable(stages)
        for attempt in range(1, TESTS + 1):
            response = self._ask(pending)
            self._line.attempts = attempt
            if isinstance(response, HttpResponse) and response.status < 500 and response.status != 429:
                if not _refuses_token(response):
                    return self._log_life(pending, "tested")
                if attempt == TESTS:
                    raise RotationFailedError("token_refused", "HighLevel does not know the new access token")
            if attempt < TESTS:
                self._clock.sleep(PAUSE_SECONDS)
        return self._log_life(pending, "not_tested")

    def finish(self) -> str:
        """Make the pending version the current one."""
        stages = self._versions.stages()
        if self._has_ended(stages):
            return "already_current"
        pending = self._finishable(stages)
        self._versions.make_current(stages.pending, stages.current)
        return self._log_life(pending, "finished")

    # --- which version, and what it holds -----------------------------------------------------------------------------

    def _has_ended(self, stages: Stages) -> bool:
        """Return whether this rotation's version is current already. Raises RotationFailedError if it is nowhere."""
        if stages.pending:
            return False
        if stages.current in (self._line.version, replacement_version_id(self._line.version)):
            return True
        raise RotationFailedError("not_pending", "no version has the label AWSPENDING")

    def _current(self, stages: Stages) -> OAuth:
        text = self._versions.text(stages.current) if stages.current else None
        if not text:
            raise RotationFailedError("no_token", "the secret has no value: run ./hlc connect --stack <its stack>")
        try:
            connection = read_oauth(text)
        except InvalidOAuthSecretError as error:
            raise RotationFailedError("oauth_malformed", str(error)) from None
        if connection is None:
            raise RotationFailedError("not_oauth", "the secret holds no OAuth connection; it was not changed")
        return connection

    def _check_not_superseded(self, version: str, current: str) -> None:
        """Raise RotationFailedError if an operator has stored another connection since the step began: it stays."""
        stages = self._versions.stages()
        if stages.current not in (current, version):
            if stages.pending == version:
                self._versions.drop_pending(version)
            raise RotationFailedError("not_pending", "another value was stored meanwhile")

    def _finishable(self, stages: Stages) -> OAuth:
        text = self._versions.text(stages.pending)
        pending = _pending(text, self._current(stages))
        if pending is not None and not stages.is_stale:
            return pending
        if text is None:
            raise RotationFailedError("pending_empty", "the pending version has no value")
        raise RotationFailedError("pending_superseded", "the pending version is not of the current connection")

    # --- HighLevel ----------------------------------------------------------------------------------------------------

    def _refreshed(self, pending: OAuth | None, current: OAuth) -> OAuth:
        """Return the connection with a new pair.

        A pending pair that HighLevel no longer knows was of an older connection: the current one is refreshed.
        """
        if pending is not None:
            try:
                return pending.with_token_pair(self._refresh(pending))
            except OAuthRefusedError as error:
                if error.reason != "grant_refused":
                    raise
        return current.with_token_pair(self._refresh(current))

    def _refresh(self, connection: OAuth) -> TokenPair:
        """Return a new pair. A response that is lost or unreadable is requested again while HighLevel repeats it."""
        began = self._clock.monotonic()
        while True:
            self._line.attempts += 1
            try:
                pair = refresh(self._highlevel, connection, within=REFRESH_SECONDS)
                # Without a known end the pair would stay pending after it has expired.
                assumed_end = int(self._clock.time() + ASSUMED_LIFE_SECONDS)
                return replace(pair, expires_at=pair.expires_at or assumed_end)
            except OAuthDeferredError as error:
                pause = max(PAUSE_SECONDS, error.retry_after or 0)
                again = self._clock.monotonic() + pause + REFRESH_SECONDS
                if isinstance(error, LocationInactiveError) or again > min(began + SAME_ANSWER_SECONDS, self._until):
                    raise
                self._clock.sleep(pause)
            finally:
                self._line.upstream_ms = round(1000 * (self._clock.monotonic() - began))

    def _ask(self, connection: OAuth) -> HttpResponse | Exception:
        """Search with the token. HighLevel refuses a known token only for its scope, its location or its kind."""
        began = self._clock.monotonic()
        query = "/conversations/search?locationId=none"
        response = self._highlevel.call("GET", query, connection.access_token, None, TEST_SECONDS)
        self._line.upstream_ms = round(1000 * (self._clock.monotonic() - began))
        self._line.upstream_status = response.status if isinstance(response, HttpResponse) else None
        return response

    def _log_life(self, connection: OAuth, outcome: str) -> str:
        """Note for the log when the access token expires; return the outcome."""
        if connection.expires_at is not None:
            self._line.seconds_left = round(connection.expires_at - self._clock.time())
        return outcome


STEPS = {
    "createSecret": Rotation.create,
    "setSecret": Rotation.set,
    "testSecret": Rotation.test,
    "finishSecret": Rotation.finish,
}


def _pending(text: str | None, current: OAuth) -> OAuth | None:
    """Return the pending pair, if it is of the current connection's app and account."""
    try:
        pending = read_oauth(text) if text else None
    except InvalidOAuthSecretError:
        return None
    if pending is None or (pending.client_id, pending.user_type) != (current.client_id, current.user_type):
        return None
    return pending if current.company_id in (None, pending.company_id) else None


def replacement_version_id(version: str) -> str:
    """Return the id of the version that replaces one whose pair expired while it was pending.

    Secrets Manager uses the id of a new version (ClientRequestToken) as idempotency key. A random one would make
    another version each time the step is called again; uuid5 gives the same id for the same pending version.
    """
    return str(uuid.uuid5(uuid.NAMESPACE_OID, version))


def _refuses_token(response: HttpResponse) -> bool:
    """Return whether HighLevel does not know the token. With any other 401 (scope, location, kind) it knows it."""
    text = response.body.lower()
    return response.status == 401 and (b"invalid jwt" in text or b"invalid token" in text)


def _failed(error: OAuthError) -> RotationFailedError:
    return RotationFailedError(error.reason, f"HighLevel answered {error.status}" if error.status else "")
