"""What `doctor` makes of what it sees, and that its look leaves nothing behind. Real servers: tests/postgres."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from safeharbor_backup.actions.catalog.entries import newest_manifest
from safeharbor_backup.actions.doctor.archive_checks import check_archive_times
from safeharbor_backup.actions.doctor.container_checks import find_sockets, judge_sockets
from safeharbor_backup.actions.doctor.database_checks import judge_clock, judge_privileges
from safeharbor_backup.actions.doctor.findings import Diagnosis, Finding, Level, fine, not_checked, problem, warning
from safeharbor_backup.actions.doctor.restore_checks import check_secret_key
from safeharbor_backup.actions.doctor.run import CHECKS, examine
from safeharbor_backup.actions.doctor.server_checks import judge_client_alone
from safeharbor_backup.actions.doctor.settings_checks import (
    check_schedule,
    check_settings,
    next_runs,
    show_settings,
)
from safeharbor_backup.actions.doctor.storage_checks import (
    check_access,
    check_backup_dir,
    check_restores,
)
from safeharbor_backup.actions.doctor.target_checks import judge_extensions
from safeharbor_backup.actions.doctor.write_probe import PROBE_NAME, probe_directory
from safeharbor_backup.archive.manifest import secret_key_fingerprint
from safeharbor_backup.cli.commands.doctor import lines_of
from safeharbor_backup.cli.main import cli
from safeharbor_backup.errors import ExitStatus, Interrupted, RestorePending, ToolFailed
from safeharbor_backup.postgres.privileges import ReadPrivileges
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.model import Settings
from safeharbor_backup.settings.table import SETTINGS
from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.state.journal import Journal
from safeharbor_backup.state.restore_record import Phase, RestoreRecord
from safeharbor_backup.system.lock import directory_lock
from support.archives import put_archive
from support.commands import cli_runner
from support.patience import patient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.testing import Result

    from safeharbor_backup.postgres.client_tools import ClientTools

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SECRET = "s3cr3t-and-long"


def loaded(**environ: str) -> Settings:
    return load_settings({"BACKUP_DATABASE_URL": f"postgresql://app:{SECRET}@db/reef", **environ})


def run(*arguments: str) -> Result:
    result = cli_runner().invoke(cli, list(arguments), prog_name="safeharbor")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def named(diagnosis: Diagnosis, name: str) -> Finding:
    return only([finding for finding in diagnosis.findings if finding.name == name])


class TestSettings:
    """Where each came from, and what is wrong with it."""

    def test_each_is_shown_with_where_it_came_from(self) -> None:
        settings = load_settings(
            {"DATABASE_URL": "postgres://app@db/reef", "BACKUP_DIR": "/b", "BACKUP_UPLOAD_DIR": "/u"},
            {"BACKUP_SCHEDULE": "@hourly"},
        )

        shown = {each.name: (each.value, each.origin) for each in show_settings(settings)}

        assert shown["BACKUP_DATABASE_URL"] == ('"reef" on db:5432', "DATABASE_URL in the environment")
        assert shown["BACKUP_DIR"] == ("/b", "the environment")
        assert shown["BACKUP_UPLOAD_DIR"] == ("/u", "the environment")
        assert shown["BACKUP_SCHEDULE"] == ("0 0 * * * *", "the app's configuration")
        assert shown["BACKUP_MAX_AGE"] == ("26h", "the default")
        assert shown["BACKUP_EXCLUDE"] == ("none", "the default")

    def test_no_secret_is_shown(self) -> None:
        settings = loaded(SECRET_KEY=SECRET, RESTORE_DATABASE_URL=f"postgresql://root:{SECRET}@db/reef")

        shown = show_settings(settings)

        assert SECRET not in repr(shown)
        assert {each.name: each.value for each in shown}["SECRET_KEY"] == "set, and not shown"

    def test_an_address_among_other_settings_is_not_shown_since_it_may_hold_a_password(self) -> None:
        shown = show_settings(replace(loaded(), exclude=("https://user:pass@host",)))

        assert "pass" not in {each.name: each.value for each in shown}["BACKUP_EXCLUDE"]

    def test_all_well_is_one_line(self) -> None:
        assert only(check_settings(loaded())).level is Level.OK

    @pytest.mark.parametrize(
        ("environ", "level"),
        [
            ({"BACKUP_DATABASE_URL": ""}, Level.PROBLEM),
            ({"BACKUP_RETENTION_DAILY": "0", "BACKUP_RETENTION_WEEKLY": "0"}, Level.PROBLEM),
            ({"BACKUP_SCHEDULE": "0 3 * * *"}, Level.PROBLEM),
            ({"BACKUP_TIMEZONE": "Mars/Base"}, Level.PROBLEM),
            ({"BACKUP_DUMP_COMPRESSION": "rar"}, Level.PROBLEM),
            ({"RESTORE_DATABASE_URL": "sqlite:///x"}, Level.PROBLEM),
            ({"BACKUP_FULL_READ_DAYS": "often"}, Level.WARNING),
            ({"BACKUP_MAX_AGE": "long"}, Level.WARNING),
            ({"BACKUP_RETENTON_DAILY": "3"}, Level.WARNING),
        ],
        ids=str,
    )
    def test_what_cannot_be_used_is_a_problem_where_a_command_refuses_it(
        self, environ: Mapping[str, str], level: Level
    ) -> None:
        finding = only(check_settings(loaded(**environ)))

        assert finding.level is level
        assert finding.exit_status == (ExitStatus.USAGE if level is Level.PROBLEM else ExitStatus.DONE)
        assert finding.remedy

    def test_a_misspelt_setting_is_told_with_the_one_that_was_meant_and_a_foreign_one_is_nobodys_business(self) -> None:
        finding = only(check_settings(loaded(BACKUP_SCHEDUL="@daily", BACKUP_OF_SOMETHING_ELSE="1")))

        assert "BACKUP_SCHEDUL is not a setting" in finding.text
        assert finding.remedy == "Did you mean BACKUP_SCHEDULE?"

    def test_the_next_five_runs_are_those_of_the_clocks_in_the_time_zone(self) -> None:
        runs = next_runs(loaded(BACKUP_TIMEZONE="Europe/Berlin"), NOW)

        assert runs == tuple(datetime(2026, 11, 26 + day, 2, tzinfo=UTC) for day in range(5))
        assert next_runs(loaded(BACKUP_SCHEDULE="x"), NOW) == ()

    def test_status_must_be_as_patient_as_the_schedule_is_slow(self) -> None:
        weekly = loaded(BACKUP_SCHEDULE="@weekly")

        finding = only(check_schedule(weekly, NOW))

        assert (finding.level, finding.remedy) == (Level.WARNING, "BACKUP_MAX_AGE=170h")
        assert only(check_schedule(loaded(BACKUP_SCHEDULE="@weekly", BACKUP_MAX_AGE="170h"), NOW)).level is Level.NOTE

    @pytest.mark.parametrize(("key", "level"), [(None, Level.OK), ("k" * 20, Level.OK), ("dev", Level.WARNING)])
    def test_a_short_secret_key_can_be_guessed(self, key: str | None, level: Level) -> None:
        assert only(check_secret_key(key, None)).level is level

    def test_a_secret_key_that_has_changed_since_the_newest_archive_is_told(self, tmp_path: Path) -> None:
        put_archive(tmp_path, NOW)
        manifest = newest_manifest(tmp_path)
        assert manifest is not None
        earlier = structs.replace(manifest, secret_key=secret_key_fingerprint("k" * 32))

        assert only(check_secret_key("k" * 32, earlier)).level is Level.OK
        assert "not the key" in only(check_secret_key("n" * 32, earlier)).text


class TestStatus:
    """The exit status of a whole diagnosis."""

    @pytest.mark.parametrize(
        ("findings", "status"),
        [
            ([], 0),
            ([fine("a", "")], 0),
            ([fine("a", ""), not_checked("b", "")], 0),
            ([warning("a", "", ""), fine("b", "")], 3),
            ([warning("a", "", ""), problem("b", "", "", ExitStatus.STORAGE)], 7),
            ([problem("a", "", "", ExitStatus.DATABASE), problem("b", "", "", ExitStatus.STORAGE)], 6),
        ],
        ids=str,
    )
    def test_it_is_that_of_the_first_problem(self, findings: list[Finding], status: int) -> None:
        assert Diagnosis(tuple(findings), (), (), "UTC").exit_status == status


class TestDatabase:
    """What is made of a server's answers."""

    @pytest.mark.parametrize(("seconds", "words"), [(-90, "ahead of"), (90, "behind"), (-59, ""), (59, ""), (0.5, "")])
    def test_a_clock_may_be_a_minute_off(self, seconds: float, words: str) -> None:
        finding = judge_clock(NOW, NOW + timedelta(seconds=seconds), NOW + timedelta(seconds=1))

        assert finding.level is (Level.WARNING if words else Level.OK)
        assert words in finding.text

    def test_a_slow_answer_is_no_wrong_clock(self) -> None:
        assert judge_clock(NOW, NOW + timedelta(seconds=70), NOW + timedelta(seconds=140)).level is Level.OK

    def test_what_pg_dump_could_not_read_is_named_and_the_rest_counted(self) -> None:
        names = tuple(f"public.t{number}" for number in range(7))

        tables, hidden = judge_privileges(ReadPrivileges(9, names, ("public.h",), 3))

        assert tables.text == (
            "may not be read: public.t0, public.t1, public.t2, public.t3, public.t4 and 2 more and 3 large objects"
        )
        assert "pg_read_all_data" in tables.remedy
        assert (tables.exit_status, hidden.exit_status) == (1, 1)
        assert "BYPASSRLS" in hidden.remedy

    def test_that_no_client_tools_are_here_is_told_though_no_server_answers(self, tools: ClientTools) -> None:
        with pytest.raises(ToolFailed, match="No pg_dump"):
            judge_client_alone([], "no server")

        assert only(judge_client_alone([tools], "no server")).text == "not checked: no server; installed: 99.1"

    def test_extensions_are_told_by_whether_the_role_can_create_them(self) -> None:
        available = {"citext": True, "postgis": False}

        assert only(judge_extensions((), available, is_superuser=False)).level is Level.OK
        assert only(judge_extensions(("citext",), available, is_superuser=False)).level is Level.OK
        assert only(judge_extensions(("postgis",), available, is_superuser=True)).level is Level.OK
        assert "leaves it out" in only(judge_extensions(("citext", "postgis"), available, is_superuser=False)).text
        missing = only(judge_extensions(("citext", "vector"), available, is_superuser=True))
        assert (missing.level, missing.exit_status) == (Level.PROBLEM, 8)


