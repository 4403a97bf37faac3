"""Where something is missing, the installation of the tools ends with one sentence that names the fix."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "tools.sh"
SYSTEM = ("sh", "cat", "id", "mkdir", "rm", "pwd")
# Instead of Python: makes the environment that it is asked for, whose pip has no network.
PYTHON = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "ERROR: No matching distribution found for uv" >&2; exit 1' > "$3/bin/python"
chmod +x "$3/bin/python"
"""
UV = """#!/bin/sh
echo "$*" >> calls
case "$1 $2" in {}) echo "error: failed to fetch" >&2; exit 2 ;; esac
"""


@pytest.fixture
def clone() -> Iterator[Path]:
    """A clone in a folder with blanks and letters outside ASCII, and beside it a PATH with the system's tools only."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    clone = folder / "a clöne of mine"
    for each in (clone, folder / "bin"):
        each.mkdir()
    shutil.copy(SCRIPT, clone / "tools.sh")
    (clone / ".python-version").write_text("3.13\n")
    for name in (*SYSTEM, "chmod"):
        (folder / "bin" / name).symlink_to(str(shutil.which(name)))
    yield clone
    clone.chmod(0o755)
    shutil.rmtree(folder)


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


def run(clone: Path, *arguments: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "tools.sh", *arguments],
        cwd=clone,
        env={"PATH": str(clone.parent / "bin"), "LANG": "C", "LC_ALL": "C"},
        user=user,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_no_python_at_all(clone: Path) -> None:
    finished = run(clone, "uv", "1.0")
    assert finished.returncode == 1
    assert finished.stderr == (
        "python3 is missing. Install Python 3.13 (Debian, Ubuntu: apt install python3 python3-venv; macOS: "
        "brew install python@3.13), then run the command again.\n"
    )


def test_python_without_environments(clone: Path) -> None:
    put(clone.parent / "bin" / "python3", "#!/bin/sh\necho Traceback >&2\nexit 1\n")
    finished = run(clone, "uv", "1.0")
    assert finished.returncode == 1
    [sentence] = finished.stderr.splitlines()
    assert "apt install python3-venv" in sentence


def test_no_network_for_uv(clone: Path) -> None:
    put(clone.parent / "bin" / "python3", PYTHON)
    finished = run(clone, "uv", "1.0")
    assert finished.returncode == 1
    *_, sentence = finished.stderr.splitlines()
    assert sentence.startswith("uv could not be installed from the package index (PyPI). Check the network")
    assert not (clone / ".tools" / "uv").exists()  # so that the next run tries again


@pytest.mark.parametrize(
    ("fails", "sentence", "calls"),
    [
        pytest.param(
            '"sync --quiet"',
            "The tools for local could not be installed from the package index (PyPI). Check the network, a proxy "
            "(HTTPS_PROXY) and the index (UV_DEFAULT_INDEX), then run the command again.",
            ["python find --no-python-downloads", "sync --quiet --frozen --only-group local"],
            id="no network",
        ),
        pytest.param(
            '"python "*',
            "Python 3.13 could not be downloaded. Install it (Debian, Ubuntu: apt install python3.13 python3.13-venv; "
            "macOS: brew install python@3.13; anywhere: pyenv install 3.13), then run the command again.",
            ["python find --no-python-downloads", "python install --quiet"],
            id="no Python 3.13",
        ),
    ],
)
def test_tools_that_cannot_be_installed(clone: Path, fails: str, sentence: str, calls: list[str]) -> None:
    put(clone / ".tools" / "uv" / "bin" / "uv", UV.format(fails))
    finished = run(clone, "sync", "local", ".tools/local", "--only-group", "local")
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == sentence
    assert (clone / "calls").read_text().splitlines() == calls


def test_python_is_downloaded_where_it_is_missing(clone: Path) -> None:
    put(clone / ".tools" / "uv" / "bin" / "uv", UV.format('"python find"'))
    finished = run(clone, "sync", "local", ".tools/local", "--only-group", "local")
    assert finished.returncode == 0
    assert "Python 3.13 is not installed: downloading it from github.com" in finished.stderr
    assert (clone / "calls").read_text().splitlines()[-1] == "sync --quiet --frozen --only-group local"


def test_clone_of_another_user(clone: Path) -> None:
    clone.chmod(0o555)
    other_user = 65_534 if os.getuid() == 0 else None
    finished = run(clone, "uv", "1.0", user=other_user)
    assert finished.returncode == 1
    [sentence] = finished.stderr.splitlines()
    assert sentence.endswith("use a clone of your own.")
    assert "may not write to" in sentence
