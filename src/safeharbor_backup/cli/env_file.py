"""The file of settings, in the format of Compose's `.env`; what it sets counts as if it were in the environment."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from safeharbor_backup.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

VARIABLE = "SAFEHARBOR_ENV_FILE"
OF_THE_HOST = "/etc/safeharbor/backup.env"
_LIMIT_BYTES = 1 << 20
_NOTHING = re.compile(r"[^\S\n]*(?:#[^\n]*)?\n")
_LINE = re.compile(
    r"""[^\S\n]*(?:export[^\S\n]+)?(?P<name>[A-Za-z_]\w*)[^\S\n]*
    (?P<given>=[^\S\n]*(?:
    (?:'(?P<literal>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)")[^\S\n]*(?:\#[^\n]*)?|
    (?P<bare>(?:(?:[^\s'"#]|(?<==)\#)[^\n]*?)?)[^\S\n]*(?:(?<=\s)\#[^\n]*)?))?\n""",
    re.VERBOSE | re.DOTALL,
)
_BREAK, _MARK = "\n", "\ufeff"
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_REFERENCE = re.compile(
    r"\\(?P<escaped>.)|"
    r"\$(?:(?P<dollar>\$)|(?P<bare>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?::-(?P<instead>[^}]*))?\}|)",
    re.DOTALL,
)


def add_env_file(named: str | None, *, has_app: bool) -> dict[str, str]:
    """`load_env_file` into the environment of this process."""
    return load_env_file(named, os.environ, has_app=has_app)


def load_env_file(named: str | None, environ: MutableMapping[str, str], *, has_app: bool) -> dict[str, str]:
    """Add what the file sets and the environment leaves open; which file each of them is from.

    `named` is the option's. An app has settings of its own, which those of the host must not take the place of: with
    one, only a file that is named counts. Raises SettingsInvalid.
    """
    if named == "":  # a variable of a script that is not set; what is found elsewhere is not what was meant
        raise SettingsInvalid(["--env-file: expected a file of settings; its name is empty"])
    path = named or environ.get(VARIABLE, "")
    if not path and not has_app:  # decision 88
        path = next((each for each in (own_file(environ), OF_THE_HOST) if os.access(each, os.R_OK)), "")
    if not path:
        return {}
    found = read_env_file(path, environ)
    added = {name: value for name, value in found.items() if not environ.get(name, "").strip()}
    environ.update(added)
    return dict.fromkeys(added, f"the file {path}")


def own_file(environ: Mapping[str, str]) -> str:
    """Where a user who is not root has a file of settings of their own."""
    config = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME') or os.path.expanduser('~')}/.config"
    return f"{config}/safeharbor/backup.env"


def env_line(name: str, value: str) -> str:
    """A line that sets it, in the words that this module, Compose, systemd and a shell read in the same way."""
    if "'" not in value:
        return f"{name}='{value}'\n"
    escaped = re.sub(r'(["$`\\])', r"\\\1", value)
    return f'{name}="{escaped}"\n'


def read_env_file(path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What a file sets. Raises SettingsInvalid, with nothing of a value in it."""
    try:
        with open(path, encoding="utf-8") as file:
            if len(text := file.read(_LIMIT_BYTES + 1)) > _LIMIT_BYTES:
                raise SettingsInvalid([f"{path}: expected a file of settings, of less than 1 MiB"])
            if (nul := text.find("\0")) >= 0:  # no environment can have it
                number = text.count(_BREAK, 0, nul) + 1
                raise SettingsInvalid(
                    [f"{path}, line {number}: expected NAME=value, as in Compose's .env; it has a NUL"]
                )
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsInvalid([f"{path}: expected a file of settings that can be read; {why}"]) from None
    found: dict[str, str] = {}
    text, position = f"{text.removeprefix(_MARK)}\n".replace("\r\n", "\n"), 0
    while position < len(text):
        line = _NOTHING.match(text, position) or _LINE.match(text, position)
        where = f"{path}, line {text.count(_BREAK, 0, position) + 1}"
        if line is None:
            raise SettingsInvalid([f"{where}: expected NAME=value, as in Compose's .env"])
        position = line.end()
        parts = line.groupdict()
        if (name := parts.get("name")) and parts["given"] is not None:
            known = {**found, **environ}
            if parts["literal"] is None:
                double = parts["double"]
                found[name] = _filled_in(
                    parts["bare"] or "" if double is None else double, known, name, where, double is not None
                )
            else:
                found[name] = parts["literal"]
    return found


def _filled_in(value: str, known: Mapping[str, str], name: str, where: str, has_escapes: bool) -> str:
    """The value with what `$NAME`, `${NAME}` and between double quotes a backslash stand for in it."""

    def fill(match: re.Match[str]) -> str:
        if (escaped := match["escaped"]) is not None:
            return _ESCAPES.get(escaped, escaped) if has_escapes else match[0]
        if match["dollar"]:
            return "$"
        wanted = match["bare"] or match["braced"]
        if wanted and (known.get(wanted) or match["instead"] is not None):
            return known.get(wanted) or match["instead"]
        raise SettingsInvalid(
            [f"{where}: {name} has a $ that names no variable that is set"],
            hint="If you mean the character $, put the value between single quotes.",
        )

    return _REFERENCE.sub(fill, value)
