"""What the texts of settings mean: each function makes a value of one, and raises `Unusable` if it cannot.

The empty text is the value for nothing given: None, or an empty tuple.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from safeharbor_backup.errors import Unusable
from safeharbor_backup.settings.address_parsing import parse_database_url
from safeharbor_backup.settings.alerts import NotifyOn, judge_notify_urls, judge_ping_url, split_notify_urls
from safeharbor_backup.settings.extra_databases import parse_extras
from safeharbor_backup.settings.min_free import MinFree, parse_min_free
from safeharbor_backup.settings.paths import expand_home
from safeharbor_backup.settings.schedule import find_zone, parse_schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeharbor_backup.settings.database_url import DatabaseUrl
    from safeharbor_backup.settings.extra_databases import ExtraDatabase

_LONGEST_SECONDS = 100 * 366 * 86_400
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw]?)\s*")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_COMPRESSION = re.compile(r"auto|none|[0-9]|(?:gzip|lz4|zstd)(?::[A-Za-z0-9=,]+)?")


def parse_text(text: str) -> str | None:
    """Any text as it is; None for an empty one."""
    return text or None


def parse_address(text: str) -> DatabaseUrl | None:
    """A database's address; None for an empty text."""
    return parse_database_url(text) if text else None


def parse_extra_databases(text: str) -> tuple[ExtraDatabase, ...]:
    """Databases with names; nothing for an empty text. Binds are known only to who has read the app's configuration."""
    return parse_extras(text, ())


def parse_path(text: str) -> Path | None:
    """An absolute path, from where we stand if need be. One that cannot be used is not taken for the default one."""
    try:
        return expand_home(text).absolute() if text else None
    except Unusable as error:
        raise Unusable(str(error), instead=Path(text).absolute()) from None


def parse_relative_path(text: str) -> Path | None:
    """A path that may be relative to one that is known later."""
    return expand_home(text) if text else None


def parse_paths(text: str) -> tuple[Path, ...]:
    """Paths, separated by `:`."""
    return tuple(Path(part) for part in text.split(":") if part)


def parse_json_file(text: str) -> Path | None:
    """A file for a document that each run replaces."""
    return _published(text, ".json")


def parse_prom_file(text: str) -> Path | None:
    """A file for metrics that each run replaces."""
    return _published(text, ".prom")


def _published(text: str, suffix: str) -> Path | None:
    path = parse_path(text)
    if path is not None and (path.suffix != suffix or path.name.startswith(".")):
        # it is replaced at each run: it must not be an archive, the lock or the journal by mistake
        raise Unusable(f"a file whose name ends with {suffix} and does not begin with a dot")
    return path


def parse_patterns(text: str) -> tuple[str, ...]:
    """Patterns, separated by commas or line breaks."""
    return tuple(part.strip() for part in re.split(r"[,\n]", text) if part.strip())


def parse_command(text: str) -> tuple[str, ...]:
    """A command's words, taken apart as a shell does."""
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise Unusable("a command with shell quoting; a quotation mark is not closed") from None


def parse_command_line(text: str) -> str:
    """What stands before a command, on one line."""
    if not text.isprintable():
        raise Unusable("one line, such as docker compose exec backups safeharbor", instead="")
    return text


def parse_schedule_or_none(text: str) -> str | None:
    """A schedule; None for `none`."""
    return None if text.lower() == "none" else parse_schedule(text)


def parse_zone(text: str) -> str:
    """The name of a time zone that this system knows."""
    find_zone(text)
    return text


def parse_count(text: str) -> int:
    """A whole number, 0 or more."""
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise Unusable("a whole number, 0 or more")
    return int(text)


def parse_room(text: str) -> MinFree:
    """How much of a filesystem stays free."""
    try:
        return parse_min_free(text) if text else MinFree()
    except ValueError:
        raise Unusable("a size such as 2GiB, a part such as 5%, or 0") from None


def parse_compression(text: str) -> str:
    """Anything that `pg_dump --compress` takes, or `auto`."""
    if not _COMPRESSION.fullmatch(text.lower()):
        raise Unusable("auto, none, a level 0-9, or gzip, lz4 or zstd with an optional :level")
    return text.lower()


def parse_notify_urls(text: str) -> tuple[str, ...]:
    """Addresses of alerts; the usable ones are used anyway if others are not."""
    addresses = split_notify_urls(text)
    if text and (expected := judge_notify_urls(text)):
        raise Unusable(expected, instead=addresses)
    return addresses


def parse_ping_url(text: str) -> str | None:
    """The address of a check."""
    if text and (expected := judge_ping_url(text)):
        raise Unusable(expected)
    return text or None


def one_of(*choices: str) -> Callable[[str], str]:
    """What takes one of these words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise Unusable(f"one of {', '.join(choices)}")
        return text.lower()

    return parse


def parse_offsite(text: str) -> str:
    """Nothing, or `none`."""
    if text.lower() not in ("", "none"):
        raise Unusable("none, or nothing: `offsite-done` records which copies there are")
    return text.lower()


def parse_notify_on(text: str) -> NotifyOn:
    """Which ends of runs are worth a message."""
    return NotifyOn(one_of(*NotifyOn)(text))


def parse_seconds(text: str) -> float:
    """Seconds of a duration that is more than none, and that clocks can count."""
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise Unusable("a duration such as 45s, 90m, 26h or 2d")
    return seconds


def parse_seconds_or_none(text: str) -> float | None:
    """The same; None for `none`."""
    if text.lower() == "none":
        return None
    try:
        return parse_seconds(text)
    except Unusable:
        raise Unusable("a duration such as 90m, 6h or 2d, or none") from None


def parse_yes(text: str) -> bool:
    """`yes` or `no`."""
    return one_of("yes", "no")(text) == "yes"


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `26h`, `90m`, `1d 12h` or `45` (seconds). Raises ValueError."""
    parts = _DURATION_PART.findall(text)
    if not parts or _DURATION_PART.sub("", text):
        raise ValueError(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
