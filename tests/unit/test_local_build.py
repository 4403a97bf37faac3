"""Builds for the local AWS: the same content is built once, and another senders.toml needs no new build."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local import stack


class Project:
    """A template with its folders, whose builds are counted."""

    def __init__(self, folder: Path) -> None:
        self.template = folder / "template.yaml"
        self.template.write_text("Resources")
        for name in ("functions", "packaging"):
            (folder / name).mkdir()
        self.module = folder / "functions" / "app.py"
        self.module.write_text("1")
        self.senders = folder / "functions" / "senders.toml"
        self.senders.write_text("first")
        self.builds = 0

    def run_build(self, template: Path, architecture: str, folder: Path) -> None:
        self.builds += 1
        (folder / "wheels").mkdir()
        for function in ("CreateConversation", "RotateToken"):
            (folder / "build" / function).mkdir(parents=True)
            for file in (self.senders, self.module):
                (folder / "build" / function / file.name).write_text(file.read_text())
        (folder / "build" / "template.yaml").write_text(f"{template.read_text()} {architecture}")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    monkeypatch.setattr(stack, "BUILDS", tmp_path / "builds")
    monkeypatch.setattr(stack, "_run_build", project.run_build)
    return project


def contents(built: Path) -> dict[str, str]:
    return {str(file.relative_to(built.parent)): file.read_text() for file in built.parent.rglob("*.*")}


def test_other_senders_need_no_new_build(project: Project) -> None:
    first = stack.build(project.template)
    before = contents(first)
    project.senders.write_text("second")
    second = stack.build(project.template)
    assert project.builds == 1
    assert contents(first) == before
    assert contents(second) == {name: text.replace("first", "second") for name, text in before.items()}
    assert stack.build(project.template) == second
    project.senders.write_text("first")
    assert stack.build(project.template) == first
    assert project.builds == 1


@pytest.mark.parametrize("change", ["module", "template", "packaging", "architecture"])
def test_everything_else_is_built_again(project: Project, change: str) -> None:
    first = stack.build(project.template)
    architecture = stack.ARCHITECTURE
    match change:
        case "module":
            project.module.write_text("2")
        case "template":
            project.template.write_text("Other")
        case "packaging":
            (project.template.parent / "packaging" / "bundle.sh").write_text("x")
        case "architecture":
            architecture = "other"
    assert stack.build(project.template, architecture) != first
    assert project.builds == 2


def test_new_build_has_the_wheels_of_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a changed module needs no package index."""
    for name, age, content in (("a1-1", 20, "old"), ("b2-1", 10, "newest"), ("unfinished-x", 0, "half")):
        (tmp_path / name / "wheels").mkdir(parents=True)
        (tmp_path / name / "wheels" / "one.whl").write_text(content)
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    monkeypatch.setattr(stack, "BUILDS", tmp_path)
    monkeypatch.setattr(stack, "_sam", lambda *_arguments, **_named: None)
    stack._run_build(tmp_path / "template.yaml", stack.ARCHITECTURE, tmp_path / "new")
    assert (tmp_path / "new" / "wheels" / "one.whl").read_text() == "newest"


def test_simultaneous_builds_of_the_same_content_are_one(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(template: Path, architecture: str, folder: Path) -> None:
        time.sleep(0.2)
        project.run_build(template, architecture, folder)

    monkeypatch.setattr(stack, "_run_build", slowly)
    with ThreadPoolExecutor(4) as threads:
        built = set(threads.map(stack.build, [project.template] * 4))
    assert len(built) == 1
    assert project.builds == 1


def test_failed_build_leaves_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise stack.LocalAwsError("sam build failed")

    monkeypatch.setattr(stack, "_run_build", fail)
    with pytest.raises(stack.LocalAwsError):
        stack.build(project.template)
    assert [left.name for left in stack.BUILDS.iterdir()] == ["lock"]


def test_builds_of_earlier_days_are_removed_unless_in_use(project: Project) -> None:
    built = stack.build(project.template)
    two_days_ago = time.time() - 2 * 86_400
    os.utime(built.parents[1], (two_days_ago, two_days_ago))
    project.senders.write_text("second")
    copied = stack.build(project.template)  # uses the old one
    assert project.builds == 1
    assert built.exists()
    os.utime(built.parents[1], (two_days_ago, two_days_ago))
    project.module.write_text("2")
    stack.build(project.template)
    assert not built.exists()
    assert copied.exists()
