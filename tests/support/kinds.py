"""Every kind of object that pg_dump writes, as the smallest SQL that makes one: `kinds.sql`.

A kind begins with a line `-- kind: NAME [options]`. Names stand in guillemets, so that each can be made an ugly one;
`«.»` is the kind's own schema. The options are `superuser` (only one may make it), `since=MAJOR`, `until=MAJOR`,
`extension=NAME` (the server must have it) and `once` (a database has room for one of these).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """One kind of object, and who can have it where."""

    name: str
    sql: str
    superuser: bool = False
    since: int = 15
    until: int = 99
    extension: str = ""
    once: bool = False

    def script(self, suffix: str = "") -> str:
        """SQL that makes it, in a schema of its own; `suffix` is appended to each name."""

        def name(match: re.Match[str]) -> str:
            word = self.name if match[1] == "." else match[1]
            quoted = f"{word}{suffix}".replace('"', '""')
            return f'"{quoted}"'

        return re.sub(r"«([^»]+)»", name, f"CREATE SCHEMA «.»;\n{self.sql}")


def _parse(text: str) -> tuple[Kind, ...]:
    kinds = []
    for block in re.split(r"^-- kind: ", text, flags=re.MULTILINE)[1:]:
        head, _, sql = block.partition("\n")
        match = re.fullmatch(r"([^\[]+?)(?: \[(.*)\])?", head)
        assert match is not None, head
        options = dict(part.partition("=")[::2] for part in (match[2] or "").split(", ") if part)
        assert options.keys() <= {"superuser", "since", "until", "extension", "once"}, head
        kinds.append(
            Kind(
                match[1],
                sql,
                superuser="superuser" in options,
                since=int(options.get("since", 15)),
                until=int(options.get("until", 99)),
                extension=options.get("extension", ""),
                once="once" in options,
            )
        )
    return tuple(kinds)


KINDS = _parse(Path(__file__).with_suffix(".sql").read_text())


def kinds_for(major: int, *, superuser: bool, extensions: Collection[str] = ()) -> tuple[Kind, ...]:
    """The kinds that a server of this major with these extensions takes from a superuser, or from an owner."""
    return tuple(
        kind
        for kind in KINDS
        if kind.since <= major <= kind.until
        and (superuser or not kind.superuser)
        and (not kind.extension or kind.extension in extensions)
    )
