"""Whether an archive would restore: every byte read once, every digest compared, the dump decoded to its end.

Needs no database and only reads; works on a copy anywhere. `backup` proves its own work with the same code.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from safeharbor_backup.actions.verification import ArchiveKind, Verification
from safeharbor_backup.archive import layout
from safeharbor_backup.archive.foreign_reader import Skipped, read_foreign_members
from safeharbor_backup.archive.reader import Front, Rejected, bears_leading_mark, read_front, show
from safeharbor_backup.archive.source import Source, Truncated, opened_archive
from safeharbor_backup.archive.verified_reader import CheckedPass, run_foreign_pass
from safeharbor_backup.errors import ArchiveRejected, ToolFailed, translate_os_error
from safeharbor_backup.postgres.client_tools import find_client_tools
from safeharbor_backup.postgres.dump_check import UndecodableDump, UnreadableHere, decode_dump, reading_order
from safeharbor_backup.progress import NoProgress, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from safeharbor_backup.archive.layout import Member
    from safeharbor_backup.settings.model import Settings

_MOST_PROBLEMS = 1000
_REPORT_BYTES = 8 * 1024 * 1024


def verify_archive(
    path: Path, settings: Settings, *, quick: bool = False, progress: Progress | None = None
) -> Verification:
    """What is wrong with the archive at `path`, every problem and not only the first.

    `quick` looks at the first header, the manifest with its digest and the end only. Raises ArchiveNotFound if
    there is no such file, StorageUnavailable if it may not be read, SafeHarborError if the system cannot open it;
    everything else is a problem in the result.
    """
    started = time.monotonic()
    progress = progress or NoProgress()
    try:
        with opened_archive(path) as source:
            return verify_source(source, settings, quick=quick, progress=progress)
    except ArchiveRejected as error:
        seconds = time.monotonic() - started
        return Verification(path, ArchiveKind.FOREIGN, quick, error.problems, (), None, 0, 0, seconds)


def verify_source(
    source: Source,
    settings: Settings,
    *,
    quick: bool = False,
    progress: Progress | None = None,
    decoded_sha256: Mapping[bytes, str] | None = None,
) -> Verification:
    """The same for an archive that is open already.

    `decoded_sha256` are those of dumps that were decoded before, in hex, by the names of their members: then comparing
    digests is the whole proof for them.
    """
    return _Verifier(source, settings, progress or NoProgress(), decoded_sha256 or {}).verify(quick=quick)


class _Verifier:
    def __init__(
        self,
        source: Source,
        settings: Settings,
        progress: Progress,
        decoded_sha256: Mapping[bytes, str],
    ) -> None:
        self._source = source
        self._settings = settings
        self._progress = progress
        self._decoded_sha256 = decoded_sha256
        self._problems: list[str] = []
        self._warnings: list[str] = []
        self._members = 0
        self._unreported = 0
        self._writer_major: dict[bytes, int] = {}

    def verify(self, *, quick: bool) -> Verification:
        started = time.monotonic()
        manifest = None
        kind = ArchiveKind.FORMAT_1
        try:
            if bears_leading_mark(self._source):
                front = read_front(self._source)
                manifest = front.manifest
                kind = ArchiveKind.FORMAT_2 if manifest.databases else ArchiveKind.FORMAT_1
                self._writer_major = {layout.DUMP_NAME: manifest.client_major} | {
                    layout.dump_name(each.name): manifest.seen_from(each).client_major for each in manifest.databases
                }
                if not quick:
                    self._read_all(front)
            else:
                kind = ArchiveKind.FOREIGN
                self._read_foreign(quick=quick)
        except ArchiveRejected as error:
            self._problem(error.reason)
        except Rejected as error:
            self._problem(str(error).rstrip("."))
        except Truncated:
            self._problem("it was cut: it ends in the middle")
        except OSError as error:  # which says nothing about the archive's bytes
            raise translate_os_error(error, "reading the archive") from error
        return Verification(
            self._source.path,
            kind,
            quick,
            tuple(self._problems),
            tuple(self._warnings),
            manifest,
            self._source.size,
            self._members,
            time.monotonic() - started,
        )

    def _read_all(self, front: Front) -> None:
        self._progress.phase("verify", self._source.size)
        checked = CheckedPass(self._source, front, self, self._problem)
        self._members = checked.run()
        for name, digest in self._decoded_sha256.items():
            if digest != checked.dump_sha256.get(name):
                self._problem(f"{show(name)} is not, byte for byte, what pg_dump wrote")

    def _read_foreign(self, *, quick: bool) -> None:
        self._warnings.append("it was written by another implementation and carries no checksums of its content")
        if quick:
            self._warnings.append("only a full verification can tell whether it is complete")
            next(read_foreign_members(self._source))
            return
        self._progress.phase("verify", self._source.size)
        skipped = Skipped()
        self._members = run_foreign_pass(self._source, self, skipped)
        self._warnings += skipped.warnings()

    def take_upload(self, member: Member, data: Iterable[bytes]) -> None:
        """Read an upload to its end."""
        self._unreported += layout.BLOCK
        for chunk in data:
            self._report(len(chunk))

    def take_dump(self, member: Member, read: Callable[[], Iterator[bytes]]) -> None:
        """Decode it to its end, unless that was done while it was written."""
        name = show(member.name)
        if member.name in self._decoded_sha256:
            for chunk in read():
                self._report(len(chunk))
            return
        unreadable = ""
        try:
            major = self._writer_major.get(member.name, 0)
            found = reading_order(find_client_tools(self._settings.pg_bin), major)
        except ToolFailed as error:
            found, unreadable = [], error.message
        for tools in found:
            try:
                decode_dump(self._reported(read()), tools)
            except UnreadableHere as error:
                unreadable = unreadable or error.message
                continue
            except UndecodableDump as error:
                self._problem(f"{name} does not decode to its end: {error.message}")
            return
        why = f"no pg_restore here can read it ({unreadable})" if unreadable else "there is no pg_restore here"
        self._warnings.append(f"{name} was not decoded: {why}")
        for chunk in read():
            self._report(len(chunk))

    def _reported(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._report(len(chunk))
            yield chunk

    def _report(self, size: int) -> None:
        self._unreported += size
        if self._unreported >= _REPORT_BYTES:
            self._progress.advance(self._unreported)
            self._unreported = 0

    def _problem(self, text: str) -> None:
        if not text:
            return
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(text)
        elif len(self._problems) == _MOST_PROBLEMS:
            self._problems.append("and more")
