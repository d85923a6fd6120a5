"""Archives by other implementations of the contract: any tar dialect, `db.dump` and `uploads/`, no manifest.

Nothing in them proves itself, so all that can be checked is the structure and the header checksums; the same
allow-list as for our own archives decides what may be in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor_backup.archive import layout
from safeharbor_backup.archive.foreign_headers import HARD_LINK, SKIPPED_KINDS, next_foreign_member, unknown_kind
from safeharbor_backup.archive.headers import padding
from safeharbor_backup.archive.layout import BLOCK, Member
from safeharbor_backup.archive.other_formats import refuse_other_formats
from safeharbor_backup.archive.reader import Rejected, rejected, show
from safeharbor_backup.archive.source import Source, Truncated

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES_LIMIT_BYTES = 160 * 1024 * 1024  # more than a million uploads; a hostile archive must not eat the memory
_COST_OF_A_NAME = 100
_IMPLIED = b"implied"  # a directory that has members but has not come itself
_OUR_MARKS = (layout.SUMS_NAME, layout.MANIFEST_NAME)


@dataclass(slots=True)
class Skipped:
    """The entries at the top of uploads/ that bear the name of a restore's own directory, and are left out."""

    names: set[bytes] = field(default_factory=set)

    def warnings(self) -> tuple[str, ...]:
        """One line for the operator, or none."""
        if not self.names:
            return ()
        first, more = show(min(self.names)), len(self.names) - 1
        return (
            f"{first}{f' and {more} more' if more else ''} in its uploads/ {'were' if more else 'was'} skipped: "
            "such names belong to what restores keep beside the uploads",
        )


def read_foreign_members(source: Source, skipped: Skipped | None = None) -> Iterator[tuple[Member, int]]:
    """Every member with the offset of its data; names as in our own archives, hard links as kind `1`.

    What has the name of a restore's own directory is left out, and named in `skipped`. The caller reads exactly
    `member.size` bytes before it asks for the next one. Raises Rejected, Truncated, OSError.
    """
    refuse_other_formats(source)
    source.seek(0)
    names = _Names(skipped or Skipped())
    while True:
        member = next_foreign_member(source)
        if member is None:
            break
        begins = source.position
        if names.skip(member, begins):
            if member.size:
                source.seek(begins + member.size)
        elif member.name:
            found, at = names.with_data(member, begins)
            names.accept(found)
            if at != begins:
                source.seek(at)
            yield found, at
            if at != begins:
                source.seek(begins)
        source.take(padding(member.size))  # other writers need not fill it with zeros
    names.require_complete()
    _check_end(source)


def look_at_foreign(source: Source) -> None:
    """The first header and the end marker, in constant time. Raises ArchiveRejected, OSError."""
    try:
        if not source.size:
            raise Rejected("it is empty")
        if next(read_foreign_members(source), None) is None:
            raise Rejected("it holds nothing")
        if any(source.read_at(max(source.size - BLOCK, 0), min(source.size, BLOCK))):
            raise Truncated
    except Truncated:
        raise rejected(source, "it was cut: it ends in the middle") from None
    except Rejected as error:
        raise rejected(source, str(error)) from None


