from __future__ import annotations

import json
import os
import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
import pytest
from click.shell_completion import ShellComplete

from safeharbor_backup import __version__
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.cli.lazy import COMMANDS
from safeharbor_backup.cli.main import cli
from safeharbor_backup.state.history import read_history
from safeharbor_backup.system.lock import LOCK_NAME, directory_lock
from support.archives import Facts, put_archive, set_mtime
from support.commands import cli_runner
from support.json_schemas import complaints

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from safeharbor_backup.settings.model import Settings

SERVICES = ("idle", "scheduler")  # to be told to stop is no failure for them
OURS = ("DATABASE_URL", "UPLOAD_DIR", "SECRET_KEY")


@pytest.fixture
def directory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty backup directory that the environment names, and nothing else of ours in it."""
    for name in list(os.environ):
        if name in OURS or name.startswith("BACKUP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))
    monkeypatch.setenv("BACKUP_PG_BIN", str(settings.pg_bin[0]))
    return settings.backup_dir


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """A database that is named, so that nothing in the settings is wrong."""
    monkeypatch.setenv("BACKUP_DATABASE_URL", "postgresql://app:s3cr3t@127.0.0.1:1/reef")


def run(*arguments: str) -> Result:
    result = cli_runner().invoke(cli, list(arguments), prog_name="safeharbor")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def hours_ago(hours: float) -> datetime:
    return (datetime.now(UTC) - timedelta(hours=hours)).replace(microsecond=0)


def test_the_version_is_told() -> None:
    result = run("--version")

    assert (result.exit_code, result.output) == (0, f"safeharbor {__version__}\n")


def test_help_lists_every_command() -> None:
    output = run("--help").output

    assert [name for name in COMMANDS if name not in output] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_ends_with_its_exit_statuses(command: str) -> None:
    result = run(command, "--help")

    assert result.exit_code == 0
    lines = result.output.rstrip().splitlines()
    start = lines.index("  Exit statuses:")
    statuses = lines[start + 1 :]
    assert statuses[0].strip().partition(":")[0] == "0  done"
    if command not in SERVICES:
        assert statuses.pop().strip() == "129/130/143  interrupted by HUP, INT or TERM"
    numbers = [int(line.split()[0]) for line in statuses]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["list", "--no-such"], ["prune", "extra"], ["status", "--max-age", "x"]]
)
def test_a_mistake_in_the_command_line_ends_with_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_a_mistyped_command_is_refused_with_those_like_it() -> None:
    assert "No such command 'bakcup'. Did you mean `backup`?" in run("bakcup").stderr
    assert "Did you mean" not in run("zzz").stderr


def test_short_options_do_what_the_long_ones_do() -> None:
    command = cli.get_command(click.Context(cli), "verify")
    assert command is not None
    command.make_context("verify", ["--latest"])  # click keeps what it finds out here
    assert run("-V").output == run("--version").output
    assert run("-h").output == run("--help").output
    assert run("verify", "-h").output == run("verify", "--help").output


def test_help_prints_the_page_of_each_command_and_lists_them_all() -> None:
    listed = run("help").stdout

    assert {line.split()[0] for line in listed.splitlines()} >= {*COMMANDS, "settings", "tutorial"}
    for name in COMMANDS:
        assert run("help", name).stdout.startswith("# ")
    assert "## What happened?" in run("help", "restore").stdout
    refused = run("help", "restor")
    assert refused.exit_code == 2
    assert "did you mean restore" in refused.stderr


def test_with_json_a_failure_is_a_document_too(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(directory / "gone")
    refused = [["list", "--json", "--no-such"], ["verify", "--json"], ["verify", "--json", "/nowhere.tar"]]
    refused += [["--no-such", "list", "--json"], ["bakcup", "--json"], ["restore", "--from", "latest", "--json"]]
    failed = [["verify", "--latest", "--json"], ["backup", "--json"], ["drill", "--json"]]
    for arguments, is_refused in [*((each, True) for each in refused), *((each, False) for each in failed)]:
        result = run(*arguments)
        told = json.loads(result.stdout)
        assert complaints("failure", told) == []
        assert told["exit_status"] == result.exit_code != 0
        assert told["error"] in result.stderr
        assert is_refused == (told["exit_status"] == 2 and "Usage: " in result.stderr)
    told = json.loads(run("--env-file", missing, "list", "--json").stdout)
    assert complaints("failure", told) == []
    assert missing in told["error"]
    monkeypatch.setenv("BACKUP_DIR", missing)
    told = json.loads(run("list", "--json").stdout)
    assert (told["schema"], told["exit_status"]) == (1, 7)
    assert missing in told["error"]
    assert told["hint"]


def test_a_command_that_is_printed_can_be_pasted_whatever_the_directory_is_called(
    directory: Path, database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(directory / "it's here; or $HOME")
    monkeypatch.setenv("BACKUP_DIR", missing)
    monkeypatch.setenv("BACKUP_UPLOAD_DIR", "none")

    for command in ("list", "backup"):
        hint = json.loads(run(command, "--json").stdout)["hint"]
        assert shlex.split(hint.rpartition(": ")[2])[-1] == missing


def test_a_shell_completes_commands_and_the_names_of_archives(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = (put_archive(directory, hours_ago(hours)).name for hours in (5, 2))
    (directory / "notes.txt").touch()

    def completed(words: str, begun: str) -> list[str]:
        found = ShellComplete(cli, {}, "safeharbor", "_SAFEHARBOR_COMPLETE").get_completions(words.split(), begun)
        return [item.value for item in found if item.type == "plain"]

    assert completed("", "ver") == ["verify"]
    assert completed("verify", "") == ["latest", "latest~1", newer, older]
    assert completed("restore --from", "latest~") == ["latest~1"]
    assert completed("verify", "/etc/") == []
    env_file = tmp_path / "backup.env"
    env_file.write_text(f"BACKUP_DIR={directory}\n")
    monkeypatch.delenv("BACKUP_DIR")
    assert older in completed(f"--env-file {env_file} restore --from", "")
    monkeypatch.setenv("BACKUP_DIR", str(directory / "gone"))
    assert completed("restore --from", "") == ["latest", "latest~1"]


def test_no_color_turns_colours_off(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = cli_runner().invoke(cli, ["doctor"], color=True).output
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b[" in coloured
    assert "\x1b[" not in cli_runner().invoke(cli, ["doctor"], color=True).output


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize("arguments", [[], ["--latest", "--all"], ["/etc/hostname", "--latest"]])
def test_verify_wants_exactly_one_way_to_name_archives(arguments: list[str]) -> None:
    result = run("verify", *arguments)

    assert result.exit_code == 2
    assert "--latest" in result.stderr


def test_verify_tells_good_bad_and_foreign_apart_by_its_status(directory: Path, tmp_path: Path) -> None:
    good = put_archive(directory, hours_ago(5))
    bad = put_archive(directory, hours_ago(4))
    with open(bad, "r+b") as file:
        file.seek(4096 + 10)
        file.write(b"XX")

    assert run("verify", str(good)).exit_code == 0
    assert run("verify", str(bad)).exit_code == 5
    assert run("verify", "--latest").exit_code == 5
    assert run("verify", "--all").exit_code == 5
    assert run("verify", "--quick", "--all").exit_code == 0
    assert run("verify", str(tmp_path / "missing.tar")).exit_code == 2
    assert run("verify", "--quiet", str(good)).output == ""
    assert "REJECTED" in run("verify", str(bad)).stdout


@pytest.mark.parametrize(
    "command", [("verify",), ("drill",), ("restore", "--yes", "--from"), ("restore", "--dry-run", "--from")]
)
@pytest.mark.parametrize("path", ["missing.tar", "folder", "fifo", "dangling", "a-file/below.tar"])
def test_a_mistyped_path_is_2_and_nothing_is_remembered_of_it(
    directory: Path, tmp_path: Path, command: tuple[str, ...], path: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a-file").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nothing")
    put_archive(directory, hours_ago(5))
    before = set(directory.rglob("*"))

    result = run(*command, str(tmp_path / path))

    assert result.exit_code == 2
    assert path in result.stderr
    assert "REJECTED" not in result.output
    assert set(directory.rglob("*")) == before
    assert read_history(directory) == ()
    assert run("status").exit_code == 0


@pytest.mark.usefixtures("directory")
def test_verify_without_any_archive_ends_with_5() -> None:
    result = run("verify", "--latest")

    assert result.exit_code == 5
    assert "There is no archive" in result.stderr


def test_verify_as_json_tells_everything(directory: Path) -> None:
    path = put_archive(directory, hours_ago(5))

    document = json.loads(run("verify", "--json", str(path)).stdout)

    assert document["schema"] == 1
    assert set(document["archives"][0]) == {
        "path", "sound", "kind", "quick", "problems", "warnings", "size_bytes", "members", "seconds", "taken_at",
        "databases",
    }  # fmt: skip
    assert document["archives"][0]["sound"] is True


def test_list_as_json_tells_everything(directory: Path) -> None:
    path = put_archive(directory, hours_ago(5))
    (directory / "notes.txt").write_bytes(b"")

    document = json.loads(run("list", "--json").stdout)

    assert set(document) == {"schema", "directory", "archives", "unfinished", "foreign", "warnings"}
    assert document["schema"] == 1
    assert document["foreign"] == ["notes.txt"]
    archive = document["archives"][0]
    assert set(archive) == {
        "name", "taken_at", "modified_at", "size_bytes", "state", "problem", "tables", "rows", "upload_files",
        "upload_bytes", "warnings", "keep", "reasons", "codes", "databases",
    }  # fmt: skip
    assert (archive["name"], archive["state"], archive["keep"]) == (path.name, "complete", True)
    assert (archive["tables"], archive["rows"]) == (2, 5)


def test_list_shows_names_states_and_what_retention_will_do(directory: Path) -> None:
    path = put_archive(directory, hours_ago(5))
    damaged = directory / archive_name(hours_ago(30))
    damaged.write_bytes(b"")

    output = run("list").stdout

    assert path.name in output
    assert "keep: daily 1 of 7" in output
    assert "damaged" in output
    assert "it is empty" in output


def test_list_works_though_retention_is_not_known(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_archive(directory, hours_ago(5))
    monkeypatch.setenv("BACKUP_RETENTION_DAILY", "x")

    result = run("list")

    assert result.exit_code == 0
    assert "retention is not known" in result.stderr


@pytest.mark.parametrize("command", ["list", "prune", "status"])
def test_a_directory_that_is_not_there_ends_with_7(
    command: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_DIR", str(directory / "missing"))

    result = run(command)

    assert result.exit_code == 7
    assert "does not exist" in result.stderr
    assert "Hint: " in result.stderr


def test_prune_as_json_tells_everything(directory: Path) -> None:
    for hours in range(0, 240, 24):
        put_archive(directory, hours_ago(hours))

    dry = json.loads(run("prune", "--dry-run", "--json").stdout)
    assert len(list(directory.glob("*.tar"))) == 10
    done = json.loads(run("prune", "--json").stdout)

    assert set(dry) == {"schema", "dry_run", "deleted", "freed_bytes", "archives", "warnings"}
    assert (dry["schema"], dry["dry_run"], done["dry_run"]) == (1, True, False)
    assert dry["deleted"] == done["deleted"]
    assert len(list(directory.glob("*.tar"))) == 10 - len(done["deleted"])
    assert set(done["archives"][0]) == {"name", "keep", "reasons", "codes"}


def test_prune_ends_with_3_after_a_warning_4_under_a_lock_and_2_with_a_bad_setting(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_archive(directory, hours_ago(48))
    put_archive(directory, hours_ago(24), facts=Facts(database="other"))

    assert run("prune").exit_code == 3
    assert "--adopt" in run("prune").stderr
    with directory_lock(directory):
        assert run("prune").exit_code == 4
    assert run("prune", "--adopt").exit_code == 0
    assert run("prune").exit_code == 0
    monkeypatch.setenv("BACKUP_RETENTION_DAILY", "-1")
    assert run("prune").exit_code == 2


@pytest.mark.usefixtures("database")
class TestStatus:
    """What `status` says, and with which exit status."""

    def test_a_fresh_archive_is_good(self, directory: Path) -> None:
        put_archive(directory, hours_ago(3))

        assert run("status").exit_code == 0
        assert run("status", "--healthcheck").exit_code == 0
        assert run("status").stdout.startswith("GOOD: safeharbor-backup-")

    @pytest.mark.parametrize(("hours", "status"), [(25.9, 0), (26.1, 1)])
    def test_it_is_stale_after_26_hours(self, directory: Path, hours: float, status: int) -> None:
        put_archive(directory, hours_ago(hours))

        assert run("status", "--healthcheck").exit_code == status
        assert run("status").exit_code == status

    @pytest.mark.parametrize(("limit", "status"), [("49h", 0), ("47h", 1), ("3d", 0), ("30", 1)])
    @pytest.mark.slow
    def test_the_limit_can_be_set(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, limit: str, status: int
    ) -> None:
        put_archive(directory, hours_ago(48))

        assert run("status", "--max-age", limit).exit_code == status
        monkeypatch.setenv("BACKUP_MAX_AGE", limit)
        assert run("status").exit_code == status

    def test_while_a_first_archive_is_not_due_yet_the_check_is_content(self, directory: Path) -> None:
        result = run("status", "--healthcheck")

        assert result.exit_code == 0
        assert result.stdout == "no backup yet; the first one is not due yet\n"
        document = json.loads(run("status", "--json").stdout)
        assert (document["health"], document["healthy"], document["newest"]) == ("waiting", True, None)

    def test_once_a_first_archive_is_overdue_it_is_not(self, directory: Path) -> None:
        set_mtime(directory, hours_ago(27))

        result = run("status", "--healthcheck")

        assert result.exit_code == 1
        assert result.stdout == "STALE: there is no complete archive\n"

    def test_the_clock_starts_with_the_first_run_ever_tried(self, directory: Path) -> None:
        (directory / LOCK_NAME).touch()
        set_mtime(directory / LOCK_NAME, hours_ago(27))

        assert run("status", "--healthcheck").exit_code == 1

    @pytest.mark.slow
    def test_an_archive_that_is_there_but_damaged_is_no_reason_to_wait(self, directory: Path) -> None:
        (directory / archive_name(hours_ago(1))).write_bytes(b"")

        result = run("status")

        assert result.exit_code == 1
        assert result.stdout.count("there is no complete archive") == 1
        assert "1 of 1 archives is damaged" in result.stdout
        assert run("status", "--healthcheck").exit_code == 1

    @pytest.mark.slow
    def test_a_backup_much_smaller_than_usual_is_a_warning(self, directory: Path) -> None:
        put_archive(directory, hours_ago(30))
        put_archive(directory, hours_ago(3), facts=Facts(tables={}))

        result = run("status")

        assert result.exit_code == 3
        assert "nothing was pruned" in result.stdout

    def test_a_damaged_archive_is_a_warning_which_does_not_wake_anybody(self, directory: Path) -> None:
        put_archive(directory, hours_ago(3))
        (directory / archive_name(hours_ago(1))).write_bytes(b"")

        result = run("status")

        assert result.exit_code == 3
        assert "1 of 2 archives is damaged" in result.stdout
        assert run("status", "--healthcheck").exit_code == 0

    def test_warnings_of_the_newest_archive_are_repeated(self, directory: Path) -> None:
        put_archive(directory, hours_ago(3), facts=Facts(warnings=("3 uploads could not be read",)))

        result = run("status")

        assert result.exit_code == 3
        assert "3 uploads could not be read" in result.stdout

    def test_a_manifest_from_elsewhere_cannot_command_the_terminal(self, directory: Path) -> None:
        put_archive(directory, hours_ago(3), facts=Facts(warnings=("\x1b[2J\ud800",)))

        result = run("status")

        assert result.exit_code == 3
        assert "\x1b" not in result.stdout

    def test_the_healthcheck_never_ends_with_anything_but_0_and_1(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BACKUP_DIR", str(directory / "missing"))

        assert run("status", "--healthcheck").exit_code == 1


@pytest.mark.usefixtures("directory")
def test_backup_without_a_database_ends_with_2_and_tells_what_is_missing() -> None:
    result = run("backup")

    assert result.exit_code == 2
    assert "BACKUP_DATABASE_URL" in result.stderr


@pytest.mark.usefixtures("directory")
def test_backup_of_something_else_than_postgresql_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:///app.db")

    result = run("backup")

    assert result.exit_code == 2
    assert "this is a sqlite address, which Safe Harbor cannot back up" in result.stderr


class TestRestore:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--from", "x.tar", "--undo"],
            ["--undo", "--resume"],
            ["--undo", "--dry-run"],
            ["--undo", "--only", "uploads"],
            ["--resume", "--in-place"],
            ["--from", "x.tar", "--id", "0123456789ab"],
            ["--from", "x.tar", "--quick"],
            ["--from", "x.tar", "--in-place", "--only", "uploads"],
            ["--discard-previous", "--no-keep-previous"],
        ],
        ids=" ".join,
    )
    def test_options_that_do_not_go_together_are_refused(self, arguments: list[str]) -> None:
        assert run("restore", *arguments).exit_code == 2
