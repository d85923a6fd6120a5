"""The swap of uploads: stopped anywhere, it can be finished or taken back, and nothing of either side is lost."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from safeharbor.archive.layout import STAGING_MARKER
from safeharbor.errors import StorageUnavailable
from safeharbor.publish import rename_to_free_name
from safeharbor.uploads import staging
from safeharbor.uploads.staging import Leg, Mark, Side, StagedUploads, find_immovable, find_staged, remove_tree
from support.needs import need_root

OLD = {"a": "old a", "both": "old both", "dir/x": "old x", "only-old/y": "old y"}
NEW = {"b": "new b", "both": "new both", "dir/x": "new x", "dir/z": "new z"}


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


@pytest.fixture
def staged(tmp_path: Path) -> StagedUploads:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    write(uploads, OLD)
    made = StagedUploads(uploads, "0123456789ab")
    made.create()
    write(made.path / "new", NEW)
    return made


def test_it_is_private_and_bears_the_marker(staged: StagedUploads) -> None:
    assert stat.S_IMODE(os.stat(staged.path).st_mode) == 0o700
    assert (staged.path / os.fsdecode(STAGING_MARKER)).is_file()
    assert [found.id for found in find_staged(staged.uploads)] == ["0123456789ab"]


def test_bringing_in_a_side_keeps_the_other_one(staged: StagedUploads) -> None:
    staged.bring_in(Side.NEW)
    assert live(staged.uploads) == NEW
    staged.bring_in(Side.NEW)
    assert live(staged.uploads) == NEW
    staged.bring_in(Side.OLD)
    assert live(staged.uploads) == OLD
    staged.bring_in(Side.NEW)
    assert live(staged.uploads) == NEW


class Stopped(Exception):
    """The process died here."""


def stop_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the swap die before the Nth rename, mark or fsync."""
    calls = 0

    def counted(function: object) -> object:
        def call(*arguments: object, **keywords: object) -> object:
            nonlocal calls
            calls += 1
            if calls == number:
                raise Stopped
            return function(*arguments, **keywords)  # type: ignore[operator] # any function

        return call

    for name in ("rename_to_free_name", "fsync_directory", "published_whole"):
        monkeypatch.setattr(staging, name, counted(getattr(staging, name)))


@pytest.mark.parametrize("number", range(1, 18))
@pytest.mark.parametrize("then", [Side.NEW, Side.OLD])
@pytest.mark.parametrize("first", [Side.NEW, Side.OLD])
def test_stopped_anywhere_it_can_be_finished_or_taken_back(
    staged: StagedUploads, number: int, then: Side, first: Side
) -> None:
    if first is Side.OLD:
        staged.bring_in(Side.NEW)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(number, patch)
        try:
            staged.bring_in(first)
        except Stopped:
            pass

    staged.bring_in(then)

    assert live(staged.uploads) == (NEW if then is Side.NEW else OLD)
    assert staged.read_mark() == Mark(then, Leg.AT_REST)
    other = Side.OLD if then is Side.NEW else Side.NEW
    assert live(staged.path / other) == (OLD if then is Side.NEW else NEW)


@pytest.mark.parametrize("number", range(1, 14))
@pytest.mark.parametrize("again", range(1, 14))
def test_stopped_twice_it_still_comes_back(staged: StagedUploads, number: int, again: int) -> None:
    for at, side in ((number, Side.NEW), (again, Side.OLD)):
        with pytest.MonkeyPatch.context() as patch:
            stop_at(at, patch)
            try:
                staged.bring_in(side)
            except Stopped:
                pass

    staged.bring_in(Side.OLD)

    assert live(staged.uploads) == OLD


def test_what_the_app_makes_anew_meanwhile_steps_aside(staged: StagedUploads, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []

    def with_an_app(source: Path, target: Path) -> None:
        if target.parent == staged.uploads and target.name == "both" and not seen:
            seen.append(target)
            target.write_text("the app's")
        rename_to_free_name(source, target)
        if source == staged.uploads / "a":
            source.write_text("the app's")  # at once under the old name

    monkeypatch.setattr(staging, "rename_to_free_name", with_an_app)
    with pytest.raises(StorageUnavailable, match="fills up"):
        staged.bring_in(Side.NEW)
    monkeypatch.undo()
    staged.bring_in(Side.NEW)

    assert live(staged.uploads) == NEW
    assert {path.read_text() for path in (staged.path / "strays").iterdir()} == {"the app's"}
    staged.bring_in(Side.OLD)
    assert live(staged.uploads) == OLD


def test_lost_and_found_and_other_stages_stay_where_they_are(staged: StagedUploads) -> None:
    need_root()
    (staged.uploads / "lost+found").mkdir()
    second = StagedUploads(staged.uploads, "ba9876543210")
    second.create()

    staged.bring_in(Side.NEW)

    assert (staged.uploads / "lost+found").is_dir()
    assert second.exists
    assert live(staged.uploads) == NEW


def test_an_entry_that_only_looks_like_a_stage_is_swapped_like_any_other(staged: StagedUploads) -> None:
    (staged.uploads / ".safeharbor-restore-00").mkdir()

    staged.bring_in(Side.NEW)

    assert not (staged.uploads / ".safeharbor-restore-00").exists()
    assert (staged.path / "old" / ".safeharbor-restore-00").is_dir()


def test_removing_it_leaves_the_live_side(staged: StagedUploads) -> None:
    staged.bring_in(Side.NEW)

    staged.remove()
    staged.remove()

    assert live(staged.uploads) == NEW
    assert os.listdir(staged.uploads).count(staged.path.name) == 0


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


def test_what_can_be_moved_is_not_named(staged: StagedUploads) -> None:
    assert find_immovable(staged.uploads) == []
