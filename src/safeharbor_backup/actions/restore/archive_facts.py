"""What an archive says of itself to whoever would restore it: its age, what it lacks, its references, its key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safeharbor_backup.actions.losses import describe_what_went
from safeharbor_backup.actions.references import describe_recorded
from safeharbor_backup.archive.manifest import fingerprint_matches
from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.text import plural

if TYPE_CHECKING:
    from safeharbor_backup.actions.restore.findings import Findings
    from safeharbor_backup.actions.restore.request import OpenArchive


def look_at_archive(archive: OpenArchive, secret_key: str | None, findings: Findings) -> None:
    """Age, origin, key: what the manifest alone shows."""
    manifest = archive.manifest
    try:
        went = describe_what_went(archive.path, "the previous backup, {}, had what this one lacks:")
    except (SafeHarborError, OSError):
        went = ""  # that one cannot be read, which says nothing of this one
    of = f', a backup of database "{manifest.database}"' if manifest is not None and manifest.database else ""
    if archive.taken_at is not None:
        findings.facts.append(f"taken at {archive.taken_at:%Y-%m-%d %H:%M:%S} UTC, {_ago(archive.taken_at)}{of}")
    if went:
        findings.facts.append(f"{went}. Is this the right one?")
    if manifest is None:
        return
    if manifest.warnings:
        findings.facts.append(f"when it was taken there were warnings: {'; '.join(manifest.warnings[:3])}")
    references = describe_recorded(manifest)
    if references:
        findings.facts.append(references)
    fingerprint = manifest.secret_key
    if secret_key is not None and fingerprint is not None:
        try:
            same = fingerprint_matches(secret_key, fingerprint)
        except ValueError:
            return
        findings.facts.append(
            "SECRET_KEY is the same as when the archive was taken"
            if same
            else "SECRET_KEY has changed since the archive was taken: sessions and signed links of then will not work"
        )


def _ago(moment: datetime) -> str:
    hours = int((datetime.now(UTC) - moment).total_seconds() // 3600)
    if hours < 1:
        return "less than an hour ago"
    if hours < 48:
        return f"{plural(hours, 'hour')} ago"
    return f"{hours // 24} days ago"
