from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.archive.layout import ARCHIVE_NAME
from safeharbor_backup.errors import Interrupted, SafeHarborError, StorageUnavailable
from safeharbor_backup.system import atomic_file as publish
from safeharbor_backup.system.atomic_file import fsync_directory, is_draft_of, published_whole, sweep_drafts, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "safeharbor-backup-2026-05-07T03-00-00Z.tar"


def test_a_file_appears_whole_when_the_block_ends_well(tmp_path: Path) -> None:
    with published_whole(tmp_path / NAME) as draft:
        write_all(draft.descriptor, b"content")
        assert not (tmp_path / NAME).exists()
        assert is_draft_of(draft.path.name, ARCHIVE_NAME)

    assert (tmp_path / NAME).read_bytes() == b"content"
    assert os.listdir(tmp_path) == [NAME]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), SystemExit(1)], ids=lambda e: type(e).__name__)
def test_nothing_is_left_when_the_block_fails(tmp_path: Path, error: BaseException) -> None:
    def fail_halfway() -> None:
        with published_whole(tmp_path / NAME) as draft:
            write_all(draft.descriptor, b"half")
            raise error

    with pytest.raises(type(error)):
        fail_halfway()

    assert os.listdir(tmp_path) == []


def test_a_signal_at_the_moment_the_file_is_there_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def interrupted(path: Path, flags: int, *rest: int) -> int:
        os.close(real(path, flags, *rest))
        raise Interrupted(signal.SIGTERM)

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr("os.open", interrupted)
    with pytest.raises(Interrupted), published_whole(tmp_path / NAME):
        pass

    assert os.listdir(tmp_path) == []
    assert os.listdir("/proc/self/fd") == before  # nothing else was closed


def test_a_draft_that_was_never_made_removes_nothing(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"someone else's")

    publish.Draft(tmp_path / NAME).discard()

    assert os.listdir(tmp_path) == [NAME]


def test_where_standard_input_is_closed_a_draft_that_has_its_number_is_closed_too(tmp_path: Path) -> None:
    def fail_halfway() -> None:
        with published_whole(tmp_path / NAME) as draft:
            assert draft.descriptor == 0
            raise KeyError

    before = os.dup(0)
    os.close(0)
    try:
        with pytest.raises(KeyError):
            fail_halfway()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)
    finally:
        os.dup2(before, 0)
        os.close(before)


@pytest.fixture
def no_change_while_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """As SMB through FUSE has it: an open file is neither renamed nor removed, and the close is heard of late."""
    late: set[str] = set()

    def refuse_open(call: Callable[..., None]) -> Callable[..., None]:
        def refusing(path: Path, *others: Path) -> None:
            held = {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}
            if os.path.realpath(path) in held:
                late.add(os.path.realpath(path))
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), os.fspath(path))
            if os.path.realpath(path) in late:
                late.remove(os.path.realpath(path))
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), os.fspath(path))
            call(path, *others)

        return refusing

    monkeypatch.setattr(os, "replace", refuse_open(os.replace))
    monkeypatch.setattr(os, "unlink", refuse_open(os.unlink))


@pytest.mark.usefixtures("no_change_while_open")
def test_where_no_open_file_is_renamed_a_file_appears_all_the_same(tmp_path: Path) -> None:
    with published_whole(tmp_path / NAME, replace=True) as draft:
        write_all(draft.descriptor, b"content")

    assert (tmp_path / NAME).read_bytes() == b"content"
    assert os.listdir(tmp_path) == [NAME]


@pytest.mark.usefixtures("no_change_while_open")
def test_where_no_open_file_is_removed_nothing_is_left_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), published_whole(tmp_path / NAME):
        raise KeyError

    assert os.listdir(tmp_path) == []


