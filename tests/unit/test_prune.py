from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.actions.catalog.retention import Why
from safeharbor_backup.actions.prune import plan_prune, prune_archives, prune_under_lock
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.errors import LockHeld, SettingsInvalid, StorageUnavailable
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.state.history import Outcome, append_outcome
from safeharbor_backup.state.known_settings import remember_settings
from safeharbor_backup.system.lock import LOCK_NAME, directory_lock
from support.archives import Facts, foreign_archive, put_archive, set_mtime
from support.needs import need_root

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.settings.model import Settings

REJECTED = {"archives": 1, "rejected": ["safeharbor-backup-2026-05-13T03-00-00Z.tar"]}
FIRST = datetime(2026, 5, 1, 3, tzinfo=UTC)


def night(number: int) -> datetime:
    return FIRST + timedelta(days=number)


def put_nights(directory: Path, count: int, facts: Facts | None = None) -> list[str]:
    return [put_archive(directory, night(number), facts=facts).name for number in range(count)]


def put_stub(directory: Path, moment: datetime, content: bytes = b"not ours to judge") -> Path:
    path = directory / archive_name(moment)
    path.write_bytes(content)
    set_mtime(path, moment)
    return path


def archives_in(directory: Path) -> list[str]:
    return sorted(name for name in os.listdir(directory) if not name.startswith("."))


def test_fourteen_nights_are_pruned_to_a_week_and_the_sunday_before(settings: Settings) -> None:
    names = put_nights(settings.backup_dir, 14)

    result = prune_archives(settings)

    assert archives_in(settings.backup_dir) == [names[2], *names[7:]]
    assert sorted(result.deleted) == [*names[:2], *names[3:7]]
    assert result.freed_bytes > 6 * 4096
    assert result.warnings == ()
    assert prune_archives(settings).deleted == ()


def test_a_dry_run_tells_the_same_and_deletes_nothing(settings: Settings) -> None:
    names = put_nights(settings.backup_dir, 14)

    told = prune_archives(settings, dry_run=True)

    assert archives_in(settings.backup_dir) == names
    assert not (settings.backup_dir / LOCK_NAME).exists()
    done = prune_archives(settings)
    assert (told.deleted, told.freed_bytes) == (done.deleted, done.freed_bytes)


def test_only_regular_files_with_an_archives_exact_name_are_ever_deleted(settings: Settings, tmp_path: Path) -> None:
    directory = settings.backup_dir
    put_nights(directory, 3)
    outside = tmp_path / "outside.tar"
    outside.write_bytes(b"precious")
    old = archive_name(night(-400))
    for name in (
        "notes.txt",
        f"{old}.gz",
        f"{old}.0a1b2c3d.tmp",
        f"{old}.sha256",
        old.upper(),
        old.replace("safeharbor", "Safeharbor"),
        old.replace("Z.tar", ".tar"),
        f"my-{old}",
        "safeharbor-backup-2025-02-30T03-00-00Z.tar",
        ".hidden",
    ):
        (directory / name).write_bytes(b"foreign")
    (directory / archive_name(night(-401))).symlink_to(outside)
    (directory / archive_name(night(-402))).symlink_to("nowhere")
    (directory / archive_name(night(-403))).mkdir()
    (directory / archive_name(night(-403)) / "inside").write_bytes(b"precious")
    os.mkfifo(directory / archive_name(night(-404)))
    before = set(os.listdir(directory))

    result = prune_archives(replace(settings, retention_daily=1, retention_weekly=0))

    assert result.deleted == (archive_name(night(1)), archive_name(night(0)))
    assert before - set(os.listdir(directory)) == set(result.deleted)
    assert outside.read_bytes() == b"precious"


def test_archives_by_other_implementations_are_pruned_by_the_same_contract(settings: Settings) -> None:
    for number in range(14):
        put_stub(settings.backup_dir, night(number), foreign_archive([]))

    assert len(prune_archives(settings).deleted) == 6


