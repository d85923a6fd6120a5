"""The exchange of uploads: stopped anywhere, it can be finished or taken back, and nothing of either side is lost."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from safeharbor_backup.archive.layout import STAGING_MARKER
from safeharbor_backup.errors import CannotRestore, StorageUnavailable
from safeharbor_backup.state.restore_parts import Mark, Side, StageIdentity, SwapPhase
from safeharbor_backup.system import atomic_file as publish
from safeharbor_backup.uploads import exchange, trial
from safeharbor_backup.uploads.collect import make_filter
from safeharbor_backup.uploads.frontier import Frontier, find_frontier
from safeharbor_backup.uploads.movable import find_immovable
from safeharbor_backup.uploads.own_stage import create_stage, open_stage
from safeharbor_backup.uploads.removal import remove_tree
from safeharbor_backup.uploads.stage_marker import new_secret
from safeharbor_backup.uploads.staging import StageReplaced, find_look_alikes
from safeharbor_backup.uploads.unfinished_stage import remove_unfinished
from support.filesystems import mounted_bind, mounted_tmpfs
from support.intruder import NOBODY, become
from support.needs import need_root

OLD = {"a": "old a", "both": "old both", "dir/x": "old x", "only-old/y": "old y"}
NEW = {"b": "new b", "both": "new both", "dir/x": "new x", "dir/z": "new z"}
ID = "0123456789ab"


def write(root: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def live(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in root.rglob("*")
        if path.is_file() and not str(path.relative_to(root)).startswith(".safeharbor-restore-")
    }


class Rig:
    """Uploads with a stage, and the mark that a journal would hold."""

    def __init__(self, uploads: Path) -> None:
        self.uploads = uploads
        self.stage = create_stage(uploads, ID, new_secret())
        self.mark = Mark(Side.OLD, SwapPhase.AT_REST)
        self.frontier = Frontier()
        self.calls = 0
        self.dies_at = 0

    @property
    def path(self) -> Path:
        return self.stage.path

    def make_live(self, side: Side) -> None:
        self.stage.make_live(side, self.mark, self.note, frontier=self.frontier.directories, stays=self.frontier.stays)

    def note(self, mark: Mark) -> None:
        self.step()
        self.mark = mark

    def step(self) -> None:
        """Die here, if this is the time."""
        self.calls += 1
        if self.calls == self.dies_at:
            raise Stopped

    def steps_of(self, side: Side) -> int:
        """How many steps it takes to bring that side in, from here; it is at rest again afterwards."""
        before = self.mark.going
        self.calls = self.dies_at = 0
        self.make_live(side)
        steps = self.calls
        self.make_live(before)
        self.calls = 0
        return steps

    def stopped(self, side: Side, number: int) -> None:
        """Begin to bring a side in, and die before that step."""
        self.calls, self.dies_at = 0, number
        with pytest.raises(Stopped):
            self.make_live(side)
        self.dies_at = 0


class Stopped(Exception):
    """The process died here."""


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    write(uploads, OLD)
    made = Rig(uploads)
    write(made.path / "new", NEW)
    real_rename, real_fsync = publish.rename_between, publish.fsync_open_directory

    def rename(*arguments: object) -> None:
        made.step()
        real_rename(*arguments)  # type: ignore[arg-type]

    def fsync(descriptor: int) -> None:
        made.step()
        real_fsync(descriptor)

    monkeypatch.setattr(exchange, "rename_between", rename)
    monkeypatch.setattr(exchange, "fsync_open_directory", fsync)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    yield made
    made.stage.close()


def test_it_is_private_and_bears_the_marker(rig: Rig) -> None:
    assert stat.S_IMODE(os.stat(rig.path).st_mode) == 0o700
    assert (rig.path / os.fsdecode(STAGING_MARKER)).is_file()
    assert stat.S_IMODE(os.stat(rig.path / os.fsdecode(STAGING_MARKER)).st_mode) == 0o600


def test_it_is_not_in_place_if_the_uploads_are_another_directory_now(rig: Rig, tmp_path: Path) -> None:
    rig.stage.require_in_place()
    rig.uploads.rename(tmp_path / "unmounted")
    with pytest.raises(StageReplaced, match="not the directory that it was when this began"):
        rig.stage.require_in_place()
    rig.uploads.mkdir()
    with pytest.raises(StageReplaced, match="not the directory that it was when this began"):
        rig.stage.require_in_place()

    rig.stage.remove()

    assert sorted(os.listdir(tmp_path / "unmounted")) == sorted({name.partition("/")[0] for name in OLD})


def test_bringing_in_a_side_keeps_the_other_one(rig: Rig) -> None:
    for side, expected in ((Side.NEW, NEW), (Side.NEW, NEW), (Side.OLD, OLD), (Side.NEW, NEW)):
        rig.make_live(side)
        assert live(rig.uploads) == expected
        assert live(rig.path / side.other) == (OLD if side is Side.NEW else NEW)


@pytest.mark.parametrize("then", [Side.NEW, Side.OLD])
@pytest.mark.parametrize("first", [Side.NEW, Side.OLD])
def test_stopped_anywhere_it_can_be_finished_or_taken_back(rig: Rig, then: Side, first: Side) -> None:
    if first is Side.OLD:
        rig.make_live(Side.NEW)
    rest = rig.mark.going
    steps = rig.steps_of(first)
    assert steps > 12
    for number in range(1, steps + 1):
        rig.stopped(first, number)

        rig.make_live(then)

        assert live(rig.uploads) == (NEW if then is Side.NEW else OLD), f"step {number}"
        assert rig.mark == Mark(then, SwapPhase.AT_REST)
        assert live(rig.path / then.other) == (OLD if then is Side.NEW else NEW)
        rig.make_live(rest)


@pytest.mark.slow
def test_stopped_twice_it_still_comes_back(rig: Rig) -> None:
    for number in range(1, rig.steps_of(Side.NEW) + 1):
        rig.stopped(Side.NEW, number)
        rig.calls = 0
        rig.make_live(Side.OLD)
        for again in range(1, rig.calls + 1):
            rig.stopped(Side.NEW, number)
            rig.stopped(Side.OLD, again)

            rig.make_live(Side.OLD)

            assert live(rig.uploads) == OLD
            assert live(rig.path / "new") == NEW


@pytest.mark.slow
def test_what_the_app_makes_anew_meanwhile_steps_aside(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = publish.rename_between

    def with_an_app(source: int, name: bytes, target: int, to: bytes) -> None:
        real(source, name, target, to)
        if name == b"a":
            (rig.uploads / "a").write_text("the app's")  # at once under the old name

    monkeypatch.setattr(exchange, "rename_between", with_an_app)
    with pytest.raises(StorageUnavailable, match="fills up"):
        rig.make_live(Side.NEW)
    monkeypatch.undo()
    rig.make_live(Side.NEW)

    assert live(rig.uploads) == NEW
    assert {path.read_text() for path in (rig.path / "strays").iterdir()} == {"the app's"}
    rig.make_live(Side.OLD)
    assert live(rig.uploads) == OLD


def test_what_bears_a_stages_name_stays_where_it_is_whatever_it_is(rig: Rig) -> None:
    look_alikes = [f".safeharbor-restore-{digit * 12}" for digit in "abcd"]
    (rig.uploads / look_alikes[0]).mkdir()
    (rig.uploads / look_alikes[1]).symlink_to("/")
    os.mkfifo(rig.uploads / look_alikes[2])
    (rig.uploads / look_alikes[3]).write_text("x")

    rig.make_live(Side.NEW)

    assert find_look_alikes(rig.uploads, {ID}) == look_alikes
    assert find_look_alikes(rig.uploads, set()) == [rig.path.name, *look_alikes]


def test_the_filesystems_lost_and_found_stays(rig: Rig) -> None:
    need_root()
    (rig.uploads / "lost+found").mkdir()

    rig.make_live(Side.NEW)

    assert (rig.uploads / "lost+found").is_dir()


STAYING = {"videos/v.mp4": "v", "dir/cache/deep/c": "c"}


@pytest.mark.parametrize("then", [Side.NEW, Side.OLD])
def test_what_is_left_out_stays_where_it_is_wherever_the_exchange_is_stopped(rig: Rig, then: Side) -> None:
    write(rig.uploads, STAYING)
    os.mkfifo(rig.uploads / "dir" / "pipe")
    (rig.uploads / "dir" / "out").symlink_to("/etc/hostname")
    os.chmod(rig.uploads / "dir", 0o750)
    os.chmod(rig.path / "new" / "dir", 0o711)
    excluded = make_filter(("/videos/", "cache/"))
    rig.frontier = find_frontier(rig.uploads, rig.stage.side(Side.NEW), excluded)
    assert rig.frontier == Frontier(("dir",), ("dir/cache", "dir/out", "dir/pipe", "videos"))

    for number in range(1, rig.steps_of(Side.NEW) + 1):
        rig.stopped(Side.NEW, number)

        rig.make_live(then)

        found = live(rig.uploads)
        del found["dir/out"]
        assert found == {**(NEW if then is Side.NEW else OLD), **STAYING}
        assert stat.S_ISFIFO(os.lstat(rig.uploads / "dir" / "pipe").st_mode)
        assert stat.S_IMODE(os.stat(rig.uploads / "dir").st_mode) == (0o711 if then is Side.NEW else 0o750)
        rig.make_live(Side.OLD)
    rig.stage.remove()
    assert (rig.uploads / "videos" / "v.mp4").read_text() == "v"


@pytest.mark.parametrize("number", range(2, 9))
def test_a_directory_with_what_stays_keeps_its_mode_when_the_first_exchange_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    need_root()
    with tempfile.TemporaryDirectory(dir="/tmp") as place, monkeypatch.context() as patch:
        os.chown(place, 65534, 65534)
        os.seteuid(65534)  # root gives a new directory its mode at once
        try:
            uploads = Path(place) / "uploads"
            write(uploads, {**OLD, "dir/cache/c": "c"})
            os.chmod(uploads / "dir", 0o755)
            rig = Rig(uploads)
            write(rig.path / "new", NEW)
            rig.frontier = find_frontier(uploads, rig.stage.side(Side.NEW), make_filter(("cache/",)))
            real = publish.rename_between

            def rename(*arguments: object) -> None:
                rig.step()
                real(*arguments)  # type: ignore[arg-type]

            patch.setattr(exchange, "rename_between", rename)
            rig.stopped(Side.NEW, number)

            rig.make_live(Side.OLD)

            assert stat.S_IMODE(os.stat(uploads / "dir").st_mode) == 0o755
            assert live(uploads) == {**OLD, "dir/cache/c": "c"}
            rig.stage.close()
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("kind", ["file", "link", "pipe"])
@pytest.mark.parametrize("of", ["live", "kept"])
def test_a_directory_with_what_stays_that_somebody_replaced_hinders_no_way_back(
    rig: Rig, tmp_path: Path, kind: str, of: str
) -> None:
    write(rig.uploads, {"dir/cache/deep/c": "c"})
    rig.frontier = find_frontier(rig.uploads, rig.stage.side(Side.NEW), make_filter(("cache/",)))
    rig.make_live(Side.NEW)
    place = (rig.uploads if of == "live" else rig.path / "new") / "dir"
    place.rename(tmp_path / "aside")
    make: dict[str, Callable[[], object]] = {
        "file": lambda: place.write_text("theirs"),
        "link": lambda: place.symlink_to(tmp_path / "aside"),
        "pipe": lambda: os.mkfifo(place),
    }
    make[kind]()
    (rig.path / "strays").write_text("in the way too")

    rig.make_live(Side.OLD)

    found = live(rig.uploads)
    assert {name: found[name] for name in OLD} == OLD
    rig.make_live(Side.NEW)
    assert "dir/x" in live(rig.uploads) or of == "live"
    assert sorted(os.listdir(tmp_path / "aside")) == (["cache", "x", "z"] if of == "live" else [])
    rig.stage.remove()


def test_root_gives_no_directory_away_whose_name_somebody_else_can_give(tmp_path: Path) -> None:
    """Each of these has something that stays; the app can write above them, and rename one to the name of another."""
    need_root()
    app, modes = 65534, {"roots": 0o700, "apps": 0o700, "strangers": 0o700}
    write(tmp_path, {f"{name}/x": "old" for name in modes})
    for name in modes:
        os.mkfifo(tmp_path / name / "pipe")
    rig = Rig(tmp_path)
    write(rig.path / "new", {f"{name}/x": "new" for name in (*modes, "made/deep")})
    for path in (tmp_path, *(rig.path / "new" / name for name in (*modes, "made", "made/deep"))):
        os.chown(path, app, app)
        os.chmod(path, 0o755)
    for name, owner in (("roots", 0), ("apps", app), ("strangers", 4711)):
        os.chown(tmp_path / name, owner, owner)
        os.chmod(tmp_path / name, 0o700)
    rig.frontier = Frontier((*modes, "made", "made/deep"), tuple(f"{name}/pipe" for name in modes))

    rig.make_live(Side.NEW)

    def status(name: str) -> tuple[int, int]:
        found = os.stat(tmp_path / name)
        return found.st_uid, stat.S_IMODE(found.st_mode)

    assert status("roots") == (0, 0o700)
    assert status("strangers") == (4711, 0o700)
    assert {status("apps"), status("made"), status("made/deep")} == {(app, 0o755)}
    assert {(tmp_path / name / "x").read_text() for name in modes} == {"new"}


@pytest.mark.parametrize("what", ["a stage", "a trial"])
def test_a_directory_that_takes_the_place_of_a_new_one_of_ours_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Between the making and the opening of a directory its name is given to another one."""
    need_root()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    if what == "a stage":
        os.chown(theirs, 65534, 65534)
    else:
        (theirs / "kept").write_text("")
    made = os.mkdir

    def struck(name: bytes | str, mode: int, *, dir_fd: int) -> None:
        made(name, mode, dir_fd=dir_fd)
        if theirs.exists():
            os.rename(name, "ours", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            os.rename(theirs, name, dst_dir_fd=dir_fd)

    monkeypatch.setattr(trial, "filesystem_of", lambda _: 0)
    monkeypatch.setattr(os, "mkdir", struck)
    make: dict[str, Callable[[], object]] = {
        "a stage": lambda: create_stage(tmp_path, ID, new_secret()),
        "a trial": lambda: trial.try_filesystem(tmp_path, lambda: (), has_links=False, owners=()),
    }
    with pytest.raises((StageReplaced, OSError), match="replaced as soon as it was made"):
        make[what]()
    assert not theirs.exists()
    assert what == "a stage" or len(list(tmp_path.rglob("kept"))) == 1


def test_what_the_archive_has_too_does_not_stay(rig: Rig) -> None:
    write(rig.path / "new", {"videos/v.mp4": "of the archive"})
    write(rig.uploads, STAYING)

    rig.frontier = find_frontier(rig.uploads, rig.stage.side(Side.NEW), make_filter(("/videos/",)))
    rig.make_live(Side.NEW)

    assert live(rig.uploads) == {**NEW, "videos/v.mp4": "of the archive"}


def test_an_archive_with_a_file_where_something_stays_is_refused(rig: Rig) -> None:
    write(rig.path / "new", {"only-old": "a file"})
    os.mkfifo(rig.uploads / "only-old" / "pipe")

    with pytest.raises(CannotRestore, match="holds what stays"):
        find_frontier(rig.uploads, rig.stage.side(Side.NEW), None)


def test_a_mount_that_the_archive_holds_is_refused_and_one_that_it_does_not_hold_stays(rig: Rig) -> None:
    need_root()
    (rig.uploads / "dir" / "share").mkdir()
    with mounted_tmpfs(rig.uploads / "dir" / "share", 1_000_000):
        (rig.uploads / "dir" / "share" / "s").write_text("s")
        frontier = find_frontier(rig.uploads, rig.stage.side(Side.NEW), None)
        assert frontier == Frontier(("dir",), ("dir/share",))
        assert [each.path for each in find_immovable(rig.uploads)] == ["dir/share"]
        assert find_immovable(rig.uploads, make_filter(("/dir/share/",))) == []
        write(rig.path / "new", {"dir/share/s": "s"})
        with pytest.raises(CannotRestore, match="mount point"):
            find_frontier(rig.uploads, rig.stage.side(Side.NEW), None)


@pytest.mark.parametrize("then", [Side.NEW, Side.OLD])
def test_a_directory_that_cannot_be_renamed_is_emptied_into_a_new_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, then: Side
) -> None:
    (rig.uploads / "dir" / "deep").mkdir()
    write(rig.uploads, {"dir/deep/y": "y"})
    os.chmod(rig.uploads / "dir", 0o751)
    fixed = {os.stat(rig.uploads / name).st_ino for name in ("dir", "dir/deep")}
    real = publish.rename_between
    refused = 0

    def on_an_overlay(source: int, name: bytes, target: int, to: bytes) -> None:
        nonlocal refused
        if os.lstat(name, dir_fd=source).st_ino in fixed:
            refused += 1
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, name, target, to)

    monkeypatch.setattr(exchange, "rename_between", on_an_overlay)
    rig.make_live(Side.NEW)
    assert refused == 2
    assert live(rig.uploads) == NEW
    rig.make_live(then)

    assert live(rig.uploads) == (NEW if then is Side.NEW else {**OLD, "dir/deep/y": "y"})
    kept = rig.uploads if then is Side.OLD else rig.path / "old"
    assert stat.S_IMODE(os.stat(kept / "dir").st_mode) == 0o751


