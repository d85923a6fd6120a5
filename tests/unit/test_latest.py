"""What `latest` means, and who says what when that is not simply the newest archive."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.catalog.entries import look_at
from safeharbor_backup.actions.catalog.guards import judge_size
from safeharbor_backup.actions.catalog.latest import WhyNot, choose_latest, read_choice
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.cli.main import cli
from safeharbor_backup.state.adopted import Adopted, write_adopted
from safeharbor_backup.state.history import Outcome, append_outcome
from safeharbor_backup.web.page import render_page
from support.archives import Facts, foreign_archive, put_archive
from support.commands import cli_runner

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from safeharbor_backup.settings.model import Settings

NOW = datetime.now(UTC).replace(microsecond=0)
EMPTY = Facts(tables={"public.entries": 0})


@pytest.fixture
def directory(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup directory that the environment names, of a database on a server that nobody can reach."""
    for name in list(os.environ):
        if name in ("DATABASE_URL", "UPLOAD_DIR") or name.startswith(("BACKUP_", "RESTORE_")):
            monkeypatch.delenv(name)
    (tmp_path / "uploads").mkdir()
    monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))
    monkeypatch.setenv("BACKUP_UPLOAD_DIR", str(tmp_path / "uploads"))
    monkeypatch.setenv("BACKUP_DATABASE_URL", "postgresql://reef@127.0.0.1:1/reef")
    monkeypatch.setenv("BACKUP_PG_BIN", str(settings.pg_bin[0]))
    return settings.backup_dir


def run(*arguments: str) -> Result:
    return cli_runner().invoke(cli, arguments, prog_name="safeharbor")


def put(directory: Path, hours: float, facts: Facts | None = None) -> str:
    return put_archive(directory, NOW - timedelta(hours=hours), facts=facts).name


