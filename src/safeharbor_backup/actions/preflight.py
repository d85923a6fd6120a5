"""What would make a backup fail, found before anything is written."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.errors import SafeHarborError, SettingsInvalid, StorageUnavailable, translate_os_error
from safeharbor_backup.settings.min_free import free_backups, show_room
from safeharbor_backup.state.journal import Journal, find_interrupted
from safeharbor_backup.text import ascii_safe
from safeharbor_backup.uploads.estimate import estimate_size
from safeharbor_backup.uploads.movable import find_fixed
from safeharbor_backup.uploads.staging import find_look_alikes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.min_free import MinFree
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.uploads.estimate import Estimate
    from safeharbor_backup.uploads.sharing import Sharing

# a compressed dump is seldom smaller than this part of its database
_SMALLEST_DUMP_PART = 20
_MOST_FOLDERS = 8  # that an error names


def check_places(settings: Settings, directory: Path) -> None:
    """Uploads and output directory exist, are what they should be, and lie apart.

    Raises SettingsInvalid, StorageUnavailable with the command that puts it right.
    """
    uploads = settings.upload_dir
    if uploads is not None:
        check_uploads(settings, uploads)
    check_directory(directory)
    check_sentinel(settings.sentinel)
    if uploads is not None:
        check_apart(uploads, directory)


def require_no_interrupted_restore(directory: Path) -> None:
    """Raises RestorePending: what is live may be neither the old state nor the new one."""
    pending = find_interrupted(directory)  # decision 28
    if pending is not None:
        raise pending.pending_error()


def describe_hindrances(uploads: Path, directory: Path, is_excluded: Callable[[str], bool] | None) -> list[str]:
    """What a restore of the uploads would stumble over, and what only looks like what a restore keeps: a line each.

    The journal of restores is in `directory`.
    """
    try:
        found = describe_unknown_stages(uploads, directory)
        fixed = find_fixed(uploads, is_excluded)
    except OSError as error:
        return [f"whether a restore could exchange the uploads is unknown: {error}"]
    if fixed:
        more = f" (and {len(fixed) - 1} more cannot be moved)" if len(fixed) > 1 else ""
        found.append(
            f"a restore of the uploads would be refused: {ascii_safe(str(uploads / fixed[0].path))} cannot be moved, "
            f"{fixed[0].why}{more}. {fixed[0].remedy}"
        )
    return found


def describe_unknown_stages(uploads: Path, directory: Path) -> list[str]:
    """One line if something in the uploads looks like the stage of a restore that `directory`'s journal does not know.

    Raises JournalBroken, OSError.
    """
    if not uploads.is_dir():
        return []
    names = find_look_alikes(uploads, {record.id for record in Journal(directory).read()})
    if not names:
        return []
    one = len(names) == 1
    which = names[0] if one else f"{names[0]} and {len(names) - 1} more"
    return [
        f"{which} in the uploads {'bears' if one else 'bear'} the name of a restore's directory, but the journal in "
        f"{directory} knows no such restore. {'It is' if one else 'They are'} not archived, and left as "
        f"{'it is' if one else 'they are'}"
    ]


def check_uploads(settings: Settings, uploads: Path) -> None:
    """The uploads tree is there and can be listed. Raises SettingsInvalid, StorageUnavailable."""
    try:
        with os.scandir(uploads):
            pass
    except (FileNotFoundError, NotADirectoryError):
        raise _no_uploads(settings, uploads) from None
    except OSError as error:
        raise translate_os_error(error, "reading the uploads directory") from error


def _no_uploads(settings: Settings, uploads: Path) -> SettingsInvalid:
    """The error for uploads that are not there; `none` is no advice where the app's configuration has folders."""
    origin = settings.origins.get("BACKUP_UPLOAD_DIR", "")
    if not origin:
        problem = f"BACKUP_UPLOAD_DIR: expected the directory of the uploads; it is not set, and there is no {uploads}"
    elif origin.startswith("the app's ") and origin != "the app's configuration":
        problem = f"{origin} is {str(uploads)!r}: expected a directory; there is none"
    else:
        problem = f"BACKUP_UPLOAD_DIR={str(uploads)!r}: expected a directory; there is none"
    mentioned = [(name, path) for name, path in settings.folders if path != uploads]
    there = [(name, path) for name, path in mentioned if path.is_dir()]
    if mentioned:
        named = ", ".join(f"{name}={path}" for name, path in (there or mentioned)[:_MOST_FOLDERS])
        which = "these directories" if there else "directories, none of which exists here"
        hint = (
            f"The app's configuration names {which}: {named}. If the uploads are in one of them, set it: "
            f"BACKUP_UPLOAD_DIR={(there or mentioned)[0][1]}. If they are on a share, mount it."
        )
    elif origin:
        hint = "If they are on a share, mount it. If the app has no uploads any more, say so: BACKUP_UPLOAD_DIR=none."
    else:
        hint = (
            "Set BACKUP_UPLOAD_DIR to the directory with the files that the app's users have uploaded. If the app has "
            "no uploads, say so: BACKUP_UPLOAD_DIR=none. If they are on a share, mount it."
        )
    return SettingsInvalid([problem], hint=hint)