def test_removing_it_leaves_the_live_side(rig: Rig) -> None:
    rig.make_live(Side.NEW)

    rig.stage.remove()

    assert live(rig.uploads) == NEW
    assert find_look_alikes(rig.uploads, set()) == []
    assert open_stage(rig.uploads, ID, None) is None


def test_what_a_crash_left_of_a_stage_is_removed_unless_something_is_in_it(tmp_path: Path) -> None:
    for number, made in enumerate((["new"], ["new", "old"], ["new", "old", ".safeharbor-staging.0f"], [])):
        stage = tmp_path / f".safeharbor-restore-{number:012x}"
        stage.mkdir()
        for name in made:
            (stage / name).mkdir() if name in ("new", "old") else (stage / name).write_text("x")
        assert remove_unfinished(tmp_path, f"{number:012x}")
        assert not stage.exists()
    full = tmp_path / f".safeharbor-restore-{ID}"
    write(full, {"new/x": "x"})
    assert not remove_unfinished(tmp_path, ID)
    assert remove_unfinished(tmp_path / "gone", ID)
    assert (full / "new" / "x").exists()


def by_nobody(uploads: Path, do: Callable[[], object]) -> str:
    """What comes of this, done by a user who owns nothing, in the uploads: an error's name, or the result."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become(NOBODY, uploads)
            said = repr(do())
        except BaseException as error:
            said = type(error).__name__
        os.write(tell, said.encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.parametrize("is_side", [False, True])
def test_what_may_not_be_opened_is_not_ours_unless_the_journal_or_its_owner_shows_it(
    tmp_path: Path, *, is_side: bool
) -> None:
    need_root()
    stage = tmp_path / f".safeharbor-restore-{ID}"
    closed = stage / "new" if is_side else stage
    closed.mkdir(parents=True)
    (stage if is_side else tmp_path).chmod(0o777)
    closed.chmod(0)
    tmp_path.chmod(0o777)
    os.chown(stage, 1234, 1234)

    def opened(inode: int = 1) -> str:
        return by_nobody(tmp_path, lambda: open_stage(Path(), ID, StageIdentity(1, inode, 3, 4, 0, "x")))

    assert opened() == "StageReplaced"
    assert opened(stage.stat().st_ino) == "PermissionError", "it is ours: only not for this user"
    assert by_nobody(tmp_path, lambda: open_stage(Path(), ID, None)) == "StageReplaced"
    if not is_side:  # else it may delete it
        assert by_nobody(tmp_path, lambda: remove_unfinished(Path(), ID)) == "False"
    os.chown(stage, 0, 0)
    assert by_nobody(tmp_path, lambda: open_stage(Path(), ID, None)) == "PermissionError"
    tmp_path.chmod(0o744)
    assert by_nobody(tmp_path, lambda: open_stage(Path(), ID, StageIdentity(1, 1, 3, 4, 0, "x"))) == "PermissionError"
    assert by_nobody(tmp_path, lambda: remove_unfinished(Path(), ID)) == "PermissionError"


def planted_link(rig: Rig, outside: Path) -> None:
    rig.path.rename(rig.uploads / "hidden")
    rig.path.symlink_to(outside)


def planted_directory(rig: Rig, outside: Path) -> None:
    secret = (rig.path / os.fsdecode(STAGING_MARKER)).read_bytes()
    rig.path.rename(outside / "taken")
    rig.path.mkdir(0o700)
    (rig.path / "new").mkdir()
    (rig.path / "old").symlink_to(outside)
    (rig.path / os.fsdecode(STAGING_MARKER)).write_bytes(secret)


def planted_side(rig: Rig, outside: Path) -> None:
    (rig.path / "old").rename(rig.path / "older")
    (rig.path / "old").symlink_to(outside)


def planted_twin_side(rig: Rig, outside: Path) -> None:
    (rig.path / "old").rename(rig.path / "older")
    (rig.path / "old").mkdir(0o700)


def planted_fifo(rig: Rig, outside: Path) -> None:
    (rig.path / os.fsdecode(STAGING_MARKER)).unlink()
    os.mkfifo(rig.path / os.fsdecode(STAGING_MARKER))


def planted_marker(rig: Rig, outside: Path) -> None:
    (rig.path / os.fsdecode(STAGING_MARKER)).write_text("old out\n" + "0" * 64)


@pytest.mark.parametrize("plant", [planted_directory, planted_side, planted_twin_side, planted_fifo, planted_marker])
def test_what_is_put_in_its_place_is_not_opened(rig: Rig, tmp_path: Path, plant: Callable[[Rig, Path], None]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    identity = rig.stage.identity

    plant(rig, outside)

    with pytest.raises(StageReplaced):
        open_stage(rig.uploads, ID, identity)
    assert set(os.listdir(outside)) <= {"taken"}


def test_a_stage_that_was_renamed_is_found_again_by_its_inode(rig: Rig, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    identity = rig.stage.identity
    planted_link(rig, outside)

    found = open_stage(rig.uploads, ID, identity)

    assert found is not None
    assert found.path == rig.uploads / "hidden"
    found.remove()
    found.close()
    assert os.listdir(outside) == []
    assert not (rig.uploads / "hidden").exists()


@pytest.mark.parametrize("plant", [planted_link, planted_directory, planted_side])
@pytest.mark.parametrize("number", range(1, 12))
def test_an_exchange_that_has_begun_goes_where_it_was_to_go_whatever_is_put_in_its_way(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Rig, Path], None], number: int
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    planted = False
    real = rig.step

    def step() -> None:
        nonlocal planted
        real()
        if rig.calls == number and not planted:
            planted = True
            plant(rig, outside)

    monkeypatch.setattr(rig, "step", step)
    rig.make_live(Side.NEW)

    assert planted
    found = live(rig.uploads)
    assert {name: text for name, text in found.items() if not name.startswith("hidden/")} == NEW
    assert set(os.listdir(outside)) <= {"taken"}
    if plant is not planted_side:
        with pytest.raises(StageReplaced):
            rig.stage.require_in_place()


def test_a_tree_with_closed_directories_and_links_is_removed_and_nothing_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (outside / "kept").write_text("kept")
    tree = tmp_path / "tree"
    (tree / "closed" / "deep").mkdir(parents=True)
    (tree / "closed" / "deep" / "x").write_text("x")
    (tree / "link").symlink_to(outside)
    os.chmod(tree / "closed" / "deep", 0o500)
    os.chmod(tree / "closed", 0o500)

    remove_tree(tree)

    assert not tree.exists()
    assert (outside / "kept").read_text() == "kept"
    assert stat.S_IMODE(os.stat(outside).st_mode) == 0o700


@pytest.mark.slow
def test_a_tree_deeper_than_descriptors_go_is_removed(tmp_path: Path) -> None:
    top = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("tree", dir_fd=top)
    descriptor = os.open("tree", os.O_RDONLY, dir_fd=top)
    for _ in range(3000):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    os.close(top)

    remove_tree(tmp_path / "tree")

    assert os.listdir(tmp_path) == []


def test_a_mount_in_a_tree_is_left_and_nothing_behind_it_is_deleted(tmp_path: Path) -> None:
    need_root()
    shared, tree = tmp_path / "shared", tmp_path / "tree"
    write(shared, {"x": "x"})
    (tree / "deep" / "mount").mkdir(parents=True)
    with mounted_bind(shared, tree / "deep" / "mount"):
        with pytest.raises(StorageUnavailable, match="tree/deep/mount is a mount point"):
            remove_tree(tree)
        assert (shared / "x").read_text() == "x"
    remove_tree(tree)
    assert not tree.exists()


def test_a_full_disk_is_named_where_the_uploads_may_be_on_several(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path / "small", 1 << 16) as uploads:
        stage = create_stage(uploads, ID, new_secret())
        with suppress(OSError), open(uploads / "fill", "wb") as fill:
            fill.write(bytes(1 << 17))
        with pytest.raises(OSError, match="No space left") as error:
            stage.write_first_marker()
        stage.close()

    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(uploads / f".safeharbor-restore-{ID}")


def test_what_can_be_moved_is_not_named(rig: Rig) -> None:
    assert find_immovable(rig.uploads) == []


@pytest.mark.parametrize(("attribute", "why"), [("i", "immutable"), ("a", "append-only")])
def test_a_fixed_entry_is_named_with_the_remedy(rig: Rig, attribute: str, why: str) -> None:
    need_root()
    subprocess.run(["chattr", f"+{attribute}", rig.uploads / "a"], check=True)
    try:
        found = find_immovable(rig.uploads)
    finally:
        subprocess.run(["chattr", f"-{attribute}", rig.uploads / "a"], check=True)

    assert [(each.path, each.why) for each in found] == [("a", f"it is {why} (chattr +{attribute})")]
    assert "chattr -i -a a" in found[0].remedy


def test_a_bind_mount_of_the_same_filesystem_is_found(rig: Rig, tmp_path: Path) -> None:
    need_root()
    (tmp_path / "library").mkdir()
    (rig.uploads / "dir" / "a b").mkdir()
    with mounted_bind(tmp_path / "library", rig.uploads / "dir" / "a b"):
        assert [each.path for each in find_immovable(rig.uploads)] == ["dir/a b"]
