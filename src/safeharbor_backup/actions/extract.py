"""Some uploads out of an archive, checked against their checksums: into a directory, or back among the live ones."""

from __future__ import annotations

import os
import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.named_members import dumps_of, path_below_uploads, pick_named
from safeharbor_backup.actions.preflight import check_no_overlap, require_no_interrupted_restore
from safeharbor_backup.actions.restore.uploads_plan import require_names
from safeharbor_backup.actions.restore.uploads_stage import UploadsPlace, opened_uploads, stage_of
from safeharbor_backup.archive.reader import bears_leading_mark, read_front
from safeharbor_backup.archive.source import opened_archive
from safeharbor_backup.errors import (
    CannotRestore,
    SettingsInvalid,
    StorageUnavailable,
    translate_os_error,
)
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.upload_dirs import UploadDir, describe_dirs
from safeharbor_backup.system.lock import directory_lock
from safeharbor_backup.text import ascii_safe
from safeharbor_backup.uploads.place import Placement, staged_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from safeharbor_backup.actions.restore.uploads_stage import UploadsStage
    from safeharbor_backup.archive.layout import Member
    from safeharbor_backup.settings.min_free import MinFree
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.settings.upload_dirs import UploadDirs

_FULL = "Free some space there, or name fewer files."
_UNPROVEN = "it was written by another program and has no checksums: what was extracted is not proven"


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was extracted. `kept` are the first paths, below the directory, of what it replaced, and `replaced` is how
    many there are. Size in bytes.
    """

    archive: Path
    dirs: UploadDirs
    files: int
    size_bytes: int
    kept: tuple[str, ...] = ()
    replaced: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """The directory that the files are in now."""
        return describe_dirs(self.dirs)


def extract_files(
    archive: Path, paths: Sequence[str], target: Path, min_free: MinFree, *, overwrite: bool = False
) -> Extracted:
    """Put these uploads, files or folders, below `target`, with owners and modes. What is there already stays unless
    `overwrite`.

    Either all are there afterwards, or nothing has changed. Raises ArchiveNotFound if the archive does not have one of
    them, ArchiveRejected, CannotRestore if something is in the way, StorageUnavailable.
    """
    return _extract(archive, paths, (UploadDir(target.absolute()),), Placement(overwrite=overwrite), min_free)


def put_back_files(archive: Path, paths: Sequence[str], settings: Settings) -> Extracted:
    """The same among the live uploads; what it replaces stays beside it under another name.

    Raises also LockHeld, RestorePending, SettingsInvalid.
    """
    settings.require(Concern.UPLOADS, Concern.DIRECTORY)
    if not settings.upload_dirs:
        raise SettingsInvalid(["BACKUP_UPLOAD_DIR=none: expected the directory of the live uploads"])
    check_no_overlap(settings.upload_dirs)
    suffix = f".replaced-{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"
    with directory_lock(settings.backup_dir):
        require_no_interrupted_restore(settings.backup_dir)
        placement = Placement(overwrite=True, suffix=suffix)
        return _extract(archive, paths, settings.upload_dirs, placement, settings.min_free, is_live=True)


def _taking(stages: Sequence[UploadsStage]) -> Callable[[Member, Iterable[bytes]], None]:
    """What puts a member into the stage that it belongs to. Raises CannotRestore for a link to what is not there."""

    def take(member: Member, data: Iterable[bytes]) -> None:
        try:
            if (stage := stage_of(member, stages)) is not None:
                stage.take(member, data)
        except FileNotFoundError as error:
            name = ascii_safe(os.fsdecode(member.link))
            raise CannotRestore(f"{name} is needed too: a hard link leads to it. Name both.") from error

    return take


def _extract(
    archive: Path,
    paths: Sequence[str],
    dirs: UploadDirs,
    placement: Placement,
    min_free: MinFree,
    *,
    is_live: bool = False,
) -> Extracted:
    with ExitStack() as stack:
        source = stack.enter_context(opened_archive(archive))
        front = read_front(source) if bears_leading_mark(source) else None
        dumps = dumps_of(front, paths)
        below = [path_below_uploads(path) for path in paths if path not in dumps]
        if is_live:
            _require_no_dump(dumps)
            require_names(archive, front.manifest if front is not None else None, dirs, is_restore=False)
            dirs = _concerned(dirs, below)
            _require_there(dirs)
        try:
            beside = [stack.enter_context(staged_beside(each.path)) for each in dirs]
            places = [
                UploadsPlace(each.path, root=stage, prefix=each.prefix)
                for each, (_, stage) in zip(dirs, beside, strict=True)
            ]
            stages = [
                stack.enter_context(opened_uploads(place, min_free, in_order=False, hint=_FULL)) for place in places
            ]
            pick_named(source, front, below, dumps, _taking(stages))
            for each in stages:
                each.extraction.finish()
            placement.place([(stage, root, each.prefix) for each, (root, stage) in zip(dirs, beside, strict=True)])
            for root, _ in beside:
                os.fsync(root)
        except OSError as error:
            failure = translate_os_error(error, "extracting")
            failure.intact = placement.describe_moved()
            raise failure from error
    warnings = dict.fromkeys(warning for each in stages for warning in each.warnings)
    kept, extractions = placement.kept, [each.extraction for each in stages]
    return Extracted(
        archive,
        dirs,
        sum(each.files for each in extractions),
        sum(each.size_bytes for each in extractions),
        tuple(kept.names),
        kept.count,
        (*([_UNPROVEN] if front is None else []), *warnings),
    )


def _require_no_dump(dumps: Iterable[str]) -> None:
    """Raises CannotRestore for what does not belong among the live uploads."""
    for path in dumps:
        raise CannotRestore(
            f"{ascii_safe(path)} is the dump of a database.", hint="`--to DIR` takes it out; pg_restore loads it."
        )


def _concerned(dirs: UploadDirs, wanted: Sequence[bytes]) -> UploadDirs:
    """The directories that something wanted is to go to; all of them if it goes to none."""

    def is_wanted(prefix: bytes) -> bool:
        return any(not path or (path + b"/").startswith(prefix) for path in wanted)

    return tuple(each for each in dirs if is_wanted(each.prefix)) or dirs


def _require_there(dirs: UploadDirs) -> None:
    """Nothing is put where a filesystem may only not be mounted. Raises StorageUnavailable."""
    for each in dirs:
        if not os.path.isdir(each.path):
            raise StorageUnavailable(
                f"The uploads directory {each.path} does not exist.",
                hint=f"Create it, or mount it: mkdir -p {shlex.quote(str(each.path))}",
                intact="Nothing was changed.",
            )
