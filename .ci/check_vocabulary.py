"""Find words outside the project's vocabulary in everything that git tracks: `python3 .ci/check_vocabulary.py`.

The list is vocabulary.txt beside this file. Prints file, line and what to say instead; exits with 1 if there is any.
"""

import re
import subprocess
import sys
from pathlib import Path

LIST = Path(__file__).with_name("vocabulary.txt")
# Other people's words, or made from text that is checked itself.
NOT_READ = (
    "uv.lock",
    ".ci/",
    "LICENSE",
    "tests/data/payloads/",
    "tests/data/signatures.json",
    "functions/requirements.txt",
)


def main() -> int:
    words, exceptions = read_list(LIST.read_text(encoding="utf-8"))
    found = 0
    for name in subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout.split(
        "\0"
    ):
        path = Path(name)
        if not path.is_file() or name.startswith(NOT_READ):
            continue
        try:
            lines = [name, *path.read_text(encoding="utf-8").splitlines()]
        except UnicodeDecodeError:
            continue  # an image
        for number, line in enumerate(lines):
            if name == "CONTRIBUTING.md" and line.startswith("|"):
                continue  # its table shows the words that are not to be used
            for word, instead in findings(line, words, exceptions):
                print(f"{name}:{number}: {word}: say {instead}")
                found += 1
    return 1 if found else 0


def read_list(text: str) -> tuple[list[tuple[re.Pattern[str], str]], re.Pattern[str]]:
    """The words, each with what to say instead, and one pattern of the phrases in which they are right."""
    rows = [line.split("\t") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    words = [
        (re.compile(rf"(?<![A-Za-z])(?:{row[1]})(?![a-z])", re.IGNORECASE), row[2]) for row in rows if row[0] == "not"
    ]
    return words, re.compile("|".join(row[1] for row in rows if row[0] == "allow"), re.IGNORECASE)


def findings(line: str, words: list[tuple[re.Pattern[str], str]], exceptions: re.Pattern[str]) -> list[tuple[str, str]]:
    """The words of the list in one line, names like `keep_all` and `test_the_door` included."""
    text = exceptions.sub(" ", line)
    return [(match[0], instead) for pattern, instead in words for match in pattern.finditer(text)]


if __name__ == "__main__":
    sys.exit(main())
