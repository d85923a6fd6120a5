"""The marker in a stage: a secret that distinguishes it from what somebody else makes, and how far a swap has come."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass

from safeharbor_backup.archive.layout import STAGING_MARKER
from safeharbor_backup.state.restore_parts import Mark, Side, SwapPhase
from safeharbor_backup.system.atomic_file import fsync_open_directory, write_all

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LIMIT_BYTES = 200


@dataclass(frozen=True, slots=True)
class Marker:
    """What a marker says; None and "" where it says nothing.

    `transaction` is the id of the one transaction of a restore in place.
    """

    mark: Mark | None = None
    secret: str = ""
    transaction: str = ""


def new_secret() -> str:
    """A secret for a stage's marker; the journal keeps its hash."""
    return secrets.token_hex(32)


def hash_secret(secret: str) -> str:
    """The SHA-256 of a secret, in hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def read_marker(stage: int) -> Marker:
    """What the marker in the open directory `stage` says; whoever can write there may have written it.

    Raises OSError.
    """
    first, _, more = _read(stage).partition("\n")
    going, _, leg = first.partition(" ")
    secret, _, last = more.partition("\n")
    transaction = last.strip()
    try:
        mark = Mark(Side(going), SwapPhase(leg))
    except ValueError:
        return Marker(secret=secret)
    return Marker(mark, secret, transaction if transaction.isascii() and transaction.isdigit() else "")


def write_marker(stage: int, mark: Mark, secret: str, transaction: str) -> int:
    """Write the marker and force it to the disk; it gets the owner of what we create there. Raises OSError."""
    draft = STAGING_MARKER + b"." + secrets.token_hex(8).encode()
    descriptor = os.open(draft, _CREATE, 0o600, dir_fd=stage)
    try:
        write_all(descriptor, f"{mark.going} {mark.leg}\n{secret}\n{transaction}\n".encode())
        os.fsync(descriptor)
        owner = os.fstat(descriptor).st_uid  # of a file that nobody can have exchanged for another
    finally:
        os.close(descriptor)
    os.replace(draft, STAGING_MARKER, src_dir_fd=stage, dst_dir_fd=stage)
    fsync_open_directory(stage)
    return owner


def _read(stage: int) -> str:
    """The text of the marker; "" if there is none, or it is not a file. Raises OSError."""
    try:
        descriptor = os.open(STAGING_MARKER, _OPEN, dir_fd=stage)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if not stat.S_ISREG(os.lstat(STAGING_MARKER, dir_fd=stage).st_mode):
            return ""  # a link, or the like
        raise error from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return os.pread(descriptor, _LIMIT_BYTES, 0).decode("ascii", "replace")
    finally:
        os.close(descriptor)
