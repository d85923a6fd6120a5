"""The house keeps its shape: imports point down, the outside world is touched in few places, modules stay small."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import safeharbor

ROOT = Path(safeharbor.__file__).parent
GROUND, NOUNS, VERBS, FRONT = range(4)
# Each top-level module or package of ours; a new one is given its place here.
FLOORS = {
    **dict.fromkeys(("cli", "flask_plugin", "web"), FRONT),
    **dict.fromkeys(
        (
            "backup", "verify", "restore", "prune", "catalog", "drill", "status", "doctor", "scheduler",
            "preflight", "record", "guards", "sharing", "proof", "status_file", "idle", "agenda", "dump_part",
            "references", "status_document", "last_runs", "latest", "catch_up", "status_reasons", "gone", "room",
            "alerts", "metrics",
        ),
        VERBS,
    ),
    **dict.fromkeys(
        ("archive", "postgres", "uploads", "retention", "notify", "ping", "neighbours", "history", "health"), NOUNS
    ),
    **dict.fromkeys(
        (
            "__init__", "settings", "variables", "database_url", "schedule", "errors", "process", "publish", "lock",
            "progress", "signals", "journal", "clone", "filesystem", "holes", "state_directory",
            "alert_settings", "min_free", "deadline", "quantities", "threads",
        ),
        GROUND,
    ),
}  # fmt: skip
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc", "core"}
MAX_LINES = 400


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {dotted(path): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def imports_of(name: str) -> set[str]:
    """All modules that it imports anywhere, for types too: an arrow is an arrow."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            assert node.module is not None
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def imports_of_ours(name: str) -> set[str]:
    ours = {each.removeprefix("safeharbor.") for each in imports_of(name) if each.startswith("safeharbor.")}
    return {each for each in ours if each in MODULES}


def outside_imports(name: str) -> set[str]:
    return {each.split(".")[0] for each in imports_of(name)} - {"safeharbor", "__future__"}


def floor_of(name: str) -> int:
    return FLOORS[name.split(".")[0]]


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 30


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_its_floor_and_imports_nothing_from_above(name: str) -> None:
    assert name.split(".")[0] in FLOORS, f"give {name} its floor in this test"

    upwards = [other for other in imports_of_ours(name) if floor_of(other) > floor_of(name)]

    assert upwards == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    waiting = {name: imports_of_ours(name) - {name} for name in MODULES}
    while ready := [name for name, others in waiting.items() if not others]:
        for name in ready:
            del waiting[name]
        for others in waiting.values():
            others.difference_update(ready)

    assert waiting == {}


@pytest.mark.parametrize("name", MODULES)
def test_only_front_ends_know_click_rich_and_flask(name: str) -> None:
    if floor_of(name) != FRONT:
        assert not outside_imports(name) & {"click", "rich", "flask", "werkzeug", "jinja2"}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("web")])
def test_of_the_page_only_the_blueprint_knows_flask(name: str) -> None:
    knows = {"flask", "werkzeug"} if name == "web.blueprint" else set()
    if name != "web":  # its types only: a report must do without Flask
        assert outside_imports(name) & {"click", "rich", "flask", "werkzeug", "jinja2"} == knows


@pytest.mark.parametrize("name", MODULES)
def test_children_are_started_in_one_module_only(name: str) -> None:
    if name == "process":
        return
    assert not outside_imports(name) & {"subprocess", "multiprocessing", "pty", "asyncio"}
    starting = {"system", "popen", "fork", "execv", "execve", "execvp", "posix_spawn", "spawnv"}
    used = {node.attr for node in ast.walk(TREES[name]) if isinstance(node, ast.Attribute) and is_os(node.value)}
    assert not used & starting


@pytest.mark.parametrize("name", MODULES)
def test_the_environment_is_read_at_the_edge_only(name: str) -> None:
    if name in ("cli.source", "web.source", "process"):
        return
    reading = {"environ", "environb", "getenv", "getenvb", "putenv"}
    used = {node.attr for node in ast.walk(TREES[name]) if isinstance(node, ast.Attribute) and is_os(node.value)}
    assert not used & reading
    assert not {f"os.{each}" for each in reading} & imports_of(name)


def is_os(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "os"


@pytest.mark.parametrize("name", MODULES)
def test_the_core_neither_prints_nor_exits(name: str) -> None:
    if floor_of(name) == FRONT:
        return
    calls = [node.func for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    assert not called & {"print", "input", "exit", "quit"}
    assert "sys.exit" not in MODULES[name].read_text()


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_small_enough_to_read(name: str) -> None:
    assert len(MODULES[name].read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_name_describes_something(name: str) -> None:
    assert not set(name.split(".")) & FORBIDDEN_NAMES


@pytest.mark.parametrize("name", MODULES)
def test_no_function_bears_its_modules_name(name: str) -> None:
    if name == "cli.main":  # `main` is what every console script is called; nothing imports it from the package
        return
    exported = {node.name for node in TREES[name].body if isinstance(node, ast.FunctionDef | ast.ClassDef)}

    assert name.rpartition(".")[2] not in exported


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(TREES[name])


def test_every_command_of_the_table_has_its_module_and_every_verb_that_is_a_command_its_name() -> None:
    from safeharbor.cli.lazy import COMMANDS

    assert {f"cli.{command}" for command in COMMANDS} <= set(MODULES)


def loaded_by(statement: str) -> set[str]:
    """What a fresh interpreter has loaded after this statement."""
    program = f"import sys\n{statement}\nprint(chr(10).join(sys.modules))"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True)
    return set(done.stdout.split())


def test_the_flask_plugin_loads_click_and_nothing_else_of_weight() -> None:
    loaded = loaded_by("import safeharbor.flask_plugin")

    ours = {name for name in loaded if name.split(".")[0] == "safeharbor"}
    assert ours == {"safeharbor", "safeharbor.flask_plugin", "safeharbor.cli", "safeharbor.cli.lazy"}
    heavy = {"psycopg", "rich", "cronsim", "pathspec", "flask", "subprocess", "hashlib", "json", "apprise"}
    assert not loaded & (heavy - loaded_by("import click"))


def test_help_and_version_need_no_database_driver() -> None:
    program = "from safeharbor.cli.main import cli\ntry:\n    cli(['--help'])\nexcept SystemExit:\n    pass"

    loaded = loaded_by(program)

    assert "safeharbor.cli.lazy" in loaded
    assert not loaded & {"psycopg", "rich", "cronsim", "pathspec", "flask", "apprise", "prometheus_client"}


def test_what_tells_of_a_run_is_loaded_only_when_it_is_used() -> None:
    loaded = loaded_by("import safeharbor.cli.backup, safeharbor.cli.status")

    assert not loaded & {"apprise", "prometheus_client", "http.client", "rich"}


def test_status_needs_no_database_driver_and_draws_no_table() -> None:
    assert not loaded_by("import safeharbor.cli.status") & {"psycopg", "rich", "pathspec", "flask", "subprocess"}


def test_the_package_itself_runs_nothing() -> None:
    assert {name for name in loaded_by("import safeharbor") if name.split(".")[0] == "safeharbor"} == {"safeharbor"}


def test_the_floors_are_all_in_use() -> None:
    floors = defaultdict(set)
    for name in MODULES:
        floors[floor_of(name)].add(name)

    assert set(floors) == {GROUND, NOUNS, VERBS, FRONT}
