"""Which directories of uploads an archive is for, what stands in the way of each, and what would be lost there."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from safeharbor_backup.actions.preflight import check_apart, check_no_overlap
from safeharbor_backup.actions.restore.losses import compare_uploads
from safeharbor_backup.actions.restore.request import left_out_patterns
from safeharbor_backup.actions.restore.uploads_stage import check_places
from safeharbor_backup.actions.restore.uploads_target import check_filesystem, check_movable, check_rooms, check_staying
from safeharbor_backup.archive.listing import read_foreign_headers, read_lines
from safeharbor_backup.archive.reader import Rejected, read_members, rejected
from safeharbor_backup.archive.source import Source, Truncated
from safeharbor_backup.errors import (
    ArchiveRejected,
    CannotRestore,
    SafeHarborError,
    StorageUnavailable,
    translate_os_error,
)
from safeharbor_backup.settings.upload_dirs import can_be_named, describe_dirs
from safeharbor_backup.text import ascii_safe, plural, typed
from safeharbor_backup.uploads.collect import make_filter
from safeharbor_backup.uploads.omissions import recorded_attributes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.archive.layout import Member
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.settings.upload_dirs import UploadDirs

_NO_FOLDER = "."  # of the files that are in no directory
_SHOWN = 5
_HEADERS_READ_AHEAD = 32 * 1024  # where only headers are wanted, each read beyond them is for nothing


def look_at_uploads(archive: OpenArchive, settings: Settings, findings: Findings) -> UploadDirs:
    """The directories to exchange, and what stands in the way there."""
    if not settings.upload_dirs:
        if archive.upload_files:
            findings.warnings.append(
                f"BACKUP_UPLOAD_DIR=none: this does not restore {plural(archive.upload_files, 'upload')} of the archive"
            )
        return ()
    try:
        dirs = choose_dirs(archive, settings.upload_dirs)
        findings.warnings += [
            f"the archive has no uploads of {each.name}: {each.path} stays as it is"  # decision 113
            for each in settings.upload_dirs
            if each not in dirs
        ]
        findings.warnings += _exchanged_names(dirs, _recorded(archive.manifest))
        check_apart(settings.upload_dirs, settings.backup_dir)
        check_no_overlap(settings.upload_dirs)
        for each in dirs:
            if not each.path.is_dir():
                raise StorageUnavailable(
                    f"The uploads directory {each.path} does not exist.",
                    hint=f"Create it, or mount it: mkdir -p {shlex.quote(str(each.path))}",
                )
        _look_at(dirs, archive, settings, findings)
    except Truncated:
        findings.problems.append(ArchiveRejected(f"{archive.path}: it was cut: it ends in the middle."))
    except SafeHarborError as error:
        findings.problems.append(error)
    except OSError as error:
        findings.problems.append(translate_os_error(error, "looking at the uploads"))
    else:
        return dirs
    return settings.upload_dirs


def _perhaps_not_mounted(dirs: UploadDirs, folders: Mapping[str, tuple[int, int]] | None) -> list[str]:
    """Directories that are empty while others are not, and into which files would come. On a new host all are empty."""
    empty = [each for each in dirs if next(each.path.iterdir(), None) is None]
    if folders is None or len(empty) == len(dirs):
        return []
    return [
        f"{each.path} is empty, and not all of the uploads are: see that its filesystem is mounted"
        for each in empty
        if folders.get(each.name, (0, 0))[0]
    ]


def _look_at(dirs: UploadDirs, archive: OpenArchive, settings: Settings, findings: Findings) -> None:
    is_excluded = make_filter(left_out_patterns(archive.manifest, settings.exclude))
    if dirs and dirs[0].name and not _recorded(archive.manifest):  # one tree, for several directories
        check_places(_members(archive), [each.prefix for each in dirs])
    for each in dirs:
        check_movable(each.path, each.inside(is_excluded))
        check_staying(each, archive, is_excluded, findings)
        check_filesystem(each, archive, findings)
    findings.warnings += _perhaps_not_mounted(dirs, archive.folders)
    whole = (archive.upload_files, archive.upload_bytes)
    findings.facts += check_rooms(dirs, archive.folders, whole, settings.min_free)
    if archive.manifest is None:
        findings.losses.append("uploads that are not in this archive: it has no list of files to compare with")
    else:
        lines = read_lines(archive.source, archive.front)
        findings.losses += compare_uploads(dirs, lines, archive.manifest.taken_at, is_excluded)
        attributes = recorded_attributes(archive.manifest.about_uploads.attributes)
        if attributes:
            findings.losses.append(attributes)


def _members(archive: OpenArchive) -> Iterator[Member]:
    """Each one of the uploads, by its header alone. Raises ArchiveRejected, OSError."""
    headers = Source(archive.source.descriptor, archive.path, _HEADERS_READ_AHEAD)
    try:
        if archive.front is None:
            yield from (member for member, _ in read_foreign_headers(headers))
            return
        for member, at in read_members(headers, archive.front):
            yield member
            headers.seek(at + member.size)
    except (Rejected, Truncated) as error:
        raise rejected(archive.source, str(error).rstrip(".") or "it was cut: it ends in the middle") from None


def choose_dirs(archive: OpenArchive, dirs: UploadDirs) -> UploadDirs:
    """Those of the directories that the archive has uploads for. Raises CannotRestore if it has some for no other."""
    recorded = _recorded(archive.manifest)
    require_names(archive.path, archive.manifest, dirs)
    if not dirs[0].name:
        return dirs
    there = set(recorded or archive.folder_names())
    unknown = sorted(there - {each.name for each in dirs})
    if unknown:
        raise _not_configured(archive.path, unknown, dirs, recorded)
    return tuple(each for each in dirs if each.name in there)


def require_names(archive: Path, manifest: Manifest | None, dirs: UploadDirs, *, is_restore: bool = True) -> None:
    """Raises CannotRestore if the archive is of several directories with names, and one without is given.

    Unless `is_restore`, the error names no option that only a restore has.
    """
    recorded = _recorded(manifest)
    if recorded and not dirs[0].name:
        raise _not_configured(archive, sorted(recorded), dirs, recorded, is_restore=is_restore)


def _recorded(manifest: Manifest | None) -> dict[str, str]:
    return {each.name: each.path for each in manifest.directories} if manifest is not None else {}


def _exchanged_names(dirs: UploadDirs, recorded: Mapping[str, str]) -> list[str]:
    """What to say of directories where the archive's uploads of another name were."""
    names = {path: name for name, path in recorded.items()}
    return [
        f"{each.path} had the uploads of {names[str(each.path)]} when the archive was taken, and now those of "
        f"{each.name} would go there; is BACKUP_UPLOAD_DIR right?"
        for each in dirs
        if names.get(str(each.path), each.name) != each.name
    ]


