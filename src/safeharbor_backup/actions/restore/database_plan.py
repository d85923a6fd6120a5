"""What stands in the way of a restore on the database's side, and what it would take away; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.actions.restore.left_out import (
    extensions_that_stay,
    report_privileges,
    without_followers,
)
from safeharbor_backup.actions.restore.needs_checks import check_names, check_rights, report_missing
from safeharbor_backup.actions.restore.role_checks import check_role
from safeharbor_backup.actions.restore.server_checks import (
    check_bound_extensions,
    check_client,
    check_locks,
    check_writable,
    describe_subscriptions,
)
from safeharbor_backup.errors import CannotRestore, ToolFailed
from safeharbor_backup.postgres.client_tools import choose_restore_tools, find_client_tools, is_safe_for_foreign_dumps
from safeharbor_backup.postgres.contents import Needs, read_contents, read_needs
from safeharbor_backup.postgres.entry_selection import select_entries
from safeharbor_backup.postgres.lost_rights import read_grantors
from safeharbor_backup.postgres.privilege_entries import choose_privileges
from safeharbor_backup.postgres.remaining import is_extension

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.actions.restore.request import OpenArchive, RestoreRequest
    from safeharbor_backup.postgres.contents import DumpContents
    from safeharbor_backup.postgres.target import Target, TargetDatabase


@dataclass(frozen=True, slots=True)
class DatabasePlan:
    """What the database part works with: the server and name that it goes to, and what of the dump is loaded there.

    `live` is the database of that name, None if it does not exist yet.

    `statements` are what can be replayed of entries with privileges that cannot be replayed as a whole; `vain` is what
    nobody can grant again: where it is from and why, and its SQL.
    """

    target: Target
    contents: DumpContents
    needs: Needs
    entries: tuple[str, ...]
    keep_privileges: bool
    live: TargetDatabase | None
    statements: tuple[str, ...] = ()
    vain: tuple[tuple[str, str], ...] = ()


def look_at_database(
    target: Target, archive: OpenArchive, pg_bin: tuple[Path, ...], request: RestoreRequest, findings: Findings
) -> DatabasePlan:
    """What prevents the restore on the database's side. Raises SafeHarborError if that cannot even be told."""
    live = target.find(target.name)
    check_writable(target, findings)
    check_role(target, live, request, findings)
    describe_subscriptions(target, live, request, findings)
    contents, needs = read_dump(target, archive, pg_bin, findings)
    check_bound_extensions(target, contents, live, request, findings)
    check_locks(target, contents, live, request, findings)
    return choose_entries(
        target,
        contents,
        needs,
        live,
        findings,
        in_place=request.in_place,
        accepts_open=request.accepts_open,
        accepts_broken=request.accepts_broken,
    )


def read_dump(
    target: Target, archive: OpenArchive, pg_bin: tuple[Path, ...], findings: Findings
) -> tuple[DumpContents, Needs]:
    """What is in the dump, and what it needs of a server.

    Raises CannotRestore if no pg_restore in `pg_bin`, or where the system has them, can tell; ArchiveRejected.
    """
    try:
        writer = archive.manifest.client_major if archive.manifest is not None else 0
        order = choose_restore_tools(find_client_tools(pg_bin), target.major)
        order.sort(key=lambda tools: tools.major < writer)
        contents = read_contents(archive.dump, order)
        needs = read_needs(contents.toc)
    except ToolFailed as error:
        raise CannotRestore(error.message, hint=error.hint) from error
    findings.facts.append(
        f"dump of PostgreSQL {contents.server_version or '(unknown)'}, server {target.version}, pg_restore "
        f"{contents.tools.version}"
    )
    dumped_major = int((contents.server_version.partition(".")[0] or "0")[:4])
    if dumped_major > target.major:
        findings.problems.append(
            CannotRestore(
                f"The dump is of PostgreSQL {dumped_major}, the server is {target.version}: a dump cannot go to an "
                "older major version.",
                hint=f"Restore to a server of PostgreSQL {dumped_major} or newer.",
            )
        )
    if archive.manifest is None and not is_safe_for_foreign_dumps(contents.tools):
        findings.warnings.append(
            f"pg_restore {contents.tools.version} lacks the fixes of 2026 against hostile dumps; restore only what you "
            "trust"
        )
    return contents, needs


def choose_entries(
    target: Target,
    contents: DumpContents,
    needs: Needs,
    live: TargetDatabase | None,
    findings: Findings,
    *,
    in_place: bool = False,
    without: Collection[str] = (),
    accepts_open: bool = False,
    accepts_broken: bool = False,
) -> DatabasePlan:
    """Which entries will be loaded, and what the server lacks for them. `without` these extensions.

    `accepts_open`: it is no problem, but a warning, that things would be open to all roles that were closed.
    `accepts_broken`: nor that nobody can grant again what was granted.
    """
    check_client(target, contents, findings, in_place=in_place)
    entries, staying = _choose_by_role(target, contents, needs, live, findings, in_place=in_place, without=without)
    entries = without_followers(target, contents, entries, live, findings, staying)
    owner = live.owner if live is not None else target.role
    role = None if target.is_superuser else owner
    check_names(target, needs, findings)
    check_rights(target, contents, needs, role, findings, in_place=in_place, accepts_broken=accepts_broken)
    missing = set(target.missing_roles(needs.grantees | needs.grantors))
    others_stay = in_place and not target.is_superuser
    grantors = read_grantors(target.session, contents.toc, owner)
    privileges = choose_privileges(entries, contents.toc, role, missing, grantors=grantors, others_stay=others_stay)
    report_privileges(privileges, findings, accepts_open=accepts_open, accepts_broken=accepts_broken)
    chosen, statements = tuple(privileges.entries), tuple(privileges.statements)
    return DatabasePlan(target, contents, needs, chosen, True, live, statements, tuple(privileges.vain))


def _choose_by_role(
    target: Target,
    contents: DumpContents,
    needs: Needs,
    live: TargetDatabase | None,
    findings: Findings,
    *,
    in_place: bool,
    without: Collection[str],
) -> tuple[list[str], list[str]]:
    """The entries that the role may load, and the extensions that stay in the database since they are others'."""
    available = target.extensions()
    report_missing(
        findings,
        [name for name in contents.extensions if name not in available and name not in without],
        "The server has no extension {}, which the dump needs.",
        "Install the package with that extension on the database server.",
    )
    entries = list(contents.entries)
    staying: list[str] = []
    if not target.is_superuser:
        staying = extensions_that_stay(target) if in_place and live is not None else []
        entries, left_out = select_entries(contents, available, [*staying, *without])
        findings.warnings += [f"left out: {what}" for what in left_out]
    else:
        report_missing(
            findings,
            target.missing_roles(needs.owners),
            "The server has no role {}, which owns things or has rights in the dump.",
            'CREATE ROLE "{}"; or restore as a role that is not a superuser; it then owns everything.',
        )
        entries = [entry for entry in entries if not is_extension(contents, entry, without)]
    return entries, staying
