"""Writes down what a drill found, as evidence beside the archives, and signs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeharbor_backup.actions.drill.failure import told_of
from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.state.evidence import publish_evidence, signature_of, write_evidence
from safeharbor_backup.system.signature import sign

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.actions.drill.report import Report
    from safeharbor_backup.progress import Progress


def write_down(path: Path, report: Report, evidence_key: Path | None, progress: Progress) -> None:
    """Evidence that cannot be signed or written is missing from a drill that was done: a warning, and no failure."""

    def warn(what: str, why: str) -> None:
        report.warnings.append(f"the evidence {path} could not be {what}: {why}")
        progress.warn(report.warnings[-1])

    signature = None
    if evidence_key is not None:
        try:
            signature = sign(write_evidence(report.document()), evidence_key)
        except (SafeHarborError, OSError) as error:
            refusal = told_of(error)
            warn("signed", f"{refusal.message} {refusal.hint}".rstrip())  # which is part of what is written now
    failure = None
    try:
        publish_evidence(path, write_evidence(report.document()), signature)
    except (SafeHarborError, OSError) as error:
        failure = told_of(error)
    report.evidence = path if os.path.exists(path) else None
    report.signature = signature_of(path) if signature is not None and os.path.exists(signature_of(path)) else None
    if failure is not None:
        lacks_signature = signature is not None and report.evidence is not None and report.signature is None
        warn("signed" if lacks_signature else "written", failure.message)
