"""The commands that a reader copies to restore an archive, or to take a part of it out."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from safeharbor_backup.text import shell_word

if TYPE_CHECKING:
    from safeharbor_backup.actions.status.schema import StatusDocument


def restore_commands(name: str, document: StatusDocument) -> tuple[str, str]:
    """The look that changes nothing, and the restore, of one archive by its path as the backup sees it."""
    restore = f"restore --from {shell_word(_beside_archives(name, document))}"
    return f"{restore} --dry-run", restore


def name_to_restore(document: StatusDocument) -> str:
    """The archive that `latest` means; "" if it means none. An older document tells of the newest only."""
    if document.latest is not None:
        return document.latest.name or ""
    return document.newest.name if document.newest is not None else ""


def extract_files(archive: str, path: str, document: StatusDocument) -> str:
    """Takes one upload out, a file or a folder, by its path below uploads/, into a directory beside the archives.

    Where backups run in a container, that is what its host sees, and often all that can be written.
    """
    target = shell_word(_beside_archives("extracted", document))
    return f"extract {shell_word(archive)} {shell_word(f'uploads/{path}')} --to {target}"


def extract_rows(archive: str, table: str, document: StatusDocument) -> str:
    """Takes the rows of one table out, by its name as the archive has it, into a file there."""
    target = shell_word(_beside_archives("rows.csv", document))
    return f"extract {shell_word(archive)} --table {shell_word(table)} --csv {target}"


def _beside_archives(name: str, document: StatusDocument) -> str:
    """The path of a name in the backup directory, as the backup sees it; only the name if that is not known."""
    known = document.newest or document.latest
    return posixpath.join(posixpath.dirname(known.path or "") if known is not None else "", name)
