"""Sizes, durations, moments, counts and names as people read them."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_started_as = "safeharbor"
# controls, marks that turn the direction of a line, surrogates; of escape sequences all but colours and their end
_HARMFUL = re.compile(
    "[\\x00-\\x08\\x0b-\\x1a\\x1c-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
    "|\\x1b(?!\\[(?:0|3[0-7])m)"
)
# in `user:password@host` behind a scheme, or in a libpq connection string
_PASSWORD = re.compile(r"(//[^\s:/@]*:)[^\s]*(@)|(?<=password=)(?:'[^']*'|[^\s'&]+)()")
# of what an operator names and an archive has as a part of a member's name
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def show_bytes(size: float) -> str:
    """A size such as `1.4 GiB`."""
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return ""


def show_duration(seconds: float) -> str:
    """A duration such as `42 s`, `7 min`, `3 h` or `12 d`, rounded down."""
    if seconds < 120:
        return f"{int(seconds)} s"
    if seconds < 2 * 3600:
        return f"{int(seconds // 60)} min"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)} h"
    return f"{int(seconds // 86400)} d"


def show_time(moment: datetime) -> str:
    """A moment in UTC, to the second."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def plural(count: int, noun: str) -> str:
    """`1 archive`, `2 archives`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def ascii_safe(name: str) -> str:
    """A name for a line of text: what does not print is escaped, and so are bytes that are not UTF-8."""
    if name.isprintable():  # nearly all of them
        return name
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in name
    )


def shell_word(text: str) -> str:
    """The text as one word of a command that is to be pasted into a shell, on one line and without what does not print.

    As `shlex.quote` writes it, or as `$'…'` of bash, zsh and ksh, with such bytes in octal.
    """
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_in_quotes, text)) + "'"


def _in_quotes(char: str) -> str:
    if char.isprintable():
        return f"\\{char}" if char in "\\'" else char
    is_byte = "\udc80" <= char <= "\udcff"  # of a name that is not UTF-8
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass"))


def harmless(text: str) -> str:
    """Lines as a terminal may have them: no control but ends of lines, tabs and colours, and no byte that is not text.

    The last line of defence: whoever puts a name into a line escapes it with `ascii_safe`, which also keeps it on one.
    """
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape", "backslashreplace").decode(), text)


def hide_passwords(text: str) -> str:
    """A text from elsewhere, with the passwords of addresses in it replaced."""
    return _PASSWORD.sub(r"\1PASSWORD\2", text)


def show_slot(moment: datetime, zone: tzinfo) -> str:
    """A moment in UTC, and as the clocks of another zone show it."""
    local = moment.astimezone(zone)
    return show_time(moment) + ("" if zone is UTC else local.strftime(" (%Y-%m-%d %H:%M:%S %Z)"))


def iso_time(moment: datetime) -> str:
    """A moment in UTC, for programs: `2026-11-27T03:00:00Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def typed(arguments: str) -> str:
    """One of our commands, written so that it can be pasted where this process was started."""
    return f"{_started_as} {arguments}".rstrip()


def type_commands_as(beginning: str) -> None:
    """From now on `typed` begins so, as in `flask --app shop safeharbor`."""
    global _started_as
    _started_as = beginning
