"""The file of settings, in the format of Compose's `.env`; what it sets counts as if it were in the environment."""

from __future__ import annotations

import os
import re
from io import StringIO
from typing import TYPE_CHECKING

from safeharbor_backup.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

VARIABLE = "SAFEHARBOR_ENV_FILE"
BY_DEFAULT = "/etc/safeharbor/backup.env"
_LIMIT_BYTES = 1 << 20
_REFERENCE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<bare>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?::-(?P<instead>[^}]*))?\}|)"
)
_NAME = re.compile(r"[A-Za-z_]\w*")


def add_env_file(named: str | None, *, has_app: bool) -> dict[str, str]:
    """`load_env_file` into the environment of this process."""
    return load_env_file(named, os.environ, has_app=has_app)


def load_env_file(named: str | None, environ: MutableMapping[str, str], *, has_app: bool) -> dict[str, str]:
    """Add what the file sets and the environment leaves open; which file each of them is from.

    `named` is the option's. An app has settings of its own, which those of the host must not take the place of: with
    one, only a file that is named counts. Raises SettingsInvalid.
    """
    path = named or environ.get(VARIABLE, "")
    if not path and (has_app or not os.access(BY_DEFAULT, os.R_OK)):  # decision 88
        return {}
    path = path or BY_DEFAULT
    found = read_env_file(path, environ)
    added = {name: value for name, value in found.items() if not environ.get(name, "").strip()}
    environ.update(added)
    return dict.fromkeys(added, f"the file {path}")


def read_env_file(path: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What a file sets. Raises SettingsInvalid, with nothing of a value in it."""
    from dotenv.parser import parse_stream

    try:
        with open(path, encoding="utf-8") as file:
            if len(text := file.read(_LIMIT_BYTES + 1)) > _LIMIT_BYTES:
                raise SettingsInvalid([f"{path}: expected a file of settings, of less than 1 MiB"])
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise SettingsInvalid([f"{path}: expected a file of settings that can be read; {why}"]) from None
    found: dict[str, str] = {}
    for each in parse_stream(StringIO(text)):
        where = f"{path}, line {each.original.line}"
        if each.error or (each.key is not None and not _NAME.fullmatch(each.key)):
            raise SettingsInvalid([f"{where}: expected NAME=value, as in Compose's .env"])
        if each.key is None or each.value is None:
            continue
        is_literal = each.original.string.partition("=")[2].lstrip().startswith("'")
        found[each.key] = each.value if is_literal else _filled_in(each.value, {**found, **environ}, each.key, where)
    return found


def _filled_in(value: str, known: Mapping[str, str], name: str, where: str) -> str:
    """The value with what `$NAME` and `${NAME}` stand for in it."""

    def fill(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        wanted = match["bare"] or match["braced"]
        if wanted and (known.get(wanted) or match["instead"] is not None):
            return known.get(wanted) or match["instead"]
        raise SettingsInvalid(
            [f"{where}: {name} has a $ that stands for no variable that is set"],
            hint="If the $ means itself, put the value between single quotes.",
        )

    return _REFERENCE.sub(fill, value)
