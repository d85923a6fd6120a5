"""`report --evidence`: the drills of a period, as its page and its JSON show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import click
from msgspec import UnsetType

from safeharbor_backup.actions.drill.words import as_recorded, not_compared
from safeharbor_backup.actions.evidence import collect_evidence
from safeharbor_backup.web.evidence import EvidenceReport, ShownDrill

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from safeharbor_backup.actions.evidence import CheckedEvidence
    from safeharbor_backup.state.evidence import Evidence

Known = TypeVar("Known")
_YEAR = timedelta(days=365)
_FIRST_YEAR = 2000


def period_of(since: datetime | None, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """From the beginning of the first day to the end of the last one, but no later than now. Raises UsageError."""
    end = now if until is None else min(until.replace(tzinfo=UTC) + timedelta(days=1, seconds=-1), now)
    end = end.replace(microsecond=0)
    begin = since.replace(tzinfo=UTC) if since is not None else end - _YEAR
    if begin > end:
        raise click.UsageError("--since is after --until, or after today.")
    return begin, end


def drills_day(_ctx: click.Context, _param: click.Parameter, value: datetime | None) -> datetime | None:
    """A day of which there may be drills. Raises BadParameter."""
    if value is not None and value.year < _FIRST_YEAR:
        raise click.BadParameter(f"{value.date()} is before {_FIRST_YEAR}, when there were no drills.")
    return value


def report_evidence(
    directory: Path, period: tuple[datetime, datetime], signers: Path | None, now: datetime
) -> EvidenceReport:
    """What the evidence beside the archives says. Raises SafeHarborError."""
    found, unreadable = collect_evidence(directory, *period, signers)
    drills = []
    for checked, evidence in found:
        try:
            drills.append(_shown(checked, evidence))
        except (AttributeError, KeyError, TypeError, ValueError):
            unreadable.append(f"{checked.path.name}: its list of what was compared is malformed")
    names = {_given(evidence.archive.database) for _, evidence in found}
    return EvidenceReport(
        made_at=now.replace(microsecond=0),
        since=period[0],
        until=period[1],
        databases=tuple(sorted(name for name in names if name)),
        signers=str(signers) if signers is not None else None,
        drills=tuple(drills),
        unreadable=tuple(unreadable),
    )


def _shown(checked: CheckedEvidence, evidence: Evidence) -> ShownDrill:
    archive, server, versions, compared = evidence.archive, evidence.server, evidence.versions, evidence.compared
    taken_at = _given(archive.taken_at)
    place = (server.kind, server.address) if server is not None else ()
    version = _given(versions.server)
    signer = checked.signer
    return ShownDrill(
        evidence=checked.path.name,
        drilled_at=evidence.begun_at,
        result=evidence.result,
        exit_status=evidence.exit_status,
        archive=archive.name,
        taken_at=datetime.fromisoformat(taken_at) if taken_at else None,
        archive_bytes=_given(archive.size_bytes),
        sha256_of_members=_given(archive.sha256_of_members),
        offsite=_given(archive.offsite),
        server=", ".join(filter(None, (*place, f"PostgreSQL {version}" if version else ""))),
        safeharbor_version=versions.safeharbor,
        tables=evidence.tables,
        rows=evidence.rows,
        upload_files=evidence.upload_files,
        upload_bytes=evidence.upload_bytes,
        rows_compared=_count(compared, "tables", "rows"),
        files_compared=_count(compared, "uploads", "equal"),
        as_recorded=tuple(as_recorded(compared)),
        not_compared=tuple(not_compared(evidence)),
        restore_seconds=evidence.restore_seconds,
        max_restore_seconds=evidence.max_restore_seconds,
        signature=checked.signature.value,
        signer=(signer.name or None) if signer is not None else None,
        key=signer.key if signer is not None else None,
        signature_problem=checked.problem,
        problems=evidence.problems,
        warnings=evidence.warnings,
    )


def _count(compared: Mapping[str, Mapping[str, object]], what: str, key: str) -> int | None:
    found = compared.get(what, {}).get(key)
    return found if isinstance(found, int) else None


def _given(value: Known | UnsetType | None) -> Known | None:
    return None if isinstance(value, UnsetType) else value
