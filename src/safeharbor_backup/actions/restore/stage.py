"""Builds the state that an archive holds beside the live one: a database of its own, and uploads in directories.

A restore swaps it in afterwards, a drill looks at it and removes it. Nothing live changes here. The hashes taken while
extracting, the load itself and the row counts afterwards are the proof that the archive is what its manifest says.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.dump_load import DumpLoad, LoadOptions
from safeharbor_backup.actions.restore.uploads_stage import UploadsPlace, UploadsStage, opened_uploads, stage_of
from safeharbor_backup.archive.layout import dump_name
from safeharbor_backup.archive.reader import Rejected
from safeharbor_backup.archive.source import Truncated
from safeharbor_backup.archive.verified_reader import CheckedPass, run_foreign_pass
from safeharbor_backup.errors import ArchiveRejected, CannotRestore, StorageUnavailable, translate_os_error
from safeharbor_backup.text import ascii_safe, typed
from safeharbor_backup.uploads.extract import ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.actions.restore.staged_database import StagedDatabase
    from safeharbor_backup.archive.layout import Member
    from safeharbor_backup.progress import Progress

_REFUSED_NAMES = (
    errno.EEXIST,  # it is another name of the archive's there
    errno.EINVAL, errno.ENOENT, errno.EILSEQ, errno.ENAMETOOLONG, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPROTO,
)  # fmt: skip
_REPORT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Staged:
    """What was staged. Sizes in bytes. `rows` are the main database's, `other_rows` of those beside it, by name."""

    upload_files: int
    upload_bytes: int
    rows: int | None
    warnings: tuple[str, ...]
    other_rows: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def all_rows(self) -> int | None:
        """Those of all databases; None if they could not be counted."""
        counts = [each for each in (self.rows, *self.other_rows.values()) if each is not None]
        return sum(counts) if len(counts) > len(self.other_rows) else None


def stage_archive(
    archive: OpenArchive,
    databases: Sequence[StagedDatabase],
    places: Sequence[UploadsPlace],
    options: LoadOptions,
    progress: Progress,
) -> Staged:
    """Stage everything in one pass; without databases, or places for uploads, that part is only read and compared.

    The first database loads while the uploads are extracted, and the others after it, one by one.

    If this fails: the caller removes what it has made for it, and nothing live has changed. Raises ArchiveRejected,
    CannotRestore, DatabaseUnavailable, StorageUnavailable.
    """
    progress.phase("stage", archive.source.size)
    try:
        with ExitStack() as stack:
            until_loaded = stack.enter_context(ExitStack())
            loads = {each.archive.name: DumpLoad(each, options, progress, until_loaded) for each in databases}
            in_order = archive.front is not None
            uploads = tuple(
                stack.enter_context(opened_uploads(place, options.min_free, in_order=in_order)) for place in places
            )
            _Pass(archive, loads, uploads, progress).run()
            if (first := loads.get("")) is not None:
                first.begin()
            if uploads:
                progress.phase("sync")
            for each in uploads:
                each.extraction.finish()
            done = {name: load.finish() for name, load in loads.items()}
    except OSError as error:
        raise _translate(error, archive.path) from error
    warnings = [f"{name}: {warning}" if name else warning for name, (_, found) in done.items() for warning in found]
    warnings += dict.fromkeys(warning for each in uploads for warning in each.warnings)
    rows = {name: count for name, (count, _) in done.items()}
    files, size = (sum(each.extraction.files for each in uploads), sum(each.extraction.size_bytes for each in uploads))
    return Staged(files, size, rows.pop("", None), tuple(warnings), rows)


class _Pass:
    """One reading of the archive: its dump goes into the staged database, its uploads into their place."""

    def __init__(
        self, archive: OpenArchive, loads: Mapping[str, DumpLoad], uploads: tuple[UploadsStage, ...], progress: Progress
    ) -> None:
        self._archive = archive
        self._loads = {dump_name(name): load for name, load in loads.items()}
        self._load = loads.get("")
        self._uploads = uploads
        self._progress = progress
        self._unreported = 0

    def run(self) -> None:
        """Raises ArchiveRejected, and what taking a member does."""
        archive = self._archive
        try:
            if archive.front is not None:
                CheckedPass(archive.source, archive.front, self, self._reject).run()
            else:
                run_foreign_pass(archive.source, self)
        except Rejected as error:
            self._reject(str(error))
        except Truncated:
            self._reject("it was cut: it ends in the middle")

    def take_dump(self, member: Member, read: Callable[[], Iterator[bytes]]) -> None:
        """Called with each dump, by whoever reads."""
        load = self._loads.get(member.name)
        for size in load.take(member.size, read()) if load is not None else map(len, read()):
            self._report(size)

    def take_upload(self, member: Member, data: Iterable[bytes]) -> None:
        """Called with each member of uploads/. The dump, which comes before, loads meanwhile."""
        if self._load is not None:
            self._load.begin_when_read()
        self._report(512)
        stage = stage_of(member, self._uploads)
        if stage is None:
            for chunk in data:
                self._report(len(chunk))
            return
        stage.take(member, data)
        self._report(member.size)

    def _report(self, size: int) -> None:
        self._unreported += size
        if self._unreported >= _REPORT_BYTES:
            self._progress.advance(self._unreported)
            self._unreported = 0
            if self._load is not None:
                self._load.require_hope()

    def _reject(self, problem: str) -> None:
        raise ArchiveRejected(
            f"{self._archive.path}: {problem.rstrip('.')}.",
            hint=f"The live database and uploads are as they were. `{typed('list')}` shows the other archives.",
        )


def _translate(error: OSError, archive: Path) -> Exception:
    if isinstance(error.filename, bytes) and error.errno in _REFUSED_NAMES:  # the name of a member
        name = ascii_safe(os.fsdecode(error.filename))
        return CannotRestore(
            f"The filesystem of the uploads does not accept {name} of {archive.name}: {error.strerror}.",
            hint=ELSEWHERE,
        )
    failure = translate_os_error(error, "staging the restore")
    if isinstance(failure, StorageUnavailable):
        failure.hint = (
            f"Free some space, or access, there; `{typed('restore --discard-previous')}` deletes what earlier "
            "restores kept. The live database and uploads are as they were."
        )
    return failure
