"""What an attacker in this process could reach besides."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.actions.doctor.check import Check, Context
from safeharbor_backup.actions.doctor.findings import Finding, fine, warning
from safeharbor_backup.system.processes import is_first_namespace

if TYPE_CHECKING:
    from collections.abc import Sequence

_SOCKETS = tuple(
    Path(place)
    for place in (
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/podman/podman.sock",
        "/run/containerd/containerd.sock",
    )
)


def find_sockets(places: Sequence[Path]) -> list[Path]:
    """The places among these at which there is a socket, each socket once."""
    found: dict[str, Path] = {}
    for place in places:
        try:
            if stat.S_ISSOCK(os.stat(place).st_mode):
                found.setdefault(os.path.realpath(place), place)
        except OSError:
            pass  # not there, or not for us
    return list(found.values())


def judge_sockets(sockets: Sequence[Path], *, is_host: bool) -> Finding:
    """Whether a container engine's sockets are where they should not be: in a container."""
    if is_host:
        return fine("engine socket", "this is the host itself, not a container")
    if not sockets:
        return fine("engine socket", "no container engine can be reached from here")
    return warning(
        "engine socket",
        f"{sockets[0]} is mounted here: whoever breaks in here is root on the host, even if it is mounted read-only",
        "Remove that mount from this service; backups do not need it.",
    )


CHECKS: tuple[Check[Context], ...] = (
    Check(
        "engine socket",
        "in a container: no container engine can be reached",
        lambda _context: [judge_sockets(find_sockets(_SOCKETS), is_host=is_first_namespace())],
    ),
)
