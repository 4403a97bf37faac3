"""An OAuth connection in the deployed application, and its rotation by Secrets Manager."""

import time
from dataclasses import dataclass
from typing import Any

from highlevel.oauth import OAuth, read_oauth
from local.highlevel_oauth import Installation
from tests.factories import make_connection
from tests.integration.aws_faults import FaultyWorld
from tests.integration.packaged import deploy_packaged

CURRENT, PENDING, PREVIOUS = "AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"


@dataclass(frozen=True)
class Rotating:
    """`installation`: HighLevel's side of the connection that the secret holds."""

    world: FaultyWorld
    installation: Installation

    @classmethod
    def connected(cls, world: FaultyWorld, location: str | None = None) -> "Rotating":
        """Install an app in HighLevel and store the connection, as `./hlc connect` does; nothing rotates yet."""
        connection, installation = make_connection(world.highlevel.oauth, location)
        rotating = cls(world, installation)
        stages = rotating.stages()
        # A previous test may have left a pending version.
        if PENDING in stages and stages[PENDING] != stages.get(CURRENT):
            rotating.client.update_secret_version_stage(
                SecretId=rotating.arn, VersionStage=PENDING, RemoveFromVersionId=stages[PENDING]
            )
        world.application.store_token(connection.to_secret())
        world.kill()  # no process has the previous token
        return rotating

    def attach(self) -> None:
        """Deploy the rotation's schedule, which rotates immediately."""
        deploy_packaged(
            self.world.application.aws, {"HighLevelBaseUrl": self.world.highlevel.url, "RotateToken": "true"}
        )

    @property
    def arn(self) -> str:
        return self.world.application.stack.outputs["HighLevelTokenArn"]

    @property
    def client(self) -> Any:
        return self.world.application.aws.client("secretsmanager")

    def rotate(self) -> None:
        """Begin a rotation, or continue the one that did not end."""
        try:
            self.client.rotate_secret(
                SecretId=self.arn, RotationLambdaARN=self.world.application.stack.outputs["TokenRotationArn"]
            )
        except self.client.exceptions.InvalidRequestException as error:
            assert "reattempted" in str(error)  # noqa: PT017 the answer that AWS gives while it does so

    def stages(self) -> dict[str, str]:
        """The version that each label is on."""
        labels = self.client.describe_secret(SecretId=self.arn)["VersionIdsToStages"]
        return {label: version for version, of_it in labels.items() for label in of_it}

    def current(self) -> OAuth:
        connection = read_oauth(self.client.get_secret_value(SecretId=self.arn)["SecretString"])
        assert connection is not None
        return connection

    def is_consistent(self) -> bool:
        """Whether the current pair is HighLevel's newest, and no version is pending."""
        stages, current = self.stages(), self.current()
        return (
            stages.get(PENDING) in (None, stages[CURRENT])
            and current.refresh_token == self.installation.refresh_token
            and current.access_token == self.installation.access_token
        )

    def lines(self, since: float, **fields: Any) -> list[dict[str, Any]]:
        """The canonical lines of the rotation function from that Unix time on."""
        return [
            line
            for line in self.world.application.stack.logs(since)
            if line.get("message") == "rotation" and all(line.get(name) == fields[name] for name in fields)
        ]

    def ended(self, since: float, within: float = 60.0) -> dict[str, Any]:
        """The line with which a rotation that began at `since` ended: finished, or failed. Raises TimeoutError."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            for line in self.lines(since):
                if line["outcome"] in ("finished", "failed") or (line["step"], line["outcome"]) == (
                    "finishSecret",
                    "already_current",
                ):
                    return line
            time.sleep(0.1)
        raise TimeoutError(f"no rotation ended within {within:.0f} s")
