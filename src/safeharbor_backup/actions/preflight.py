"""What would make a backup fail, found before anything is written."""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING

from safeharbor_backup.errors import SafeHarborError, SettingsInvalid, StorageUnavailable, translate_os_error
from safeharbor_backup.settings.upload_dirs import find_overlap
from safeharbor_backup.state.journal import find_interrupted
from safeharbor_backup.system.processes import where_typed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.settings.upload_dirs import UploadDir, UploadDirs

_MOST_FOLDERS = 8  # that an error names


def check_places(settings: Settings, directory: Path) -> None:
    """Uploads and output directory exist, are what they should be, and are separate.

    Raises SettingsInvalid, StorageUnavailable with the command that corrects it.
    """
    check_uploads(settings)
    check_directory(directory)
    check_sentinel(settings.sentinel)
    check_apart(settings.upload_dirs, directory)


def require_no_interrupted_restore(directory: Path) -> None:
    """Raises RestorePending: what is live may be neither the old state nor the new one."""
    pending = find_interrupted(directory)  # decision 28
    if pending is not None:
        raise pending.pending_error()


def check_uploads(settings: Settings) -> None:
    """The uploads are there, can be listed and are separate. Raises SettingsInvalid, StorageUnavailable."""
    for each in settings.upload_dirs:
        try:
            with os.scandir(each.path):
                pass
        except (FileNotFoundError, NotADirectoryError):
            raise _no_uploads(each, settings.origins.get("BACKUP_UPLOAD_DIR", ""), settings.folders) from None
        except OSError as error:
            raise translate_os_error(error, "reading the uploads directory") from error
    check_no_overlap(settings.upload_dirs)


def check_no_overlap(dirs: UploadDirs) -> None:
    """No directory of the uploads is in another one. Raises SettingsInvalid."""
    if (found := find_overlap(dirs)) is not None:
        one, other = map(str, found)
        raise SettingsInvalid(
            [f"BACKUP_UPLOAD_DIR: expected separate directories; one of {one} and {other} is inside the other"],
            hint="Name only the outer one. Through links, mounts, or upper and lower case, two paths can be one "
            "directory.",
        )


def _no_uploads(missing: UploadDir, origin: str, folders: Sequence[tuple[str, Path]]) -> SettingsInvalid:
    """The error for uploads that are not there; `none` is no advice where the app's configuration has folders."""
    if missing.name:
        problem = f"BACKUP_UPLOAD_DIR: {missing.name}={str(missing.path)!r}: expected a directory; there is none"
        hint = f"If it is on a share, mount it. If the app has no {missing.name} any more, leave it out of the list."
        return SettingsInvalid([problem], hint=hint)
    uploads = missing.path
    if not origin:
        problem = f"BACKUP_UPLOAD_DIR: expected the directory of the uploads; it is not set, and there is no {uploads}"
    elif origin.startswith("the app's ") and origin != "the app's configuration":
        problem = f"{origin} is {str(uploads)!r}: expected a directory; there is none"
    else:
        problem = f"BACKUP_UPLOAD_DIR={str(uploads)!r}: expected a directory; there is none"
    mentioned = [(name, path) for name, path in folders if path != uploads]
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
                hint=f"mount -o remount,rw {shlex.quote(_mount_of(directory))}",
            )
        raise StorageUnavailable(
            f"{directory} belongs to uid {status.st_uid} with mode {stat.S_IMODE(status.st_mode):04o}; uid {user} may "
            "not write there.",
            hint=f"sudo chown {user}:{group} {shlex.quote(str(directory))}{_where_it_is(directory)}",
        )


def check_sentinel(sentinel: Path | None) -> None:
    """The file that exists only on the mounted share is there. Raises StorageUnavailable."""
    if sentinel is not None and not os.path.lexists(sentinel):
        raise StorageUnavailable(
            f"The sentinel {sentinel} is missing: the share is not mounted.",
            hint="Mount the share. Only if it is mounted and this is its first use, create the file there.",
        )


def check_apart(uploads: UploadDirs, directory: Path) -> None:
    """Neither the archives are inside the uploads nor the reverse. Raises SettingsInvalid."""
    for each in uploads:
        real_uploads, real_output = os.path.realpath(each.path), os.path.realpath(directory)
        if os.path.commonpath([real_uploads, real_output]) in (real_uploads, real_output):
            raise SettingsInvalid(
                [
                    f"BACKUP_DIR={str(directory)!r}: expected a directory apart from the uploads in {each.path}; "
                    "each backup would contain the previous ones"
                ]
            )


def _unusable(directory: Path, error: OSError) -> SafeHarborError:
    if os.path.islink(directory):
        target = os.path.realpath(directory)
        return StorageUnavailable(
            f"{directory} is a symlink to {target}, which does not exist.",
            hint="If that is on a share, mount it.",
        )
    if isinstance(error, FileNotFoundError):
        user, group = os.geteuid(), os.getegid()
        make = f"sudo install -d -m 0700 -o {user} -g {group} {shlex.quote(str(directory))}"
        return StorageUnavailable(
            f"{directory} does not exist.", hint=where_typed(make, "mount a directory of the host there")
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
