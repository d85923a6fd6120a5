"""What was added, removed and changed between two archives, or between one and the live data; nothing is unpacked.

Tables, columns and rows are from the manifests, uploads from SHA256SUMS. Of live files only names and times are known.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor_backup.actions.diff_side import Side, read_live_side, side_of
from safeharbor_backup.archive.checksums import folder_of
from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.archive.listing import Change, compare_lines, read_lines
from safeharbor_backup.archive.reader import bears_leading_mark, read_front
from safeharbor_backup.archive.source import opened_archive
from safeharbor_backup.errors import translate_os_error
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.text import ascii_safe
from safeharbor_backup.uploads.collect import make_filter
from safeharbor_backup.uploads.live_files import live_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from safeharbor_backup.archive.reader import Front
    from safeharbor_backup.archive.source import Source
    from safeharbor_backup.settings.model import Settings


@dataclass(frozen=True, slots=True)
class UploadChanges:
    """How many uploads were added, removed and changed, in all and by top-level folder; `names` if wanted."""

    counts: Mapping[Change, int]
    folders: Mapping[bytes, Mapping[Change, int]]
    names: tuple[tuple[Change, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Diff:
    """What is different. `rows` has rows before and after of each table that has other ones; None: it was not there.

    `columns` has of each table that both have the columns that came and those that went. `unknown` says what could not
    be compared.
    """

    before: Side
    after: Side
    rows: Mapping[str, tuple[int | None, int | None]]
    columns: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    uploads: UploadChanges
    unknown: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether both sides record what is in them."""
        return self.before.tables is not None and self.after.tables is not None


@dataclass(slots=True)
class _Opened:
    side: Side
    lines: Iterator[bytes]
    unknown: list[str] = field(default_factory=list)


def compare_archives(before: Path, after: Path, *, names: bool = False) -> Diff:
    """What is different in the second archive. Raises ArchiveRejected, ArchiveNotFound, StorageUnavailable."""
    with ExitStack() as stack:
        old, new = (stack.enter_context(_opened(path)) for path in (before, after))
        return _compare(old, new, names=names)


def compare_with_live(archive: Path, settings: Settings, *, names: bool = False) -> Diff:
    """What is different in the configured database and uploads. Raises also DatabaseUnavailable, SettingsInvalid."""
    settings.require(Concern.DATABASE, Concern.UPLOADS)
    with ExitStack() as stack:
        old = stack.enter_context(_opened(archive))
        new = _Opened(read_live_side(settings), iter(()))
        if settings.upload_dirs and old.side.taken_at is not None:
            new.lines = live_lines(settings.upload_dirs, old.side.taken_at, make_filter(settings.exclude))
            new.unknown.append("live files are compared by name and time of change, not by content")
        try:
            return _compare(old, new, names=names)
        except OSError as error:
            raise translate_os_error(error, "looking at the live uploads") from error


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    with opened_archive(path) as source:
        front = read_front(source) if bears_leading_mark(source) else None
        yield _describe(source, front)


def _describe(source: Source, front: Front | None) -> _Opened:
    name = source.path.name
    lines = read_lines(source, front)
    if front is None:
        files = list(lines)
        return _Opened(
            Side(name, time_in_name(name), upload_files=len(files)),
            iter(files),
            [f"{ascii_safe(name)} is by another program, without row counts and checksums: only names are compared"],
        )
    manifest = front.manifest
    beside = ", ".join(each.name for each in manifest.databases)
    unknown = [f"databases beside the main one are not compared; {ascii_safe(name)} has {beside}"] if beside else []
    if not manifest.about_database.is_counted:
        unknown.append(f"tables are not compared: {ascii_safe(name)} does not record them")
    return _Opened(side_of(name, manifest), lines, unknown)


def _compare(old: _Opened, new: _Opened, *, names: bool) -> Diff:
    unknown = [*old.unknown, *new.unknown]
    before, after = old.side, new.side
    if before.tables is not None and after.tables is not None and (before.columns is None or after.columns is None):
        which = ascii_safe((before if before.columns is None else after).name)
        unknown.append(f"columns were not compared: {which} does not record them")
    return Diff(
        before, after, _compare_rows(before, after), _compare_columns(before, after),
        _compare_uploads(old.lines, new.lines, names=names), tuple(unknown),
    )  # fmt: skip


def _compare_rows(before: Side, after: Side) -> dict[str, tuple[int | None, int | None]]:
    if before.tables is None or after.tables is None:
        return {}
    return changed_rows(before.tables, after.tables, before.untold | after.untold)


def changed_rows(
    then: Mapping[str, int], now: Mapping[str, int], untold: Collection[str]
) -> dict[str, tuple[int | None, int | None]]:
    """Rows before and after of each table that has other ones; None: it was not there, if it is not in `untold`."""
    return {
        name: (then.get(name), now.get(name))
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name) and (name not in untold or (name in then and name in now))
    }


def _compare_columns(before: Side, after: Side) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    then, now = before.columns or {}, after.columns or {}
    found = {}
    for name in sorted(then.keys() & now.keys()):
        if then[name] != now[name]:
            old, new = then[name].split("\n"), now[name].split("\n")
            came, went = tuple(each for each in new if each not in old), tuple(each for each in old if each not in new)
            if came or went:  # else only their order differs
                found[name] = (came, went)
    return found


def _compare_uploads(old: Iterator[bytes], new: Iterator[bytes], *, names: bool) -> UploadChanges:
    counts: Counter[Change] = Counter(dict.fromkeys(Change, 0))
    folders: dict[bytes, Counter[Change]] = {}
    listed = []
    for change, path in compare_lines(old, new):
        counts[change] += 1
        folders.setdefault(folder_of(path), Counter(dict.fromkeys(Change, 0)))[change] += 1
        if names:
            listed.append((change, path))
    return UploadChanges(counts, folders, tuple(listed))
