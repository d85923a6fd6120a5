"""What archives do not keep of a file is counted and said once, and is no warning."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.archive.reader import read_front
from safeharbor_backup.archive.source import opened_archive

if TYPE_CHECKING:
    from support.runs import Site


def test_files_with_attributes_are_counted_and_said_once(site: Site) -> None:
    for name in ("a.txt", "b.txt", "plain.txt"):
        (site.uploads / name).write_text(name)
    for name in ("a.txt", "b.txt"):
        os.setxattr(site.uploads / name, "user.rating", b"5")

    done = site.run("backup")

    assert done.status == 0, done.output
    said = "2 of the uploads that were read have access control lists, extended attributes or capabilities"
    assert done.output.count(said) == 1, done.output
    with opened_archive(site.archives[0]) as source:
        recorded = read_front(source).manifest.about_uploads.attributes
    assert (recorded.count, recorded.names) == (2, ("a.txt", "b.txt"))


def test_a_directory_with_attributes_counts_too(site: Site) -> None:
    (site.uploads / "album").mkdir()
    os.setxattr(site.uploads / "album", "user.rating", b"5")

    done = site.run("backup")

    assert "1 of the uploads that were read has access control lists" in done.output
    assert "album/" in done.output


@pytest.mark.parametrize("verb", ["--dry-run", "--yes"])
def test_the_plan_of_a_restore_says_how_many_are_lost(site: Site, verb: str) -> None:
    for name in ("a.txt", "b.txt"):
        (site.uploads / name).write_text(name)
        os.setxattr(site.uploads / name, "user.rating", b"5")
    assert site.run("backup").status == 0

    done = site.run("restore", "--from", str(site.archives[0]), verb)

    assert done.status == 0, done.output
    lost = "You would lose the access control lists, extended attributes or capabilities of 2 uploads"
    assert done.stdout.count(lost) == 1, done.output
    assert "which archives do not keep: a.txt, b.txt" in done.stdout


def test_a_restore_of_the_database_alone_loses_none(site: Site) -> None:
    (site.uploads / "a.txt").write_text("a")
    os.setxattr(site.uploads / "a.txt", "user.rating", b"5")
    assert site.run("backup").status == 0

    done = site.run("restore", "--from", str(site.archives[0]), "--only", "database", "--dry-run")

    assert "extended attributes" not in done.output


def test_nothing_is_said_where_there_are_none(site: Site) -> None:
    assert "extended attributes" not in site.run("backup").output
    assert "extended attributes" not in site.run("restore", "--from", str(site.archives[0]), "--dry-run").output
