"""Uploads in several directories: one tree in the archive, with their names at its top."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from safeharbor_backup.state.journal import JOURNAL_NAME
from support.filesystems import mounted_bind
from support.postgres import Database
from support.runs import Site
from support.states import tree_of


@pytest.fixture
def static(site: Site) -> Path:
    """A second directory; the first one is called `media`."""
    static = site.root / "app" / "static"
    static.mkdir(parents=True)
    (static / "logo.png").write_bytes(b"logo")
    (static / "2026").mkdir()
    site.environment["BACKUP_UPLOAD_DIR"] = f"static={static},media={site.uploads}"
    return static


def names_in(archive: Path) -> list[str]:
    done = subprocess.run(["tar", "-tf", archive], capture_output=True, check=True, text=True)
    return done.stdout.splitlines()


def manifest_of(archive: Path) -> dict[str, Any]:
    done = subprocess.run(["tar", "-xOf", archive, "manifest.json"], capture_output=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_they_are_backed_up_verified_and_drilled_as_one_tree(
    site: Site, static: Path, database: Database, tmp_path: Path
) -> None:
    database.execute("INSERT INTO photo VALUES (11, 1, 'media/2026/1.jpg'), (12, 1, 'logo.png'), (13, 1, 'gone.png')")
    database.execute(f"INSERT INTO photo VALUES (14, 1, '{static}/logo.png'), (15, 1, '{site.uploads}/logo.png')")
    (site.uploads / "across").symlink_to("../static/logo.png")  # which leads nowhere where they lie apart
    (site.uploads / "inside").symlink_to("2026/1.jpg")
    (static / ".safeharbor-restore-0123456789ab").mkdir()
    (static / "skipped.tmp").touch()
    site.environment |= {"BACKUP_UPLOAD_REFERENCES": "photo.path", "BACKUP_EXCLUDE": "/static/*.tmp"}

    done = site.run("backup")

    assert done.status == 3, done.output
    assert f"uploads media={site.uploads},static={static}" in done.stdout
    assert "across: a symlink that can leave the tree" in done.stderr.replace("media/across", "across")
    assert "2 references to uploads have no file in this archive: gone.png" in done.stderr
    assert "static/.safeharbor-restore-0123456789ab in the uploads has the name of a restore's directory" in done.stderr
    (archive,) = site.archives
    uploads = [name.removeprefix("uploads/") for name in names_in(archive) if name.startswith("uploads/")]
    photos = sorted(f"media/2026/{number}.jpg" for number in range(1, 11))
    assert uploads == [
        "",
        "media/",
        "media/2026/",
        *photos,
        "media/inside",
        "static/",
        "static/2026/",
        "static/logo.png",
    ]
    manifest = manifest_of(archive)
    assert manifest["uploads"]["directories"] == [
        {"name": "media", "path": str(site.uploads)}, {"name": "static", "path": str(static)},
    ]  # fmt: skip
    assert [each["name"] for each in manifest["uploads"]["folders"]] == ["media", "static"]
    assert site.run("verify", "--latest").status == 0
    drill = site.run("drill", BACKUP_UPLOAD_DIR=str(static))
    assert drill.status == 3, drill.output
    assert "11 uploads" in drill.stdout
    assert "2 references to uploads have no file in the copy: gone.png" in drill.stderr + drill.stdout
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", out], check=True)  # any other reader has them as one tree
    assert (out / "uploads" / "static" / "logo.png").read_bytes() == b"logo"


def test_another_list_of_directories_is_a_warning(site: Site, static: Path) -> None:
    assert site.run("backup").status == 0

    moved = site.run("backup", BACKUP_UPLOAD_DIR=f"media={site.uploads},static={static / '2026'}")
    assert moved.status == 3, moved.output
    assert "the uploads directory has changed since the last backup" in moved.stderr


@pytest.mark.parametrize("inner", ["uploads", "uploads/2026", "link"])
def test_directories_that_overlap_are_refused(site: Site, inner: str) -> None:
    (site.root / "link").symlink_to("uploads/2026")
    site.environment["BACKUP_UPLOAD_DIR"] = f"a={site.uploads},b={site.root / inner}"

    for command in (["backup"], ["doctor"]):
        done = site.run(*command)
        assert done.status == 2, done.output
        assert "expected separate directories" in done.output
    assert site.archives == []


def test_a_directory_of_which_a_part_is_mounted_elsewhere_overlaps_with_that(site: Site) -> None:
    (site.root / "elsewhere").mkdir()
    with mounted_bind(site.uploads / "2026", site.root / "elsewhere") as elsewhere:
        site.environment["BACKUP_UPLOAD_DIR"] = f"a={site.uploads},b={elsewhere}"

        done = site.run("backup")

    assert done.status == 2, done.output
    assert "expected separate directories" in done.output


def both(site: Site, static: Path) -> dict[str, str]:
    return {
        **{f"media/{name}": what for name, what in tree_of(site.uploads).items()},
        **{f"static/{name}": what for name, what in tree_of(static).items()},
    }


def change(site: Site, static: Path) -> None:
    (site.uploads / "2026" / "1.jpg").write_bytes(b"other")
    (site.uploads / "newer").mkdir()
    (static / "logo.png").unlink()
    (static / "newer.png").write_bytes(b"newer")
    (static / "keep.tmp").write_bytes(b"a user's")


def test_a_restore_its_undo_and_discard_are_of_all_or_none(site: Site, static: Path, database: Database) -> None:
    site.environment["BACKUP_EXCLUDE"] = "/static/*.tmp"
    assert site.run("backup").status == 0
    (archive,) = site.archives
    backed_up = both(site, static)
    change(site, static)
    database.execute("DELETE FROM photo")
    live = both(site, static)

    plan = site.run("restore", "--from", "latest", "--dry-run")
    assert plan.status == 0, plan.output
    assert f"uploads: media={site.uploads},static={static}" in plan.stdout
    assert "static/keep.tmp stays where it is" in plan.stdout
    assert "1 upload added since this backup: static/newer.png" in plan.stdout
    assert site.run("diff", "latest", "--live", "--names").stdout.count("static/newer.png") == 1
    done = site.run("restore", "--from", "latest", "--yes")
    assert done.status == 0, done.output
    kept = {"static/keep.tmp": live["static/keep.tmp"]}
    assert both(site, static) == {**backed_up, **kept}
    undone = site.run("restore", "--undo")
    assert undone.status == 0, undone.output
    assert both(site, static) == live
    assert site.run("restore", "--undo").status == 0
    assert both(site, static) == {**backed_up, **kept}
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert [*site.uploads.glob(".safeharbor*"), *static.glob(".safeharbor*")] == []
    in_place = site.run("restore", "--from", str(archive), "--in-place", "--yes")
    assert in_place.status == 0, in_place.output
    assert both(site, static) == {**backed_up, **kept}
    doctor = site.run("doctor")
    assert f"media={site.uploads},static={static} can be read" in doctor.stdout
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    static.rename(static.with_name("aside"))
    static.mkdir()
    unmounted = site.run("restore", "--from", str(archive), "--dry-run")
    assert unmounted.status == 3, unmounted.output
    assert f"{static} is empty, and not all of the uploads are: see that its filesystem is mounted" in unmounted.stderr


def test_an_archive_goes_only_where_each_of_its_names_has_a_place(site: Site, static: Path) -> None:
    assert site.run("backup").status == 0
    (named,) = site.archives
    change(site, static)
    live = both(site, static)

    for configured in (f"media={site.uploads}", str(site.uploads)):
        refused = site.run("restore", "--from", str(named), "--yes", BACKUP_UPLOAD_DIR=configured)
        assert refused.status == 8, refused.output
        assert f"BACKUP_UPLOAD_DIR=media={site.uploads},static={static}" in refused.stderr
        assert "--upload-dir" in refused.stderr
        refused = site.run("extract", str(named), "static/logo.png", "--in-place", BACKUP_UPLOAD_DIR=configured)
        assert refused.status == 8, refused.output
        assert (
            f"BACKUP_UPLOAD_DIR=media={site.uploads},static={static}" in refused.stderr or "Name one" in refused.stderr
        )
        assert "--upload-dir" not in refused.stderr  # which extract does not have
    exchanged = f"media={static},static={site.uploads}"
    plan = site.run("restore", "--from", str(named), "--dry-run", BACKUP_UPLOAD_DIR=exchanged)
    assert plan.status == 3, plan.output
    assert f"{static} had the uploads of static when the archive was taken, and now those of media" in plan.stderr
    assert both(site, static) == live

    lacking = site.root / "videos"
    lacking.mkdir()
    (lacking / "1.mp4").touch()
    three = f"media={site.uploads},static={static},videos={lacking}"
    done = site.run("restore", "--from", str(named), "--upload-dir", three, "--only", "uploads", "--yes")
    assert done.status == 3, done.output
    assert f"the archive has no uploads of videos: {lacking} stays as it is" in done.stderr
    assert os.listdir(lacking) == ["1.mp4"]
    assert (static / "logo.png").read_bytes() == b"logo"
    again = site.run("restore", "--undo", BACKUP_UPLOAD_DIR="none")
    assert (again.status, both(site, static)) == (0, live), again.output


def test_an_archive_of_one_tree_goes_into_several_if_all_of_it_has_a_place(site: Site, static: Path) -> None:
    tree = site.root / "tree"
    (tree / "media" / "2026").mkdir(parents=True)
    (tree / "media" / "2026" / "a.jpg").write_bytes(b"a")
    (tree / "static").mkdir()
    assert site.run("backup", "--no-prune", BACKUP_UPLOAD_DIR=str(tree)).status == 0
    (one_tree,) = site.archives

    done = site.run("restore", "--from", str(one_tree), "--only", "uploads", "--yes")
    assert done.status == 0, done.output
    assert sorted(both(site, static)) == ["media/2026", "media/2026/a.jpg"]
    (tree / "beside.txt").touch()
    (tree / "other").mkdir()
    assert site.run("backup", "--no-prune", BACKUP_UPLOAD_DIR=str(tree)).status == 0
    (tree / "My files").mkdir()
    for name, told in (
        ("beside.txt", "uploads that are in no directory"),
        ("My files", "Restore it into one directory"),
        ("other", "other=/PATH"),
    ):
        refused = site.run("restore", "--from", str(site.archives[-1]), "--only", "uploads", "--yes")
        assert refused.status == 8, refused.output
        assert told in refused.stderr
        path = tree / name
        path.unlink() if path.is_file() else path.rmdir()
        assert site.run("backup", "--no-prune", BACKUP_UPLOAD_DIR=str(tree)).status == 0
    across, beside = tree / "media" / "across", tree / "beside"
    for link, target, told in (
        (across, "../static", "uploads/media/across is a link that leaves uploads/media/"),
        (beside, "media", "The archive has uploads/beside, and BACKUP_UPLOAD_DIR names no directory for it"),
    ):
        link.symlink_to(target)
        assert site.run("backup", "--no-prune", BACKUP_UPLOAD_DIR=str(tree)).status == 0
        link.unlink()
        for how in ("--dry-run", "--yes"):
            refused = site.run("restore", "--from", str(site.archives[-1]), "--only", "uploads", how)
            assert refused.status == 8, refused.output
            assert told in refused.stderr
    assert sorted(both(site, static)) == ["media/2026", "media/2026/a.jpg"]


def test_files_go_back_into_the_directory_that_they_are_of(site: Site, static: Path) -> None:
    assert site.run("backup").status == 0
    change(site, static)

    done = site.run("extract", "latest", "static/logo.png", "media/2026/1.jpg", "--in-place")

    assert done.status == 0, done.output
    assert "replaced, and kept as media/2026/1.jpg.replaced-" in done.stdout
    assert (static / "logo.png").read_bytes() == b"logo"
    assert (site.uploads / "2026" / "1.jpg").read_bytes() == (1).to_bytes(2, "big") * 3000
    assert (static / "newer.png").exists()


def test_nothing_is_extracted_into_a_directory_that_is_not_there(site: Site, static: Path) -> None:
    assert site.run("backup").status == 0
    static.rename(site.root / "unmounted")

    refused = site.run("extract", "latest", "static/logo.png", "--in-place")

    assert refused.status == 7, refused.output
    assert f"The uploads directory {static} does not exist" in refused.stderr
    assert not static.exists()
    assert site.run("extract", "latest", "media/2026/1.jpg", "--in-place").status == 0


def test_kept_uploads_that_other_settings_would_archive_are_reported(site: Site, static: Path) -> None:
    assert site.run("backup").status == 0
    change(site, static)
    assert site.run("restore", "--from", "latest", "--yes").status == 0
    (stage,) = static.glob(".safeharbor-restore-*")

    done = site.run("backup", BACKUP_UPLOAD_DIR=str(static.parent))

    assert done.status == 3, done.output
    assert f"{stage}, which restore {stage.name[-12:]} keeps, lies in the uploads" in done.stderr
    assert f"uploads/static/{stage.name}/" in names_in(site.archives[-1])
    assert site.run("restore", "--discard-previous", "--yes").status == 0
    assert "lies in the uploads" not in site.run("backup", BACKUP_UPLOAD_DIR=str(static.parent)).stderr


def unrecorded_restore(site: Site, static: Path, *options: str) -> tuple[str, Path]:
    """A restore of both that is done, and that the journal does not know: its id, and its stage in `static`."""
    assert site.run("backup").status == 0
    change(site, static)
    assert site.run("restore", "--from", "latest", "--yes", *options).status == 0
    (site.backups / JOURNAL_NAME).unlink()
    (stage,) = static.glob(".safeharbor-restore-*")
    return stage.name[-12:], stage


def test_by_names_a_directory_that_has_nothing_of_the_restore_is_named(
    site: Site, static: Path, database: Database
) -> None:
    found, stage = unrecorded_restore(site, static)
    unmounted = stage.rename(site.root / "unmounted")

    asked = site.run("restore", "--undo", "--id", found)

    assert asked.status == 1, asked.output
    assert f"  static={static} has nothing of it to bring in, and stays as it is; is it mounted?" in asked.stdout
    assert f"media={site.uploads} has nothing" not in asked.stdout
    unmounted.rename(stage)
    asked = site.run("restore", "--undo", "--id", found)
    assert "is it mounted?" not in asked.stdout


@pytest.mark.parametrize("lost", ["a file", "no marker"])
def test_by_names_only_the_directory_that_is_lost_is_abandoned(
    site: Site, static: Path, database: Database, lost: str
) -> None:
    found, stage = unrecorded_restore(site, static)
    undo = ("restore", "--undo", "--id", found, "--yes")
    whole = site.run(*undo, "--abandon-uploads")
    assert whole.status == 8, whole.output
    assert "Run this again without --abandon-uploads" in whole.stderr
    if lost == "a file":
        stage.rename(site.root / "lost")
        stage.touch()
    else:
        (stage / ".safeharbor-staging").unlink()
    live = both(site, static)
    refused = site.run(*undo)
    assert (refused.status, both(site, static)) == (8, live), refused.output

    done = site.run(*undo, "--abandon-uploads")

    assert done.status == 3, done.output
    assert f"static={static} has nothing of it to bring in" in done.stdout
    assert f"the uploads in {static} were left as they are" in done.stderr
    after = both(site, static)
    assert (site.uploads / "2026" / "1.jpg").read_bytes() == b"other"
    assert {name for name in after if name.startswith("static/")} == {
        name for name in live if name.startswith("static/")
    }
    assert (site.uploads / stage.name / "new").is_dir()


def test_by_names_a_mixture_is_not_finished_and_the_way_back_is_named(site: Site, static: Path) -> None:
    before = both(site, static)
    found, stage = unrecorded_restore(site, static, "--only", "uploads")
    marker = stage / ".safeharbor-staging"
    marker.write_text(marker.read_text().replace("new at rest", "old at rest"))
    restored = both(site, static)
    assert restored == before

    refused = site.run("restore", "--resume", "--id", found, "--yes")

    assert refused.status == 8, refused.output
    assert f"`safeharbor restore --undo --id {found}` goes back" in refused.stderr
    assert both(site, static) == restored