def _not_configured(
    archive: Path, unknown: list[str], dirs: UploadDirs, recorded: Mapping[str, str], *, is_restore: bool = True
) -> CannotRestore:
    """The error that says how to give a place to each of these directories of the archive."""
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    one = "Restore it into one directory: --upload-dir DIR, or BACKUP_UPLOAD_DIR=DIR. " if is_restore else ""
    if _NO_FOLDER in unknown:
        return CannotRestore(
            "The archive has uploads that are in no directory, and BACKUP_UPLOAD_DIR names several.",
            hint=f"{one}{_by_hand(archive)}",
        )
    known = {each.name: str(each.path) for each in dirs if each.name in recorded or not recorded}
    wanted = sorted({*known, *unknown} - {""})
    places = ascii_safe(",".join(f"{name}={known.get(name) or recorded.get(name) or '/PATH'}" for name in wanted))
    option = ", or the same with --upload-dir" if is_restore else ""
    each = f"Say where each goes: BACKUP_UPLOAD_DIR={places}{option}. "
    named = ", ".join(unknown[:_SHOWN])
    return CannotRestore(
        f"The archive has uploads of {ascii_safe(named)}{more}, for which no directory is given: BACKUP_UPLOAD_DIR is "
        f"{describe_dirs(dirs)}.",
        hint=f"{each if can_be_named(wanted) else one}{_by_hand(archive)}",
    )


def _by_hand(archive: Path) -> str:
    return f"`{typed(f'extract {shlex.quote(str(archive))} uploads --to DIR')}` takes them out as one tree."
