"""What starts the runs, from the examples in `deploy/`: their user, paths and program replaced by real ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.errors import SettingsInvalid
from safeharbor_backup.system.shipped import place_of_shipped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from safeharbor_backup.settings.upload_dirs import UploadDirs

# what reads these files would take other signs for its own
_PLAIN = re.compile(r"[\w./@+-]+")
_UNITS = (
    "alarm",
    *(f"safeharbor-{job}@.{kind}" for job in ("backup", "verify", "drill") for kind in ("service", "timer")),
)
_FILES = {
    "systemd": tuple(f"deploy/systemd/{name}" for name in (*_UNITS, "safeharbor-alarm@.service")),
    "cron": ("deploy/cron/crontab",),
    "compose": ("deploy/docker/sidecar.yaml",),
}
SCHEDULES = tuple(_FILES)


@dataclass(frozen=True, slots=True)
class Places:
    """What a run is started with: the program, its file of settings, and as whom."""

    program: str
    settings_file: Path
    backup_dir: Path
    uploads: UploadDirs
    user: str
    group: str
    owner: str  # both as numbers, with a colon


def files_of_schedule(kind: str, places: Places) -> dict[str, str]:
    """The files for one of SCHEDULES, by name. Raises SettingsInvalid for what cannot be written there."""
    meant = _replacements(places)
    given = (
        places.program,
        places.settings_file,
        places.backup_dir,
        *(each.path for each in places.uploads),
        places.user,
    )
    odd = [str(each) for each in given if not _PLAIN.fullmatch(str(each))]
    if odd:
        raise SettingsInvalid(
            [f"--schedule {kind}: expected paths without spaces and special characters; {odd[0]!r} has some"],
            hint="Give --schedule none, and write it by hand: docs/scheduling.md.",
        )
    texts = {path.rpartition("/")[2]: _replaced(place_of_shipped(path).read_text(), meant) for path in _FILES[kind]}
    return {_name(name): text[max(text.find("[Unit]"), 0) :] for name, text in texts.items()}


def _name(template: str) -> str:
    """Without the `@` of a template, which has its word in it now; the alarm gets its own from systemd."""
    return template if template.startswith("safeharbor-alarm") else template.replace("@", "")


def _replacements(places: Places) -> Mapping[str, str]:
    """What the examples have, and what goes in its place."""
    inside = [(each.path, f"/data/{each.name or 'uploads'}", each.name) for each in places.uploads]
    named = ",".join(f"{name}={path}" if name else path for _, path, name in inside)
    return {
        "/opt/safeharbor/bin/safeharbor": places.program,
        "/etc/safeharbor/%i.env": str(places.settings_file),
        "/srv/backups/%i": str(places.backup_dir),
        "/srv/%i /var/lib/%i": " ".join(str(path) for path, _, _ in inside),
        "--uid=%i": f"--uid={places.user}",
        "User=%i": f"User={places.user}\nGroup={places.group}",
        " of %i by ": " by ",
        "/etc/safeharbor/backup.env": str(places.settings_file),
        "/srv/backups": str(places.backup_dir),
        "BACKUP_UPLOAD_DIR: /data/uploads": f"BACKUP_UPLOAD_DIR: {named or 'none'}",
        "- uploads:/data/uploads": "\n      ".join(f"- {path}:{place}" for path, place, _ in inside) or "# uploads:",
        '"1000:1000"': f'"{places.owner}"',
    }


def _replaced(text: str, meant: Mapping[str, str]) -> str:
    """All at once, so that nothing is replaced in what was put in."""
    return re.sub("|".join(map(re.escape, meant)), lambda match: meant[match[0]], text)
