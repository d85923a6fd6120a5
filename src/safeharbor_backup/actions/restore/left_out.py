"""What of a dump is left out because the role or the server cannot have it, and what needs that: a problem, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore, SafeHarborError
from safeharbor_backup.postgres.connection import connected
from safeharbor_backup.postgres.lost_rights import GRANTOR
from safeharbor_backup.postgres.remaining import tables_of_extensions, usable_extensions, what_remains

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.postgres.contents import DumpContents
    from safeharbor_backup.postgres.privilege_entries import Privileges
    from safeharbor_backup.postgres.target import Target, TargetDatabase

_SHOWN = 10


def extensions_that_stay(target: Target) -> list[str]:
    """The extensions in the live database that its owner cannot wipe, since they are others'.

    Raises SafeHarborError.
    """
    query = "SELECT extname FROM pg_catalog.pg_extension WHERE pg_catalog.pg_get_userbyid(extowner) <> current_user"
    with connected(target.url) as session:
        return [str(row[0]) for row in session.execute(query).fetchall()]


def without_followers(
    target: Target,
    contents: DumpContents,
    entries: Iterable[str],
    live: TargetDatabase | None,
    findings: Findings,
    staying: Collection[str] = (),
) -> list[str]:
    """These entries without what only makes sense with those that are left out.

    If anything else needs one that is left out, and does not find it `staying` in the database, that is a problem.
    """

    def tables_of(names: list[str]) -> set[tuple[str, str]] | None:
        if live is None or not live.is_open:
            return None
        with connected(target.url) as session:
            return tables_of_extensions(session, names)

    if staying:
        with connected(target.url) as session:
            staying = usable_extensions(session, staying)
    found = what_remains(contents, entries, tables_of, staying)
    if found.users:
        findings.problems.append(
            CannotRestore(found.sentence(target.role), hint=_way(target, live, [entry.name for entry in found.missing]))
        )
    return found.entries


def report_privileges(privileges: Privileges, findings: Findings, *, accepts_open: bool, accepts_broken: bool) -> None:
    """What is left out: a warning. It is a problem, unless that is accepted, if things would be open that were closed,
    or if nobody can grant it again.
    """
    shown = _some(privileges.left_out)
    if privileges.left_out:
        findings.warnings.append(f"privileges are left out: {shown}")
    if privileges.vain and not accepts_broken:
        vain = _some([what for what, _ in privileges.vain])
        findings.problems.append(CannotRestore(f"Some privileges cannot be restored: {vain}.", hint=GRANTOR))
    if not privileges.opened:
        return
    opened = f"{_some(privileges.opened)}; so all roles have rights that they did not have"
    if accepts_open:
        findings.warnings.append(f"left out: {opened}. Run these statements as a superuser")
        return
    findings.problems.append(
        CannotRestore(
            f"Only a superuser may revoke again what was revoked from all roles: {opened}.",
            hint="Set RESTORE_DATABASE_URL to a superuser on that server. Or `--accept-open`, and then give these "
            "statements as a superuser.",
        )
    )


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more


def _way(target: Target, live: TargetDatabase | None, names: list[str]) -> str:
    way = "Set RESTORE_DATABASE_URL to a superuser on that server; the data stays with its owners."
    if live is None or not live.is_open or target.is_superuser:
        return way
    try:
        with connected(target.url) as session:
            usable = usable_extensions(session, names)
    except SafeHarborError:
        return way
    return f"{way} Or `--in-place`, which keeps what already exists of it." if usable == set(names) else way