def check_directory(directory: Path) -> None:
    """Archives can be written there. Raises StorageUnavailable."""
    try:
        status = os.stat(directory)
    except OSError as error:
        raise _unusable(directory, error) from None
    if not stat.S_ISDIR(status.st_mode):
        raise StorageUnavailable(f"{directory} is not a directory.", hint="Set BACKUP_DIR to a directory.")
    if not os.access(directory, os.W_OK | os.X_OK | os.R_OK):
        user, group = os.geteuid(), os.getegid()
        if os.statvfs(directory).f_flag & os.ST_RDONLY:
            raise StorageUnavailable(
                f"{directory} is on a filesystem that is mounted read-only.",
                hint=f"mount -o remount,rw {_mount_of(directory)}",
            )
        raise StorageUnavailable(
            f"{directory} belongs to uid {status.st_uid} with mode {stat.S_IMODE(status.st_mode):04o}; "
            f"uid {user} may not write there.",
            hint=f"sudo chown {user}:{group} {directory}{_where_it_is(directory)}",
        )


def check_sentinel(sentinel: Path | None) -> None:
    """The file that exists only on the mounted share is there. Raises StorageUnavailable."""
    if sentinel is not None and not os.path.lexists(sentinel):
        raise StorageUnavailable(
            f"The sentinel {sentinel} is missing: the share is not mounted.",
            hint="Mount the share. Only if it is mounted and this is its first use, create the file there.",
        )


def check_apart(uploads: Path, directory: Path) -> None:
    """Neither directory is inside the other. Raises SettingsInvalid."""
    real_uploads, real_output = os.path.realpath(uploads), os.path.realpath(directory)
    if os.path.commonpath([real_uploads, real_output]) in (real_uploads, real_output):
        raise SettingsInvalid(
            [
                f"BACKUP_DIR={str(directory)!r}: expected a directory apart from the uploads in {uploads}; "
                "each backup would contain the ones before"
            ]
        )


def require_space(
    min_free: MinFree,
    directory: Path,
    database_size_bytes: int,
    previous: Manifest | None,
    uploads: Estimate,
    sharing: Sharing,
) -> tuple[Sharing, str]:
    """How to share blocks so that there is room, and a warning if that is not as the settings want it.

    Where there is no room to write everything anew, an archive with old blocks is better than none. Raises
    StorageUnavailable.
    """
    dump = database_size_bytes // _SMALLEST_DUMP_PART if previous is None else previous.dump_size * 11 // 10
    try:
        _check_space(min_free, directory, dump + (uploads.newer if sharing.may_share else uploads.whole))
    except StorageUnavailable:
        despite = sharing.despite_age()
        if despite is sharing:
            raise
        _check_space(min_free, directory, dump + uploads.newer)
        return (
            despite,
            "there is no room to write everything anew, as BACKUP_FULL_READ_DAYS wants; old blocks are shared",
        )
    return sharing, ""


def estimate_uploads(uploads: Path | None, is_excluded: Callable[[str], bool] | None, sharing: Sharing) -> Estimate:
    """What the uploads will take, by a walk; `newer` is what the archive that blocks are shared with does not have.

    Raises OSError.
    """
    basis = sharing.previous.name if sharing.previous is not None else ""
    return estimate_size(uploads, is_excluded, time_in_name(basis))


def _check_space(min_free: MinFree, directory: Path, needed: int) -> None:
    """There is room for so many bytes, and as much stays free as the settings want. Raises StorageUnavailable."""
    system = os.statvfs(directory)
    room = min_free.room(system)
    if room is not None and needed > room:
        raise StorageUnavailable(
            f"{show_room(directory, system, min_free)}; the next archive takes about {needed:,}.",
            hint=free_backups(),
        )


def expected_upload_bytes(previous: Manifest | None) -> int | None:
    """How much of an archive the uploads will probably take, going by the previous archive; None without one."""
    if previous is None:
        return None
    return previous.upload_bytes + 1024 * (previous.upload_files + previous.upload_directories)


def _unusable(directory: Path, error: OSError) -> SafeHarborError:
    if os.path.islink(directory):
        target = os.path.realpath(directory)
        return StorageUnavailable(
            f"{directory} is a symlink to {target}, which does not exist.",
            hint="If that is on a share, mount it.",
        )
    if isinstance(error, FileNotFoundError):
        user, group = os.geteuid(), os.getegid()
        return StorageUnavailable(
            f"{directory} does not exist.", hint=f"sudo install -d -m 0700 -o {user} -g {group} {directory}"
        )
    return translate_os_error(error, "looking at the backup directory")


def _where_it_is(directory: Path) -> str:
    """What to add where a container sees a directory of its host, which is called something else there."""
    return "  # in a container: on the host, what is mounted there" if os.path.ismount(directory) else ""


def _mount_of(directory: Path) -> str:
    path = os.path.realpath(directory)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
