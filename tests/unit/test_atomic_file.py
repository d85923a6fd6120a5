from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import stat
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.archive.layout import ARCHIVE_NAME
from safeharbor_backup.errors import Interrupted, SafeHarborError, StorageUnavailable
from safeharbor_backup.system import atomic_file as publish
from safeharbor_backup.system.atomic_file import fsync_directory, is_draft_of, published_whole, sweep_drafts, write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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

    monkeypatch.setattr("os.open", interrupted)
    with pytest.raises(Interrupted), published_whole(tmp_path / NAME):
        pass

    assert os.listdir(tmp_path) == []


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
