"""A release is the same to the byte wherever it is built, and has what it should."""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from scripts import release

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_every_place_has_the_same_version() -> None:
    release.check_version(VERSION)


@pytest.mark.slow
def test_two_builds_in_two_places_and_one_of_the_source_archive_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "TOOLS", Path(sys.executable).parent)  # this environment can build too

    made = []
    for name in ("first", "and-a-second"):  # the tree as it is, committed or not
        for part in ("src", "docs", "deploy", "man", "tests"):
            shutil.copytree(ROOT / part, tmp_path / name / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore"):
            shutil.copy(ROOT / part, tmp_path / name)
        made.append(release.build_from(tmp_path / name, tmp_path / f"{name}-built", "1780000000"))
    first, second = made

    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    release.check_wheel(first[0], VERSION)
    release.check_sdist(first[1], first[0], tmp_path, "1780000000")
