"""The person that a submission names."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """A contact without its id. Never logged: hence no repr."""

    email: str | None = None
    phone: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    full_name: str | None = None  # where neither of these is known
