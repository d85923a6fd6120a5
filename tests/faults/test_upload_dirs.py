"""Uploads in two directories on two filesystems: a restore that stops anywhere ends as the old or the new of both."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from safeharbor_backup.state.journal import Journal
from safeharbor_backup.state.restore_parts import Mark, Side, SwapPhase
from safeharbor_backup.state.restore_record import Phase
from support.filesystems import mounted_by_program, mounted_tmpfs
from support.kills import Rig, calls_of, killing, traced, wholly
from support.postgres import Database
from support.runs import Site
from support.states import State, dump_text, tree_of


class Two(Rig):
    """Both directories."""

    def __init__(self, site: Site, database: Database, static: Path, *options: str) -> None:
        self.static = static
        super().__init__(site, database, *options)

    def state(self) -> State:
        media, static = tree_of(self.site.uploads), tree_of(self.static)
        uploads = {f"media/{name}": what for name, what in media.items()}
        uploads |= {f"static/{name}": what for name, what in static.items()}
        return State(dump_text(self.database.url, self.database.server.major), uploads)

    def changed(self) -> State:
        was_new = self.state() == self.new
        super().changed()
        if was_new:
            (self.static / "logo.png").unlink()
            (self.static / "newer.png").write_bytes(b"newer")
        return self.state()

    @property
    def left(self) -> list[str]:
        return [*self.staging, *(path.name for path in self.static.glob(".safeharbor-restore-*"))]


@pytest.fixture
def static(site: Site, tmp_path: Path) -> Iterator[Path]:
    """The second directory, on a filesystem of its own."""
    with mounted_tmpfs(tmp_path / "static", 1 << 24) as static:
        (static / "logo.png").write_bytes(b"logo")
        (static / "deep").mkdir()
        (static / "deep" / "x").write_bytes(b"x")
        site.environment["BACKUP_UPLOAD_DIR"] = f"media={site.uploads},static={static}"
        yield static


@pytest.mark.slow
def test_killed_at_any_step_it_ends_as_the_old_or_the_new_of_both(site: Site, database: Database, static: Path) -> None:
    rig = Two(site, database, static)
    assert os.stat(static).st_dev != os.stat(site.uploads).st_dev
    restore = ("--from", str(rig.archive), "--yes")
    rig.changed()
    renames = [number for name, number in calls_of(site, *restore) if name == "renameat2"]
    assert rig.left

    for how, point in (
        ("resume", "uploads swapped"),
        ("undo", "uploads swapped"),
        ("undo", -1),
    ):
        old = rig.changed()
        if isinstance(point, int):
            assert traced(site, *killing("renameat2", renames[point]), verb=restore) == -signal.SIGKILL
        else:
            rig.kill("restore", point)
        (record,) = Journal(site.backups).read()
        assert [part.name for part in record.uploads] == ["media", "static"]
        if point == "uploads swapped":  # of the first one alone
            assert [part.mark for part in record.uploads] == [
                Mark(side, SwapPhase.AT_REST) for side in (Side.NEW, Side.OLD)
            ]

        done = rig.recover(how)

        assert done.status == 0, (how, point, done.output)
        wholly(rig, old if how == "undo" else rig.new, f"{how} at {point}")
        records = Journal(site.backups).read()
        assert all(each.phase is Phase.KEPT for each in records)
        assert len(rig.left) == 2 * len(records)
    old = rig.changed()
    failing = ("-o", "/dev/null", "-e", "trace=renameat2", "-e", f"inject=renameat2:error=EIO:when={renames[-1]}")
    assert traced(site, *failing, verb=restore) == 1
    wholly(rig, old, "taken back in both")
    assert (rig.left, Journal(site.backups).read()) == ([], ())


def test_a_restore_goes_on_where_it_began_whatever_the_setting_says_by_now(
    site: Site, database: Database, static: Path
) -> None:
    rig = Two(site, database, static)
    rig.changed()
    rig.kill("restore", "staged")

    done = site.run("restore", "--resume", BACKUP_UPLOAD_DIR="media=/x,media=/y")

    assert done.status == 0, done.output
    wholly(rig, rig.new, "resumed")


@pytest.mark.parametrize("kind", ["gone", "a file"])
def test_a_directory_that_is_gone_is_abandoned_alone(site: Site, database: Database, static: Path, kind: str) -> None:
    lost = site.root / "lost"
    shutil.copytree(static, lost)
    site.environment["BACKUP_UPLOAD_DIR"] = f"media={site.uploads},static={lost}"
    rig = Two(site, database, lost)
    old = rig.changed()
    rig.kill("restore", "uploads swapped")
    shutil.rmtree(lost)
    if kind == "a file":
        lost.touch()

    undone = site.run("restore", "--undo")
    assert undone.status == 3, undone.output  # nothing had been exchanged there
    assert f"in {lost} cannot be seen" in undone.stderr
    assert tree_of(site.uploads) == {
        name.removeprefix("media/"): what for name, what in old.uploads.items() if name.startswith("media/")
    }
    if kind == "a file":
        lost.unlink()
    lost.mkdir()
    assert site.run("restore", "--from", str(rig.archive), "--yes").status == 3  # it is empty: is it mounted?
    shutil.rmtree(lost)
    if kind == "a file":
        lost.touch()
    for verb in ("--undo", "--discard-previous"):
        refused = site.run("restore", verb, "--yes")
        assert refused.status == 8, refused.output
        assert "--abandon-uploads" in refused.stderr
    done = site.run("restore", "--undo", "--abandon-uploads")
    assert done.status == 3, done.output
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert Journal(site.backups).read() == ()


def test_a_stage_that_is_lost_in_one_leaves_that_one_as_it_is(site: Site, database: Database, static: Path) -> None:
    rig = Two(site, database, static)
    old = rig.changed()
    rig.finish("restore")
    (stage,) = static.glob(".safeharbor-restore-*")
    shutil.rmtree(stage)

    refused = site.run("restore", "--undo")
    assert refused.status == 8, refused.output
    assert f"{stage} is gone" in refused.stderr
    assert "--abandon-uploads` brings back all but that directory" in refused.stderr
    done = site.run("restore", "--undo", "--abandon-uploads")

    assert done.status == 3, done.output
    assert f"the uploads in {static} were left as they are" in done.stderr
    found = rig.state()
    assert found.database == old.database
    for name, what in found.uploads.items():
        assert what == (old if name.startswith("media/") else rig.new).uploads[name]
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert rig.left == []


@pytest.mark.parametrize("verb", ["--discard-previous", "--undo"])
@pytest.mark.parametrize("ends", ["seen again", "abandoned"])
def test_a_stage_that_cannot_be_seen_is_not_forgotten_when_the_others_are_deleted(
    site: Site, database: Database, static: Path, verb: str, ends: str
) -> None:
    rig = Two(site, database, static)
    rig.changed()
    if verb == "--undo":
        rig.kill("restore", "staged")
    else:
        rig.finish("restore")
        journal = Journal(site.backups)
        journal.advance(journal.read()[0], Phase.DISCARDING)  # and was killed
    (stage,) = static.glob(".safeharbor-restore-*")
    discard = ("restore", "--discard-previous", "--yes")

    with mounted_tmpfs(static, 1 << 20):  # as if the filesystem under it were not mounted
        done = site.run("restore", verb, "--yes")

        assert done.status == (3 if verb == "--undo" else 8), done.output
        assert f"in {static} cannot be seen" in done.stderr
        assert "--abandon-uploads` forgets it" in done.stderr
        (record,) = Journal(site.backups).read()
        assert ([part.name for part in record.uploads], rig.staging, rig.sides) == (["static"], [], [])
        backup = site.run("backup", "--no-prune")
        assert backup.status in (0, 3), backup.output  # it hinders nothing
        assert site.run(*discard).status == 8
        if ends == "abandoned":
            assert site.run(*discard, "--abandon-uploads").status == 0
            assert Journal(site.backups).read() == ()
    assert stage.is_dir()
    if ends == "seen again":
        assert site.run(*discard).status == 0
        assert (Journal(site.backups).read(), rig.left) == ((), [])


@pytest.mark.parametrize("verb", ["--undo", "--resume", "--discard-previous"])
def test_a_dead_mount_is_named_and_can_be_abandoned(site: Site, database: Database, tmp_path: Path, verb: str) -> None:
    pool = tmp_path / "pool"
    with mounted_by_program(tmp_path / "branch", pool) as program:
        (pool / "logo.png").write_bytes(b"logo")
        site.environment["BACKUP_UPLOAD_DIR"] = f"media={site.uploads},static={pool}"
        rig = Two(site, database, pool)
        old = rig.changed()
        if verb == "--discard-previous":
            rig.finish("restore")
        else:
            rig.kill("restore", "committed")
        program.kill()
        program.wait()
        with pytest.raises(OSError, match="not connected"):
            os.listdir(pool)

        refused = site.run("restore", verb, "--yes")
        assert refused.status not in (0, 3), refused.output
        assert str(pool) in refused.stderr
        assert f"{verb} " in refused.stderr
        assert "--abandon-uploads" in refused.stderr
        done = site.run("restore", verb, "--yes", "--abandon-uploads")

        assert done.status == (0 if verb == "--discard-previous" else 3), done.output
        live = old if verb == "--undo" else rig.new
        assert dump_text(database.url, database.server.major) == live.database
        assert tree_of(site.uploads) == {
            name.removeprefix("media/"): what for name, what in live.uploads.items() if name.startswith("media/")
        }
        if verb != "--discard-previous":
            assert site.run("restore", "--discard-previous", "--yes").status == 0
        assert (Journal(site.backups).read(), rig.sides, rig.staging) == ((), [], [])
