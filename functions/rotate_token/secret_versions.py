"""The versions of the secret in Secrets Manager: which one is current, which one pending, and what they hold."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0

type BotoError = ClientError | BotoCoreError


@dataclass(frozen=True, slots=True)
class Stages:
    """The ids of two versions, "" for none. A pending one that is current is not pending: that rotation has ended.
    `is_stale`: the pending one was current before, and somebody has stored another value since."""

    current: str
    pending: str
    is_stale: bool = False


class SecretVersions:
    """One secret's versions. What Secrets Manager refuses after a few tries is raised: ClientError, BotoCoreError."""

    def __init__(self, client: Any, arn: str) -> None:
        self._client = client
        self._arn = arn

    def stages(self) -> Stages:
        """Which version has which label now."""
        labels = self._client.describe_secret(SecretId=self._arn).get("VersionIdsToStages", {})
        by_label = {label: version for version, of_it in labels.items() for label in of_it}
        current, pending = by_label.get(CURRENT, ""), by_label.get(PENDING, "")
        if pending == current:
            return Stages(current, "")
        return Stages(current, pending, is_stale=PREVIOUS in labels.get(pending, ()))

    def text(self, version: str) -> str | None:
        """What a version holds; None if it is only reserved and has no value yet."""
        try:
            found = self._client.get_secret_value(SecretId=self._arn, VersionId=version)
        except ClientError as error:
            if code_of(error) == "ResourceNotFoundException":
                return None
            raise
        text = found.get("SecretString")
        return text if isinstance(text, str) else None

    def store_pending(self, version: str, text: str, until: float, trouble: Callable[[BotoError], None]) -> None:
        """Store a new version as pending, whatever it takes until that monotonic time: what it holds exists nowhere
        else. `trouble` is told of each failure; the last one is raised."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                self._client.put_secret_value(
                    SecretId=self._arn, ClientRequestToken=version, SecretString=text, VersionStages=[PENDING]
                )
            except (ClientError, BotoCoreError) as error:
                # Another call of the same step was faster. HighLevel gave both the same pair.
                if code_of(error) == "ResourceExistsException":
                    return
                trouble(error)
                if time.monotonic() + pause > until:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                return

    def make_current(self, version: str, instead_of: str) -> None:
        """Move the label AWSCURRENT; Secrets Manager refuses it when the label is on a third version by now. Then take
        AWSPENDING off.

        AWS advises against a call of one's own for that, as it may look like a rotation that failed. It comes last:
        before it, and when killed before it, both labels are on one version, after it AWSPENDING is on none, and
        `RotateSecret` documents both as success; whatever AWS then repeats is answered `already_current`. Left there,
        the label would be on an old version as soon as somebody stores another value: AWS would take that for a
        rotation in progress, and two values later nothing would tell it from one (before, `is_stale` does).
        """
        try:
            self._client.update_secret_version_stage(
                SecretId=self._arn, VersionStage=CURRENT, MoveToVersionId=version, RemoveFromVersionId=instead_of
            )
        except (ClientError, BotoCoreError):
            # Done all the same: by a try whose answer got lost, or by another call of this step.
            if self.stages().current != version:
                raise
        with contextlib.suppress(ClientError, BotoCoreError):  # Secrets Manager takes the rotation for ended either way
            self.drop_pending(version)

    def drop_pending(self, version: str) -> None:
        """Take the label AWSPENDING off that version."""
        self._client.update_secret_version_stage(SecretId=self._arn, VersionStage=PENDING, RemoveFromVersionId=version)


def code_of(error: Exception) -> str:
    """AWS's code of the error, or its class; never its text, which may quote a value."""
    code = error.response.get("Error", {}).get("Code") if isinstance(error, ClientError) else None
    return code or type(error).__name__
