"""Some uploads out of an archive, checked against their checksums: into a directory, or back among the live ones."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.preflight import require_no_interrupted_restore
from safeharbor_backup.archive.layout import UPLOADS_NAME
from safeharbor_backup.archive.pick import Wanted, pick_members
from safeharbor_backup.archive.reader import bears_leading_mark, read_front
from safeharbor_backup.archive.source import opened_archive
from safeharbor_backup.errors import ArchiveNotFound, CannotRestore, SettingsInvalid, translate_os_error
from safeharbor_backup.settings.min_free import Floor
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.system.lock import directory_lock
from safeharbor_backup.text import ascii_safe, typed
from safeharbor_backup.uploads.extract import LACKS_MODES, LACKS_OWNERS, Extraction
from safeharbor_backup.uploads.place import Placement, staged_beside

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from safeharbor_backup.archive.layout import Member
    from safeharbor_backup.settings.min_free import MinFree
    from safeharbor_backup.settings.model import Settings

_UNPROVEN = "it was written by another program and has no checksums: what was extracted is not proven"


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was extracted. `kept` are the first paths, below the directory, of what it replaced, and `replaced` is how
    many there are. Size in bytes.
    """

    archive: Path
    target: Path
    files: int
    size_bytes: int
    kept: tuple[str, ...] = ()
    replaced: int = 0
    warnings: tuple[str, ...] = ()


def extract_files(
    archive: Path, paths: Sequence[str], target: Path, min_free: MinFree, *, overwrite: bool = False
) -> Extracted:
    """Put these uploads, files or folders, below `target`, with owners and modes. What is there already stays unless
    `overwrite`.

    Either all are there afterwards, or nothing has changed. Raises ArchiveNotFound if the archive does not have one of
    them, ArchiveRejected, CannotRestore if something is in the way, StorageUnavailable.
    """
    return _extract(archive, paths, target.absolute(), Placement(overwrite=overwrite), min_free)


def put_back_files(archive: Path, paths: Sequence[str], settings: Settings) -> Extracted:
    """The same among the live uploads; what it replaces stays beside it under another name.

    Raises also LockHeld, RestorePending, SettingsInvalid.
    """
    settings.require(Concern.UPLOADS, Concern.DIRECTORY)
    if settings.upload_dir is None:
        raise SettingsInvalid(["BACKUP_UPLOAD_DIR=none: expected the directory of the live uploads"])
    suffix = f".replaced-{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"
    with directory_lock(settings.backup_dir):
        require_no_interrupted_restore(settings.backup_dir)
        placement = Placement(overwrite=True, suffix=suffix)
        return _extract(archive, paths, settings.upload_dir, placement, settings.min_free)


def _extract(archive: Path, paths: Sequence[str], target: Path, placement: Placement, min_free: MinFree) -> Extracted:
    wanted = Wanted([_below_uploads(path) for path in paths])
    with ExitStack() as stack:
        source = stack.enter_context(opened_archive(archive))
        front = read_front(source) if bears_leading_mark(source) else None
        try:
            root, stage = stack.enter_context(staged_beside(target))
            floor = Floor(stage, target, min_free, "Free some space there, or name fewer files.")
            extraction = Extraction(stage, in_order=False, require_room=floor.require)
            stack.callback(extraction.close)

            def take(member: Member, data: Iterable[bytes]) -> None:
                try:
                    extraction.add(member, data)
                except FileNotFoundError as error:
                    name = ascii_safe(os.fsdecode(member.link))
                    raise CannotRestore(f"{name} is needed too: a hard link leads to it. Name both.") from error

            pick_members(source, front, wanted, take)
            if wanted.missing:
                names = ", ".join(ascii_safe(os.fsdecode(each)) for each in sorted(wanted.missing)[:5])
                raise ArchiveNotFound(
                    f"{archive.name} has no upload {names}.",
                    hint=f"`{typed('find NAME')}` tells which archive has a file, and its path.",
                )
            extraction.finish()
            placement.place(stage, root)
            os.fsync(root)
        except OSError as error:
            failure = translate_os_error(error, "extracting")
            failure.intact = placement.describe_moved()
            raise failure from error
    facts = ((front is None, _UNPROVEN), (extraction.lacks_owners, LACKS_OWNERS), (extraction.lacks_modes, LACKS_MODES))
    warnings = tuple(text for holds, text in facts if holds)
    kept = placement.kept
    done = (extraction.files, extraction.size_bytes, tuple(kept.names), kept.count)
    return Extracted(archive, target, *done, warnings)


def _below_uploads(path: str) -> bytes:
    """The path as it is below uploads/, whether that is named or not; "" is all of it."""
    plain = os.fsencode(path).removeprefix(b"./").strip(b"/")
    return b"" if plain + b"/" == UPLOADS_NAME else plain.removeprefix(UPLOADS_NAME)
