"""What is in a dump, as pg_restore lists it: its entries, and the roles and tablespaces that it needs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ArchiveRejected, ToolFailed, translate_os_error
from safeharbor_backup.postgres.errors import trouble_of
from safeharbor_backup.postgres.grants import read_grants, tokens_of
from safeharbor_backup.postgres.toc import UnknownToc, client_for, read_toc
from safeharbor_backup.system.process import run_tool, tool_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safeharbor_backup.postgres.client_tools import ClientTools
    from safeharbor_backup.postgres.dump_input import DumpInput
    from safeharbor_backup.postgres.toc_entries import TocEntry

_LIST_SECONDS = 300.0
_NO_DATA = "does not support compression"  # a warning of pg_restore, in all majors
_ENTRY = re.compile(r"(?P<id>\d+); \d+ \d+ (?P<what>.*)")
_DUMPED_FROM = re.compile(r";\s+Dumped from database version: (?P<version>\S+)")

# extensions that can be created only in the one database that a setting of the server names
_BOUND = {"pg_cron": "cron.database_name"}

# what comes before and after the roles that an entry names
_SUBJECTS = {"POLICY": ("TO", "USING", "WITH", ";"), "USER MAPPING": ("FOR", "SERVER")}


class UnreadableDump(ArchiveRejected):
    """No pg_restore here can read the dump."""


@dataclass(frozen=True, slots=True)
class DumpContents:
    """A dump's table of contents: each line of `pg_restore --list` that is an entry.

    `toc` has them as data, by their numbers; it is empty if the format is newer than we know.
    """

    entries: tuple[str, ...]
    server_version: str
    tools: ClientTools
    toc: Mapping[int, TocEntry] = field(default_factory=dict)

    @property
    def tables(self) -> int:
        """How many tables it holds."""
        return sum(_what(entry).startswith("TABLE ") and not _is_data(entry) for entry in self.entries)

    @property
    def large_objects(self) -> int:
        """How many large objects it holds, about: newer clients put up to a thousand into one entry."""
        found = [re.match(r"BLOB(?: METADATA)? - (\d+)(?:\.\.(\d+))?", _what(entry)) for entry in self.entries]
        return sum(min(int(each[2]) - int(each[1]) + 1, 1000) if each[2] else 1 for each in found if each is not None)

    @property
    def extensions(self) -> list[str]:
        """The extensions that it creates."""
        return [entry.name for entry in self.toc.values() if entry.kind == "EXTENSION"]

    @property
    def bound_extensions(self) -> dict[str, str]:
        """Those of them that can be only in the one database that a setting names, with that setting."""
        return {name: _BOUND[name] for name in self.extensions if name in _BOUND}


@dataclass(slots=True)
class Needs:
    """What a dump refers to outside of its database."""

    owners: set[str] = field(default_factory=set)
    grantees: set[str] = field(default_factory=set)
    grantors: set[str] = field(default_factory=set)
    tablespaces: set[str] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)  # of policies and user mappings, which cannot be without them


def read_contents(dump: DumpInput, order: Sequence[ClientTools]) -> DumpContents:
    """The table of contents, by the first of these pg_restores that can read it, and what follows it.

    A build without the compression of the dump lists it, and fails at its data. Raises SafeHarborError.
    """
    said = ""
    for tools in order:
        with dump.opened() as stdin:
            listed = run_tool(
                [tools.pg_restore, "--list"], env=tool_environment({}), stdin=stdin, timeout_seconds=_LIST_SECONDS
            )
        if listed.exit_status == 0 and _NO_DATA not in listed.stderr:
            lines = listed.stdout.decode("utf-8", "replace").splitlines()
            version = next((found["version"] for line in lines if (found := _DUMPED_FROM.match(line))), "")
            try:
                with dump.opened() as descriptor:
                    toc = read_toc(descriptor)
            except UnknownToc:
                toc = {}
            return DumpContents(tuple(line for line in lines if _ENTRY.match(line)), version, tools, toc)
        if listed.exit_status < 0:
            raise ToolFailed(
                f"{tools.pg_restore} was ended by signal {-listed.exit_status}: that says nothing about the dump."
            )
        trouble = trouble_of(listed.stderr)
        if trouble is not None:
            trouble.filename = os.path.realpath(dump.file)
            raise translate_os_error(trouble, "listing the dump")
        said = said or " ".join(listed.stderr.split())
    versions = ", ".join(tools.version for tools in order)
    raise UnreadableDump(
        f"No pg_restore here ({versions}) can read its db.dump: {said}",
        hint=f"Install the client of {_writer(dump)}{_with_compression(said)}, and point BACKUP_PG_BIN at it. "
        "Nothing was changed.",
    )


def _with_compression(said: str) -> str:
    return ", in a build that knows this compression" if _NO_DATA in said else ""


def _writer(dump: DumpInput) -> str:
    """The PostgreSQL whose client reads the dump, as its first bytes show."""
    with dump.opened() as descriptor:
        major = client_for(os.read(descriptor, 8))
    return f"PostgreSQL {major} or newer" if major else "the PostgreSQL that wrote it"


def read_needs(toc: Mapping[int, TocEntry]) -> Needs:
    """The roles and tablespaces that the dump's statements name."""
    needs = Needs()
    for entry in toc.values():
        if entry.owner:
            needs.owners.add(entry.owner)
        if entry.tablespace:
            needs.tablespaces.add(entry.tablespace)
        if entry.kind in ("ACL", "DEFAULT ACL"):
            for grant in read_grants(entry.definition):
                needs.grantees |= grant.roles
                needs.grantors |= {grant.grantor} - {""}
        elif entry.kind in _SUBJECTS:
            needs.subjects |= _subjects(entry)
    return needs


def _subjects(entry: TocEntry) -> set[str]:
    """The roles that `CREATE POLICY … TO a, b USING` or `CREATE USER MAPPING FOR a SERVER` names."""
    first, *ends = _SUBJECTS[entry.kind]
    found: set[str] = set()
    is_there = False
    for token in tokens_of(entry.definition):
        if not is_there:
            is_there = not token.is_quoted and token.text == first
        elif not token.is_quoted and token.text in ends:
            break
        elif token.is_quoted or token.text not in (",", "PUBLIC", "public"):
            found.add(token.text)
    return found


def number_of(entry: str) -> int:
    """The number of an entry in the table of contents."""
    return int(entry.partition(";")[0])


def _what(entry: str) -> str:
    found = _ENTRY.match(entry)
    return found["what"] if found is not None else ""


def _is_data(entry: str) -> bool:
    return _what(entry).startswith(("TABLE DATA ", "TABLE ATTACH "))