def test_what_a_share_refuses_for_good_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)

    def refuse() -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    with pytest.raises(OSError, match="busy"):
        publish.when_closed(refuse)

    assert 1 < sum(waited) < 3


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"first")

    with pytest.raises(FileExistsError), published_whole(tmp_path / NAME) as draft:
        write_all(draft.descriptor, b"second")

    assert (tmp_path / NAME).read_bytes() == b"first"
    assert os.listdir(tmp_path) == [NAME]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_where_the_filesystem_cannot_rename_so_an_existing_file_is_not_replaced_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class Refusing:
        @staticmethod
        def renameat2(*_: object) -> int:
            ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(publish, "_libc", Refusing)
    with published_whole(tmp_path / NAME) as draft:
        write_all(draft.descriptor, b"first")

    with pytest.raises(FileExistsError), published_whole(tmp_path / NAME) as draft:
        write_all(draft.descriptor, b"second")

    assert (tmp_path / NAME).read_bytes() == b"first"
    assert os.listdir(tmp_path) == [NAME]


def test_replacing_is_atomic_and_only_on_demand(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"first")

    with published_whole(tmp_path / NAME, replace=True) as draft:
        write_all(draft.descriptor, b"second")
        assert (tmp_path / NAME).read_bytes() == b"first"

    assert (tmp_path / NAME).read_bytes() == b"second"


def test_a_symlink_at_the_final_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / NAME).symlink_to("victim")

    with pytest.raises(FileExistsError), published_whole(tmp_path / NAME) as draft:
        write_all(draft.descriptor, b"x")
    with published_whole(tmp_path / NAME, replace=True) as draft:
        write_all(draft.descriptor, b"x")

    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert not (tmp_path / NAME).is_symlink()


@pytest.mark.parametrize("planted", ["symlink", "dangling", "file", "directory"])
def test_what_is_planted_at_the_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "0a1b2c3d")
    (tmp_path / "victim").write_bytes(b"precious")
    temporary = tmp_path / f"{NAME}.0a1b2c3d.tmp"
    if planted == "directory":
        temporary.mkdir()
    elif planted == "file":
        temporary.write_bytes(b"planted")
    else:
        temporary.symlink_to("victim" if planted == "symlink" else "nowhere")

    with pytest.raises(SafeHarborError), published_whole(tmp_path / NAME):
        pytest.fail("it must not get here")

    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / NAME).exists()
    assert os.path.lexists(temporary)  # it is not ours to remove


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_without_any_umask_the_file_is_readable_for_its_owner_only(tmp_path: Path) -> None:
    with published_whole(tmp_path / NAME) as draft:
        assert stat.S_IMODE(os.lstat(draft.path).st_mode) == 0o600

    assert stat.S_IMODE(os.lstat(tmp_path / NAME).st_mode) == 0o600


