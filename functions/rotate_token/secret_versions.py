"""The versions of the secret in Secrets Manager: which one is current, which one is pending, and their texts."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from shared.clock import Clock

CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0

type BotoError = ClientError | BotoCoreError


@dataclass(frozen=True, slots=True)
class Stages:
    """The ids of the current and the pending version, "" for none.

    A pending version that is current is not pending: that rotation has ended. `is_stale`: the pending version was
    current before, and an operator has stored another value since.
    """

    current: str
    pending: str
    is_stale: bool = False


class SecretVersions:
    """One secret's versions. Every method raises ClientError or BotoCoreError when Secrets Manager fails."""

    def __init__(self, client: Any, arn: str, clock: Clock = time) -> None:
        self._client = client
        self._arn = arn
        self._clock = clock

    def stages(self) -> Stages:
        """Return which version has which label now."""
        labels = self._client.describe_secret(SecretId=self._arn).get("VersionIdsToStages", {})
        by_label = {label: version for version, its_labels in labels.items() for label in its_labels}
        current, pending = by_label.get(CURRENT, ""), by_label.get(PENDING, "")
        if pending == current:
            return Stages(current, "")
        return Stages(current, pending, is_stale=PREVIOUS in labels.get(pending, ()))

    def text(self, version: str) -> str | None:
        """Return a version's text; None if the version is reserved and has no value yet."""
        try:
            found = self._client.get_secret_value(SecretId=self._arn, VersionId=version)
        except ClientError as error:
            if code_of(error) == "ResourceNotFoundException":
                return None
            raise
        text = found.get("SecretString")
        return text if isinstance(text, str) else None

    def store_pending(self, version: str, text: str, until: float, on_failure: Callable[[BotoError], None]) -> None:
        """Store a new version as pending. Its text exists nowhere else, so try again until that monotonic time.

        `on_failure` gets each error; the last one is raised. Secrets Manager takes `version` as ClientRequestToken, its
        idempotency key: the same text again changes nothing.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                self._client.put_secret_value(
                    SecretId=self._arn, ClientRequestToken=version, SecretString=text, VersionStages=[PENDING]
                )
            except (ClientError, BotoCoreError) as error:
                # Another call of the same step was faster. HighLevel gave both calls the same pair.
                if code_of(error) == "ResourceExistsException":
                    return
                on_failure(error)
                if self._clock.monotonic() + pause > until:
                    raise
                self._clock.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                return

    def make_current(self, version: str, instead_of: str) -> None:
        """Move the label AWSCURRENT from one version to the other, then remove AWSPENDING.

        The move is a compare-and-swap: Secrets Manager refuses it if the label is on a third version by now.

        AWS advises against removing AWSPENDING with a call, as it may look like a rotation that failed. The call comes
        last: before it both labels are on one version, after it AWSPENDING is on none, and `RotateSecret` documents
        both as success; a step that AWS repeats ends with `already_current`. If the label stayed, it would be on an old
        version as soon as an operator stores another value. AWS would take that for a rotation in progress, and after
        two more values nothing would distinguish it from one (before, `is_stale` does).
        """
        try:
            self._client.update_secret_version_stage(
                SecretId=self._arn, VersionStage=CURRENT, MoveToVersionId=version, RemoveFromVersionId=instead_of
            )
        except (ClientError, BotoCoreError):
            # The label has moved all the same: by a call whose response got lost, or by another call of this step.
            if self.stages().current != version:
                raise
        with contextlib.suppress(ClientError, BotoCoreError):  # Secrets Manager treats the rotation as ended either way
            self.drop_pending(version)

    def drop_pending(self, version: str) -> None:
        """Remove the label AWSPENDING from that version."""
        self._client.update_secret_version_stage(SecretId=self._arn, VersionStage=PENDING, RemoveFromVersionId=version)


def code_of(error: Exception) -> str:
    """Return AWS's error code, or the exception's class; never its text, which may quote a value."""
    code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
    return code or type(error).__name__
