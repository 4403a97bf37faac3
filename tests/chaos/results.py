"""The result of a part of `make chaos`: figures for the document, and problems."""

from collections.abc import Callable
from dataclasses import dataclass, field

type Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the document's table: what was counted, and how often. `must`: the promised number, if any."""

    what: str
    found: int
    must: int | None = None

    @property
    def passed(self) -> bool:
        return self.must is None or self.found == self.must


@dataclass(slots=True)
class Part:
    """The result of one part. `problems`: each broken promise, with the details that its analysis needs."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.problems and all(figure.passed for figure in self.figures)
