"""Which archive a path, a name, the beginning of a time or a word means, in every command that takes one."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.cli.table import Column, table_lines
from support.archives import Facts, put_archive
from support.commands import run_inside as run

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

NOW = datetime.now(UTC).replace(microsecond=0)
TIMES = [
    datetime(2025, 11, 26, 3, 0, 1, tzinfo=UTC),
    datetime(2025, 11, 27, 3, 0, 2, tzinfo=UTC),
    datetime(2025, 11, 27, 15, 0, 3, tzinfo=UTC),
    datetime(2025, 11, 28, 23, 30, 4, tzinfo=UTC),
]


@pytest.fixture
def directory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name in ("DATABASE_URL", "UPLOAD_DIR") or name.startswith(("BACKUP_", "RESTORE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))
    monkeypatch.setenv("BACKUP_TIMEZONE", "UTC")
    monkeypatch.setenv("BACKUP_DATABASE_URL", "postgresql://reef@127.0.0.1:1/reef")
    monkeypatch.setenv("BACKUP_PG_BIN", str(settings.pg_bin[0]))
    for moment in TIMES:
        put_archive(settings.backup_dir, moment)
    return settings.backup_dir


def chosen(text: str) -> str:
    """The time of the archive that was proven."""
    done = run("verify", "--quick", text)
    assert done.exit_code == 0, done.output
    return done.stdout.partition("safeharbor-backup-")[2].partition(".tar")[0]


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2025-11-26", 0),
        ("11-26", 0),
        ("11-27T03", 1),
        ("2025-11-27 15:00", 2),
        ("2025-11-27T15", 2),
        ("safeharbor-backup-2025-11-26T03-00-01Z.tar", 0),
        ("safeharbor-backup-2025-11-26T03-00-01Z", 0),
        ("2025-11-26T03-00-01Z", 0),
        ("11-28Z", 3),
        ("latest", 3),
        ("latest~1", 2),
        ("latest~3", 0),
        ("before 2025-11-27T15:00:03", 1),
        ("before 2025-11-27", 0),
        ("before 2025-11-29T00:30+01:00", 2),
    ],
)
def test_an_archive_is_chosen_by_its_name_its_time_or_a_word(text: str, number: int) -> None:
    assert chosen(text) == f"{TIMES[number]:%Y-%m-%dT%H-%M-%SZ}"


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize("command", [("verify",), ("drill",), ("restore", "--yes", "--from")])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("11-27", "may mean 2 archives"),
        ("2025", "may mean 4 archives"),
        ("safeharbor-backup-2025-1", "may mean 4 archives"),
        ("2024", "The nearest: safeharbor-backup-2025-11-26T03-00-01Z.tar, safeharbor-backup-2025-11-27T03-"),
        (
            "2025-11-30",
            "The nearest: safeharbor-backup-2025-11-27T15-00-03Z.tar, safeharbor-backup-2025-11-28T23-30-04",
        ),
        ("safeharbor-backup-2025-11-26T03-00-02Z.tar", "safeharbor-backup-2025-11-26T03-00-01Z.tar"),
        ("reef\n\x1b[2J", "There is no archive reef\\n\\x1b[2J in"),
        ("latest~4", "not that many"),
        ("before yesterday", "not a time"),
        ("before 2020-01-01", "no archive"),
    ],
)
def test_what_names_no_archive_or_several_is_2_with_those_that_it_may_mean(
    directory: Path, command: tuple[str, ...], text: str, says: str
) -> None:
    before = set(directory.rglob("*"))

    done = run(*command, text)

    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split()).replace("- ", "-")
    assert set(directory.rglob("*")) == before, "a mistyped name is remembered nowhere"


def test_a_local_time_is_understood_as_list_shows_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_TIMEZONE", "Europe/Berlin")

    assert chosen("11-29") == "2025-11-28T23-30-04Z"
    assert chosen("before 2025-11-28") == "2025-11-27T15-00-03Z"
    assert "2025-11-29 00:30" in run("list").stdout
    assert "2025-11-28 23:30" in run("list", "--utc").stdout
    put_archive(directory, TIMES[3] - timedelta(days=1))
    assert run("verify", "11-28").exit_code == 2, "one is of that day local, the other in UTC"


def test_a_short_archive_is_never_taken_by_a_word_without_saying_so(directory: Path) -> None:
    short = put_archive(directory, TIMES[3] + timedelta(hours=1), facts=Facts(tables={"public.entries": 0})).name

    looked = run("verify", "--quick", "latest~1")
    restored = run("restore", "--from", "latest~1", "--yes")
    earlier = run("verify", "--quick", f"before {TIMES[3] + timedelta(minutes=1):%Y-%m-%dT%H:%M}")

    assert looked.exit_code == 0
    assert f"{TIMES[2]:%Y-%m-%dT%H-%M-%SZ}" in looked.stdout
    assert f"{short} was skipped" in looked.stderr
    assert restored.exit_code == 8
    assert short in restored.stderr
    assert short not in earlier.output


@pytest.mark.usefixtures("directory")
def test_what_to_type_stands_below_the_archives_that_may_be_meant() -> None:
    assert " local)\nType more of its time" in run("verify", "11-27").stderr


def test_list_says_what_changed_and_leaves_columns_out_where_there_is_no_place(directory: Path) -> None:
    put_archive(directory, NOW, facts=Facts(tables={"public.entries": 40_000}))

    line = next(each for each in run("list").stdout.splitlines() if each.startswith(f"{NOW:%Y-%m-%d %H:%M}"))

    assert "-1 table +40.0k rows" in line
    put_archive(directory, NOW - timedelta(minutes=2), facts=Facts(tables={"public.entries": 39_999}))
    assert re.search(r"  \+1 row  ", run("list").stdout)
    assert "keep: daily 1 of 7" in line
    assert line == line.rstrip()


def test_list_counts_one_row_as_one(directory: Path) -> None:
    put_archive(directory, NOW - timedelta(days=1), facts=Facts(tables={"public.entries": 40_000}))
    put_archive(directory, NOW, facts=Facts(tables={"public.entries": 40_001}))

    line = next(each for each in run("list").stdout.splitlines() if each.startswith(f"{NOW:%Y-%m-%d %H:%M}"))

    assert "  +1 row  " in line


@pytest.mark.parametrize("width", [None, 20, 80, 120])
def test_a_table_shows_whole_columns_only(width: int | None) -> None:
    columns = [
        Column("time", ["2025-11-26 03:00:01"]), Column("size", ["1.5 GiB"], is_number=True),
        Column("why", ["x" * 70]), Column("state", ["complete"]), Column("archive", ["y" * 43]),
    ]  # fmt: skip

    lines = table_lines(columns, width)

    assert all(width is None or len(line) <= width for line in lines)
    shown = [column for column in columns if column.heading in lines[0].split()]
    assert all(column.cells[0] in lines[1] for column in shown)
    assert len(shown) == {None: 5, 20: 1, 80: 3, 120: 4}[width]