def test_one_that_cannot_be_deleted_does_not_stop_the_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = put_nights(settings.backup_dir, 14)
    real = os.unlink

    def refuse_one(path: Path) -> None:
        if path.name == names[1]:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(path)

    monkeypatch.setattr("os.unlink", refuse_one)
    result = prune_archives(settings)

    assert sorted(result.deleted) == [names[0], *names[3:7]]
    assert result.warnings == (f"{names[1]} was not deleted: Operation not permitted",)
    assert (settings.backup_dir / names[1]).exists()
    assert next(verdict for verdict in result.verdicts if verdict.name == names[1]).keep


def test_an_archive_that_is_being_read_stays_until_the_next_time(settings: Settings) -> None:
    names = put_nights(settings.backup_dir, 14)
    with open(settings.backup_dir / names[0], "rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        result = prune_archives(settings)

        assert names[0] in archives_in(settings.backup_dir)
        assert result.warnings == ()
        assert next(v for v in result.verdicts if v.name == names[0]).reasons == ("it is being read",)
    assert prune_archives(settings).deleted == (names[0],)


def test_nothing_is_pruned_while_another_run_is_at_work(settings: Settings) -> None:
    names = put_nights(settings.backup_dir, 14)

    with directory_lock(settings.backup_dir), pytest.raises(LockHeld):
        prune_archives(settings)

    assert archives_in(settings.backup_dir) == names


@pytest.mark.parametrize(
    "environ",
    [
        {"BACKUP_RETENTION_DAILY": "0", "BACKUP_RETENTION_WEEKLY": "0"},
        {"BACKUP_RETENTION_DAILY": "-1"},
        {"BACKUP_RETENTION_DAILY": "seven"},
        {"BACKUP_RETENTION_WEEKLY": "4.5"},
        {"BACKUP_RETENTION_MONTHS": "12"},
        {"BACKUP_SCHEDULE": "3 * * *"},
    ],
    ids=str,
)
def test_with_a_setting_that_cannot_be_used_nothing_is_pruned(settings: Settings, environ: dict[str, str]) -> None:
    names = put_nights(settings.backup_dir, 14)
    broken = load_settings({"BACKUP_DIR": str(settings.backup_dir), **environ})

    with pytest.raises(SettingsInvalid):
        prune_archives(broken)

    assert archives_in(settings.backup_dir) == names


def test_a_missing_directory_is_told_and_not_made(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="does not exist"):
        prune_archives(replace(settings, backup_dir=tmp_path / "missing"))

    assert not (tmp_path / "missing").exists()


def test_the_archive_just_written_stays_though_the_clock_went_back(settings: Settings) -> None:
    put_nights(settings.backup_dir, 14)
    written = put_archive(settings.backup_dir, night(-4000)).name

    result = prune_under_lock(replace(settings, retention_weekly=0), just_written=written)

    assert (settings.backup_dir / written).exists()
    assert next(v for v in result.verdicts if v.name == written).reasons == ("just written",)


def test_archives_copied_without_their_times_are_pruned_only_where_both_orders_agree(settings: Settings) -> None:
    names = put_nights(settings.backup_dir, 30)
    for number, name in enumerate(names):
        set_mtime(settings.backup_dir / name, night(60) - timedelta(seconds=number))

    result = prune_archives(settings)

    assert set(names[-7:]) | set(names[:7]) <= set(archives_in(settings.backup_dir))
    assert len(result.warnings) == 1
    assert "contradict" in result.warnings[0]
    assert "touch -d" in result.warnings[0]


def test_after_another_database_wrote_here_nothing_is_pruned_until_it_is_adopted(settings: Settings) -> None:
    names = put_nights(settings.backup_dir, 13)
    other = put_archive(settings.backup_dir, night(13), facts=Facts(database="other", system_identifier="8")).name

    held = prune_archives(settings)
    planned = prune_archives(settings, dry_run=True, adopt=True)
    assert archives_in(settings.backup_dir) == [*names, other]
    adopted = prune_archives(settings, adopt=True)

    assert held.deleted == ()
    assert "another database" in held.warnings[0]
    assert "--adopt" in held.warnings[0]
    assert adopted.warnings == ()
    assert set(adopted.deleted) == set(planned.deleted)
    assert len(adopted.deleted) == 6
    put_archive(settings.backup_dir, night(14))
    assert prune_archives(settings).warnings == ()


def test_another_applications_archives_stay_though_the_two_newest_are_ours(settings: Settings) -> None:
    theirs = [
        put_archive(settings.backup_dir, night(number), facts=Facts(database="other", system_identifier="8")).name
        for number in range(4)
    ]
    ours = [put_archive(settings.backup_dir, night(number)).name for number in range(4, 20)]

    result = prune_archives(settings)

    assert set(theirs) <= set(archives_in(settings.backup_dir))
    assert set(result.deleted) < set(ours)
    assert result.deleted
    assert "another database" in result.warnings[0]
    assert "--adopt" in result.warnings[0]
    assert prune_archives(settings, adopt=True).warnings == ()
    assert set(theirs[:2]).isdisjoint(archives_in(settings.backup_dir))


def test_a_short_archive_that_was_accepted_stays_accepted(settings: Settings) -> None:
    put_nights(settings.backup_dir, 13)
    put_archive(settings.backup_dir, night(13), facts=Facts(tables={}))

    prune_archives(settings, adopt=True)

    assert prune_archives(settings).warnings == ()


@pytest.mark.parametrize("tables", [{}, {"public.entries": 2}, {"public.entries": 0, "public.photos": 0}], ids=str)
def test_after_half_the_rows_are_gone_nothing_is_pruned(settings: Settings, tables: dict[str, int]) -> None:
    names = put_nights(settings.backup_dir, 13)
    short = put_archive(settings.backup_dir, night(13), facts=Facts(tables=tables)).name

    result = prune_archives(settings)

    assert archives_in(settings.backup_dir) == [*names, short]
    assert "rows" in result.warnings[0]
    assert len(prune_archives(settings, adopt=True).deleted) == 6


def test_after_the_uploads_are_gone_nothing_is_pruned(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    for number in range(4):
        (tmp_path / "tree" / str(number)).write_bytes(b"x")
    for number in range(13):
        put_archive(settings.backup_dir, night(number), uploads=tmp_path / "tree")
    put_archive(settings.backup_dir, night(13))

    plan = plan_prune(settings)

    assert plan.to_delete == []
    assert "upload files" in plan.warnings[0]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip_manifest(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"taken_at"', b'"taken_It"'))


HURT = [cut, overwrite, flip_manifest, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"<html>")]


@pytest.mark.parametrize("hurt", HURT)
def test_after_a_damaged_newest_archive_nothing_is_pruned(settings: Settings, hurt: Callable[[Path], object]) -> None:
    names = put_nights(settings.backup_dir, 13)
    damaged = put_archive(settings.backup_dir, night(13))
    hurt(damaged)
    set_mtime(damaged, night(13))

    result = prune_archives(settings)

    assert archives_in(settings.backup_dir) == [*names, damaged.name]
    assert damaged.name in result.warnings[0]
    assert "is damaged" in result.warnings[0]


def test_what_a_guard_held_stays_while_the_newest_archive_cannot_be_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = put_nights(settings.backup_dir, 13)
    short = put_archive(settings.backup_dir, night(13), facts=Facts(tables={}))
    assert "rows" in prune_archives(settings).warnings[0]
    refuse_to_open(monkeypatch, short)

    result = prune_archives(settings)

    assert archives_in(settings.backup_dir) == [*names, short.name]
    assert f"nothing was pruned: the newest archive, {short.name}: it cannot be read" in result.warnings[0]


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, *refused: Path) -> None:
    real = os.open

    def refuse(name: Path, *arguments: int) -> int:
        if name in refused:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(name))
        return real(name, *arguments)

    monkeypatch.setattr("os.open", refuse)


