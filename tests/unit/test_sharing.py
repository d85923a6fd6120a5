from __future__ import annotations

import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.archive.index import IndexFront, IndexWriter
from safeharbor_backup.archive.index_records import FACTS_SIZE, NEVER
from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.uploads.next_index import recording
from safeharbor_backup.uploads.previous_index import Previous
from safeharbor_backup.uploads.sharing import WHY_ALWAYS, WHY_DUE, WHY_FULL, Sharing, judge_index, remembered
from safeharbor_backup.uploads.stat_signature import pack_facts, stable_signature, tells_changes
from support.needs import missing
from support.sharing import Chain, real_clock, settled_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAY_NS = 86_400 * 10**9
NOW_NS = 1_800_000_000 * 10**9


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory on a filesystem that shows every change; in a container's own layer that is memory."""
    memory = Path("/dev/shm")
    if trusts(tmp_path):
        yield tmp_path
    elif memory.is_dir() and trusts(memory):
        with tempfile.TemporaryDirectory(dir=memory) as root:
            yield Path(root)
    else:
        missing("a filesystem that shows every change of a file")


def trusts(directory: Path) -> bool:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        return tells_changes(descriptor)
    finally:
        os.close(descriptor)


@pytest.fixture
def chain(place: Path) -> Chain:
    """Three files and a first archive of them."""
    made = Chain(place, settled_clock)
    for name in ("a", "b", "c"):
        (made.uploads / name).write_bytes(name.encode() * 50_000)
    made.take()
    return made


def front(chain: Chain) -> IndexFront:
    with remembered(chain.backups, chain.settings, full=False, clock=chain.clock) as sharing:
        assert sharing.front is not None
        return sharing.front


def look(chain: Chain, clock: Callable[[], int] | None = None) -> Sharing:
    with remembered(chain.backups, chain.settings, full=False, clock=clock or chain.clock) as sharing:
        return sharing


def test_every_fact_counts_and_two_equal_statuses_have_equal_facts() -> None:
    numbers = [0o100644, 5, 1, 1, 1000, 1000, 777, 0, 0, 0]
    times = {"st_atime_ns": 1, "st_mtime_ns": 2, "st_ctime_ns": 3}
    base = os.stat_result([*numbers, *[0.0] * 3], times)

    assert pack_facts([base]) == pack_facts([os.stat_result([*numbers, *[0.0] * 3], times)])
    assert len(pack_facts([base, base])) == 2 * FACTS_SIZE
    for place in (0, 1, 4, 5, 6):
        other = [number + (at == place) for at, number in enumerate(numbers)]
        assert pack_facts([os.stat_result([*other, *[0.0] * 3], times)]) != pack_facts([base]), place
    for name in ("st_mtime_ns", "st_ctime_ns"):
        changed = os.stat_result([*numbers, *[0.0] * 3], {**times, name: -4})
        assert pack_facts([changed]) != pack_facts([base])
    assert pack_facts([os.stat_result([*numbers, *[0.0] * 3], {**times, "st_atime_ns": 9})]) == pack_facts([base])


@pytest.mark.parametrize(("mtime", "ctime"), [(0, 0), (-1, 0), (0, -1), (-1, -1), (5 * 10**9, -1), (-1, 5 * 10**9)])
def test_what_is_not_older_than_two_seconds_before_the_run_is_never_trusted(mtime: int, ctime: int) -> None:
    limit = NOW_NS - 2 * 10**9
    times = {"st_atime_ns": 0, "st_mtime_ns": limit + mtime, "st_ctime_ns": limit + ctime}
    status = os.stat_result([0o100644, 5, 1, 1, 0, 0, 9, 0, 0, 0, 0.0, 0.0, 0.0], times)

    facts = stable_signature(status, NOW_NS)

    assert (facts == pack_facts([status])) is (mtime < 0 and ctime < 0)
    assert (facts == NEVER) is not (mtime < 0 and ctime < 0)


def test_only_filesystems_that_show_every_change_are_trusted(place: Path) -> None:
    assert trusts(place)
    assert not trusts(Path("/proc/self"))


def test_the_age_of_blocks_decides_when_everything_is_written_anew(chain: Chain) -> None:
    made = front(chain)

    def judged(days: float, full_read_days: int = 7, *, full: bool = False) -> tuple[bool, str]:
        now_ns = made.written_anew_ns + int(days * DAY_NS)
        return judge_index(made, now_ns, chain.settings.upload_dirs, full_read_days, full=full)

    assert judged(0) == (True, "")
    assert judged(6.9) == (True, "")
    assert judged(6.98) == (True, WHY_DUE)  # a nightly run may begin a little earlier than the one a week ago
    assert judged(7) == (True, WHY_DUE)
    assert judged(0, full=True) == (True, WHY_FULL)
    assert judged(0, 0) == (True, WHY_ALWAYS)
    assert judged(0.9, 1) == (True, "")
    assert judged(1, 1) == (True, WHY_DUE)


