"""The evidence of drills, as an auditor reads it: whether it is what was signed, and by whom."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ArchiveRejected, SafeHarborError, translate_os_error
from safeharbor_backup.state.evidence import drilled_at, list_evidence, read_evidence, signature_of
from safeharbor_backup.system.signature import check_signature
from safeharbor_backup.system.small_file import read_small_file

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from safeharbor_backup.state.evidence import Evidence
    from safeharbor_backup.system.signature import Signer

_MOST_BYTES = 1 << 20
# NotSmallFile, and what else is true of this file and no other
_UNREADABLE = frozenset(
    {errno.EINVAL, errno.EFBIG, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}
)


class Signature(StrEnum):
    """What is known of the signature of evidence."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"
    UNCHECKED = "not checked"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class CheckedEvidence:
    """The evidence of a drill, None if the file holds none. `problem` says why it counts as unsigned; "" if signed."""

    path: Path
    evidence: Evidence | None
    signature: Signature
    signer: Signer | None = None
    problem: str = ""


def collect_evidence(
    directory: Path, since: datetime, until: datetime, signers: Path | None
) -> tuple[list[tuple[CheckedEvidence, Evidence]], list[str]]:
    """That of all drills from `since` to `until`, newest first, and what is wrong with files that hold none.

    What has a time before or after in its name is not read: it would be of no use under that name. Without `signers`,
    signatures are not checked. Raises SafeHarborError.
    """
    found, unreadable = [], []
    try:
        paths = list_evidence(directory)
    except OSError as error:
        raise translate_os_error(error, "looking for evidence") from error
    for path in paths:
        moment = drilled_at(path)
        if moment is not None and not since <= moment <= until:
            continue
        try:
            checked = check_evidence(path, signers)
        except SafeHarborError:
            if path.exists():
                raise
            continue  # a drill has removed it meanwhile
        if checked.evidence is None:
            unreadable.append(f"{path.name}: {checked.problem}")
        else:
            found.append((checked, checked.evidence))
    return found, unreadable


def check_evidence(path: Path, signers: Path | None) -> CheckedEvidence:
    """Whether the file is what one of `signers` (a public key, or a list of those who may sign) has signed.

    What cannot be read as a small file is rejected. Raises SafeHarborError if there is no such file, for errors that
    may be of no file, and if `signers` cannot be used.
    """
    evidence = None
    try:
        data, evidence = read_evidence(path)
        signature = read_small_file(signature_of(path), _MOST_BYTES, follow_symlinks=True)
    except ArchiveRejected as error:
        return CheckedEvidence(path, evidence, Signature.REJECTED, problem=error.message)
    except OSError as error:
        if evidence is not None and error.errno == errno.ENOENT:
            why = f"it is not signed: there is no {signature_of(path).name} beside it"
            return CheckedEvidence(path, evidence, Signature.UNSIGNED, problem=why)
        if error.errno in _UNREADABLE:
            what = "it" if evidence is None else "its signature"
            why = f"{what} cannot be read: {error.strerror}"
            return CheckedEvidence(path, evidence, Signature.REJECTED, problem=why)
        raise translate_os_error(error, "reading evidence") from error
    if signers is None:
        why = "it has a signature, and no key was named to check it with"
        return CheckedEvidence(path, evidence, Signature.UNCHECKED, problem=why)
    try:
        signer = check_signature(data, signature, signers, evidence.begun_at)
    except ArchiveRejected as error:
        return CheckedEvidence(path, evidence, Signature.REJECTED, problem=error.message)
    except OSError as error:
        raise translate_os_error(error, "checking a signature") from error
    return CheckedEvidence(path, evidence, Signature.SIGNED, signer)


def find_signers(key: Path | None) -> Path | None:
    """The public half of the key that signs here, if it is beside it."""
    if key is None:
        return None
    public = key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")
    return public if public.is_file() else None