def cut(directory: Path, hours: float) -> str:
    name = put(directory, hours)
    os.truncate(directory / name, (directory / name).stat().st_size // 2)
    return name


def foreign(directory: Path, hours: float) -> str:
    path = put_archive(directory, NOW - timedelta(hours=hours))
    path.write_bytes(foreign_archive([]))
    return path.name


NOT_MEANT = {
    "from the future": lambda directory: put(directory, -24 * 300),
    "seriously short": lambda directory: put(directory, 1, EMPTY),
    "damaged": lambda directory: cut(directory, 1),
    "no manifest": lambda directory: foreign(directory, 1),
    "other database": lambda directory: put(directory, 1, Facts(database="shop", system_identifier="8")),
    "short, on a new server": lambda directory: put(
        directory, 1, Facts(system_identifier="8", tables={"public.entries": 0})
    ),
}


@pytest.mark.parametrize("why", NOT_MEANT)
@pytest.mark.parametrize("how", ["--dry-run", "--yes"])
def test_a_restore_of_latest_stops_with_8_and_names_both(directory: Path, why: str, how: str) -> None:
    put(directory, 49)
    good = put(directory, 25)
    newest = NOT_MEANT[why](directory)

    done = run("restore", "--from", "latest", how)

    assert done.exit_code == 8, done.output
    assert [name for name in (good, newest, "5 rows", "--from PATH") if name not in done.stderr] == []
    assert f"{NOW - timedelta(hours=25):%Y-%m-%d %H:%M:%S} UTC" in done.stderr


def test_a_restore_of_latest_takes_the_newest_where_nothing_is_wrong(directory: Path) -> None:
    put(directory, 49)
    newest = put(directory, 25)

    done = run("restore", "--from", "latest", "--dry-run", "--quick")

    assert done.exit_code == 6  # the server is not there
    assert newest in done.stdout


@pytest.mark.parametrize("why", ["from the future", "seriously short", "other database"])
def test_a_verify_of_latest_takes_the_one_that_is_meant_and_says_so(directory: Path, why: str) -> None:
    good = put(directory, 25)
    newest = NOT_MEANT[why](directory)

    done = run("verify", "--latest")

    assert good in done.stdout
    assert newest not in done.stdout
    assert f"Warning: {newest} was skipped: it is " in done.stderr
    assert done.exit_code == 3
    assert run("drill").exit_code == 6  # it ends at the server that nobody can reach, and says of which archive
    (evidence,) = directory.glob("safeharbor-drill-*.json")
    assert json.loads(evidence.read_text())["archive"]["name"] == good


def test_a_verify_of_latest_proves_a_newest_archive_that_is_damaged(directory: Path) -> None:
    put(directory, 25)
    bad = cut(directory, 1)

    done = run("verify", "--latest")

    assert (done.exit_code, bad in done.stdout, "REJECTED" in done.stdout) == (5, True, True)


def test_what_was_adopted_is_meant(directory: Path, settings: Settings) -> None:
    put(directory, 25)
    newest = put(directory, 1, EMPTY)
    write_adopted(directory, Adopted(archives=frozenset({newest})))

    choice = read_choice(settings.backup_dir, "reef")

    assert choice.is_clear
    assert choice.entry is not None
    assert choice.entry.name == newest


def test_two_servers_with_one_name_are_not_clear_until_they_are_adopted(directory: Path, settings: Settings) -> None:
    theirs = put(directory, 25)
    ours = put(directory, 1, Facts(system_identifier="8"))

    choice = read_choice(settings.backup_dir, "reef")

    assert choice.rival is not None
    assert choice.entry is not None
    assert (choice.entry.name, choice.rival.entry.name, choice.rival.code) == (ours, theirs, WhyNot.OTHER_SERVER)
    assert run("restore", "--from", "latest", "--dry-run").exit_code == 8
    assert run("verify", "--latest").exit_code == 0
    assert run("prune", "--adopt").exit_code == 0
    assert read_choice(settings.backup_dir, "reef").is_clear


def test_a_loss_of_several_nights_does_not_become_the_usual(directory: Path, settings: Settings) -> None:
    good = put(directory, 24 * 9)
    for night in range(8):
        put(directory, 24 * night + 1, EMPTY)

    choice = read_choice(settings.backup_dir, "reef")

    assert choice.entry is not None
    assert choice.entry.name == good
    assert len(choice.passed) == 8


def test_a_name_that_no_archive_has_tells_nothing() -> None:
    assert choose_latest((), Adopted(), NOW, "alias").entry is None


def test_the_table_that_lost_most_is_named(directory: Path) -> None:
    put(directory, 25, Facts(tables={"public.a": 150, "public.b": 30}))
    put(directory, 1, Facts(tables={"public.b": 30}))

    assert "; public.a with 150 is gone" in run("restore", "--from", "latest", "--dry-run").stderr


@pytest.mark.parametrize(("size", "is_smaller"), [(1, True), (500_000, True), (500_001, False)])
def test_half_the_size_is_told(tmp_path: Path, size: int, is_smaller: bool) -> None:
    from dataclasses import replace

    entry = look_at(put_archive(tmp_path, NOW), NOW)
    assert entry is not None

    assert bool(judge_size(replace(entry, size=size), replace(entry, size=1_000_000))) is is_smaller
    assert judge_size(entry, None) == ""


def test_many_archives_that_are_much_too_small_are_judged_in_one_go(directory: Path) -> None:
    good = look_at(put_archive(directory, NOW - timedelta(days=2000)), NOW)
    short = look_at(put_archive(directory, NOW, facts=EMPTY), NOW)
    assert good is not None
    assert short is not None
    days = [NOW - timedelta(days=day) for day in range(1500)]
    archives = [replace(short, path=directory / archive_name(day), taken_at=day) for day in days]
    began = time.process_time()

    choice = choose_latest((*archives, good), Adopted(), NOW)

    assert choice.entry == good
    assert {each.code for each in choice.passed} == {WhyNot.SHORT}
    assert len(choice.passed) == 1500
    assert time.process_time() - began < 1.5  # a million comparisons take more


class TestStatus:
    """The same choice, as the status and the page tell it."""

    def look(self, *options: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(run("status", "--json", *options).stdout)
        return found

    def codes(self) -> list[str]:
        findings = self.look()["findings"]
        assert isinstance(findings, list)
        return [each["code"] for each in findings]

    def test_one_from_the_future_does_not_keep_a_healthcheck_green(self, directory: Path) -> None:
        old = put(directory, 50)
        put(directory, -24 * 300)

        told = self.look()

        assert run("status", "--healthcheck").exit_code == 1
        assert told["newest"]["name"] == told["latest"]["name"] == old  # type: ignore[index]
        assert self.codes() == ["too old", "future"]

    def test_a_run_that_was_refused_is_no_failure_and_hides_none(self, directory: Path) -> None:
        put(directory, 1)
        append_outcome(directory, Outcome("backup", NOW, 1, 4, "another run is at work"))
        assert run("status").exit_code == 3
        assert self.codes() == ["run refused"]

        append_outcome(directory, Outcome("drill", NOW, 1, 5, "it does not restore"))
        append_outcome(directory, Outcome("drill", NOW, 1, 4, "another drill is at work"))

        assert run("status").exit_code == 1
        assert self.codes() == ["run failed", "run refused"]

    def test_only_archives_from_the_future_are_no_backup(self, directory: Path) -> None:
        put(directory, -24 * 300)

        assert run("status", "--healthcheck").exit_code == 1
        assert "no archive" in self.codes()

    def test_a_short_one_is_told_once_with_its_numbers(self, directory: Path) -> None:
        good = put(directory, 25)
        short = put(directory, 1, EMPTY)

        done = run("status")

        assert done.exit_code == 3
        assert done.stdout.count("the archive has 0 rows") == 1
        assert f"`latest` does not mean {short}, because it is much too small" in done.stdout
        assert f"the newest that can be relied on is {good}" in done.stdout
        assert self.look()["latest"]["name"] == good  # type: ignore[index]

    def test_the_newest_is_not_called_good_where_a_guard_doubts_it(self, directory: Path) -> None:
        put(directory, 25)
        short = put(directory, 1, EMPTY)
        assert run("status").stdout.startswith(f"WARNING: {short} (much too small), ")

        append_outcome(directory, Outcome("backup", NOW, 1, 6, "the server does not answer"))

        told = run("status").stdout
        assert f"  newest       {short} (much too small), " in told
        assert "newest good" not in told

    def test_the_page_gives_the_commands_of_the_one_that_is_meant(self, directory: Path) -> None:
        good = put(directory, 25)
        short = put(directory, 1, EMPTY)

        page = render_page(self.look(), NOW)

        first = page[page.index("restore --from ") :].partition("<")[0]
        assert good in first
        assert short not in first
        assert "much too small" in page
