"""A release is the same to the byte wherever it is built, and has what it should."""

from __future__ import annotations

import shlex
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


ADDRESSES = {
    "Documentation": "https://safeharbor.readthedocs.io/",
    "Source": "https://codeberg.org/reef/safeharbor",
    "Issues": "https://codeberg.org/reef/safeharbor/issues",
    "Changelog": "https://codeberg.org/reef/safeharbor/src/CHANGELOG.md",
}


def test_a_release_names_where_its_sources_and_its_documentation_are() -> None:
    release.check_addresses(ADDRESSES)


@pytest.mark.parametrize("name", release.ADDRESSES)
def test_without_an_address_nothing_is_released(name: str) -> None:
    with pytest.raises(SystemExit, match=rf"lacks {name}; no address is made up"):
        release.check_addresses({each: address for each, address in ADDRESSES.items() if each != name})


@pytest.mark.parametrize(
    "address",
    [
        "https://git.example.com/safeharbor",
        "https://example.org",
        "https://localhost/safeharbor",
        "https://forge.internal/safeharbor",
        "https://forge/safeharbor",
        "http://codeberg.org/reef/safeharbor",
        "git@codeberg.org:reef/safeharbor.git",
        "TODO",
        "",
    ],
)
def test_an_address_that_nobody_can_open_is_none(address: str) -> None:
    with pytest.raises(SystemExit, match=r"Source: .*no public address"):
        release.check_addresses(ADDRESSES | {"Source": address})


def test_as_long_as_there_is_no_public_address_the_metadata_name_none() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls")

    if urls is None:
        with pytest.raises(SystemExit, match="lacks Documentation, Source, Issues, Changelog"):
            release.check_addresses({})
    else:
        release.check_addresses(urls)


def test_the_image_is_given_the_addresses_of_the_package() -> None:
    command = shlex.split(release.image_command("1.2.3", ADDRESSES).replace("\\\n", ""))

    assert command[:2] == ["docker", "build"]
    given = dict(each.split("=", 1) for each in command if "=" in each)
    assert (given["SOURCE"], given["DOCUMENTATION"]) == (ADDRESSES["Source"], ADDRESSES["Documentation"])
    dockerfile = (ROOT / "Dockerfile").read_text()
    for name in given:
        assert f"ARG {name}=unknown\n" in dockerfile
        assert f'="${{{name}}}"' in dockerfile


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
