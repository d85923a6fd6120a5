"""Whole states of an application: the text that pg_dump writes of its database, and a hash of its uploads tree."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg

from safeharbor_backup.postgres.private_cluster import find_server_bins

_VARYING = re.compile(rb"^(--.*|\\(un)?restrict .*)\n", re.MULTILINE)


@dataclass(frozen=True)
class State:
    """Two are equal if nobody could tell them apart by content, schema, names, modes or times."""

    database: bytes
    uploads: dict[str, str]


def dump_text(url: str, major: int) -> bytes:
    """The database as SQL, without comments."""
    program = find_server_bins()[major] / "pg_dump"
    done = subprocess.run([program, "--dbname", url], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return _VARYING.sub(b"", done.stdout)


def tree_of(root: Path) -> dict[str, str]:
    """Every entry with its kind, mode, time and content, without what a restore keeps."""
    found = {}
    for directory, directories, files in os.walk(os.fsencode(root)):
        if directory == os.fsencode(root):
            directories[:] = [name for name in directories if not name.startswith(b".safeharbor-restore-")]
        for name in [*directories, *files]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            content = ""
            if stat.S_ISLNK(status.st_mode):
                content = os.fsdecode(os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()
            shown = os.fsdecode(os.path.relpath(path, os.fsencode(root)))
            time = "" if stat.S_ISLNK(status.st_mode) else str(int(status.st_mtime))
            found[shown] = f"{status.st_mode:o} {time} {status.st_uid}:{status.st_gid} {content}"
    return found


def state_of(url: str, major: int, uploads: Path) -> State:
    """Both."""
    return State(dump_text(url, major), tree_of(uploads))


_TABLES = """
    SELECT format('%I.%I', nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'm') AND nspname !~ '^(pg_|information_schema$)' AND relispopulated
    ORDER BY 1
"""


@dataclass(frozen=True)
class Whole:
    """A database as text that pg_dump writes, with a hash of each table's and materialized view's rows, and uploads."""

    dump: bytes
    contents: dict[str, str]
    globals: bytes
    uploads: dict[str, str]

    @property
    def lines(self) -> list[str]:
        """All of it as lines, for a difference that one can read. Rows of tables are by their hashes."""
        rows = [f"rows of {name}: {content}" for name, content in self.contents.items()]
        uploads = [f"upload {name}: {entry}" for name, entry in self.uploads.items()]
        return [*self.dump.decode().splitlines(), *self.globals.decode().splitlines(), *rows, *uploads]


def whole_state(url: str, major: int, uploads: Path) -> Whole:
    """Everything that a restore of this database and these uploads is to bring back, and the cluster's roles."""
    done = subprocess.run(
        [find_server_bins()[major] / "pg_dumpall", "--globals-only", "--dbname", url], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    with psycopg.connect(url, autocommit=True) as session:
        names = [str(row[0]) for row in session.execute(_TABLES)]
        contents = {}
        for name in names:
            query = f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {name} t"
            contents[name] = str(session.execute(query.encode()).fetchone())
    return Whole(dump_text(url, major), contents, _VARYING.sub(b"", done.stdout), tree_of(uploads))
