"""The Lambda function that Secrets Manager calls for each step of a rotation: entry point and wiring."""

import os
import time
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from highlevel.client import HighLevel
from rotate_token.rotation_log import RotationLog
from rotate_token.secret_versions import SecretVersions, code_of
from rotate_token.steps import STEPS, Rotation, RotationFailedError
from shared.observability import internal_error

RESERVED_SECONDS = 5.0  # of the function's time, to log how the step ended


def handler(event: dict[str, Any], context: Any) -> None:
    """Run one step of a rotation.

    The event, from Secrets Manager, has `Step` (createSecret, setSecret, testSecret, finishSecret), `SecretId` (the
    ARN) and `ClientRequestToken` (the new version's id). Raises RotationFailedError and nothing else: Secrets Manager
    then tries again, and an alarm goes into ALARM.
    """
    line = RotationLog(str(event.get("Step")), str(event.get("ClientRequestToken")), context.aws_request_id)
    until = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVED_SECONDS
    try:
        step = STEPS.get(line.step)
        if step is None:
            raise RotationFailedError("step_unknown", "the event is not one of Secrets Manager's")
        versions = SecretVersions(_secrets_manager, str(event.get("SecretId")))
        line.outcome = step(Rotation(_highlevel, versions, line, until))
    except RotationFailedError as error:
        failed = error
    except (ClientError, BotoCoreError) as error:
        failed = RotationFailedError("aws_request_failed", f"{code_of(error)} from Secrets Manager")
    except Exception as error:  # noqa: BLE001 its text may hold what must not be logged
        internal_error(error)
        failed = RotationFailedError("internal_error", type(error).__name__)
    else:
        line.write(_namespace)
        return
    line.outcome, line.reason, line.detail = "failed", failed.reason, failed.detail
    line.write(_namespace)
    raise failed


def _client() -> Any:
    config = Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 3, "mode": "standard"})
    return botocore.session.get_session().create_client("secretsmanager", config=config)


_namespace = os.environ["METRICS_NAMESPACE"]
_highlevel = HighLevel(os.environ["HIGHLEVEL_BASE_URL"], os.environ["HIGHLEVEL_VERSION"])
_secrets_manager = _client()
