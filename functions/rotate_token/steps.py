"""The four steps of a rotation. Each may be called twice, or again after it was killed anywhere.

A refresh token works once, so the pair that it brought is the most valuable thing here: it is stored as AWSPENDING by
the very next call, and a pair that is pending is finished, not replaced.
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
from shared.connection_pool import HttpResponse

REFRESH_SECONDS = 10.0  # for one answer
TEST_SECONDS = 5.0
TESTS = 3
PAUSE_SECONDS = 1.0
ASSUMED_LIFE_SECONDS = 86_399  # where HighLevel's answer does not say; it documents this


class RotationFailedError(Exception):
    """The step could not be done. `reason` is a word for the log; neither it nor `detail` holds any part of the secret.

    Reasons: grant_refused, client_refused, oauth_refused, base_url_refused (a person must mend it: make connect),
    location_inactive (suspended; the refresh token stays good), upstream_* and rate_limited (time mends it),
    token_refused (HighLevel does not know the new access token), not_oauth, oauth_malformed, no_token (the secret's
    text), not_pending, pending_empty, pending_superseded (its labels), aws_request_failed, internal_error,
    step_unknown.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail or None


class Rotation:
    """One call of one step. `until`: the monotonic time at which it must have ended."""

    def __init__(self, highlevel: HighLevel, versions: SecretVersions, line: RotationLog, until: float) -> None:
        self._highlevel = highlevel
        self._versions = versions
        self._line = line
        self._until = until

    def create(self) -> str:
        """Have a living pair pending: the one that is, else what its refresh token, or the current one's, brings."""
        stages = self._versions.stages()
        if self._has_ended(stages):
            return "already_current"
        current = self._current(stages)
        text = self._versions.text(stages.pending)
        pending = None if stages.is_stale else _pending(text, current)
        if pending and not pending.has_expired(time.time()):
            return self._left(pending, "kept")
        # A version that has a value never gets another.
        version = stages.pending if text is None else _replacement_version_id(stages.pending)
        try:
            new = self._refreshed(pending, current)
        except OAuthError as error:
            # Perhaps another call of this step had sent the refresh token, and has stored the answer by now.
            stored = _pending(self._versions.text(version), current)
            if stored:
                return self._left(stored, "kept")
            raise _failed(error) from None
        # Nothing stands between HighLevel's answer and this call: not even a line of the log.
        self._versions.store_pending(version, new.to_secret(), self._until, self._line.not_stored_yet)
        self._check_not_superseded(version, stages.current)
        return self._left(new, "created")

    def set(self) -> str:
        """HighLevel itself has set the new token."""
        return "nothing_to_do"

    def test(self) -> str:
        """Ask HighLevel whether it knows the pending access token. Only a plain no fails: HighLevel has just issued it,
        and to hold it back while a search is in trouble would let the current one die."""
        stages = self._versions.stages()
        if self._has_ended(stages):
            return "already_current"
        pending = self._finishable(stages)
        for attempt in range(1, TESTS + 1):
            answer = self._ask(pending)
            self._line.attempts = attempt
            if isinstance(answer, HttpResponse) and answer.status < 500 and answer.status != 429:
                if not _refuses_token(answer):
                    return self._left(pending, "tested")
                if attempt == TESTS:
                    raise RotationFailedError("token_refused", "HighLevel does not know the new access token")
            if attempt < TESTS:
                time.sleep(PAUSE_SECONDS)
        return self._left(pending, "unproved")

    def finish(self) -> str:
        """Make the pending version the current one."""
        stages = self._versions.stages()
        if self._has_ended(stages):
            return "already_current"
        pending = self._finishable(stages)
        self._versions.make_current(stages.pending, stages.current)
        return self._left(pending, "finished")

    # --- which version, and what it holds -----------------------------------------------------------------------------

    def _has_ended(self, stages: Stages) -> bool:
        """Whether this rotation's version is current already. Raises RotationFailed when it is nowhere."""
        if stages.pending:
            return False
        if stages.current in (self._line.version, _replacement_version_id(self._line.version)):
            return True
        raise RotationFailedError("not_pending", "no version has the label AWSPENDING")

    def _current(self, stages: Stages) -> OAuth:
        text = self._versions.text(stages.current) if stages.current else None
        if not text:
            raise RotationFailedError("no_token", "the secret has no value: make connect")
        try:
            connection = read_oauth(text)
        except InvalidOAuthSecretError as error:
            raise RotationFailedError("oauth_malformed", str(error)) from None
        if connection is None:
            raise RotationFailedError("not_oauth", "the secret holds no OAuth connection; it was left as it is")
        return connection

    def _check_not_superseded(self, version: str, current: str) -> None:
        """Somebody may have connected while HighLevel was asked: their connection is not to be undone."""
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
        """The connection with a new pair. A pending pair that HighLevel no longer knows was of an older connection."""
        if pending is not None:
            try:
                return pending.with_token_pair(self._refresh(pending))
            except OAuthRefusedError as error:
                if error.reason != "grant_refused":
                    raise
        return current.with_token_pair(self._refresh(current))

    def _refresh(self, connection: OAuth) -> TokenPair:
        """A new pair. An answer that did not come, or cannot be read, is asked for again while HighLevel repeats it."""
        began = time.monotonic()
        while True:
            self._line.attempts += 1
            try:
                pair = refresh(self._highlevel, connection, within=REFRESH_SECONDS)
                # A pair whose end is not known would be kept pending after it, too.
                return pair if pair.expires_at else replace(pair, expires_at=int(time.time() + ASSUMED_LIFE_SECONDS))
            except OAuthDeferredError as error:
                pause = max(PAUSE_SECONDS, error.retry_after or 0)
                again = time.monotonic() + pause + REFRESH_SECONDS
                if isinstance(error, LocationInactiveError) or again > min(began + SAME_ANSWER_SECONDS, self._until):
                    raise
                time.sleep(pause)
            finally:
                self._line.upstream_ms = round(1000 * (time.monotonic() - began))

    def _ask(self, connection: OAuth) -> HttpResponse | Exception:
        """A search needs no more than a known token to be refused for its scope, its location or its kind."""
        began = time.monotonic()
        query = "/conversations/search?locationId=none"
        answer = self._highlevel.call("GET", query, connection.access_token, None, TEST_SECONDS)
        self._line.upstream_ms = round(1000 * (time.monotonic() - began))
        self._line.upstream_status = answer.status if isinstance(answer, HttpResponse) else None
        return answer

    def _left(self, connection: OAuth, outcome: str) -> str:
        if connection.expires_at is not None:
            self._line.seconds_left = round(connection.expires_at - time.time())
        return outcome


STEPS = {
    "createSecret": Rotation.create,
    "setSecret": Rotation.set,
    "testSecret": Rotation.test,
    "finishSecret": Rotation.finish,
}


def _pending(text: str | None, current: OAuth) -> OAuth | None:
    """The pending pair, if there is one of the current connection's app and account."""
    try:
        pending = read_oauth(text) if text else None
    except InvalidOAuthSecretError:
        return None
    if pending is None or (pending.client_id, pending.user_type) != (current.client_id, current.user_type):
        return None
    return pending if current.company_id in (None, pending.company_id) else None


def _replacement_version_id(version: str) -> str:
    """The id of the version that takes the place of one whose pair died while it was pending: the same at each call."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, version))


def _refuses_token(answer: HttpResponse) -> bool:
    """Only HighLevel's known words for it: any other 401 (scope, location, kind) comes after it knew the token."""
    told = answer.body.lower()
    return answer.status == 401 and (b"invalid jwt" in told or b"invalid token" in told)


def _failed(error: OAuthError) -> RotationFailedError:
    return RotationFailedError(error.reason, f"HighLevel answered {error.status}" if error.status else "")
