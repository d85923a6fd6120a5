"""What a value names, and whether it is among the files of an archive."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from safeharbor_backup.actions.references import Gathered
from safeharbor_backup.archive.layout import sums_line
from safeharbor_backup.settings.upload_dirs import UploadDir
from safeharbor_backup.uploads.reference_paths import ArchivedPaths, References, path_of

ROOT = "/data/uploads"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("2026/1.jpg", b"2026/1.jpg"),
        ("/2026/1.jpg", b"2026/1.jpg"),
        ("//2026/./1.jpg", b"2026/1.jpg"),
        ("/data/uploads/2026/1.jpg", b"2026/1.jpg"),
        ("/data/uploadsX/1.jpg", b"data/uploadsX/1.jpg"),
        ("2026/../1.jpg", b"1.jpg"),
        ("../1.jpg", None),
        ("/data/uploads/../secret", None),
        ("2026/../../1.jpg", None),
        ("ü b\n.jpg", "ü b\n.jpg".encode()),
        ("/", b""),
    ],
)
def test_a_value_names_a_path_below_the_uploads_or_leads_out(value: str, path: bytes | None) -> None:
    assert path_of(value, ROOT) == path


def test_values_are_counted_by_what_became_of_them() -> None:
    found = References(columns={"photos.path": 0})

    for value in (
        "there",
        "",
        "gone",
        "../out",
        "https://cdn/x.jpg",
        "//cdn/x.jpg",
        "data:image/png;base64,xx",
        "x" * 9999,
    ):
        found.judge("photos.path", value, (UploadDir(Path(ROOT)),), lambda path: path == b"there")

    assert found.columns == {"photos.path": 7}
    assert (found.elsewhere, found.missing.count, found.outside.count) == (3, 2, 1)
    assert found.missing.names[0] == "gone: photos.path"
    assert len(found.missing.names[1]) < 5000
    assert [line.partition(":")[0] for line in found.warnings("this archive")] == [
        "2 references to uploads have no file in this archive",
        "1 reference to uploads has a path that leads out of them",
    ]


@pytest.mark.slow
def test_files_are_found_and_others_not_in_little_memory() -> None:
    names = [b"uploads/%d/photo-%d.jpg" % (number % 100, number) for number in range(100_000)]

    tracemalloc.start()
    paths = ArchivedPaths([b"db.dump", *names])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert all(name.removeprefix(b"uploads/") in paths for name in names)
    assert not any(b"%d/photo-%d.jpg" % (number % 100 + 1, number) in paths for number in range(10_000))
    assert b"db.dump" not in paths
    assert held < 3_000_000


def test_a_link_is_there_if_it_leads_to_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2" / "a.jpg").touch()
    (tmp_path / "current").symlink_to("v2")
    (tmp_path / "away").symlink_to("/etc/passwd")
    paths = ArchivedPaths([b"uploads/v2/a.jpg"])

    assert paths.lead_to(b"current/a.jpg", (UploadDir(tmp_path),))
    assert not paths.lead_to(b"current/b.jpg", (UploadDir(tmp_path),))
    assert not paths.lead_to(b"current", (UploadDir(tmp_path),))
    assert not paths.lead_to(b"away", (UploadDir(tmp_path),))


def test_values_survive_the_file_that_they_wait_in(tmp_path: Path) -> None:
    gathered = Gathered(tmp_path)
    values = {"a.path": ["1.jpg", "new\nline", "", "ü" * 700_000, "lost"], "b.path": []}
    gathered.gather(values, lambda column: iter(values[column]))
    sums = b"".join(sums_line(b"uploads/" + name, "0" * 64) for name in (b"1.jpg", b"new\nline"))

    found = gathered.check([sums], (), has_links=False)
    gathered.close()

    assert found.columns == {"a.path": 4, "b.path": 0}
    assert found.missing.count == 2
    assert found.missing.names[1] == "lost: a.path"
    assert list(tmp_path.iterdir()) == []
