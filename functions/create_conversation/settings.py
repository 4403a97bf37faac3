"""The environment, read once at start."""

from collections.abc import Mapping
from dataclasses import dataclass


class SettingsError(Exception):
    """An environment variable is missing or unusable; the text names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The function's environment variables, set in `template.yaml`. Durations in seconds."""

    highlevel_base_url: str
    highlevel_version: str
    highlevel_token_arn: str
    sender_secrets_arn: str
    records_table: str
    retry_queue_url: str
    dead_letter_queue_url: str
    metrics_namespace: str
    location_id: str | None
    give_up_after: float
    backoff_cap: float
    record_ttl: float
    result_bus: str | None = None
    message: str = "comment"
    mark_unread: bool = True
    retry_concurrency: int = 2

    @property
    def writes_messages(self) -> bool:
        """Return whether the parameter Message is not off."""
        return self.message != "off"

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the environment variables. Raises SettingsError with the name of one that is missing or not a number."""

        def text(name: str) -> str:
            return required(environment, name)

        def number(name: str) -> float:
            try:
                value = float(text(name))
            except ValueError:
                value = 0
            if not 0 < value < 10**9:
                raise SettingsError(f"the environment variable {name} must be a number above 0")
            return value

        def choice(name: str, *known: str) -> str:
            if (value := text(name)) not in known:
                raise SettingsError(f"the environment variable {name} must be one of {', '.join(known)}")
            return value

        return cls(
            highlevel_base_url=text("HIGHLEVEL_BASE_URL"),
            highlevel_version=text("HIGHLEVEL_VERSION"),
            highlevel_token_arn=text("HIGHLEVEL_TOKEN_ARN"),
            sender_secrets_arn=text("SENDER_SECRETS_ARN"),
            records_table=text("RECORDS_TABLE"),
            retry_queue_url=text("RETRY_QUEUE_URL"),
            dead_letter_queue_url=text("DEAD_LETTER_QUEUE_URL"),
            metrics_namespace=text("METRICS_NAMESPACE"),
            location_id=environment.get("LOCATION_ID", "").strip() or None,
            give_up_after=number("GIVE_UP_AFTER_HOURS") * 3600,
            backoff_cap=number("BACKOFF_CAP_SECONDS"),
            record_ttl=number("RECORD_TTL_SECONDS"),
            result_bus=environment.get("RESULT_BUS", "").strip() or None,
            message=choice("MESSAGE", "comment", "note", "off"),
            mark_unread=choice("MARK_UNREAD", "true", "false") == "true",
            retry_concurrency=int(number("RETRY_CONCURRENCY")),
        )


def required(environment: Mapping[str, str], name: str) -> str:
    """Return a variable's text without blanks around it. Raises SettingsError with its name if there is none."""
    value = environment.get(name, "").strip()
    if not value:
        raise SettingsError(f"the environment variable {name} is missing")
    return value
