"""Signatures by OpenSSH, of which operators have keys already: `ssh-keygen -Y sign` and `-Y verify`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ArchiveRejected, ToolFailed
from safeharbor_backup.system.process import ToolResult, run_tool, tool_environment
from safeharbor_backup.system.small_file import read_small_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

_NAMESPACE = "safeharbor-evidence"  # a signature for anything else is none of these
_SECONDS = 30.0
_MOST_BYTES = 1 << 20
_LONGEST = 200
_PUBLIC_KEY = re.compile(rb"[a-z0-9@.-]+ AAAA")  # what stands first in a list of signers is a name
_UNNAMED = "key"
_NOT_AMONG_THEM = "No principal matched."


@dataclass(frozen=True, slots=True)
class Signer:
    """Who has signed: the name in the list of signers, "" without one, and the key as ssh-keygen shows it."""

    name: str
    key: str


def sign(data: bytes, key: Path) -> bytes:
    """The signature of `data` by this private key, or by an agent that has it. Raises ToolFailed, OutOfResources."""
    _require_usable(key)
    done = _ssh_keygen(["sign", "-f", key, "-n", _NAMESPACE], data)
    if done.exit_status or not done.stdout:
        wanted = "It must be a private key of OpenSSH without a passphrase, or one that the agent of SSH_AUTH_SOCK has."
        raise _cannot_sign(key, _last_line(done), f"{wanted} {_make(key)}")
    return done.stdout


def check_signature(data: bytes, signature: bytes, signers: Path, signed_at: datetime) -> Signer:
    """Who of `signers` has signed `data`: a public key, or a list as ssh-keygen(1) has it under ALLOWED SIGNERS, whose
    keys must have been valid at that time.

    Raises ArchiveRejected if none has, or `data` was changed since; ToolFailed, OSError.
    """
    try:
        at_home = signed_at.astimezone()
    except OverflowError:
        raise ArchiveRejected(f"its time cannot be: {signed_at:%Y-%m-%dT%H:%M:%SZ}") from None
    allowed = _as_list(read_small_file(signers, _MOST_BYTES, follow_symlinks=True))
    with TemporaryDirectory(prefix="safeharbor-signature-") as name:
        listed, signed = Path(name, "signers"), Path(name, "signature")
        listed.write_bytes(allowed)
        signed.write_bytes(signature)
        at: list[str | Path] = [
            "-O",
            f"verify-time={at_home:%Y%m%d%H%M%S}",
            "-f",
            listed,
            "-s",
            signed,
        ]  # decision 112
        found = _ssh_keygen(["find-principals", *at])
        names = found.stdout.decode("utf-8", "replace").splitlines()
        if found.exit_status or not names:
            raise ArchiveRejected(f"it is signed by none of the keys in {signers}{_reason(found, listed, signers)}")
        for each in names:
            done = _ssh_keygen(["verify", "-I", each, "-n", _NAMESPACE, *at], data)
            if not done.exit_status:
                shown = done.stdout.decode("utf-8", "replace").strip().rpartition(" with ")[2]
                return Signer("" if each == _UNNAMED else each, shown)
    raise ArchiveRejected(f"it is not what was signed: {_last_line(done)}")


def _require_usable(key: Path) -> None:
    """Raises ToolFailed for what ssh-keygen says less plainly."""
    try:
        found = os.stat(key)
        readable = os.access(key, os.R_OK)
    except OSError as error:
        raise _cannot_sign(key, error.strerror or str(error), _make(key)) from error
    if not readable:
        raise _cannot_sign(key, f"uid {os.geteuid()} may not read it", f"chown {os.geteuid()} {shlex.quote(str(key))}")
    if not stat.S_ISREG(found.st_mode):
        raise _cannot_sign(key, "it is not a regular file", _make(key))
    is_public = key.suffix == ".pub"  # whose private half an agent has
    if found.st_uid == os.geteuid() and found.st_mode & 0o077 and not is_public:
        why = f"others may read it (mode {stat.S_IMODE(found.st_mode):04o}), and ssh-keygen takes no such key"
        raise _cannot_sign(key, why, f"chmod 600 {shlex.quote(str(key))}")


def _ssh_keygen(arguments: list[str | Path], data: bytes = b"") -> ToolResult:
    if shutil.which("ssh-keygen") is None:
        raise ToolFailed(
            "There is no ssh-keygen here.", hint="Install OpenSSH's client: apt-get install openssh-client"
        )
    with _readable(data) as stdin:
        command = ["ssh-keygen", "-Y", *arguments]
        return run_tool(command, env=tool_environment({}), stdin=stdin, timeout_seconds=_SECONDS)


@contextmanager
def _readable(data: bytes) -> Iterator[int]:
    """A descriptor from which `data` can be read."""
    descriptor = os.memfd_create("signed", os.MFD_CLOEXEC)
    with open(descriptor, "w+b") as file:
        file.write(data)
        file.seek(0)
        yield descriptor


def _as_list(signers: bytes) -> bytes:
    """Public keys get a name, so that they are a list of signers too."""
    lines = signers.splitlines()
    return b"".join(
        (b"%s %s\n" % (_UNNAMED.encode(), line)) if _PUBLIC_KEY.match(line) else line + b"\n" for line in lines
    )


def _cannot_sign(key: Path, why: str, hint: str) -> ToolFailed:
    return ToolFailed(f"ssh-keygen cannot sign with {key}: {why}.", hint=hint)


def _make(key: Path) -> str:
    return f"A new one: ssh-keygen -t ed25519 -N '' -f {shlex.quote(str(key))}"


def _reason(found: ToolResult, listed: Path, signers: Path) -> str:
    """What ssh-keygen says of the signature or of a key; "" if only that none has signed."""
    said = found.stderr.replace(str(listed), signers.name).strip().splitlines()
    reasons = [line for line in said if line != _NOT_AMONG_THEM]
    return f": {reasons[-1][:_LONGEST].rstrip('.')}" if reasons else ""


def _last_line(done: ToolResult) -> str:
    lines = done.stderr.strip().splitlines() or ["it did not say why"]
    return lines[-1].removeprefix("Enter passphrase: ")[:_LONGEST].rstrip(".")