def test_a_clock_that_was_set_back_or_another_tree_make_the_index_useless(chain: Chain) -> None:
    made, uploads = front(chain), chain.settings.upload_dirs

    assert not judge_index(made, made.started_ns - 1, uploads, 7, full=False)[0]
    assert not judge_index(replace(made, written_anew_ns=made.started_ns + 1), NOW_NS**2, uploads, 7, full=False)[0]
    assert not judge_index(made, made.started_ns, (UploadDir(Path("/elsewhere")),), 7, full=False)[0]


def test_the_first_backup_has_nothing_to_go_by_and_says_nothing(place: Path) -> None:
    assert look(Chain(place, real_clock)) == Sharing()


def test_the_index_is_of_exactly_the_archive_that_was_published(chain: Chain) -> None:
    archive = next(chain.backups.glob("*.tar"))
    status = os.stat(archive)
    made = front(chain)

    assert (made.archive, made.size, made.inode) == (archive.name, status.st_size, status.st_ino)
    assert made.mtime_ns == status.st_mtime_ns
    assert made.written_anew_ns == made.started_ns


@pytest.mark.parametrize("what", ["size", "time", "inode", "gone", "link", "directory"])
def test_an_archive_that_is_not_as_it_was_left_is_not_gone_by(chain: Chain, what: str) -> None:
    archive = next(chain.backups.glob("*.tar"))
    before = os.stat(archive)
    if what == "size":
        with open(archive, "ab") as file:
            file.write(bytes(512))
        os.utime(archive, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif what == "time":
        os.utime(archive)
    elif what == "inode":
        (chain.backups / "copy").write_bytes(archive.read_bytes())
        os.utime(chain.backups / "copy", ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(chain.backups / "copy", archive)
    else:
        os.rename(archive, chain.backups / "aside")
        if what == "link":
            archive.symlink_to("aside")
        elif what == "directory":
            archive.mkdir()

    found = look(chain)

    assert found.previous is None
    assert (found.why_not == "") is (what == "gone")
    assert chain.take().collected.shared_members == 0


def test_an_index_cannot_name_a_file_elsewhere(chain: Chain) -> None:
    made = front(chain)
    descriptor = os.open(chain.backups / ".safeharbor" / "index", os.O_RDWR | os.O_TRUNC)
    IndexWriter(descriptor).finish(replace(made, archive=f"../backups/{made.archive}"))
    os.close(descriptor)

    assert look(chain).previous is None


def test_random_bytes_in_the_place_of_the_index_cost_nothing_but_time(chain: Chain) -> None:
    for seed in range(20):
        (chain.backups / ".safeharbor" / "index").write_bytes(random.Random(seed).randbytes(seed * 700))
        assert "cannot be used" in look(chain).why_not
    assert chain.take().notes == ()
    assert look(chain).front is not None


def test_a_clock_that_was_set_during_the_run_leaves_no_index(place: Path) -> None:
    seconds = iter([100, 100, 3700, 3700, 3700])
    chain = Chain(place, lambda: next(seconds) * 10**9)

    assert chain.take().notes == ("the next backup will read everything: the clock was set while the backup ran",)
    assert not (place / "backups" / ".safeharbor" / "index").exists()


def test_a_backup_that_fails_leaves_the_index_of_the_one_before(chain: Chain) -> None:
    before = (chain.backups / ".safeharbor" / "index").read_bytes()

    with pytest.raises(RuntimeError, match="the backup failed"), recording(chain.backups, print):
        raise RuntimeError("the backup failed")

    assert (chain.backups / ".safeharbor" / "index").read_bytes() == before
    assert os.listdir(chain.backups / ".safeharbor") == ["index"]


def test_what_a_killed_run_left_of_an_index_is_swept(chain: Chain) -> None:
    (chain.backups / ".safeharbor" / "index.0123abcd.tmp").write_bytes(b"half")

    chain.take()

    assert os.listdir(chain.backups / ".safeharbor") == ["index"]


def test_a_link_in_the_place_of_the_state_directory_is_not_followed(place: Path) -> None:
    (place / "elsewhere").mkdir()
    (place / ".safeharbor").symlink_to("elsewhere")
    notes: list[str] = []

    with recording(place, notes.append) as made:
        assert made is None

    assert len(notes) == 1
    assert os.listdir(place / "elsewhere") == []


def test_blocks_that_are_due_can_still_be_shared_where_there_is_no_room() -> None:
    previous = Previous("a.tar", 3, 4, 4096, may_share=False)

    assert Sharing(previous, None, WHY_DUE).despite_age().may_share
    assert not Sharing(previous, None, WHY_FULL).despite_age().may_share
    assert not Sharing().despite_age().may_share
