"""The documentation is true where a program can check it: links, commands, tables, configuration files."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from create_conversation.errors import REASONS
from create_conversation.senders.config import load
from local.run import SAMPLES
from tests.unit.template import RESOURCES, ROOT, TEMPLATE, of_type

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tests/README.md"])
SOURCES = sorted(
    path
    for pattern in ("template.yaml", "cli/*.py", "local/**/*.py", "functions/**/*.py", "functions/**/*.toml")
    for path in ROOT.glob(pattern)
)
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
WORKFLOWS = sorted(ROOT.glob(".github/**/*.yml"))
CONFIGURATION_FILES = [
    *WORKFLOWS,
    ROOT / ".pre-commit-config.yaml",
    ROOT / "docs/openapi.yaml",
    ROOT / "docs/github-actions-deploy.yml",
]
ALARMS = of_type("AWS::CloudWatch::Alarm")
# A file that the reader creates.
EXAMPLES = {"events/webhook_our_crm.json", ".github/workflows/deploy.yml"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def page(name: str) -> str:
    return (ROOT / name).read_text()


def without_code(text: str) -> str:
    return re.sub(r"^ *(?:\d+\. )?```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", without_code(path.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = 1
        anchor = slug
        while anchor in found:
            anchor = f"{slug}-{number}"
            number += 1
        found.add(anchor)
    return found


def links(path: Path) -> Iterator[str]:
    text = without_code(path.read_text())
    yield from re.findall(r"\]\(([^)\s]+)\)", text)
    yield from re.findall(r'(?:src|srcset)="([^"]+)"', text)


def section(text: str, title: str) -> str:
    """The text of a section, deeper sections included."""
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"no section {title}"
    return match[2]


def rows(text: str) -> list[list[str]]:
    """The cells of each table row that begins with a code span."""
    lines = re.findall(r"^\| (`.*) \|$", text, re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- Links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_relative_link_and_anchor_resolves(path: Path) -> None:
    broken = []
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_linked_from_another() -> None:
    linked = {(path.parent / link.partition("#")[0]).resolve() for path in PAGES for link in links(path)}
    assert [name_of(path) for path in PAGES if path not in linked | {ROOT / "README.md"}] == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_page_that_a_source_names_exists(path: Path) -> None:
    for file, anchor in re.findall(r"\b(docs/[\w.-]+\.(?:md|yaml|svg))(?:#([a-z0-9-]+))?", path.read_text()):
        assert (ROOT / file).is_file(), file
        assert not anchor or anchor in anchors(ROOT / file), f"{file}#{anchor}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_file_that_a_page_names_exists(path: Path) -> None:
    text = without_code(path.read_text())
    named = set(re.findall(r"`((?:[\w.*-]+/)+[\w.*-]+\.(?:py|md|toml|json|yaml|yml|svg|txt))`", text))
    folders = (ROOT, ROOT / "functions", ROOT / "functions/create_conversation", ROOT / "tests")
    missing = {name for name in named if not any(list(folder.glob(name)) for folder in folders)}
    assert {name for name in missing if not name.startswith(".tools/")} - EXAMPLES == set()


# --- Commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=name_of)
def test_every_make_command_exists(path: Path) -> None:
    text = path.read_text()
    commands = re.findall(r"(?:`|^(?:\$ )?|^ *(?:- run: )?)make ([a-z][a-z-]*)((?: [A-Z_]+=\S*)*)", text, re.MULTILINE)
    assert {target for target, _ in commands} <= TARGETS
    for _, variables in commands:
        for variable in re.findall(r" ([A-Z_]+)=", variables):
            assert f"$({variable})" in MAKEFILE or f"ifdef {variable}" in MAKEFILE or f"{variable} ?=" in MAKEFILE


def test_the_readme_shows_what_make_run_and_make_serve_print() -> None:
    printed = page("local/run.py") + page("local/serve.py")
    shown = page("README.md")
    samples = re.findall(r"^  ✓  \w+ +(.+?)  +\d{3}  ", shown, re.MULTILINE)
    assert samples
    assert [text for text in samples if f'"{text}"' not in printed] == []
    [count, following] = re.findall(r"^  All (\d+) ended (.+)$", shown, re.MULTILINE)[0]
    assert int(count) == len(SAMPLES)
    assert f"ended {following}" in printed
    assert all(line in printed for line in re.findall(r"^(?:Open this|Or paste) .+(?=:$)", shown, re.MULTILINE))


# --- Tables -----------------------------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 6000


def test_the_readme_names_every_sender() -> None:
    table = section(page("README.md"), "Senders")
    assert set(load()) - {"api", "event"} <= set(codes(table))


def test_senders_has_a_row_for_every_preset() -> None:
    presets = section(page("docs/senders.md"), "Presets")
    assert set(load()) - {"api", "event", "standard-webhooks-v1a"} == {
        codes(row)[0] for row in re.findall(r"^\| \[(`[^`]+`)\]", presets, re.MULTILINE)
    }


def test_api_documents_every_reason_code_with_its_status() -> None:
    documented = {codes(row[0])[0]: row[1:3] for row in rows(section(page("docs/api.md"), "Reason codes"))}
    assert documented.keys() == REASONS.keys()
    openapi = page("docs/openapi.yaml")
    for code, (_, status) in documented.items():
        if not status.isdigit():  # never in a response
            assert f":{code}\n" not in openapi, code
        else:
            assert status == str(int(REASONS[code].status)), code


def test_api_documents_every_outcome() -> None:
    text = page("docs/api.md")
    outcomes = {codes(row[0])[0] for row in rows(section(text, "Outcomes"))}
    of_reasons = {row[1] for row in rows(section(text, "Reason codes"))}
    assert outcomes == of_reasons | {"opened", "existing"}


def test_configuration_has_every_parameter_with_its_default() -> None:
    documented = {codes(row[0])[0]: row[1] for row in rows(section(page("docs/configuration.md"), "Parameters"))}
    parameters = TEMPLATE["Parameters"]
    assert documented.keys() == parameters.keys()
    for name, default in documented.items():
        expected = str(parameters[name]["Default"])
        assert default.strip("`") in (expected or "none", "HighLevel's"), name


def test_configuration_has_every_output() -> None:
    documented = {name for row in rows(section(page("docs/configuration.md"), "Outputs")) for name in codes(row[0])}
    assert documented == set(TEMPLATE["Outputs"])


@pytest.mark.parametrize("name", ALARMS)
def test_every_alarm_has_its_section(name: str) -> None:
    text = page("docs/alarms.md")
    [row] = [row for row in rows(text) if codes(row[0]) == [name]]
    [anchor] = re.findall(r"\]\(#([a-z-]+)\)", row[1])
    assert anchor == re.sub(r"(?<!^)([A-Z])", r"-\1", name.removesuffix("Alarm")).lower()
    titles = {title.lower().replace(" ", "-"): title for title in re.findall(r"^## (.+)$", text, re.MULTILINE)}
    parts = re.findall(r"^\*\*([A-Z][a-z ]+):\*\*", section(text, titles[anchor]), re.MULTILINE)
    assert parts == ["Means", "See", "Steps", "Over when"]


def test_alarms_has_no_other_alarm() -> None:
    assert {codes(row[0])[0] for row in rows(page("docs/alarms.md"))} == set(ALARMS)


def test_every_alarm_that_a_page_names_exists() -> None:
    for path in PAGES:
        assert set(re.findall(r"`(\w+Alarm)`", path.read_text())) <= set(ALARMS), name_of(path)


def test_cost_counts_the_metrics_of_the_alarms() -> None:
    def metrics(alarm: dict[str, Any]) -> int:
        return sum("MetricStat" in metric for metric in alarm.get("Metrics", [{"MetricStat": {}}]))

    whole = sum(metrics(alarm) for alarm in ALARMS.values())
    always = sum(metrics(alarm) for name, alarm in ALARMS.items() if "Condition" not in RESOURCES[name])
    row = f"over {always} metrics, 0.10 each ({whole} with `RotateToken`) | {always / 10:.2f} |"
    assert row in page("docs/cost.md")


# --- Configuration files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGURATION_FILES, ids=name_of)
def test_it_is_yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text())


def test_the_workflow_runs_the_same_targets_as_ci_run() -> None:
    jobs = yaml.safe_load(page(".github/workflows/ci.yml"))["jobs"].values()
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    of_run = re.findall(r"^make [a-z]+$", page(".ci/run"), re.MULTILINE)
    assert [command for command in commands if command.startswith("make")] == of_run == ["make check", "make test"]


@pytest.mark.parametrize(
    ("file", "permissions"),
    [
        (".github/workflows/ci.yml", {"contents": "read"}),
        ("docs/github-actions-deploy.yml", {"contents": "read", "id-token": "write"}),
    ],
)
def test_every_action_is_pinned_and_the_workflow_may_do_no_more(file: str, permissions: dict[str, str]) -> None:
    text = page(file)
    uses = re.findall(r"uses: (.+)$", text, re.MULTILINE)
    assert uses
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in uses)
    assert yaml.safe_load(text)["permissions"] == permissions


def test_every_tool_of_pre_commit_comes_with_the_clone() -> None:
    [repository] = yaml.safe_load(page(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local"
    groups = tomllib.loads(page("pyproject.toml"))["dependency-groups"]["dev"]
    tools = {re.split(r"[>=\[]", one)[0] for one in groups if isinstance(one, str)}
    for hook in repository["hooks"]:
        command = hook["entry"].split()[0]
        assert command in (".tools/uv/bin/uv", "python3") or command.removeprefix(".venv/bin/") in tools, command


def test_the_spelling_of_the_documentation() -> None:
    """With the configuration that the pre-commit hook uses."""
    command = [sys.executable, "-m", "codespell_lib", *map(name_of, PAGES)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_one_version() -> None:
    version = tomllib.loads(page("pyproject.toml"))["project"]["version"]
    assert yaml.safe_load(page("docs/openapi.yaml"))["info"]["version"] == version
    assert re.findall(r"^## \[([\d.]+)\]", page("CHANGELOG.md"), re.MULTILINE)[0] == version