class _Names:
    """All names so far with their kinds: without our order, only that tells whether one appears twice."""

    def __init__(self, skipped: Skipped) -> None:
        self._skipped = skipped
        self._skipped_data: dict[bytes, tuple[int, int]] = {}  # offset and size of files that are left out
        self._instead: dict[bytes, bytes] = {}  # the first name that such a file has outside of what is left out
        self._kinds: dict[bytes, bytes] = {}
        self._size = 0

    def skip(self, member: Member, begins: int) -> bool:
        """Whether a member is to be left out; its data is remembered for hard links from elsewhere. Raises Rejected."""
        if not member.name.startswith(layout.UPLOADS_NAME):
            return False
        top = member.name[len(layout.UPLOADS_NAME) :].partition(b"/")[0]
        if not layout.is_staging_name(top):
            return False
        self._remember(b"uploads", self._kinds.get(b"uploads", _IMPLIED))
        if top not in self._skipped.names:
            self._charge(top)
            self._skipped.names.add(top)
        if member.kind == layout.FILE:
            self._charge(member.name)
            self._skipped_data[member.name] = (begins, member.size)
        return True

    def with_data(self, member: Member, begins: int) -> tuple[Member, int]:
        """The member and where its data is: a hard link to a file that is left out becomes that file."""
        if member.kind != HARD_LINK or member.link not in self._skipped_data:
            return member, begins
        if member.link in self._instead:
            return member._replace(link=self._instead[member.link]), begins
        self._instead[member.link] = member.name
        offset, size = self._skipped_data[member.link]
        return member._replace(kind=layout.FILE, link=b"", size=size), offset

    def accept(self, member: Member) -> None:
        """Remember a member. Raises Rejected, naming it, if it may not come."""
        name = member.name.rstrip(b"/")
        if member.kind in SKIPPED_KINDS:
            raise unknown_kind(member.name, member.kind)
        if name in _OUR_MARKS:
            raise Rejected(f"it holds {show(name)} but does not begin as an archive of format 1 does")
        before = self._kinds.get(name)
        if before is not None and not (before == _IMPLIED and member.kind == layout.DIRECTORY):
            raise Rejected(f"{show(name)}: it appears twice")
        if name == layout.DUMP_NAME:
            if member.kind != layout.FILE:
                raise Rejected("its db.dump is not a file")
        elif name == b"uploads":
            if member.kind != layout.DIRECTORY:
                raise Rejected("its uploads is not a directory")
        elif not name.startswith(layout.UPLOADS_NAME):
            raise Rejected(f"{show(member.name)} is neither db.dump nor below uploads/")
        else:
            why = self._refuse_upload(member, name[len(layout.UPLOADS_NAME) :])
            if why:
                raise Rejected(f"{show(member.name)}: {why}")
        self._remember(name, member.kind)

    def require_complete(self) -> None:
        """Raises Rejected unless there were a dump and uploads."""
        if self._kinds.get(layout.DUMP_NAME) != layout.FILE:
            raise Rejected("it holds no db.dump")
        if b"uploads" not in self._kinds:
            raise Rejected("it holds no uploads/")

    def _refuse_upload(self, member: Member, path: bytes) -> str:
        why = layout.refuse_path(path)
        if why:  # before each directory of a name of 64 KiB is remembered
            return why
        parent = path.rpartition(b"/")[0]
        above = b"uploads"
        self._remember(above, self._kinds.get(above, _IMPLIED))
        for part in parent.split(b"/") if parent else ():
            above += b"/" + part
            kind = self._kinds.get(above, _IMPLIED)
            if kind not in (layout.DIRECTORY, _IMPLIED):
                return "it lies below something that is not a directory"
            self._remember(above, kind)
        if member.kind == layout.SYMLINK and not layout.link_stays_inside(parent, member.link):
            return f"it is a link that can leave the tree, to {show(member.link)}"
        if member.kind == HARD_LINK and not self._is_upload(member.link):
            return f"it is a hard link to {show(member.link)}, which is not an earlier upload"
        return ""

    def _is_upload(self, name: bytes) -> bool:
        return name.startswith(layout.UPLOADS_NAME) and self._kinds.get(name) == layout.FILE

    def _remember(self, name: bytes, kind: bytes) -> None:
        if name not in self._kinds:
            self._charge(name)
        self._kinds[name] = kind

    def _charge(self, name: bytes) -> None:
        self._size += len(name) + _COST_OF_A_NAME
        if self._size > _NAMES_LIMIT_BYTES:
            raise Rejected("it has too many names to be checked without a manifest")


def _check_end(source: Source) -> None:
    """After the end there may be zeros (writers fill a record of twenty blocks), and nothing else."""
    while source.position < source.size:
        try:
            if any(source.take(min(BLOCK, source.size - source.position))):
                raise Rejected("something follows after its end")
        except Truncated:
            return
