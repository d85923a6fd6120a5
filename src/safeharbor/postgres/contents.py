"""What is in a dump, as pg_restore tells it: its entries, and the roles and tablespaces that it needs."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safeharbor.errors import ArchiveRejected, OutOfResources, ToolFailed
from safeharbor.postgres.toc import UnknownToc, read_toc
from safeharbor.process import run_tool, started_tool, tool_environment
from safeharbor.threads import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from safeharbor.postgres.toc import TocEntry
    from safeharbor.postgres.tools import ClientTools

_LIST_SECONDS = 300.0
_PIECE = 1024 * 1024
_ENTRY = re.compile(r"(?P<id>\d+); \d+ \d+ (?P<what>.*)")
_DUMPED_FROM = re.compile(r";\s+Dumped from database version: (?P<version>\S+)")
_HEADER = re.compile(
    r"-- (?:Data for )?Name: .*; Type: (?P<type>[A-Z ]+); Schema: .*; Owner: (?P<owner>.*?)"
    r"(?:; Tablespace: (?P<tablespace>.*))?"
)
_GRANT = re.compile(r"(?:GRANT|REVOKE|ALTER DEFAULT PRIVILEGES) .*?(?: (?:TO|FROM) (?P<role>\"(?:[^\"]|\"\")+\"|\S+?))"
                    r"(?: WITH GRANT OPTION| CASCADE)?;")  # fmt: skip
_GRANTED_BY = re.compile(r'SET SESSION AUTHORIZATION ("(?:[^"]|"")+"|\S+);')
_FOR_ROLE = re.compile(r'ALTER DEFAULT PRIVILEGES FOR ROLE ("(?:[^"]|"")+"|\S+)')

# kinds of entries that only a superuser may create (CREATE … in the manual, each under "Notes")
_SUPERUSERS_ONLY = ("EVENT TRIGGER", "FOREIGN DATA WRAPPER", "ACCESS METHOD", "TEXT SEARCH PARSER",
                    "TEXT SEARCH TEMPLATE", "OPERATOR CLASS", "OPERATOR FAMILY", "PUBLICATION TABLES IN SCHEMA",
                    "SUBSCRIPTION")  # fmt: skip


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
        return [
            _what(entry).split(" ")[2]
            for entry in self.entries
            if re.match(r"EXTENSION - \S", _what(entry)) is not None
        ]


@dataclass(slots=True)
class Needs:
    """What a dump refers to outside of its database."""

    owners: set[str] = field(default_factory=set)
    grantees: set[str] = field(default_factory=set)
    grantors: set[str] = field(default_factory=set)
    tablespaces: set[str] = field(default_factory=set)
    publications_for_all: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class DumpInput:
    """A dump where it lies: `size` bytes, `offset` bytes into `file`. A tool gets it as its standard input."""

    file: Path
    offset: int = 0
    size: int = 0

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of its own at the dump's start. Raises OSError."""
        descriptor = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.lseek(descriptor, self.offset, os.SEEK_SET)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def piped(self) -> Iterator[int]:
        """A pipe that gives the dump. Raises OSError.

        A pg_dump that writes to a file notes at which offsets of that file its data is; in standard input that can be
        positioned pg_restore would go there, though the dump does not begin at the start of `file`.
        """
        with self.opened() as source:
            reading, writing = os.pipe()

            def pump() -> None:
                left = self.size
                try:
                    while left and (sent := os.sendfile(writing, source, None, min(left, _PIECE))):
                        left -= sent
                except OSError:
                    pass  # nobody reads any more, or it cannot be read: the tool's status tells
                finally:
                    os.close(writing)

            pumping = Worker(pump)
            try:
                pumping.start()
            except OutOfResources:
                os.close(reading)
                os.close(writing)
                raise
            try:
                yield reading
            finally:
                os.close(reading)
                pumping.join()


def read_contents(dump: DumpInput, order: Sequence[ClientTools]) -> DumpContents:
    """The table of contents, by the first of these pg_restores that can read it. Raises UnreadableDump, ToolFailed."""
    said = ""
    for tools in order:
        with dump.opened() as stdin:
            listed = run_tool(
                [tools.pg_restore, "--list"], env=tool_environment({}), stdin=stdin, timeout_seconds=_LIST_SECONDS
            )
        if listed.exit_status == 0:
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
                f"{tools.pg_restore} was ended by signal {-listed.exit_status}: that says nothing of the dump."
            )
        said = said or " ".join(listed.stderr.split())
    versions = ", ".join(tools.version for tools in order)
    raise UnreadableDump(
        f"No pg_restore here ({versions}) can read its db.dump: {said}",
        hint="Install the client of the PostgreSQL that wrote it, and point BACKUP_PG_BIN at it. Nothing was changed.",
    )


