"""The commands that a reader copies to restore an archive."""

from __future__ import annotations

import posixpath
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safeharbor_backup.actions.status.schema import StatusDocument


def restore_commands(name: str, document: StatusDocument) -> tuple[str, str]:
    """The look that changes nothing, and the restore, of one archive by its path as the backup sees it."""
    known = document.newest or document.latest
    directory = posixpath.dirname(known.path or "") if known is not None else ""
    restore = f"restore --from {shlex.quote(posixpath.join(directory, name))}"
    return f"{restore} --dry-run", restore


def name_to_restore(document: StatusDocument) -> str:
    """The archive that `latest` means; "" if it means none. An older document tells of the newest only."""
    if document.latest is not None:
        return document.latest.name or ""
    return document.newest.name if document.newest is not None else ""
