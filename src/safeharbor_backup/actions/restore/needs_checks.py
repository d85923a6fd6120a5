"""Whether the server has what a dump needs there, and the role may use it: tablespaces, roles, owners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.errors import CannotRestore
from safeharbor_backup.postgres.lost_rights import (
    LABELS,
    OF_A_SUPERUSER,
    WAY,
    closed_tablespaces,
    labels_need_a_library,
    not_of_a_superuser,
    owned_by_others_than_superusers,
)

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.postgres.contents import DumpContents, Needs
    from safeharbor_backup.postgres.target import Target


def check_names(target: Target, needs: Needs, findings: Findings) -> None:
    """The server has the tablespaces and roles that the entries name."""
    report_missing(
        findings,
        target.missing_tablespaces(needs.tablespaces),
        "The server has no tablespace {}, which the dump needs.",
        "CREATE TABLESPACE \"{}\" LOCATION '…';",
    )
    report_missing(
        findings,
        target.missing_roles(needs.subjects),
        "The server has no role {}, which a policy or a user mapping of the dump is for.",
        'CREATE ROLE "{}"; on the server. While that role may not log in, it gives nobody access.',
    )


def check_rights(
    target: Target,
    contents: DumpContents,
    needs: Needs,
    role: str | None,
    findings: Findings,
    *,
    in_place: bool,
    accepts_broken: bool,
) -> None:
    """The role may use the tablespaces; whoever is to own what only superusers may own is one."""
    if role is not None:
        report_missing(
            findings,
            closed_tablespaces(target.session, role, needs.tablespaces),
            f'"{role}" may not create anything in the tablespace {{}}, which the dump needs.',
            f'GRANT CREATE ON TABLESPACE "{{}}" TO "{role}";',
        )
        if not in_place and labels_need_a_library(target.session, contents.toc.values(), target.name):
            findings.problems.append(CannotRestore(f"{LABELS}.", hint=f"{WAY}, or restore with `--in-place`."))
        return
    if accepts_broken:
        return  # they stay those of the role that restores
    for owner, thing in owned_by_others_than_superusers(target.session, contents.toc.values()):
        findings.problems.append(CannotRestore(f"{not_of_a_superuser(owner, thing)}.", hint=OF_A_SUPERUSER))


def report_missing(findings: Findings, missing: list[str], what: str, hint: str) -> None:
    """A problem, if anything is missing; `what` gets all the names, `hint` the first."""
    if missing:
        findings.problems.append(CannotRestore(what.format(", ".join(missing)), hint=hint.format(missing[0])))