def test_writes_that_take_only_a_part_are_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, sizes = os.write, []

    def short(descriptor: int, data: bytes) -> int:
        sizes.append(len(data))
        return real(descriptor, data[: max(1, len(data) // 3)])

    monkeypatch.setattr("os.write", short)
    with published_whole(tmp_path / NAME) as draft:
        write_all(draft.descriptor, bytes(range(256)) * 40)

    assert (tmp_path / NAME).read_bytes() == bytes(range(256)) * 40
    assert len(sizes) > 10


@pytest.mark.parametrize("call", ["fsync", "close"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_failure_to_reach_the_disk_publishes_nothing_and_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    real = getattr(os, call)
    calls = []

    def fail_once(descriptor: int) -> None:
        calls.append(descriptor)
        if call == "close":
            real(descriptor)  # as Linux does: the descriptor is gone, the error is told
        if len(calls) == 1:
            raise OSError(number, os.strerror(number))

    def publish_and_fail() -> None:
        with published_whole(tmp_path / NAME) as draft:
            write_all(draft.descriptor, b"x")
            monkeypatch.setattr(os, call, fail_once)

    with pytest.raises(OSError, match=re.escape(os.strerror(number))):
        publish_and_fail()

    monkeypatch.undo()
    assert os.listdir(tmp_path) == []
    assert len(calls) == (1 if call == "fsync" else 2)


def test_a_settled_draft_can_be_read_but_not_written(tmp_path: Path) -> None:
    with published_whole(tmp_path / NAME) as draft:
        write_all(draft.descriptor, b"content")
        draft.settle()
        assert os.pread(draft.descriptor, 100, 0) == b"content"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(draft.descriptor, b"more")

    assert (tmp_path / NAME).read_bytes() == b"content"


def test_a_symlink_put_in_the_place_of_a_draft_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")

    def exchange_the_draft() -> None:
        with published_whole(tmp_path / NAME) as draft:
            write_all(draft.descriptor, b"x")
            draft.path.unlink()
            draft.path.symlink_to("victim")

    with pytest.raises(OSError, match="symbolic links"):
        exchange_the_draft()

    assert os.listdir(tmp_path) == ["victim"]
    assert (tmp_path / "victim").read_bytes() == b"precious"


@pytest.mark.parametrize("has_call", [True, False])
def test_a_place_below_the_working_directory_may_be_given_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_call: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if not has_call:
        monkeypatch.setattr(publish, "_libc", object())

    with published_whole(Path(NAME)) as draft:
        write_all(draft.descriptor, b"content")

    assert (tmp_path / NAME).read_bytes() == b"content"
    assert os.listdir(tmp_path) == [NAME]


def test_a_directory_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(SafeHarborError, match="No such file or directory"), published_whole(tmp_path / "x" / NAME):
        pytest.fail("it must not get here")


def test_a_directory_without_permission_is_told_as_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(StorageUnavailable), published_whole(tmp_path / NAME):
        pytest.fail("it must not get here")


@pytest.mark.parametrize(
    ("name", "is_draft"),
    [
        (f"{NAME}.0a1b2c3d.tmp", True),
        (f"{NAME}.0A1B2C3D.tmp", False),
        (f"{NAME}.0a1b2c3.tmp", False),
        (f"{NAME}.tmp", False),
        (f"{NAME}.0a1b2c3d.tmp.bak", False),
        (f"{NAME}.0a1b2c3d.tmp\n", False),
        ("other.tar.0a1b2c3d.tmp", False),
        (NAME, False),
    ],
)
def test_only_our_own_temporary_names_are_drafts(name: str, is_draft: bool) -> None:
    assert is_draft_of(name, ARCHIVE_NAME) is is_draft


def test_a_sweep_removes_drafts_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / f"{NAME}.00000001.tmp").write_bytes(b"left behind")
    (tmp_path / f"{NAME}.00000002.tmp").symlink_to("victim")
    (tmp_path / f"{NAME}.00000003.tmp").mkdir()
    os.mkfifo(tmp_path / f"{NAME}.00000004.tmp")
    for name in (NAME, "notes.txt", "other.tar.00000005.tmp", "x.tmp"):
        (tmp_path / name).write_bytes(b"keep")

    swept = sweep_drafts(tmp_path, ARCHIVE_NAME)

    assert sorted(swept) == [f"{NAME}.0000000{number}.tmp" for number in (1, 2, 4)]
    assert sorted(os.listdir(tmp_path)) == sorted(
        [NAME, f"{NAME}.00000003.tmp", "notes.txt", "other.tar.00000005.tmp", "victim", "x.tmp"]
    )
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_draft_that_cannot_be_removed_does_not_stop_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        (tmp_path / f"{NAME}.0000000{number}.tmp").write_bytes(b"x")
    real = os.unlink

    def refuse_the_first(path: Path) -> None:
        if path.name.endswith("1.tmp"):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(path)

    monkeypatch.setattr("os.unlink", refuse_the_first)

    assert sweep_drafts(tmp_path, ARCHIVE_NAME) == [f"{NAME}.00000002.tmp"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EROFS])
def test_a_filesystem_that_cannot_sync_directories_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("os.fsync", refuse)

    fsync_directory(tmp_path)


def test_a_failing_sync_of_the_directory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr("os.fsync", refuse)

    with pytest.raises(OSError, match="no"):
        fsync_directory(tmp_path)


def test_what_is_no_directory_is_not_synced_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "x").touch()

    with pytest.raises(NotADirectoryError):
        fsync_directory(tmp_path / "x")


@pytest.mark.usefixtures("no_umask")
def test_where_modes_cannot_be_set_it_is_readable_for_its_owner_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _mode: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    with published_whole(tmp_path / NAME):
        pass

    assert stat.S_IMODE(os.lstat(tmp_path / NAME).st_mode) == 0o600


def test_what_cannot_be_made_is_said_with_the_directory_and_too_many_open_files_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int) -> Callable[..., int]:
        def opened(*_: object) -> int:
            raise OSError(number, os.strerror(number))

        return opened

    monkeypatch.setattr(os, "open", refuse(errno.ENOSPC))
    with pytest.raises(StorageUnavailable) as error, published_whole(tmp_path / NAME):
        pass
    assert f"creating a file in {tmp_path}" in error.value.message
    assert isinstance(error.value.__cause__, OSError)
    monkeypatch.setattr(os, "open", refuse(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"), published_whole(tmp_path / NAME):
        pass


def test_a_draft_is_beside_its_place_under_a_name_of_its_own(tmp_path: Path) -> None:
    with published_whole(tmp_path / NAME) as first, published_whole(tmp_path / "other") as second:
        assert re.fullmatch(re.escape(NAME) + r"\.[0-9a-f]{8}\.tmp", first.path.name)
        assert first.path.parent == second.path.parent == tmp_path


def test_settling_once_is_enough_and_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with published_whole(tmp_path / NAME) as draft:
        name = draft.path.name
        draft.settle()
        draft.settle()

    assert synced == [name, tmp_path.name]  # the file before it has its name, the directory after it
    assert draft.descriptor == -1
    assert len(os.listdir("/proc/self/fd")) == before
    draft.close()
    draft.discard()
    assert os.listdir(tmp_path) == [NAME]


def test_a_directory_that_cannot_be_synced_leaves_no_archive_but_what_was_replaced_stays_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fails_for_directories(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fails_for_directories)
    with pytest.raises(OSError, match="Input/output error"), published_whole(tmp_path / NAME):
        pass
    assert os.listdir(tmp_path) == []
    (tmp_path / NAME).write_bytes(b"first")
    with pytest.raises(OSError, match="Input/output error"), published_whole(tmp_path / NAME, replace=True) as draft:
        write_all(draft.descriptor, b"second")
    assert (tmp_path / NAME).read_bytes() == b"second"


def test_an_error_other_than_busy_is_no_reason_to_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    tries: list[int] = []

    def refuse() -> None:
        tries.append(1)
        raise OSError(errno.EACCES, "Permission denied")

    with pytest.raises(OSError, match="Permission denied"):
        publish.when_closed(refuse)
    assert (tries, waited) == ([1], [])
    publish.when_closed(lambda: tries.append(2))
    assert (tries, waited) == ([1, 2], [])
    (tmp_path / NAME).mkdir()
    with pytest.raises(OSError, match="directory"), published_whole(tmp_path / NAME, replace=True):
        pass
    assert os.listdir(tmp_path) == [NAME]


def test_an_unnamed_file_is_in_the_directory_and_where_that_cannot_be_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with publish.unnamed_file(tmp_path) as file:
        for _ in range(200):
            file.write(b"x" * 1000)
        assert file.tell() == 200_000
        assert os.fstat(file.fileno()).st_size == 0  # held back, up to a quarter of a MiB
        file.write(b"x" * 262_144)
        assert os.fstat(file.fileno()).st_size > 0
        assert os.readlink(f"/proc/self/fd/{file.fileno()}").startswith(str(tmp_path))
        assert os.listdir(tmp_path) == []

    (tmp_path / "left").touch()
    real = tempfile.TemporaryFile

    def busy(*arguments: object, **others: object) -> object:
        if others.get("dir") is not None:
            raise OSError(errno.EBUSY, "Device or resource busy", str(tmp_path / "left"))
        return real(**others)  # type: ignore[call-overload]

    monkeypatch.setattr(tempfile, "TemporaryFile", busy)
    with publish.unnamed_file(tmp_path) as file:
        assert not os.readlink(f"/proc/self/fd/{file.fileno()}").startswith(str(tmp_path))
        file.write(b"x" * 1000)
        assert os.fstat(file.fileno()).st_size == 0
    assert os.listdir(tmp_path) == []

    def full(*_: object, **__: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space left"):
        publish.unnamed_file(tmp_path)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        (f"{NAME}.0a1b2c3d.tmp", True),
        (f"{NAME}.0a1b2c3d.tmp\n", False),
        (f"{NAME}.0a1b2c3.tmp", False),
        (f"{NAME}.0a1b2c3d4.tmp", False),
        (f"{NAME}.0A1b2c3d.tmp", False),
        (f"x{NAME}.0a1b2c3d.tmp", False),
        (f"{NAME}\n.0a1b2c3d.tmp", False),
        (NAME, False),
    ],
)
def test_only_a_temporary_name_of_such_a_file_is_one(name: str, is_one: bool) -> None:
    assert is_draft_of(name, ARCHIVE_NAME) is is_one


def test_a_file_whose_name_has_a_line_break_has_drafts_as_any_other() -> None:
    assert is_draft_of("a\nb.0a1b2c3d.tmp", re.compile("a\nb"))


def test_drafts_that_may_be_in_use_are_left(tmp_path: Path) -> None:
    names = [f"{NAME}.0000000{number}.tmp" for number in (1, 2, 3)]
    for name, age in zip(names, (0, 50, 200), strict=True):
        (tmp_path / name).touch()
        moment = time.time() - age
        os.utime(tmp_path / name, (moment, moment))

    assert sweep_drafts(tmp_path, ARCHIVE_NAME, older_than_seconds=100) == [names[2]]
    assert sorted(sweep_drafts(tmp_path, ARCHIVE_NAME)) == names[:2]


def test_a_name_in_an_open_directory_is_taken_only_if_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # neither of the two
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    first, second = (os.open(tmp_path / name, os.O_RDONLY | os.O_DIRECTORY) for name in ("one", "two"))
    ctypes.set_errno(errno.EIO)  # what an earlier call has left is not taken for an error of this one
    try:
        with pytest.raises(FileExistsError) as error:
            publish.rename_between(first, b"x", second, b"x")
        assert (error.value.errno, error.value.strerror) == (errno.EEXIST, "File exists")
        assert error.value.filename == "x"
        publish.rename_between(first, b"x", second, b"y")
        with pytest.raises(FileNotFoundError) as missing:
            publish.rename_between(first, b"x", second, b"z")
        assert missing.value.strerror == "No such file or directory"
        assert [os.fsdecode(each) for each in (missing.value.filename, missing.value.filename2)] == ["x", "z"]
    finally:
        os.close(first)
        os.close(second)
    assert {path.name: path.read_text() for path in (tmp_path / "two").iterdir()} == {"x": "two", "y": "one"}


@pytest.mark.parametrize("has_call", [True, False])
def test_where_there_is_no_such_rename_names_in_open_directories_are_not_replaced_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_call: bool
) -> None:
    class Refusing:
        if has_call:

            @staticmethod
            def renameat2(_from: int, _name: bytes, _to: int, _as: bytes, flags: int) -> int:
                assert flags == 1  # RENAME_NOREPLACE
                ctypes.set_errno(errno.EINVAL)
                return -1

    monkeypatch.setattr(publish, "_libc", Refusing)
    test_a_name_in_an_open_directory_is_taken_only_if_it_is_free(tmp_path, monkeypatch)
