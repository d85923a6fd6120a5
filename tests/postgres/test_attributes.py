"""What archives do not keep of a file is counted and said once, and is no warning."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeharbor.archive.reader import read_front
from safeharbor.archive.source import opened_archive

if TYPE_CHECKING:
    from support.runs import Site


def test_files_with_attributes_are_counted_and_said_once(site: Site) -> None:
    for name in ("a.txt", "b.txt", "plain.txt"):
        (site.uploads / name).write_text(name)
    for name in ("a.txt", "b.txt"):
        os.setxattr(site.uploads / name, "user.rating", b"5")

    done = site.run("backup")

    assert done.status == 0, done.output
    said = "2 of the files that were read have access control lists, extended attributes or capabilities"
    assert done.output.count(said) == 1, done.output
    with opened_archive(site.archives[0]) as source:
        uploads = read_front(source).manifest.document["uploads"]
    assert isinstance(uploads, dict)
    assert uploads["attributes"] == {"count": 2, "names": ["a.txt", "b.txt"]}


def test_nothing_is_said_where_there_are_none(site: Site) -> None:
    assert "extended attributes" not in site.run("backup").output