def test_an_older_archive_that_cannot_be_read_stays_and_takes_no_place(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = put_nights(settings.backup_dir, 14)
    refuse_to_open(monkeypatch, settings.backup_dir / names[0], settings.backup_dir / names[12])

    result = prune_archives(settings)

    assert archives_in(settings.backup_dir) == [names[0], names[2], *names[6:]]
    assert result.warnings == (
        f"2 archives stay whatever retention says: {names[12]}: it cannot be read: Input/output error",
    )


@pytest.mark.parametrize("hurt", HURT)
def test_damaged_archives_take_no_place_from_sound_ones(settings: Settings, hurt: Callable[[Path], object]) -> None:
    names = put_nights(settings.backup_dir, 20)
    for number in (1, 14, 16, 18):
        path = settings.backup_dir / names[number]
        hurt(path)
        set_mtime(path, night(number))

    result = prune_archives(replace(settings, retention_weekly=0))

    young = {names[14], names[16], names[18]}
    sound = {names[19], names[17], names[15], names[13], names[12], names[11], names[10]}
    assert set(archives_in(settings.backup_dir)) == young | sound
    kept = {verdict.name: verdict.because[0].code for verdict in result.verdicts if verdict.keep}
    assert {name for name, why in kept.items() if why is Why.DAMAGED} == young
    assert result.warnings == ()


def test_an_archive_that_a_verify_rejected_takes_no_place(settings: Settings) -> None:
    names = put_nights(settings.backup_dir, 14)
    append_outcome(settings.backup_dir, Outcome("verify", datetime.now(UTC), 1, 5, "", names[12], (), REJECTED))

    result = prune_archives(replace(settings, retention_weekly=0))

    assert archives_in(settings.backup_dir) == names[6:]
    assert next(each for each in result.verdicts if each.name == names[12]).because[0].code is Why.DAMAGED


def test_an_archive_from_the_future_does_not_silence_a_guard(settings: Settings) -> None:
    names = put_nights(settings.backup_dir, 13)
    short = put_archive(settings.backup_dir, night(13), facts=Facts(tables={})).name
    ahead = put_archive(settings.backup_dir, datetime.now(UTC) + timedelta(days=300)).name

    result = prune_archives(settings)

    assert archives_in(settings.backup_dir) == sorted([*names, short, ahead])
    assert "rows" in result.warnings[0]


def test_a_foreign_archive_does_not_silence_a_guard(settings: Settings) -> None:
    names = put_nights(settings.backup_dir, 13)
    short = put_archive(settings.backup_dir, night(13), facts=Facts(tables={})).name
    foreign = put_stub(settings.backup_dir, night(14), foreign_archive([])).name

    result = prune_archives(settings)

    assert archives_in(settings.backup_dir) == sorted([*names, short, foreign])
    assert "rows" in result.warnings[0]


def test_an_empty_directory_has_nothing_to_prune(settings: Settings) -> None:
    result = prune_archives(settings)

    assert (result.verdicts, result.deleted, result.freed_bytes, result.warnings) == ((), (), 0, ())


def test_a_loss_is_remembered_on_the_nights_after_it(settings: Settings) -> None:
    names = put_nights(settings.backup_dir, 13)
    for number in range(13, 25):
        put_archive(settings.backup_dir, night(number), facts=Facts(tables={}))
        result = prune_archives(settings)
        assert result.deleted == ()
        assert "rows" in result.warnings[0]

    assert set(names) <= set(archives_in(settings.backup_dir))


def test_pruning_goes_on_when_what_was_lost_is_back(settings: Settings) -> None:
    put_nights(settings.backup_dir, 13)
    put_archive(settings.backup_dir, night(13), facts=Facts(tables={}))
    assert prune_archives(settings).deleted == ()

    put_archive(settings.backup_dir, night(14))

    result = prune_archives(settings)
    assert result.deleted
    assert result.warnings == ()


def test_an_accepted_loss_stays_accepted_also_when_that_archive_is_gone(settings: Settings) -> None:
    put_nights(settings.backup_dir, 13)
    accepted = put_archive(settings.backup_dir, night(13), facts=Facts(tables={}))
    assert prune_archives(settings, adopt=True).warnings == ()
    accepted.unlink()

    for number in range(14, 24):
        put_archive(settings.backup_dir, night(number), facts=Facts(tables={}))
        assert prune_archives(settings).warnings == ()


def test_retention_that_only_the_app_knows_is_not_undercut_by_defaults_outside_of_it(tmp_path: Path) -> None:
    """Typed in another directory, `prune` sees no app and no setting of it."""
    put_nights(tmp_path, 14)
    outside = {"BACKUP_DIR": str(tmp_path), "BACKUP_DATABASE_URL": "postgresql://db/reef"}
    remember_settings(load_settings(outside, {"BACKUP_RETENTION_DAILY": 30, "BACKUP_RETENTION_WEEKLY": 2}))

    for _ in range(2):
        result = prune_archives(load_settings(outside))
        assert (len(archives_in(tmp_path)), result.deleted) == (14, ())
        assert result.warnings == (
            "nothing was pruned: the previous backup used BACKUP_RETENTION_DAILY=30, which is not set here; "
            "run this inside the app, or set the retention here",
        )
        remember_settings(load_settings(outside))  # a good backup out there forgets nothing
    assert prune_archives(load_settings(outside, {"BACKUP_RETENTION_DAILY": 30})).warnings == ()
    result = prune_archives(load_settings({**outside, "BACKUP_RETENTION_DAILY": "7"}))
    assert (len(result.deleted), result.warnings) == (6, ())


@pytest.fixture
def of_another_user() -> Iterator[Path]:
    """A backup directory of a user as whom the test goes on; what is made before `os.seteuid` is root's."""
    need_root()
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        directory = Path(place)
        try:
            yield directory
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("what", ["settings.json", "history.jsonl", "the state directory"])
def test_nothing_is_pruned_while_what_was_known_cannot_be_read(of_another_user: Path, what: str) -> None:
    """Retention of 30 nights was given, and the newest but one was rejected: a plain prune would go by neither."""
    directory = of_another_user
    names = put_nights(directory, 14)
    outside = {"BACKUP_DIR": str(directory), "BACKUP_DATABASE_URL": "postgresql://db/reef"}
    remember_settings(load_settings(outside, {"BACKUP_RETENTION_DAILY": 30} if what == "settings.json" else {}))
    append_outcome(directory, Outcome("verify", datetime.now(UTC), 1, 5, "", names[12], (), REJECTED))
    state = directory / ".safeharbor"
    for path in (directory, *directory.iterdir(), *state.iterdir()):
        os.chown(path, 65534, 65534)
    closed = state if what == "the state directory" else state / what
    os.chown(closed, 0, 0)
    closed.chmod(0o700)
    os.seteuid(65534)

    result = prune_archives(load_settings({**outside, "BACKUP_RETENTION_WEEKLY": "1"}))

    assert (len(archives_in(directory)), result.deleted) == (14, ())
    [warning] = result.warnings
    assert warning.startswith("nothing was pruned: which ")
    assert f"cannot be read: Permission denied; make {state}" in warning


@pytest.mark.parametrize("damage", ["{", '{"settings": {"BACKUP_RETENTION_DAILY": "' + "9" * 5000 + '"}}', "[]", ""])
def test_a_record_of_settings_that_is_damaged_holds_nothing(tmp_path: Path, damage: str) -> None:
    names = put_nights(tmp_path, 14)
    (tmp_path / ".safeharbor").mkdir(mode=0o700)
    (tmp_path / ".safeharbor" / "settings.json").write_text(damage)

    assert len(prune_archives(load_settings({"BACKUP_DIR": str(tmp_path)})).deleted) == len(names) - 8
