from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeharbor_backup.archive.layout import (
    DEPTH_LIMIT,
    LINK_LIMIT_BYTES,
    PATH_LIMIT_BYTES,
    TreeOrder,
    archive_name,
    is_staging_name,
    link_stays_inside,
    refuse_path,
    sums_line,
    time_in_name,
)


@pytest.mark.parametrize(
    ("directory", "target"),
    [
        (b"", b"a"),
        (b"", b"a/b/c"),
        (b"", b"./a"),
        (b"", b"."),
        (b"", b"..."),
        (b"", b"..a"),
        (b"", b"a//b"),
        (b"", b"a/./b"),
        (b"d", b".."),
        (b"d", b"../a"),
        (b"d", b"./../a"),
        (b"d/e", b"../../a"),
        (b"d/e", b"..//..//a"),
        (b"", b"\xff\xfe"),
        (b"", b"with\nnewline"),
        (b"", b"a" * LINK_LIMIT_BYTES),
    ],
)
def test_a_link_that_can_only_lead_into_the_tree_is_taken(directory: bytes, target: bytes) -> None:
    assert link_stays_inside(directory, target)


@pytest.mark.parametrize(
    ("directory", "target"),
    [
        (b"", b""),
        (b"", b"/"),
        (b"", b"/etc/passwd"),
        (b"", b"//a"),
        (b"", b".."),
        (b"", b"./.."),
        (b"", b"../uploads/a"),
        (b"", b"a/.."),
        (b"", b"a/../b"),
        (b"", b"a/../../b"),
        (b"d", b"../.."),
        (b"d", b"../a/../b"),
        (b"d", b"./.././.."),
        (b"d/e", b"../../.."),
        (b"d/e", b".././../../a"),
        (b"", b"a\0b"),
        (b"", b"a" * (LINK_LIMIT_BYTES + 1)),
    ],
)
def test_a_link_that_could_lead_out_is_refused(directory: bytes, target: bytes) -> None:
    assert not link_stays_inside(directory, target)


link_parts = st.lists(st.sampled_from(["..", ".", "", "a", "b", "l0", "l1", "l2", "l3"]), min_size=1, max_size=6)
places = st.sampled_from(["", "a", "b", "a/b", "a/b/a"])


@pytest.mark.slow
@given(links=st.lists(st.tuples(places, link_parts), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_no_chain_of_links_that_are_taken_leads_out_of_a_real_tree(links: list[tuple[str, list[str]]]) -> None:
    with TemporaryDirectory() as outer:
        root = Path(os.path.realpath(outer)) / "up" / "uploads"
        (root / "a/b/a").mkdir(parents=True)
        (root / "b").mkdir()
        for outside in ("a", "b", "up/a", "up/b"):  # so that a way out would lead to something
            (Path(outer) / outside).mkdir()
        taken = []
        for number, (place, parts) in enumerate(links):
            target = "/".join(parts)
            link = root / place / f"l{number % 4}"
            if link_stays_inside(place.encode(), target.encode()) and not os.path.lexists(link):
                link.symlink_to(target)
                taken.append(link)

        for link in taken:
            for path in (link, link / "l0", link / "a/l1", link / "l2/l3"):
                try:
                    resolved = os.path.realpath(path, strict=True)
                except OSError:
                    continue  # it leads nowhere, or round in circles
                assert resolved == str(root) or resolved.startswith(f"{root}/"), (path, resolved)


@pytest.mark.parametrize(
    "path",
    [
        b"a",
        b"a b",
        b"-rf",
        b"~",
        b"new\nline",
        b"\xff",
        b"...",
        b"a/.hidden",
        b"n" * 255,
        b"/".join([b"d"] * DEPTH_LIMIT),
        b"/".join([b"n" * 200] * 20),
    ],
)
def test_any_path_that_linux_can_hold_is_taken(path: bytes) -> None:
    assert refuse_path(path) == ""


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"", "component"),
        (b"/a", "component"),
        (b"a//b", "component"),
        (b"a/", "component"),
        (b".", "component"),
        (b"a/.", "component"),
        (b"..", "component"),
        (b"a/../b", "component"),
        (b"a\0b", "NUL"),
        (b"n" * 256, "255"),
        (b"a/" + b"n" * 256, "255"),
        (b"/".join([b"d"] * (DEPTH_LIMIT + 1)), "deep"),
        (b"/".join([b"n" * 250] * 17), "too long"),
    ],
)
def test_a_path_that_could_harm_is_refused_with_its_reason(path: bytes, why: str) -> None:
    assert why in refuse_path(path)


def test_the_longest_path_taken_can_be_opened_from_its_own_directory() -> None:
    assert PATH_LIMIT_BYTES + len("uploads/") < 4096


