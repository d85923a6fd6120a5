"""A restore's dry run ends as the restore does, whatever the filesystem of the uploads takes."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.filesystems import mounted_foreign, mounted_image, mounted_in_memory
from support.needs import need_program, need_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.runs import Outcome, Site

ONLY_UPLOADS = ("--only", "uploads")


def archive_of(site: Site, fill: Callable[[Path], object] | None = None) -> Path:
    """An archive of uploads that `fill` has added to."""
    if fill is not None:
        fill(site.uploads)
    done = site.run("backup")
    assert done.status == 0, done.output
    return site.archives[-1]


def both(site: Site, archive: Path, uploads: Path) -> tuple[Outcome, Outcome]:
    """The dry run and the restore into `uploads`, which must end alike; a restore that fails leaves nothing there."""
    before = sorted(os.listdir(uploads))
    arguments = ("restore", "--from", str(archive), *ONLY_UPLOADS, "--upload-dir", str(uploads))
    dry = site.run(*arguments, "--dry-run")
    assert sorted(os.listdir(uploads)) == before
    done = site.run(*arguments, "--yes")
    assert (dry.status, done.status) == (done.status, dry.status), f"{dry.output}\n---\n{done.output}"
    if done.status not in (0, 3):
        assert sorted(os.listdir(uploads)) == before
    return dry, done


def twins(uploads: Path) -> None:
    (uploads / "Photo.jpg").write_bytes(b"one")
    (uploads / "photo.JPG").write_bytes(b"two")


def folded_directories(uploads: Path) -> None:
    for name in ("Album", "album"):
        (uploads / name).mkdir()
        (uploads / name / f"in {name}.txt").write_text(name)


@pytest.mark.parametrize("kind", ["exfat"])
@pytest.mark.parametrize("fill", [twins, folded_directories])
def test_names_that_are_one_on_the_target_are_the_targets_fault(
    site: Site, tmp_path: Path, kind: str, fill: Callable[[Path], object]
) -> None:
    archive = archive_of(site, fill)
    with mounted_foreign(kind, tmp_path / "target") as target:
        dry, done = both(site, archive, target)

    assert done.status == 8, done.output
    for said in (dry.output, done.output):
        assert "are the same name on the filesystem of" in said
        assert "another filesystem (--upload-dir)" in said


@pytest.mark.parametrize("kind", ["exfat", "ntfs"])
@pytest.mark.parametrize("name", ["12:30?.jpg", "a\\b", "tab\there", 'quote"', "less<", "pipe|"])
def test_names_that_the_target_refuses_are_found_before(site: Site, tmp_path: Path, kind: str, name: str) -> None:
    archive = archive_of(site, lambda uploads: (uploads / name).write_bytes(b"x"))
    with mounted_foreign(kind, tmp_path / "target") as target:
        dry, done = both(site, archive, target)

    assert done.status == 8, done.output
    assert "does not accept names that the archive has" in dry.output


def test_links_that_the_target_refuses_are_found_before(site: Site, tmp_path: Path) -> None:
    archive = archive_of(site, lambda uploads: os.symlink("new.txt", uploads / "link"))
    with mounted_foreign("exfat", tmp_path / "target") as target:
        dry, done = both(site, archive, target)

    assert done.status == 8, done.output
    assert "symbolic links" in dry.output


@pytest.mark.parametrize("kind", ["exfat", "ntfs"])
def test_uploads_with_plain_names_restore_there(site: Site, tmp_path: Path, kind: str) -> None:
    def fill(uploads: Path) -> None:
        (uploads / "plain é.txt").write_bytes(b"x")
        os.chown(uploads / "plain é.txt", 4711, 4711)  # which exFAT cannot keep, for root either

    need_root()
    archive = archive_of(site, fill)
    with mounted_foreign(kind, tmp_path / "target") as target:
        dry, done = both(site, archive, target)
        assert done.status in (0, 3), done.output
        assert {"owners in the archive" in each.output for each in (dry, done)} == {kind == "exfat"}
        assert (target / "plain é.txt").read_bytes() == b"x"


@pytest.mark.parametrize("flag", ["+i", "+a"])
@pytest.mark.parametrize("name", [".", "fixed", "directory"])
def test_what_cannot_be_moved_by_root_either_is_found_before(site: Site, tmp_path: Path, flag: str, name: str) -> None:
    archive = archive_of(site)
    with mounted_image("ext4", tmp_path / "target", 32 << 20) as target:
        (target / "fixed").write_bytes(b"x")
        (target / "directory").mkdir()
        subprocess.run([need_program("chattr"), flag, target / name], check=True)
        try:
            dry, done = both(site, archive, target)
        finally:
            subprocess.run(["chattr", "-i", "-a", target / name], check=True)

    assert done.status == 7, done.output
    for said in (dry.output, done.output):
        assert "chattr -i -a" in said


def test_modes_that_the_target_refuses_are_a_warning_in_both(site: Site, tmp_path: Path) -> None:
    need_root()
    archive = archive_of(site)
    statuses = []
    with mounted_foreign("ntfs", tmp_path / "target") as target:
        arguments = ["restore", "--from", str(archive), *ONLY_UPLOADS, "--upload-dir", str(target)]
        for last in ("--dry-run", "--yes"):
            log = tmp_path / f"trace{last}"
            refuse = ["-e", "trace=fchmod", "-e", "inject=fchmod:error=EPERM"]
            argv = [str(need_program("strace")), "-f", "-o", str(log), *refuse, *site.argv(*arguments, last)]
            done = subprocess.run(argv, env=site.full_environment(), capture_output=True, cwd=site.root, check=False)
            assert "(INJECTED)" in log.read_text()
            assert b"the uploads get the modes that their filesystem gives" in done.stderr, done.stderr
            statuses.append(done.returncode)
    assert statuses == [3, 3]


def test_what_a_killed_trial_left_is_removed_by_the_next(site: Site, tmp_path: Path) -> None:
    archive = archive_of(site)
    with mounted_foreign("exfat", tmp_path / "target") as target:
        left = target / ".safeharbor-trial-0123456789abcdef"
        left.mkdir()
        (left / "name").write_bytes(b"")
        site.run("restore", "--from", str(archive), *ONLY_UPLOADS, "--upload-dir", str(target), "--dry-run")
        assert not left.exists()


def test_uploads_in_a_containers_own_layer_are_exchanged_though_no_lower_directory_can_be_renamed(
    site: Site, tmp_path: Path
) -> None:
    """An overlay refuses (EXDEV) to rename a directory of the layer below, which is an image's."""
    need_root()
    merged = tmp_path / "merged"
    with mounted_in_memory("ext4", 64 << 20) as (layers, _):
        lower = layers / "lower"
        for place in (lower / "uploads" / "album" / "deep", merged, layers / "upper", layers / "work"):
            place.mkdir(parents=True)
        (lower / "uploads" / "album" / "deep" / "photo").write_text("first")
        options = f"redirect_dir=off,lowerdir={lower},upperdir={layers}/upper,workdir={layers}/work"
        subprocess.run([need_program("mount"), "-t", "overlay", "-o", options, "overlay", merged], check=True)
        try:
            uploads = merged / "uploads"
            with pytest.raises(OSError, match="cross-device"):
                os.rename(uploads / "album", uploads / "other")
            site.environment["BACKUP_UPLOAD_DIR"] = str(uploads)
            archive = archive_of(site)
            (uploads / "album" / "deep" / "photo").write_text("second")
            (uploads / "album" / "newer").write_text("newer")

            dry = site.run("restore", "--from", str(archive), *ONLY_UPLOADS, "--dry-run")
            done = site.run("restore", "--from", str(archive), *ONLY_UPLOADS, "--yes")
            assert (dry.status, done.status) == (0, 0), dry.output + done.output
            assert [each.name for each in sorted((uploads / "album").iterdir())] == ["deep"]
            assert (uploads / "album" / "deep" / "photo").read_text() == "first"

            undone = site.run("restore", "--undo")
            assert undone.status == 0, undone.output
            assert (uploads / "album" / "deep" / "photo").read_text() == "second"
            assert (uploads / "album" / "newer").read_text() == "newer"
            discarded = site.run("restore", "--discard-previous", "--yes")
            assert discarded.status == 0, discarded.output
            assert os.listdir(uploads) == ["album"]
        finally:
            subprocess.run([need_program("umount"), merged], check=True)