def read_needs(dump: DumpInput, tools: ClientTools) -> Needs:
    """The roles and tablespaces that the dump's statements name. Raises ToolFailed."""
    needs = Needs()
    kind = ""
    argv: list[str | Path] = [tools.pg_restore, "--section=pre-data", "--section=post-data", "--file=-"]
    with dump.opened() as stdin, started_tool(argv, env=tool_environment({}), stdin=stdin) as tool:
        for raw in tool.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            found = _HEADER.fullmatch(line)
            if found is not None:
                kind = found["type"]
                if found["owner"] not in ("", "-"):
                    needs.owners.add(found["owner"])
                    if kind in ("ACL", "DEFAULT ACL"):
                        needs.grantors.add(found["owner"])
                if found["tablespace"]:
                    needs.tablespaces.add(found["tablespace"])
            elif kind in ("ACL", "DEFAULT ACL") and (granted := _GRANT.fullmatch(line)):
                needs.grantees.add(_unquoted(granted["role"]))
                needs.grantees |= {_unquoted(role) for role in _FOR_ROLE.findall(line)}
            elif kind == "ACL" and (becomes := _GRANTED_BY.fullmatch(line)):
                needs.grantors.add(_unquoted(becomes[1]))
            elif kind == "PUBLICATION" and (every := re.match(r"CREATE PUBLICATION (.+) FOR ALL TABLES", line)):
                needs.publications_for_all.add(_unquoted(every[1]))
        if tool.wait() != 0:
            raise ToolFailed(f"pg_restore cannot read the dump: {tool.stderr}")
    return needs


def select_entries(
    contents: DumpContents, needs: Needs, available: Mapping[str, bool], installed: Iterable[str] = ()
) -> tuple[list[str], list[str]]:
    """The entries that a role which is no superuser can create, and what is left out, in words.

    `available` are the extensions of the server, true if one needs no superuser; `installed` are those that are in
    the database already and will stay.
    """
    out = {name for name in contents.extensions if name in available and not available[name]} | set(installed)
    missing_here = out - set(installed)
    kept: list[str] = []
    left_out: list[str] = []
    for entry in contents.entries:
        what = _what(entry)
        extension = re.match(r"EXTENSION - (\S+)|COMMENT - EXTENSION (\S+)", what)
        publication = re.match(r"(?:COMMENT - PUBLICATION|PUBLICATION -) (.+) \S+$", what)
        if extension is not None and (extension[1] or extension[2]) in out:
            if extension[1] in missing_here:
                left_out.append(f"extension {extension[1]}, which only a superuser may create")
        elif publication is not None and publication[1] in needs.publications_for_all:
            if not what.startswith("COMMENT"):
                left_out.append(f"publication {publication[1]} for all tables, which only a superuser may create")
        elif re.match(rf"(?:COMMENT \S+ )?(?:{'|'.join(_SUPERUSERS_ONLY)}) ", what) is not None:
            if not what.startswith("COMMENT"):
                left_out.append(
                    f"{what.rsplit(' ', 1)[0].replace(' - ', ' ').lower()}, which only a superuser may create"
                )
        else:
            kept.append(entry)
    return kept, left_out


def split_entries(entries: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Those to load at first, those that must wait for all rows, and those that must wait for everything.

    pg_restore lets what follows the data wait for the rows of its own table only, and a partitioned table has none:
    with several jobs its triggers would fire while its partitions are loaded, and its foreign keys check too early.
    Event triggers would see our own work.
    """
    first: list[str] = []
    late: list[str] = []
    last: list[str] = []
    for entry in entries:
        what = _what(entry)
        if re.match(r"(?:(?:COMMENT|SECURITY LABEL) - )?EVENT TRIGGER ", what):
            last.append(entry)
        elif re.match(r"TRIGGER |COMMENT \S+ TRIGGER |FK CONSTRAINT |ACL |DEFAULT ACL |MATERIALIZED VIEW DATA ", what):
            late.append(entry)
        else:
            first.append(entry)
    return first, late, last


def without_subscriptions(entries: Iterable[str]) -> list[str]:
    """The same without subscriptions, which keep a database from being dropped as long as they name a slot."""
    return [entry for entry in entries if re.match(r"(?:COMMENT - )?SUBSCRIPTION ", _what(entry)) is None]


def split_late(late: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Of what must wait for all rows: what comes before privileges, the privileges, and what comes after them.

    A grant can need another one: whoever hands on a right to a table needs the right to its schema first. The dump has
    them in that order, but among several jobs pg_restore keeps none, so privileges are for one job.
    """
    before: list[str] = []
    privileges: list[str] = []
    after: list[str] = []
    for entry in late:
        what = _what(entry)
        if what.startswith(("ACL ", "DEFAULT ACL ")):
            privileges.append(entry)
        elif what.startswith("MATERIALIZED VIEW DATA "):
            after.append(entry)
        else:
            before.append(entry)
    return before, privileges, after


def number_of(entry: str) -> int:
    """The number of an entry in the table of contents."""
    return int(entry.partition(";")[0])


def _what(entry: str) -> str:
    found = _ENTRY.match(entry)
    return found["what"] if found is not None else ""


def _is_data(entry: str) -> bool:
    return _what(entry).startswith(("TABLE DATA ", "TABLE ATTACH "))


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
