"""What is different between two archives: read from manifests and SHA256SUMS, shown, and told each night."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.alerts.messages import Guidance, compose_message, is_worth_telling
from safeharbor_backup.actions.diff import Diff, UploadChanges
from safeharbor_backup.actions.diff_side import Side
from safeharbor_backup.actions.losses import describe_what_went, what_went
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.archive.listing import Change, compare_lines
from safeharbor_backup.archive.manifest_sections import DatabaseSection, OtherDatabase, Source
from safeharbor_backup.settings.alerts import NotifyOn
from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.state.history import Outcome
from safeharbor_backup.uploads.live_files import live_lines
from support.archives import Facts, assemble, foreign_archive, put_archive, upload, uploads_root
from support.commands import run_inside as run
from support.hostile import CASES

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

FIRST = datetime(2025, 11, 26, 3, tzinfo=UTC)
NIGHT = timedelta(days=1)


@pytest.fixture
def directory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name in ("DATABASE_URL", "UPLOAD_DIR") or name.startswith(("BACKUP_", "RESTORE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))
    return settings.backup_dir


def tree(root: Path, files: dict[str, str]) -> Path:
    root.mkdir()
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.fixture
def two(directory: Path, tmp_path: Path) -> Path:
    """An archive and the next one: a table and uploads went, came and changed."""
    old = tree(tmp_path / "old", {"a.txt": "1", "a/x\n\x1b[2J": "1", "a/y": "1", "b": "1", "z/same": "1"})
    new = tree(tmp_path / "new", {"a.txt": "1", "a/new": "1", "a/y": "2", "z/same": "1"})
    put_archive(directory, FIRST, uploads=old, facts=Facts(tables={"public.photo": 400, "public.entry": 5}))
    put_archive(directory, FIRST + NIGHT, uploads=new, facts=Facts(tables={"public.tag": 1, "public.entry": 7}))
    return directory


@pytest.mark.usefixtures("two")
def test_tables_and_uploads_that_came_went_and_changed_are_shown_with_totals() -> None:
    done = run("diff", "latest~1")

    assert done.exit_code == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "- public.photo (400 rows)" in lines
    assert "+ public.tag (1 row)" in lines
    assert "* public.entry 5 -> 7 rows (+2)" in lines
    assert "uploads: 1 added, 2 gone, 1 changed; 5 -> 4 files, 5 B -> 4 B" in lines
    assert "a 1 1 1 0 B" in lines
    assert ". 0 1 0 -1 B" in lines


@pytest.mark.usefixtures("two")
def test_names_are_listed_if_asked_for_and_none_reaches_the_terminal_as_it_is() -> None:
    said = run("diff", "11-26", "11-27", "--names").stdout
    document = json.loads(run("diff", "11-26", "11-27", "--names", "--json").stdout)

    assert "  - a/x\\n\\x1b[2J\n  * a/y\n" in said
    assert "\x1b" not in said
    assert document["uploads"]["names"] == {"added": ["a/new"], "gone": ["a/x\n\x1b[2J", "b"], "changed": ["a/y"]}
    assert ["public.photo", 400, None] in document["rows"]


def test_an_archive_by_another_program_is_compared_by_names_with_3(directory: Path, tmp_path: Path) -> None:
    (directory / archive_name(FIRST)).write_bytes(foreign_archive([upload(b"b"), upload(b"a")]))
    put_archive(directory, FIRST + NIGHT, uploads=tree(tmp_path / "new", {"a": "1", "c": "2"}))

    done = run("diff", "11-26", "11-27", "--names")

    assert done.exit_code == 3
    assert "by another program" in done.stderr
    assert "  - b\n  + c\n" in done.stdout


@pytest.mark.slow
def test_a_hostile_archive_ends_in_words(directory: Path) -> None:
    put_archive(directory, FIRST)
    ours, theirs = directory / archive_name(FIRST + NIGHT), directory / archive_name(FIRST + 2 * NIGHT)
    for name, case in CASES.items():
        if sum(len(part.header) for part in case.parts) > 1_000_000:
            continue  # what makes those hostile is not looked at here
        ours.write_bytes(assemble([uploads_root(), *case.parts]))
        theirs.write_bytes(foreign_archive(case.parts))
        for path in (ours, theirs):
            done = run("diff", archive_name(FIRST), path.name, "--names")

            assert done.exit_code in (0, 3, 5), name
            assert "\x1b" not in done.output, name
        done = run("find", "*")
        assert done.exit_code in (1, 3), name
        assert "\x1b" not in done.output, name


def test_a_list_of_sums_that_is_not_the_manifests_is_rejected(two: Path) -> None:
    path = two / archive_name(FIRST)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"  uploads/z/same", b"  uploads/z/sane"))

    done = run("diff", "latest~1")

    assert done.exit_code == 5
    assert "SHA256SUMS does not have the SHA-256" in done.stderr


def test_what_went_is_a_note_if_it_is_a_table_or_more_than_a_tenth(directory: Path, tmp_path: Path) -> None:
    full = tree(tmp_path / "full", {f"{number:02}": "1" for number in range(20)})
    put_archive(directory, FIRST, uploads=full, facts=Facts(tables={"public.a": 100, "public.b": 1}))
    (full / "00").unlink()
    (full / "01").unlink()
    fewer = put_archive(directory, FIRST + NIGHT, uploads=full, facts=Facts(tables={"public.a": 91, "public.b": 1}))
    (full / "02").unlink()
    (full / "03").rename(full / "99")
    (full / "04").unlink()
    much = put_archive(directory, FIRST + 2 * NIGHT, uploads=full, facts=Facts(tables={"public.a": 80}))

    assert describe_what_went(fewer, "{}:") == ""
    said = describe_what_went(much, "{}:")
    assert said == f"{fewer.name}: table public.b (1 row); 12 of 92 rows; 3 of 18 uploads"
    assert describe_what_went(directory / archive_name(FIRST), "{}:") == "", "there is no older one"


def test_what_went_of_a_database_beside_the_main_one_is_a_note_too(directory: Path) -> None:
    def put(nights: int, tables: dict[str, int], *others: str) -> Path:
        facts = Facts(tables=tables, others=dict.fromkeys(others, b"PGDMP"))  # each has the tables of the main one
        return put_archive(directory, FIRST + nights * NIGHT, facts=facts)

    put(0, {"public.a": 100, "public.b": 1}, "logs", "stats")
    fewer = put(1, {"public.a": 91, "public.b": 1}, "logs", "stats")
    much = put(2, {"public.a": 80}, "stats")

    assert describe_what_went(fewer, "{}:") == ""
    of_each = "table {}public.b (1 row); 12 of 92 rows{}"
    assert describe_what_went(much, "{}:") == (
        f"{fewer.name}: {of_each.format('', '')}; database logs (92 rows); {of_each.format('stats: ', ' in stats')}"
    )


def beside(
    name: str, system: str, database: str, rows: int = 10, section: DatabaseSection | None = None
) -> OtherDatabase:
    section = section or DatabaseSection(client_version="17.5", tables={"public.t": rows}, constraints=0)
    source = Source(system_identifier=system, database=database)
    return OtherDatabase(name=name, source=source, dump_bytes=1, database=section)


def gone_between(before: tuple[OtherDatabase, ...], after: tuple[OtherDatabase, ...]) -> tuple[str, ...]:
    uploads = UploadChanges(dict.fromkeys(Change, 0), {})
    return what_went(Diff(Side("before", databases=before), Side("after", databases=after), {}, {}, uploads))


def test_a_database_beside_the_main_one_that_got_another_name_or_server_is_not_gone() -> None:
    stats, logs = beside("stats", "7", "stats_db"), beside("logs", "7", "logs_db", 2)

    assert gone_between((stats,), (beside("metrics", "7", "stats_db"),)) == ()
    assert gone_between((stats,), (beside("stats", "8", "elsewhere"),)) == ()
    assert gone_between((logs, stats), (beside("logs", "7", "stats_db"), beside("stats", "7", "logs_db", 2))) == ()
    assert gone_between((logs, stats), (beside("logs", "7", "stats_db"),)) == ("database logs (2 rows)",)
    assert gone_between((stats,), (beside("metrics", "7", "stats_db", 5),)) == ("5 of 10 rows in stats",)
    assert gone_between((stats,), (beside("metrics", "8", "stats_db"),)) == ("database stats (10 rows)",)
    hidden = beside("stats", "", "app"), beside("logs", "", "app", 2)
    assert gone_between(hidden, hidden[1:]) == ("database stats (10 rows)",), "two servers that hide their identifiers"


def test_tables_whose_rows_did_not_fit_into_the_manifest_or_were_left_out_are_not_gone(directory: Path) -> None:
    uncounted = DatabaseSection(client_version="17.5", tables={})
    left_out = DatabaseSection(client_version="17.5", tables={}, tables_without_data=("public.t",), constraints=0)
    emptied = DatabaseSection(client_version="17.5", tables={}, constraints=0)
    stats = beside("stats", "7", "stats_db")

    assert gone_between((stats,), (beside("stats", "7", "stats_db", section=uncounted),)) == ()
    assert gone_between((stats,), (beside("stats", "7", "stats_db", section=left_out),)) == ()
    assert gone_between((stats,), (beside("stats", "7", "stats_db", section=emptied),)) == (
        "table stats: public.t (10 rows)",
        "10 of 10 rows in stats",
    )
    assert gone_between((beside("stats", "7", "stats_db", section=uncounted),), ()) == ("database stats",)
    put_archive(directory, FIRST, facts=Facts(tables={"public.a": 100}))
    assert describe_what_went(put_archive(directory, FIRST + NIGHT, facts=Facts(tables={})), "{}:") == ""
    done = run("diff", "latest~1")
    assert (done.exit_code, "does not record them" in done.stderr, "public.a" in done.stdout) == (3, True, False)


def test_a_message_tells_what_went_whatever_is_told_else(settings: Settings) -> None:
    quiet = Outcome("backup", datetime.now(UTC), 1.0, 0)
    loud = replace(quiet, details={"notes": ["gone since x: table public.photo (400 rows)"]})

    assert not is_worth_telling(quiet, None, NotifyOn.FAILURE)
    assert is_worth_telling(loud, None, NotifyOn.FAILURE)
    message = compose_message(loud, Guidance(), settings.database, settings.backup_dir)
    assert "- gone since x: table public.photo (400 rows)" in message.body
    assert message.subject.endswith("backup done, but much is gone")


def test_live_files_are_compared_by_name_and_time(tmp_path: Path) -> None:
    live = tree(tmp_path / "live", {"a/kept": "", "a/touched": "", "a.txt": "", "new": ""})
    os.utime(live / "a" / "kept", (FIRST.timestamp(), FIRST.timestamp()))
    os.utime(live / "a.txt", (FIRST.timestamp(), FIRST.timestamp()))
    lines = [b"%b  uploads/%b" % (b"0" * 64, name) for name in (b"a/gone", b"a/kept", b"a/touched", b"a.txt")]

    found = list(compare_lines(lines, live_lines((UploadDir(live),), FIRST, None)))

    assert [(change.value, path) for change, path in found] == [
        ("gone", b"a/gone"), ("changed", b"a/touched"), ("added", b"new"),
    ]  # fmt: skip
