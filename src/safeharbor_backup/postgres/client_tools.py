"""PostgreSQL's client programs: which are here, and which one fits a server."""

from __future__ import annotations

import errno
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ToolFailed, one_line
from safeharbor_backup.system.process import run_tool, tool_environment
from safeharbor_backup.system.processes import where_typed

if TYPE_CHECKING:
    from collections.abc import Sequence

_DISTRIBUTION = Path("/usr/lib/postgresql")
NEW_IMAGE = "put it into the image (docker compose build --pull)"
_VERSION = re.compile(r"\(PostgreSQL\) (?P<version>(?P<major>\d+)[^\s]*)")


@dataclass(frozen=True, slots=True)
class ClientTools:
    """pg_dump, pg_restore and psql of one version."""

    bin_dir: Path
    major: int
    version: str

    @property
    def pg_dump(self) -> Path:
        """The path of its pg_dump."""
        return self.bin_dir / "pg_dump"

    @property
    def pg_restore(self) -> Path:
        """The path of its pg_restore."""
        return self.bin_dir / "pg_restore"

    @property
    def psql(self) -> Path:
        """The program; not every installation has it."""
        return self.bin_dir / "psql"


def find_client_tools(first: Sequence[Path] = ()) -> list[ClientTools]:
    """All client tools here in order of consideration: `first`, the distribution's newest first, PATH.

    Raises ToolFailed if there are some, but none that shows its version; OutOfResources.
    """
    candidates = list(first)
    if _DISTRIBUTION.is_dir():
        majors = sorted((int(entry.name) for entry in _DISTRIBUTION.iterdir() if entry.name.isdigit()), reverse=True)
        candidates += [_DISTRIBUTION / str(major) / "bin" for major in majors]
    on_path = shutil.which("pg_dump")
    # Debian's is a script that runs one of those found already, and takes longer than all of them together
    if on_path and os.path.basename(os.path.realpath(on_path)) != "pg_wrapper":
        candidates.append(Path(on_path).parent)
    found: dict[Path, ClientTools] = {}
    failures: list[ToolFailed] = []
    for candidate in candidates:
        if candidate not in found:
            try:
                tools = _ask_version(candidate)
            except ToolFailed as error:
                if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO:
                    raise  # the disk has failed: another version's tools would find another mistake
                failures.append(error)
                continue
            if tools is not None:
                found[candidate] = tools
    if failures and not found:
        raise failures[0]
    return list(found.values())


def choose_client_tools(found: Sequence[ClientTools], server_major: int) -> ClientTools:
    """The tools of the server's own major version, otherwise of the next newer one.

    A dump by an older client is refused by pg_dump itself; one by a newer client may need a newer pg_restore.
    Raises ToolFailed with what to install.
    """
    same = [tools for tools in found if tools.major == server_major]
    if same:
        return same[0]
    newer = sorted((tools for tools in found if tools.major > server_major), key=lambda tools: tools.major)
    if newer:
        return newer[0]
    install = f"Install postgresql-client-{server_major}, or point BACKUP_PG_BIN at the directory with its pg_dump."
    install = where_typed(install, NEW_IMAGE)
    if not found:
        raise ToolFailed("No pg_dump was found.", hint=install)
    newest = max(found, key=lambda tools: tools.major)
    raise ToolFailed(
        f"The server is PostgreSQL {server_major}, but the newest pg_dump here is {newest.version} in "
        f"{newest.bin_dir}; an older pg_dump refuses to dump a newer server.",
        hint=install,
    )


def what_a_newer_client_costs(tools: ClientTools, server_major: int) -> str:
    """Why a dump by these tools goes back into that server in one way only; "" if it does in every way.

    From 17 on pg_restore sends a setting (transaction_timeout) that older servers refuse.
    """
    if tools.major < 17 or server_major >= 17:
        return ""
    return (
        f"pg_dump {tools.version} is newer than the server, PostgreSQL {server_major}: its dumps go back into that "
        f"server only by `restore --in-place`; install postgresql-client-{server_major}, see BACKUP_PG_BIN"
    )


def _ask_version(bin_dir: Path) -> ClientTools | None:
    dump, restore = bin_dir / "pg_dump", bin_dir / "pg_restore"
    if not (os.access(dump, os.X_OK) and os.access(restore, os.X_OK)):
        return None
    answer = run_tool([dump, "--version"], env=tool_environment({}), timeout_seconds=10)
    found = _VERSION.search(answer.stdout.decode("utf-8", "replace"))
    if found is None:
        status = answer.exit_status
        how = f"ended with status {status}" if status >= 0 else f"was ended by signal {-status}"
        raise ToolFailed(
            f"{dump} --version {how} and printed no version: {one_line(answer.stderr) or 'it said nothing'}.",
            hint="Run it by hand; install PostgreSQL's client again, or point BACKUP_PG_BIN at another one.",
        )
    return ClientTools(bin_dir, int(found["major"]), found["version"])


def choose_restore_tools(found: Sequence[ClientTools], target_major: int) -> list[ClientTools]:
    """The tools with which to try to load a dump: those of the server's own major, then newer ones, then older ones.

    Raises ToolFailed if there are none.
    """
    if not found:
        raise ToolFailed(
            "No pg_restore was found.",
            hint=where_typed(
                f"Install postgresql-client-{target_major}, or point BACKUP_PG_BIN at the directory with pg_restore.",
                NEW_IMAGE,
            ),
        )
    return sorted(found, key=lambda tools: (tools.major != target_major, tools.major < target_major, tools.major))


# the first minor versions in which a hostile dump cannot make pg_restore run psql's own commands (CVE-2026-116314)
_SAFE_MINORS = {15: 20, 16: 16, 17: 12, 18: 7}


def is_safe_for_foreign_dumps(tools: ClientTools) -> bool:
    """Whether this pg_restore has the known defences against a dump that somebody else has made up."""
    minor = tools.version.partition(".")[2]
    return tools.major not in _SAFE_MINORS or (minor.isdigit() and int(minor) >= _SAFE_MINORS[tools.major])


def first_safe_version(major: int) -> str:
    """The first version of this major that has them; "" if all have."""
    return f"{major}.{_SAFE_MINORS[major]}" if major in _SAFE_MINORS else ""