names = st.text(st.sampled_from("abz.-A\x01"), min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
trees = st.recursive(st.none(), lambda children: st.dictionaries(names, children, max_size=4), max_leaves=12).map(
    lambda tree: tree or {}
)


def flatten(tree: object, prefix: str = "") -> list[tuple[str, bool]]:
    """The tree depth first, each directory's names in byte order: path, and whether it is a directory."""
    entries = []
    assert isinstance(tree, dict)
    for name in sorted(tree):
        entries.append((prefix + name, tree[name] is not None))
        if tree[name] is not None:
            entries += flatten(tree[name], f"{prefix}{name}/")
    return entries


def accept_all(entries: list[tuple[str, bool]]) -> list[str]:
    order = TreeOrder()
    for path, is_directory in entries:
        why = order.accept(path.encode(), is_directory=is_directory)
        if why:
            return [why]
    return []


@pytest.mark.slow
@given(tree=trees)
@settings(max_examples=200, deadline=None)
def test_a_tree_in_order_is_taken(tree: object) -> None:
    assert accept_all(flatten(tree)) == []


def is_in_order(entries: list[tuple[str, bool]]) -> bool:
    """The rule itself: unique, sorted by components, and every parent a directory that is there."""
    keys = [tuple(path.encode().split(b"/")) for path, _ in entries]
    directories = {key for key, (_, is_directory) in zip(keys, entries, strict=True) if is_directory}
    return (
        keys == sorted(set(keys))
        and all(key[:-1] in directories for key in keys if len(key) > 1)
        and not any(part in (b"", b".", b"..") for key in keys for part in key)
    )


@pytest.mark.slow
@given(tree=trees, data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_tree_that_was_tampered_with_is_taken_only_if_it_is_still_in_order(tree: object, data: st.DataObject) -> None:
    entries = flatten(tree)
    if not entries:
        return
    index = data.draw(st.integers(0, len(entries) - 1))
    how = data.draw(st.sampled_from(["remove", "double", "move", "file instead", "append", "rename"]))
    if how == "remove":
        del entries[index]
    elif how == "double":
        entries.insert(data.draw(st.integers(0, len(entries))), entries[index])
    elif how == "move":
        entries.insert(data.draw(st.integers(0, len(entries) - 1)), entries.pop(index))
    elif how == "file instead":
        entries[index] = (entries[index][0], False)
    elif how == "append":
        entries.append((f"{entries[index][0]}/x", data.draw(st.booleans())))
    else:
        entries[index] = (data.draw(st.sampled_from(["..", "a/..", "a/.", "", "a//b", "q", "/a"])), False)

    assert (accept_all(entries) == []) == is_in_order(entries)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([("a", False), ("a", False)], "twice"),
        ([("a", True), ("a", True)], "twice"),
        ([("a", True), ("a", False)], "twice"),
        ([("b", False), ("a", False)], "out of order"),
        ([("a", True), ("a/b", False), ("a/b", False)], "twice"),
        ([("a", True), ("b", True), ("a/x", False)], "together"),
        ([("a/b", False)], "directory above"),
        ([("a", False), ("a/b", False)], "directory above"),
        ([("a", True), ("a/b/c", False)], "directory above"),
        ([("", False)], "empty"),
    ],
)
def test_the_reason_for_a_wrong_order_is_told(entries: list[tuple[str, bool]], why: str) -> None:
    assert why in accept_all(entries)[0]


@given(moment=st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_the_time_of_an_archive_is_in_its_name_to_the_second(moment: datetime) -> None:
    assert time_in_name(archive_name(moment)) == moment.replace(microsecond=0)


def test_an_archives_name_is_in_utc_wherever_the_clock_is() -> None:
    in_sydney = datetime(2026, 5, 7, 13, 0, 0, tzinfo=timezone(timedelta(hours=10)))

    assert archive_name(in_sydney) == "safeharbor-backup-2026-05-07T03-00-00Z.tar"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "safeharbor-backup-2026-05-07T03-00-00Z.tar.gz",
        "safeharbor-backup-2026-05-07T03-00-00Z.tar\n",
        "safeharbor-backup-2026-05-07T03-00-00Z.TAR",
        "Safeharbor-backup-2026-05-07T03-00-00Z.tar",
        "safeharbor-backup-2026-05-07t03-00-00z.tar",
        "safeharbor-backup-2026-05-07T03:00:00Z.tar",
        "safeharbor-backup-2026-05-07T03-00-00.tar",
        "safeharbor-backup-2026-5-7T03-00-00Z.tar",
        "safeharbor-backup-2026-13-07T03-00-00Z.tar",
        "safeharbor-backup-2026-02-30T03-00-00Z.tar",
        "safeharbor-backup-2026-05-07T24-00-00Z.tar",
        "safeharbor-backup-2026-05-07T03-00-60Z.tar",
        "safeharbor-backup-0000-05-07T03-00-00Z.tar",
        "safeharbor-backup-٢٠٢٦-05-07T03-00-00Z.tar",
        " safeharbor-backup-2026-05-07T03-00-00Z.tar",
        "old-safeharbor-backup-2026-05-07T03-00-00Z.tar",
        "safeharbor-backup-2026-05-07T03-00-00Z.tar.1a2b3c4d.tmp",
        "safeharbor-backup-2026-05-07T03-00-00Z (1).tar",
    ],
)
def test_a_look_alike_is_not_an_archives_name(name: str) -> None:
    assert time_in_name(name) is None


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        (b".safeharbor-restore-0a1b", True),
        (b".safeharbor-restore-", False),
        (b".safeharbor-restore-xyz", False),
        (b"safeharbor-restore-0a1b", False),
        (b".safeharbor-restore-0a1b/", False),
        (b".safeharbor-restore-0a1b\n", False),
    ],
)
def test_only_our_own_staging_directory_bears_a_staging_name(name: bytes, is_ours: bool) -> None:
    assert is_staging_name(name) is is_ours


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (b"uploads/a b", b"%b  uploads/a b\n"),
        (b"uploads/\xff", b"%b  uploads/\xff\n"),
        (b"uploads/a\\b", b"\\%b  uploads/a\\\\b\n"),
        (b"uploads/a\nb", b"\\%b  uploads/a\\nb\n"),
        (b"uploads/a\rb", b"\\%b  uploads/a\\rb\n"),
        (b"uploads/\\n", b"\\%b  uploads/\\\\n\n"),
    ],
)
def test_a_line_of_sums_is_escaped_as_coreutils_does(name: bytes, line: bytes) -> None:
    assert sums_line(name, "ab" * 32) == line % (b"ab" * 32)
