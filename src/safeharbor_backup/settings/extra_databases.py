"""The databases that are backed up beside the main one, each with a name of its own in the archive."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.errors import Unusable
from safeharbor_backup.settings.address_parsing import parse_database_url
from safeharbor_backup.text import PLAIN_NAME, ascii_safe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safeharbor_backup.settings.app_config import Bind
    from safeharbor_backup.settings.database_url import DatabaseUrl

_BIND = "bind:"
# a comma or a line break before the next one: an address may have commas in it
_NEXT = re.compile(r"\s*(?:,|\n)\s*(?=[A-Za-z0-9][^=\s,]*=(?:[A-Za-z][\w.+-]*:|[a-z_]+\s*=|none\b)|bind:|$)")
_EXPECTED = (
    "NAME=postgresql://…, NAME=bind:BIND, bind:BIND or NAME=none, separated by commas; each name of letters, digits, "
    "'.', '_' and '-'"
)
_WHERE = ("host", "hostaddr", "port", "service")


@dataclass(frozen=True, slots=True)
class ExtraDatabase:
    """A database beside the main one: its name in archives, and its address; None: no run is to touch it."""

    name: str
    address: DatabaseUrl | None

    @property
    def database(self) -> str:
        """The database's own name, as far as its address tells it; else ""."""
        if self.address is None:
            return ""
        return self.address.get("dbname") or ("" if self.address.get("service") else self.address.get("user"))


def parse_extras(
    said: str | Mapping[str, object], binds: Sequence[Bind], address_of: Callable[[object], DatabaseUrl] | None = None
) -> tuple[ExtraDatabase, ...]:
    """Those that a setting names, by name. `address_of` makes an address of what is not text.

    Raises Unusable, in words that have no password in them.
    """
    found: list[ExtraDatabase] = []
    for name, what in _pairs(said):
        if PLAIN_NAME.fullmatch(name) is None:
            raise Unusable(f"{_EXPECTED}; {_shown(name)} is not such a name")
        if name.casefold() in {each.name.casefold() for each in found}:
            raise Unusable(f"{_EXPECTED}; {_shown(name)} appears twice")
        found.append(ExtraDatabase(name, _address(name, what, binds, address_of)))
    _refuse_the_same(found)
    return tuple(sorted(found, key=lambda each: each.name))


def is_same_server(one: DatabaseUrl, other: DatabaseUrl) -> bool:
    """Whether both addresses name it in the same way: if not, only the servers can tell."""
    return all(one.get(key) == other.get(key) for key in _WHERE)


def is_same_database(one: ExtraDatabase, main: DatabaseUrl) -> bool:
    """Whether this one is the main one, by its address."""
    return one.address is not None and is_same_server(one.address, main) and one.database == _name(main)


def _name(url: DatabaseUrl) -> str:
    return ExtraDatabase("", url).database


def _pairs(said: str | Mapping[str, object]) -> list[tuple[str, object]]:
    if isinstance(said, Mapping):
        return [(str(name), what) for name, what in said.items()]
    parts = [part for part in _NEXT.split(said.strip()) if part]
    return [_pair(part) for part in parts]


def _pair(part: str) -> tuple[str, object]:
    if part.startswith(_BIND):
        return part.removeprefix(_BIND).strip(), part
    name, is_pair, what = part.partition("=")
    if not is_pair or "/" in name or ":" in name:  # an address alone, whose password must not be shown
        raise Unusable(f"{_EXPECTED}; one has no name")
    return name.strip(), what.strip()


def _address(
    name: str, what: object, binds: Sequence[Bind], address_of: Callable[[object], DatabaseUrl] | None
) -> DatabaseUrl | None:
    if isinstance(what, str) and what.lower() == "none":
        return None
    if isinstance(what, str) and what.startswith(_BIND):
        return _address_of_bind(what.removeprefix(_BIND).strip(), binds)
    if what in ("", None):
        raise Unusable(f"{_EXPECTED}; {_shown(name)} has no address")
    try:
        return (
            address_of(what) if address_of is not None and not isinstance(what, str) else parse_database_url(str(what))
        )
    except Unusable as error:
        raise Unusable(f"for {_shown(name)} {error}") from None


def _address_of_bind(name: str, binds: Sequence[Bind]) -> DatabaseUrl:
    bind = next((each for each in binds if each.name == name), None)
    if bind is None:
        there = ", ".join(ascii_safe(each.label) for each in binds)
        raise Unusable(
            f"a bind of the app; it has no {_shown(_BIND + name)}, but {there}"
            if there
            else f"an address instead of {_shown(_BIND + name)}: the app that has it is not loaded"
        )
    if bind.address is None:
        raise Unusable(f"for {_shown(bind.label)} {bind.unusable or 'a PostgreSQL database'}")
    return bind.address


def _refuse_the_same(found: Sequence[ExtraDatabase]) -> None:
    for number, one in enumerate(found):
        for other in found[number + 1 :]:
            if other.address is not None and is_same_database(one, other.address):
                raise Unusable(f"{_EXPECTED}; {_shown(one.name)} and {_shown(other.name)} are the same database")


def _shown(name: str) -> str:
    return repr(ascii_safe(name[:80]))
