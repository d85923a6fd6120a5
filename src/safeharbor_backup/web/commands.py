"""The commands that a reader copies: on the host itself, and beside containers."""

from __future__ import annotations

import posixpath
import shlex
from typing import TYPE_CHECKING

from safeharbor_backup.web.markup import Html, element

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeharbor_backup.web.document import Document

_IN_COMPOSE = "docker compose --profile backup exec backups flask"


def show_commands(*commands: str) -> Html:
    """Commands, one a line, to be copied for the host and for Compose."""
    return element(
        "div",
        *(
            element(
                "div", element("p", title, class_="where"), _block(f"{before}safeharbor {each}" for each in commands)
            )
            for title, before in (("On the host", ""), ("With Docker Compose", f"{_IN_COMPOSE} "))
        ),
        class_="commands",
    )


def show_command(command: str) -> Html:
    """One command, in a line of text."""
    return element("code", f"safeharbor {command}")


def restore_commands(name: str, document: Document) -> tuple[str, str]:
    """The look that changes nothing, and the restore, of one archive by its path as the backup sees it."""
    known = document.newest or document.latest
    directory = posixpath.dirname(known.path) if known is not None else ""
    restore = f"restore --from {shlex.quote(posixpath.join(directory, name))}"
    return f"{restore} --dry-run", restore


def name_to_restore(document: Document) -> str:
    """The archive that `latest` means; "" if it means none. An older document tells of the newest only."""
    if document.latest is not None:
        return document.latest.name
    return document.newest.name if document.newest is not None else ""


def _block(lines: Iterable[str]) -> Html:
    return element("pre", *(element("code", line) for line in lines))
