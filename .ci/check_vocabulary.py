"""Find words outside the project's vocabulary in all tracked texts: `python3 .ci/check_vocabulary.py [PATH …]`.

Reads file names, prose, names in code (`snake_case` and `CamelCase`), SVG and JSON. The words are in vocabulary.txt,
with what to say instead. Prints each one with its file and line. Exits with 1 if there is any.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("vocabulary.txt")
# Texts of other people, and the list with its tests.
NOT_READ = (
    ".ci/vocabulary.txt",
    "LICENSE",
    "functions/requirements.txt",
    "tests/data/payloads/",
    "tests/data/reports/",
    "tests/data/signatures.json",
    "tests/unit/test_vocabulary.py",
    "uv.lock",
)
# A phrase may continue on the next line of a comment or of a text in code.
BETWEEN_WORDS = r"[\s#\"'*]+"


@dataclass(frozen=True)
class Word:
    """A row of the list. `instead` is empty for an exception."""

    pattern: re.Pattern[str]
    instead: str
    example: str


def main(paths: list[str]) -> int:
    words, exceptions = read_list()
    count = 0
    for name in tracked(paths):
        text = text_of(Path(name))
        for line, found, instead in [
            *((0, found, instead) for _, found, instead in findings(name, words, exceptions)),
            *findings(text, words, exceptions),
        ]:
            print(f"{name}:{line}: {found}: say {instead}")
            count += 1
    if count:
        print(f"{count} words outside the vocabulary: see CONTRIBUTING.md and .ci/vocabulary.txt", file=sys.stderr)
    return 1 if count else 0


def read_list() -> tuple[list[Word], list[Word]]:
    """Return the words and the exceptions."""
    rows = [row.split("\t") for row in LIST.read_text("utf-8").splitlines() if row.strip() and not row.startswith("#")]
    words = [Word(_whole_words(row[1]), row[2], row[3]) for row in rows if row[0] == "not"]
    exceptions = [Word(re.compile(row[1], re.IGNORECASE), "", row[2]) for row in rows if row[0] == "allow"]
    return words, exceptions


def _whole_words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z])(?:{pattern.replace(' ', BETWEEN_WORDS)})(?![a-z])", re.IGNORECASE)


def tracked(paths: list[str]) -> Iterator[str]:
    """Yield the files to read."""
    command = ["git", "ls-files", "-z", "--", *paths]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    for name in filter(None, listed.split("\0")):
        if not name.startswith(NOT_READ) and Path(name).is_file():
            yield name


def text_of(path: Path) -> str:
    """Return the text of a file; "" for an image and the like."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""
    # The vocabulary itself is a table in CONTRIBUTING.md.
    return re.sub(r"^\|.*$", "", text, flags=re.MULTILINE) if path.name == "CONTRIBUTING.md" else text


def findings(text: str, words: list[Word], exceptions: list[Word]) -> Iterator[tuple[int, str, str]]:
    """Yield line number, word and what to say instead."""
    for exception in exceptions:
        text = exception.pattern.sub(lambda found: " " * len(found[0]), text)
    text = with_separate_names(text)
    for word in words:
        for found in word.pattern.finditer(text):
            yield 1 + text.count("\n", 0, found.start()), " ".join(found[0].split()), word.instead


def with_separate_names(text: str) -> str:
    """Separate the parts of names by blanks: `snake_case` becomes `snake case`, `CamelCase` `Camel Case`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text).replace("_", " ")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
