"""The documentation is complete and true as far as a program can tell."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from safeharbor.cli.lazy import COMMANDS
from safeharbor.cli.main import cli
from safeharbor.errors import ExitStatus
from safeharbor.variables import VARIABLES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("README.md")])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_is_documented(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    page = (DOCS / "reference" / "commands.md").read_text()
    section = page.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]

    assert command is not None
    assert COMMANDS[name] in section
    assert (DOCS / f"{name}.md").exists()
    for parameter in command.params:
        shown = parameter.opts[0] if parameter.param_type_name == "option" else str(parameter.name).upper()
        assert f"`{shown}" in section, shown


def test_every_setting_is_documented_as_the_program_has_it() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "make-settings-doc.py", "--check"], check=False)
    page = (DOCS / "reference" / "settings.md").read_text()

    assert done.returncode == 0
    assert all(f"`{variable.name}`" in page for variable in VARIABLES)


def test_every_setting_that_the_program_reads_is_in_the_table() -> None:
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    read = set(re.findall(r'"(BACKUP_[A-Z_]+[A-Z])"', source))

    assert read <= {variable.name for variable in VARIABLES}


@pytest.mark.parametrize("status", list(ExitStatus), ids=lambda status: status.name)
def test_every_exit_status_is_documented(status: ExitStatus) -> None:
    page = (DOCS / "reference" / "exit-statuses.md").read_text()

    assert f"| {status.value} | {status.name} |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_page_can_be_reached_from_the_index() -> None:
    index = (DOCS / "index.md").read_text()
    for page in DOCS.rglob("*.md"):
        if page.name != "index.md" and page.parent.name != "decisions":
            assert f"({page.relative_to(DOCS)})" in index, page


def test_every_dependency_has_a_decision() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    decisions = "".join(path.read_text().lower() for path in (DOCS / "decisions").glob("*.md"))
    for requirement in (requirement for group in groups for requirement in group):
        name = re.split(r"[\[<>=; ]", requirement)[0]
        assert name in decisions, name
