"""What would make a backup fail, found before anything is written."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.archive.layout import time_in_name
from safeharbor_backup.errors import SafeHarborError, SettingsInvalid, StorageUnavailable, translate_os_error
from safeharbor_backup.settings.min_free import free_backups, show_room
from safeharbor_backup.settings.upload_dirs import find_overlap
from safeharbor_backup.state.journal import Journal, find_interrupted
from safeharbor_backup.system.processes import where_typed
from safeharbor_backup.text import ascii_safe, typed
from safeharbor_backup.uploads.estimate import estimate_size
from safeharbor_backup.uploads.movable import find_fixed
from safeharbor_backup.uploads.staging import find_look_alikes, stage_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.settings.min_free import MinFree
    from safeharbor_backup.settings.model import Settings
    from safeharbor_backup.settings.upload_dirs import Excluded, UploadDir, UploadDirs
    from safeharbor_backup.uploads.estimate import Estimate
    from safeharbor_backup.uploads.sharing import Sharing

# a compressed dump is seldom smaller than this part of its database
_SMALLEST_DUMP_PART = 20
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


def describe_hindrances(uploads: UploadDirs, directory: Path, is_excluded: Excluded | None) -> list[str]:
    """What a restore of the uploads would stumble over, and what only looks like what a restore keeps: a line each.

    The journal of restores is in `directory`.
    """
    try:
        found = describe_unknown_stages(uploads, directory) + _describe_stages_below(uploads, directory)
        fixed = [(each, what) for each in uploads for what in find_fixed(each.path, each.inside(is_excluded))]
    except OSError as error:
        return [f"whether a restore could exchange the uploads is unknown: {error}"]
    for each, first in fixed[:1]:
        more = f" (and {len(fixed) - 1} more cannot be moved)" if len(fixed) > 1 else ""
        found.append(
            f"a restore of the uploads would be refused: {ascii_safe(str(each.path / first.path))} cannot be moved, "
            f"{first.why}{more}. {first.remedy}"
        )
    return found


def describe_unknown_stages(uploads: UploadDirs, directory: Path) -> list[str]:
    """One line if something in the uploads looks like the stage of a restore that `directory`'s journal does not know.

    Raises JournalBroken, OSError.
    """
    known = {record.id for record in Journal(directory).read()}
    names = [each.shown(name) for each in uploads if each.path.is_dir() for name in find_look_alikes(each.path, known)]
    if not names:
        return []
    one = len(names) == 1
    which = names[0] if one else f"{names[0]} and {len(names) - 1} more"
    return [
        f"{which} in the uploads {'has' if one else 'have'} the name of a restore's directory, but the journal in "
        f"{directory} knows no such restore. {'It is' if one else 'They are'} not archived, and left as "
        f"{'it is' if one else 'they are'}"
    ]


def _describe_stages_below(uploads: UploadDirs, directory: Path) -> list[str]:
    """A line for each restore whose kept uploads are in the tree: they are left out at the top of a directory only."""
    tops = {os.path.realpath(each.path) for each in uploads}
    found = []
    for record in Journal(directory).read():
        for part in record.uploads:
            top = os.path.realpath(part.path)
            is_below = any(top.startswith(f"{each.rstrip('/')}/") for each in tops)
            if is_below and os.path.lexists(stage := stage_path(Path(top), record.id)):
                verb = typed(f"restore --discard-previous --id {record.id}")
                found.append(
                    f"{ascii_safe(str(stage))}, which restore {record.id} keeps, lies in the uploads and is archived "
                    f"with them. `{verb}` deletes it"
                )
    return found


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


def require_space(
    min_free: MinFree,
    directory: Path,
    database_size_bytes: int,
    previous: Manifest | None,
    uploads: Estimate,
    sharing: Sharing,
    other_databases: Mapping[str, int] | None = None,
) -> tuple[Sharing, str]:
    """How to share blocks so that there is space, and a warning if that is not as the settings want it.

    `other_databases`: the sizes of those beside the main one, by name. Where there is no space to write everything
    again, an archive with old blocks is better than none. Raises StorageUnavailable.
    """
    dumped = {"": previous.dump_size} if previous is not None else {}
    dumped |= {each.name: each.dump_bytes for each in previous.databases} if previous is not None else {}
    dump = sum(
        dumped[name] * 11 // 10 if name in dumped else size // _SMALLEST_DUMP_PART
        for name, size in {"": database_size_bytes, **(other_databases or {})}.items()
    )
    try:
        _check_space(min_free, directory, dump + (uploads.newer if sharing.may_share else uploads.whole))
    except StorageUnavailable:
        despite = sharing.despite_age()
        if despite is sharing:
            raise
        _check_space(min_free, directory, dump + uploads.newer)
        return (
            despite,
            "there is no space to write everything again, as BACKUP_FULL_READ_DAYS asks; old blocks are shared",
        )
    return sharing, ""


def estimate_uploads(uploads: UploadDirs, is_excluded: Excluded | None, sharing: Sharing) -> Estimate:
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
