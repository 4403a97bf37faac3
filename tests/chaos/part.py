"""What each part of `make chaos` gives back: figures for the document, and what is wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field

type Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the document's table: what was counted and how often; `must`, where a number is promised."""

    what: str
    found: int
    must: int | None = None

    @property
    def kept(self) -> bool:
        return self.must is None or self.found == self.must


@dataclass(slots=True)
class Part:
    """The result of one part. `problems`: whatever broke a promise, each with what is needed to look into it."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.problems and all(figure.kept for figure in self.figures)
