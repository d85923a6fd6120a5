"""What becomes of the output decides nothing: commands do their work and keep their status though nobody reads."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from safeharbor_backup.state.directory import STATE_DIRECTORY
from safeharbor_backup.state.history import HISTORY_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from support.postgres import Database
    from support.runs import Site

pytestmark = pytest.mark.timeout(120)

# as a shell's operator writes them; `cut` reads one line and goes
WAYS = {
    "full": "{} >/dev/full",
    "both full": "{} >/dev/full 2>/dev/full",
    "closed": "{} >&-",
    "both closed": "{} >&- 2>&-",
    "cut": "{} | head -n 1 >/dev/null",
    "both cut": "{} 2>&1 | true",
    "as events": "BACKUP_LOG_FORMAT=json {} >/dev/full 2>/dev/full",
}
way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def shell(site: Site, way: str, *arguments: str) -> tuple[int, str]:
    """The command's own exit status, and what came of its output; it is started so late that `true` has ended."""
    command = shlex.join(site.argv(*arguments))
    script = f"late() {{ sleep 0.3; {command}; echo $? >{site.root}/status; }}; {way.format('late')}"
    done = subprocess.run(
        ["bash", "-c", script], env=site.full_environment(), capture_output=True, text=True, cwd=site.root, check=False
    )
    return int((site.root / "status").read_text()), done.stdout + done.stderr


def history(site: Site) -> list[dict[str, Any]]:
    path = site.backups / STATE_DIRECTORY / HISTORY_NAME
    return [json.loads(line) for line in path.read_text().splitlines()]


@way
def test_a_backup_whose_output_is_lost_is_taken_and_ends_with_its_own_status(site: Site, way: str) -> None:
    status, said = shell(site, way, "backup")

    assert status == 0
    (archive,) = site.archives
    (run,) = history(site)
    assert (run["exit_status"], run["archive"], run["output_lost"]) == (0, archive.name, True)
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert site.run("verify", "--latest").status == 0


def test_a_backup_that_all_is_read_of_says_so_in_the_history(site: Site) -> None:
    assert site.run("backup").status == 0

    assert [run["output_lost"] for run in history(site)] == [False]


@pytest.mark.parametrize("way", [WAYS["both full"], WAYS["cut"], WAYS["both closed"]], ids=["full", "cut", "closed"])
def test_a_restore_whose_output_is_lost_ends_with_what_the_restore_was(
    site: Site, database: Database, way: str
) -> None:
    assert site.run("backup").status == 0
    database.execute("UPDATE entry SET remark = 'changed'")

    status, said = shell(site, way, "restore", "--from", "latest", "--yes")

    changed = database.execute("SELECT count(*) FROM entry WHERE remark = 'changed'")
    assert (status, changed) == (0, [(0,)])
    assert history(site)[-1]["exit_status"] == 0
    assert history(site)[-1]["output_lost"] is True
    assert "Traceback" not in said

    status, said = shell(site, way, "restore", "--undo", "--yes")

    changed = database.execute("SELECT count(*) FROM entry WHERE remark = 'changed'")
    assert (status, changed) == (0, [(500,)])


@pytest.mark.parametrize("arguments", [("verify", "--all"), ("prune",), ("drill",), ("doctor",)], ids=" ".join)
@pytest.mark.parametrize("way", [WAYS["both full"], WAYS["both cut"]], ids=["full", "cut"])
def test_other_work_ends_with_its_own_status_too(site: Site, arguments: tuple[str, ...], way: str) -> None:
    assert site.run("backup").status == 0
    expected = site.run(*arguments).status

    status, said = shell(site, way, *arguments)

    assert status == expected, said


def test_standard_error_says_that_standard_output_was_lost(site: Site) -> None:
    _, said = shell(site, WAYS["full"], "backup")

    assert "Warning: standard output was lost (No space left on device)." in said


@pytest.mark.parametrize("command", ["list", "status --json", "report --html -"])
@pytest.mark.parametrize(("way", "expected"), [("{} >/dev/full", 7), ("{} | true", 141)])
def test_a_command_that_only_prints_has_not_succeeded_if_that_was_lost(
    site: Site, command: str, way: str, expected: int
) -> None:
    assert site.run("backup").status == 0

    status, said = shell(site, way, *command.split())

    assert (status, "Traceback" in said) == (expected, False)


@pytest.mark.parametrize(("arguments", "expected"), [("--help", 0), ("backup --help", 0), ("backup --no-such", 2)])
def test_help_and_mistakes_keep_their_status(site: Site, arguments: str, expected: int) -> None:
    for each in (WAYS["both full"], WAYS["both cut"]):
        status, said = shell(site, each, *arguments.split())

        assert (status, "Traceback" in said) == (expected, False)


def test_a_terminal_that_goes_away_while_bars_are_drawn_ends_nothing(site: Site, tmp_path: Path) -> None:
    (site.uploads / "large").write_bytes(os.urandom(8 << 20))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*site.argv("backup")], env=site.full_environment({"TERM": "xterm"}), stdout=theirs, stderr=theirs,
        stdin=theirs, cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    assert os.read(ours, 100)
    os.close(ours)  # from now on writing there is EIO

    assert process.wait(60) == 0
    assert history(site)[-1]["output_lost"] is True


def test_a_question_that_could_not_be_shown_is_not_answered(site: Site, database: Database) -> None:
    assert site.run("backup").status == 0
    database.execute("UPDATE entry SET remark = 'changed'")
    ours, theirs = pty.openpty()
    os.write(ours, b"restore\n")  # typed ahead
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            site.argv("restore", "--from", "latest"), env=site.full_environment(), stdin=theirs, stdout=full,
            stderr=subprocess.PIPE, cwd=site.root, check=False,
        )  # fmt: skip
    os.close(theirs)
    os.close(ours)

    assert done.returncode == 1
    assert b"could not be shown; --yes confirms" in done.stderr
    assert database.execute("SELECT count(*) FROM entry WHERE remark = 'changed'") == [(500,)]
