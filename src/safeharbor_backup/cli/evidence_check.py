"""`verify` of the evidence of drills: who has signed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safeharbor_backup.actions.evidence import check_evidence, find_signers
from safeharbor_backup.cli.documents import CheckedSignature, VerifyDocument
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.state.evidence import EVIDENCE_NAME
from safeharbor_backup.text import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safeharbor_backup.actions.evidence import CheckedEvidence
    from safeharbor_backup.cli.output import Output


def are_evidence(paths: Sequence[Path | str], signed_by: Path | None) -> bool:
    """Whether evidence is to be checked, and not archives."""
    return bool(paths) and (
        signed_by is not None
        or all(not isinstance(each, str) and EVIDENCE_NAME.fullmatch(each.name) is not None for each in paths)
    )


def require_signers(signed_by: Path | None, evidence_key: Path | None) -> Path:
    """Those who may have signed. Raises UsageError."""
    signers = signed_by or find_signers(evidence_key)
    if signers is None:
        raise click.UsageError(
            "Name the public key that must have signed it: --signed-by FILE. (No public key "
            "is beside BACKUP_EVIDENCE_KEY.)"
        )
    return signers


def verify_evidence(paths: Sequence[Path], signers: Path, output: Output, *, quiet: bool, as_json: bool) -> ExitStatus:
    """Check each, say what was found, and what that comes to."""
    checked = [check_evidence(path.absolute(), signers) for path in paths]
    if as_json:
        output.document(VerifyDocument(archives=(), evidence=tuple(_document(each) for each in checked)))
    else:
        for each in checked:
            _print(output, each, quiet=quiet)
    return ExitStatus.REJECTED if any(each.problem for each in checked) else ExitStatus.DONE


def _print(output: Output, checked: CheckedEvidence, *, quiet: bool) -> None:
    if checked.signer is None:
        output.result(f"{checked.path}: REJECTED")
        output.result(f"  {checked.problem}")
    elif not quiet and checked.evidence is not None:
        by = f"by {harmless(checked.signer.name)}, " if checked.signer.name else ""
        output.result(f"{checked.path}: signed {by}with {checked.signer.key}")
        found = checked.evidence
        output.result(f"  drill of {harmless(found.archive.name)} at {found.drilled_at}: {harmless(found.result)}")


def _document(checked: CheckedEvidence) -> CheckedSignature:
    found, signer = checked.evidence, checked.signer
    return CheckedSignature(
        path=str(checked.path),
        signed=signer is not None,
        problem=checked.problem,
        signer=(signer.name or None) if signer is not None else None,
        key=signer.key if signer is not None else None,
        result=found.result if found is not None else None,
        archive=found.archive.name if found is not None else None,
        drilled_at=found.drilled_at if found is not None else None,
    )