class TestProbe:
    """A file that is written, fsynced, renamed and removed."""

    def test_nothing_of_it_is_left_not_even_in_the_directorys_time(self, tmp_path: Path) -> None:
        os.utime(tmp_path, (10**9, 10**9))

        assert probe_directory(tmp_path).supports_locks

        assert os.listdir(tmp_path) == []
        assert os.stat(tmp_path).st_mtime == 10**9

    @pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
    def test_a_signal_at_any_step_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        real = getattr(os, call)
        came = False

        def interrupted(*arguments: object, **options: object) -> object:
            nonlocal came
            done = real(*arguments, **options)
            if not came:
                came = True
                raise Interrupted(signal.SIGTERM)
            return done

        monkeypatch.setattr(os, call, interrupted)
        with pytest.raises(Interrupted):
            probe_directory(tmp_path)

        assert os.listdir(tmp_path) == []

    def test_a_filesystem_without_locks_is_a_warning(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(_descriptor: int, _how: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", refused)

        found, probed = check_backup_dir(tmp_path)

        assert [(each.name, each.level) for each in found] == [("directory", Level.OK), ("locks", Level.WARNING)]
        assert probed is not None

    def test_what_a_killed_one_left_is_removed(self, tmp_path: Path) -> None:
        old = tmp_path / f"{PROBE_NAME}.0123abcd.tmp"
        for path in (tmp_path / PROBE_NAME, old):
            path.touch()
        os.utime(old, (10**9, 10**9))

        probe_directory(tmp_path)

        assert os.listdir(tmp_path) == []

    def test_a_planted_link_is_replaced_and_not_followed(self, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_text("kept")
        (tmp_path / PROBE_NAME).symlink_to(victim)

        probe_directory(tmp_path)

        assert victim.read_text() == "kept"
        assert os.listdir(tmp_path) == ["victim"]


class TestStorage:
    """What lies in the backup directory, and who can get at it."""

    def test_archives_that_everybody_can_read_are_told(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        archive = put_archive(tmp_path, NOW)
        assert only(check_access(tmp_path)).level is Level.OK

        archive.chmod(0o644)

        assert only(check_access(tmp_path)).remedy == f"chmod 0600 {tmp_path}/safeharbor-backup-*.tar"
        tmp_path.chmod(0o700)
        assert only(check_access(tmp_path)).level is Level.OK

    @pytest.mark.parametrize(("mode", "level"), [(0o777, Level.WARNING), (0o1777, Level.OK), (0o770, Level.OK)])
    def test_a_directory_that_everybody_can_change_is_told(self, tmp_path: Path, mode: int, level: Level) -> None:
        tmp_path.chmod(mode)

        assert only(check_access(tmp_path)).level is level

    def test_an_archive_from_the_future_is_told_by_its_name_or_its_time(self, tmp_path: Path) -> None:
        archive = put_archive(tmp_path, NOW)

        assert only(check_archive_times(tmp_path, NOW)).level is Level.OK
        assert only(check_archive_times(tmp_path, NOW - timedelta(hours=1))).level is Level.WARNING
        os.utime(archive, (NOW.timestamp() + 3600,) * 2)
        assert archive.name in only(check_archive_times(tmp_path, NOW)).text

    def test_an_interrupted_restore_is_a_problem_unless_it_is_at_work(self, settings: Settings) -> None:
        settings = replace(settings, upload_dirs=())
        record = RestoreRecord("0123456789ab", "2026-11-25T03:00:00Z", "x.tar", Phase.SWAPPING)
        Journal(settings.backup_dir).write(record)

        with pytest.raises(RestorePending, match="0123456789ab"):
            check_restores(settings.backup_dir, settings.upload_dirs)
        with directory_lock(settings.backup_dir):
            assert "at work" in only(check_restores(settings.backup_dir, settings.upload_dirs)).text
        Journal(settings.backup_dir).advance(record, Phase.KEPT)
        assert "1 keeps a state" in only(check_restores(settings.backup_dir, settings.upload_dirs)).text


class TestSurroundings:
    """A container engine's socket."""

    def test_a_socket_is_found_once_by_whatever_name_and_nothing_else_is(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.bind(str(tmp_path / "s"))
            (tmp_path / "link").symlink_to("s")
            (tmp_path / "file").touch()

            found = find_sockets([tmp_path / name for name in ("missing", "file", "link", "s")])

        assert found == [tmp_path / "link"]

    def test_it_is_a_warning_in_a_container_only(self) -> None:
        there = [Path("/var/run/docker.sock")]

        assert judge_sockets(there, is_host=False).level is Level.WARNING
        assert judge_sockets([], is_host=False).level is Level.OK
        assert judge_sockets(there, is_host=True).level is Level.OK


class TestExamination:
    """All of it, with no database to be had."""

    @pytest.fixture
    def unreachable(self, settings: Settings, tmp_path: Path) -> Settings:
        environ = {
            "BACKUP_DATABASE_URL": f"postgresql://app:{SECRET}@127.0.0.1:1/reef",
            "BACKUP_DIR": str(settings.backup_dir),
            "BACKUP_PG_BIN": str(settings.pg_bin[0]),
            "BACKUP_UPLOAD_DIR": str(tmp_path / "uploads"),
        }
        (tmp_path / "uploads").mkdir()
        return load_settings(environ)

    def test_no_check_stops_another(self, unreachable: Settings) -> None:
        diagnosis = examine(unreachable)

        assert diagnosis.exit_status == 6
        assert named(diagnosis, "database").level is Level.PROBLEM
        for name in ("role", "pooler", "tables", "row security", "clock", "space", "extensions", "logical slots"):
            assert named(diagnosis, name).text == "not checked: the database cannot be reached"
        for name in ("uploads", "directory", "sentinel", "access", "retention", "engine socket", "restore uploads"):
            assert named(diagnosis, name).level is Level.OK, name
        assert SECRET not in repr(diagnosis)
        assert os.listdir(unreachable.backup_dir) == []

    def test_the_findings_stand_in_the_order_of_the_registry_and_each_has_its_row(self, unreachable: Settings) -> None:
        names = [check.name for check in CHECKS]
        only_told_sometimes = {"evidence key", "locks", "status file", "metrics file", "commands"}

        found = [finding.name for finding in examine(unreachable).findings]

        assert len(set(names)) == len(names)
        assert found == [name for name in names if name not in only_told_sometimes]

    @pytest.mark.parametrize(
        ("changed", "name", "status"),
        [
            ({"backup_dir": Path("/nowhere/backups")}, "directory", 7),
            ({"sentinel": Path("/nowhere/mounted")}, "sentinel", 7),
            ({"upload_dirs": (UploadDir(Path("/nowhere/uploads")),)}, "uploads", 2),
        ],
        ids=["directory", "sentinel", "uploads"],
    )
    def test_a_place_that_is_missing_is_a_problem_and_the_first_one_counts(
        self, unreachable: Settings, changed: dict[str, Any], name: str, status: int
    ) -> None:
        diagnosis = examine(replace(unreachable, **changed))

        finding = named(diagnosis, name)
        assert (finding.level, finding.exit_status) == (Level.PROBLEM, status)
        assert finding.remedy
        assert diagnosis.exit_status == status

    def test_archives_inside_the_uploads_are_a_problem(self, unreachable: Settings) -> None:
        inside = unreachable.upload_dirs[0].path / "backups"
        inside.mkdir()

        assert named(examine(replace(unreachable, backup_dir=inside)), "uploads").exit_status == 2

    @pytest.mark.slow
    def test_a_server_that_says_nothing_is_not_waited_for_longer_than_the_settings_say(
        self, unreachable: Settings
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            settings = load_settings(
                {"BACKUP_DATABASE_URL": f"postgresql://app@127.0.0.1:{port}/reef", "BACKUP_CONNECT_TIMEOUT": "2s"}
            )
            started = time.monotonic()

            diagnosis = examine(replace(unreachable, database=settings.database, connect_timeout_seconds=2))

        assert named(diagnosis, "database").exit_status == 6
        assert time.monotonic() - started < patient(8)


def test_a_finding_reads_well_at_80_columns_and_is_one_line_in_a_log() -> None:
    finding = warning("row security", "policies hide rows " * 8, "Back up as the tables' owner " * 4)

    narrow = lines_of(finding, 17, 80)

    assert max(len(line) for line in narrow) <= 80 + len("\x1b[33m\x1b[0m")
    assert len(narrow) > 3
    assert len(lines_of(finding, 17, None)) == 2


class TestCommand:
    """`safeharbor doctor`, as it is typed."""

    @pytest.fixture
    def environment(self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in list(os.environ):
            if name.startswith("BACKUP_") or name in ("DATABASE_URL", "UPLOAD_DIR", "SECRET_KEY"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))
        monkeypatch.setenv("BACKUP_PG_BIN", str(settings.pg_bin[0]))
        monkeypatch.setenv("BACKUP_UPLOAD_DIR", "none")
        monkeypatch.setenv("BACKUP_DATABASE_URL", f"postgresql://app:{SECRET}@127.0.0.1:1/reef")

    @pytest.mark.usefixtures("environment")
    def test_it_tells_settings_findings_and_the_next_backups(self) -> None:
        result = run("doctor")

        assert result.exit_code == 6
        assert SECRET not in result.output
        lines = result.stdout.splitlines()
        assert 'BACKUP_DATABASE_URL  "reef" on 127.0.0.1:1  (the environment)' in lines
        assert any(line.startswith("problem  database ") for line in lines)
        assert any(line.strip().startswith("-> Check BACKUP_DATABASE_URL") for line in lines)
        assert len(lines[lines.index("Next backups:") + 1 :]) == 5 + 2
        assert lines[-1].startswith("1 problem, ")
        assert lines[-1].endswith(" not checked")
        assert "\x1b" not in result.stdout

    @pytest.mark.usefixtures("environment")
    def test_as_json_it_tells_everything(self) -> None:
        document = json.loads(run("doctor", "--json").stdout)

        assert set(document) == {"schema", "exit_status", "checks", "settings", "timezone", "next_runs"}
        assert (document["schema"], document["exit_status"], document["timezone"]) == (1, 6, "UTC")
        assert set(document["checks"][0]) == {"name", "level", "text", "remedy", "status"}
        assert {each["name"] for each in document["settings"]} == {each.name for each in SETTINGS}
        assert len(document["next_runs"]) == 5

    @pytest.mark.usefixtures("environment")
    def test_retention_that_would_delete_everything_ends_with_2(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BACKUP_RETENTION_DAILY", "0")
        monkeypatch.setenv("BACKUP_RETENTION_WEEKLY", "0")

        result = run("doctor")

        assert result.exit_code == 2
        assert "with both 0 every archive would be deleted" in result.stdout

    @pytest.mark.usefixtures("environment")
    def test_an_interrupted_restore_ends_with_9(self, settings: Settings) -> None:
        Journal(settings.backup_dir).write(
            RestoreRecord("0123456789ab", "2026-11-25T03:00:00Z", "x.tar", Phase.SWAPPING)
        )

        result = run("doctor")

        assert result.exit_code == 9
        assert "--resume" in result.stdout
