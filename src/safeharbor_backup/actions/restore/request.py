"""What is to be restored, from which archive, to where."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.choose import choose_by_word, is_word
from safeharbor_backup.actions.catalog.latest import NOT_COMPLETE, describe_choice
from safeharbor_backup.archive import layout
from safeharbor_backup.archive.checksums import folder_of, parse_sums
from safeharbor_backup.archive.foreign_reader import Skipped, read_foreign_members
from safeharbor_backup.archive.reader import Front, Rejected, bears_leading_mark, read_front
from safeharbor_backup.archive.source import Source, Truncated, opened_archive
from safeharbor_backup.errors import ArchiveRejected, CannotRestore
from safeharbor_backup.postgres.dump_input import DumpInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.settings.upload_dirs import UploadDirs

_CHUNK = 1024 * 1024
_HEADERS_READ_AHEAD = 32 * 1024  # where only headers are wanted, each read beyond them is for nothing


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What the operator asked for. `database`, `others` and `uploads` say where an interrupted restore went.

    `others`: the databases beside the main one, by their names in the archive; None for those that the settings name.
    `from_another`: an archive of another database than the target's is meant. `accepts_broken`: what cannot be restored
    as it was is left out. `accepts_open`: so is a REVOKE that only a superuser may repeat. `without_others`: databases
    beside the main one stay as they are.
    """

    archive: Path
    with_database: bool = True
    with_uploads: bool = True
    in_place: bool = False
    keep_previous: bool = True
    jobs: int = 1
    database: str = ""
    uploads: UploadDirs | None = None
    from_another: bool = False
    accepts_broken: bool = False
    accepts_open: bool = False
    without_others: bool = False
    others: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class OpenArchive:
    """An archive held open; whatever happens to its name meanwhile, this is the file that is restored.

    `warnings` say what of it is left out. `owners` are user and group of its uploads, as far as it tells unread.
    `folders` has how many files and bytes are in each directory at the top of the uploads; None if it does not tell.
    `name` is that of the database whose dump this is about; "" for the main one.
    """

    source: Source
    front: Front | None
    dump: DumpInput
    upload_files: int
    upload_bytes: int
    warnings: tuple[str, ...] = ()
    owners: frozenset[tuple[int, int]] = frozenset()
    folders: Mapping[str, tuple[int, int]] | None = None
    name: str = ""

    def databases(self) -> tuple[OpenArchive, ...]:
        """The same archive seen as one of each of its databases, the main one first."""
        if self.front is None:
            return (self,)
        others = []
        for each, (member, offset) in zip(self.front.manifest.databases, self.front.others, strict=True):
            front = replace(self.front, manifest=self.front.manifest.seen_from(each))
            dump = replace(self.dump, offset=offset, size=member.size)
            others.append(replace(self, front=front, dump=dump, name=each.name))
        return (self, *others)

    def folder_names(self) -> set[str]:
        """The directories at the top of the uploads; `.` if there are files beside them. Raises Truncated, OSError."""
        if self.folders is not None:
            return set(self.folders)
        names = (
            folder_of(name[len(layout.UPLOADS_NAME) :]) for name, _ in self.listed_files() if not layout.is_dump(name)
        )
        return {os.fsdecode(name) for name in names}

    @property
    def path(self) -> Path:
        """Where it was found."""
        return self.source.path

    @property
    def manifest(self) -> Manifest | None:
        """Its manifest; None if another implementation wrote it."""
        return self.front.manifest if self.front is not None else None

    def listed_files(self) -> Iterator[tuple[bytes, str]]:
        """Name and SHA-256 in hex of each regular member in SHA256SUMS, in order; nothing without a manifest.

        Raises Truncated, OSError.
        """
        if self.front is None:
            return
        start, end = self.front.manifest.sums_offset, self.front.manifest_offset
        yield from parse_sums(self.source.read_at(at, min(_CHUNK, end - at)) for at in range(start, end, _CHUNK))

    @property
    def taken_at(self) -> datetime | None:
        """When it was taken, as far as it says."""
        return self.manifest.taken_at if self.manifest is not None else layout.time_in_name(self.path.name)


def choose_archive(text: str, settings: Settings) -> Path:
    """The archive that `--from` names; a word such as `latest` is one in BACKUP_DIR that can be relied on.

    Raises ArchiveRejected if there is none, StorageUnavailable; CannotRestore if it is not simply the one that the word
    says, since then a person decides.
    """
    if not is_word(text):
        return Path(os.path.expanduser(text)).absolute()
    choice = choose_by_word(text, settings)
    if choice.entry is None and all(each.code in NOT_COMPLETE for each in choice.passed):
        raise ArchiveRejected(f"There is no complete archive in {settings.backup_dir}.", hint="")
    if choice.entry is None or not choice.is_clear:
        raise CannotRestore(
            f"Which archive `{text}` means is not clear:\n{describe_choice(choice)}",
            hint="Give the path of the one that is meant: --from PATH.",
            intact="Nothing was changed.",
        )
    return choice.entry.path


@contextmanager
def opened_for_restore(path: Path) -> Iterator[OpenArchive]:
    """The archive, looked at as far as its manifest, or all headers of one without. Raises ArchiveRejected."""
    with opened_archive(path) as source:
        own = Path(f"/proc/self/fd/{source.descriptor}")  # the very file, even if its name is given to another
        if bears_leading_mark(source):
            front = read_front(source)
            manifest = front.manifest
            dump = DumpInput(own, layout.DUMP_OFFSET, manifest.dump_size)
            folders = None
            if manifest.folders is not None:
                folders = {each.name: (each.files, each.bytes) for each in manifest.folders}
            counts = (manifest.upload_files, manifest.upload_bytes)
            yield OpenArchive(source, front, dump, *counts, owners=manifest.owners, folders=folders)
            return
        offset = size = files = length = 0
        skipped = Skipped()
        owners: set[tuple[int, int]] = set()
        found: dict[str, tuple[int, int]] = {}
        try:
            headers = Source(source.descriptor, path, _HEADERS_READ_AHEAD)
            for member, at in read_foreign_members(headers, skipped):
                if member.name == layout.DUMP_NAME:
                    offset, size = at, member.size
                elif member.name != layout.UPLOADS_NAME:
                    owners.add((member.uid, member.gid))
                if member.name != layout.DUMP_NAME and member.kind not in (layout.DIRECTORY, layout.SYMLINK):
                    files, length = files + 1, length + member.size
                if member.name not in (layout.DUMP_NAME, layout.UPLOADS_NAME):
                    folder = os.fsdecode(folder_of(member.name[len(layout.UPLOADS_NAME) :]))
                    is_file = member.kind not in (layout.DIRECTORY, layout.SYMLINK)
                    before = found.get(folder, (0, 0))
                    found[folder] = (before[0] + is_file, before[1] + member.size)
                if at + member.size > source.size:
                    raise Truncated
                headers.seek(at + member.size)
        except (Rejected, Truncated) as error:
            why = str(error) or "it was cut: it ends in the middle"
            raise ArchiveRejected(f"{path}: {why.rstrip('.')}.") from None
        yield OpenArchive(
            source, None, DumpInput(own, offset, size), files, length, skipped.warnings(), frozenset(owners), found
        )


def left_out_patterns(manifest: Manifest | None, exclude: tuple[str, ...]) -> tuple[str, ...]:
    """What backups leave out of the uploads: by the archive's patterns, and those of now (`exclude`)."""
    recorded = manifest.excluded_by if manifest is not None else ()
    return tuple(dict.fromkeys([*recorded, *exclude]))
