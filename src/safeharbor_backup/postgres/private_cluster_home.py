"""Where a private server lives: a directory of its own, a user that is not root, programs that this user can reach.

What a killed process left behind, the next one removes: each directory holds a file that is locked as long as the
process that made it lives.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.errors import ToolFailed
from safeharbor_backup.system.process import run_tool

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "safeharbor-pg-"
_IN_USE = "in-use"
_LONGEST_PLACE = 107 - len(f"/{_PREFIX}12345678/.s.PGSQL.65535.lock")  # sun_path has 108 bytes, the last is zero
_REMOVE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ServerHome:
    """A directory that only its owner (and root) can enter; without an owner it is ours."""

    path: Path
    owner: pwd.struct_passwd | None

    @property
    def data_dir(self) -> Path:
        """PGDATA of the cluster, in this home."""
        return self.path / "data"

    @property
    def run_as(self) -> tuple[int, int] | None:
        """The user's and group's id to run programs with, if not our own."""
        return None if self.owner is None else (self.owner.pw_uid, self.owner.pw_gid)


@contextmanager
def prepared_home(parent: Path | None = None) -> Iterator[ServerHome]:
    """A new home in `parent` (or where temporary files go), removed when the block ends. Raises ToolFailed."""
    owner = _unprivileged_user()
    place = _place(parent, owner)
    _sweep(place, owner)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    home = ServerHome(path, owner)
    descriptor = os.open(path / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, b"%d\n" % os.getpid())  # a sweeper leaves an empty one alone: it is not locked yet
        if owner is not None:
            os.chown(path, owner.pw_uid, owner.pw_gid)
        yield home
    finally:
        _remove(home)
        os.close(descriptor)


def name_for_this_user(home: ServerHome) -> dict[str, str]:
    """Variables by which a program finds a name for our uid, if this system has none: initdb insists on one.

    A container may run as any uid. The library is that of the package libnss-wrapper, which our image has.
    """
    try:
        pwd.getpwuid(os.geteuid())
        return {}
    except KeyError:
        users, groups = home.path / "passwd", home.path / "group"
        users.write_text(f"postgres:x:{os.geteuid()}:{os.getegid()}::/:/bin/false\n")
        groups.write_text(f"postgres:x:{os.getegid()}:\n")
        return {
            "LD_PRELOAD": "libnss_wrapper.so", "NSS_WRAPPER_PASSWD": str(users), "NSS_WRAPPER_GROUP": str(groups),
        }  # fmt: skip


def reachable_programs(bin_dir: Path, home: ServerHome) -> Path:
    """`bin_dir`, or its copy in `home` if the owner cannot reach it (in an environment below /root, say)."""
    if home.owner is None or _everyone_can_run(bin_dir / "postgres"):
        return bin_dir
    tree = bin_dir.parent
    programs = home.path / "programs"
    package = programs / tree.parent.name
    _link_tree(tree, package / tree.name)
    libraries = tree.parent.with_name(f"{tree.parent.name}.libs")  # where repaired wheels keep what they link to
    if libraries.is_dir():
        _link_tree(libraries, programs / libraries.name)
    for directory, _, _ in os.walk(programs):
        os.chmod(directory, 0o755)  # noqa: S103 - whatever the umask says, the owner must get in
    return package / tree.name / bin_dir.name


def _unprivileged_user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ToolFailed("PostgreSQL does not run as root, and there is neither a user postgres nor nobody.")


def _place(parent: Path | None, owner: pwd.struct_passwd | None) -> Path:
    """`parent`, otherwise the first usual place that is short enough for a socket and that `owner` can reach."""
    candidates = [parent] if parent is not None else [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - a directory of our own is made in it
    for place in candidates:
        short = len(os.fsencode(place.absolute())) <= _LONGEST_PLACE
        if short and (owner is None or _everyone_can_enter(place)):
            return place.absolute()
    raise ToolFailed(
        f"A private PostgreSQL cannot live in {candidates[0]}: its path must have at most {_LONGEST_PLACE} bytes, "
        "and as root, every directory on it must let other users through."
    )


def _everyone_can_enter(directory: Path) -> bool:
    return all(os.stat(each).st_mode & stat.S_IXOTH for each in (directory.absolute(), *directory.absolute().parents))


def _everyone_can_run(program: Path) -> bool:
    real = Path(os.path.realpath(program))
    return bool(os.stat(real).st_mode & stat.S_IXOTH) and _everyone_can_enter(real.parent)


def _link_tree(source: Path, target: Path) -> None:
    """A copy of `source` at `target`, readable for everybody; as hard links where that is possible."""
    for directory, _, names in os.walk(source):
        place = target / Path(directory).relative_to(source)
        place.mkdir(parents=True)
        for name in names:
            _link_file(Path(directory) / name, place / name)


def _link_file(source: Path, target: Path) -> None:
    real = Path(os.path.realpath(source))
    if os.stat(real).st_mode & stat.S_IROTH:
        try:
            os.link(real, target)
            return
        except OSError:
            pass  # another filesystem
    shutil.copy(real, target)
    os.chmod(target, 0o755)  # noqa: S103 - what it is for


def _sweep(place: Path, owner: pwd.struct_passwd | None) -> None:
    """Remove the homes in `place` whose process was killed. Those of other users are left alone."""
    ours = {os.geteuid()} | ({owner.pw_uid} if owner is not None else set())
    for path in place.glob(f"{_PREFIX}*"):
        try:
            if os.lstat(path).st_uid not in ours:
                continue
            descriptor = os.open(path / _IN_USE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # just made, just removed, or not one of these
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_size > 0:
                _remove(ServerHome(path, owner))
        except BlockingIOError:
            pass  # it lives
        finally:
            os.close(descriptor)


def _remove(home: ServerHome) -> None:
    """Remove it with all that is in it, and the segment of shared memory that a killed postmaster leaves."""
    segment = _shared_memory_of(home)
    if segment:
        try:
            run_tool(["ipcrm", "--shmem-id", segment], cwd=Path("/"), run_as=home.run_as)
        except ToolFailed:
            pass  # 56 bytes
    deadline = time.monotonic() + _REMOVE_SECONDS
    while True:
        shutil.rmtree(home.path, ignore_errors=True)
        if not home.path.exists() or time.monotonic() > deadline:
            return
        time.sleep(0.05)  # the sessions of a killed postmaster write for a moment longer


def _shared_memory_of(home: ServerHome) -> str:
    try:
        lines = (home.data_dir / "postmaster.pid").read_text().splitlines()
        return lines[6].split()[1]  # "key id": LOCK_FILE_LINE_SHMEM_KEY in PostgreSQL's pidfile.h
    except (OSError, IndexError):
        return ""  # stopped in order, or never started
