"""What an app's own configuration says of its database and its folders, as Flask's and Django's extensions read it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safeharbor_backup.errors import Unusable
from safeharbor_backup.settings.address_parsing import merge_connect_args, parse_database_url
from safeharbor_backup.settings.database_url import DatabaseUrl
from safeharbor_backup.settings.paths import expand_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_FOLDER = re.compile(r"(_|^)(FOLDER|DIR|DIRECTORY|PATH|ROOT|LOCATION)$|^STORAGE_|^MEDIA_|^UPLOAD")
_KEY = re.compile(r"KEY_?(FILE|PATH|FILENAME)$|CREDENTIALS_?(FILE|PATH)?$")
_LONGEST_PATH = 4096
# what an app has without its users' doing, or can make anew
_NOT_THEIRS = re.compile(
    r"STATIC|TEMPLATE|ASSET|LOG|CACHE|TMP|TEMP|SESSION|LOCALE|BABEL|TRANSLATION|MIGRATION|^BACKUP_"
)
_FILE_SCHEME = re.compile(r"^(?:fs:|file://)")  # as storage backends write a folder
_POSTGRESQL_ENGINES = re.compile(r"postg(?:res|is)|psycopg|timescale", re.IGNORECASE)
_PARTS = {"username": "user", "database": "dbname", "host": "host", "port": "port", "password": "password"}
_DJANGO_PARTS = {"USER": "user", "NAME": "dbname", "HOST": "host", "PORT": "port", "PASSWORD": "password"}


@dataclass(frozen=True, slots=True)
class Bind:
    """A database that an app has beside its main one: its name and, if it is PostgreSQL's, its address.

    Without an address `unusable` says what it is instead.
    """

    name: str
    address: DatabaseUrl | None
    unusable: str = ""

    @property
    def label(self) -> str:
        """The word for it in BACKUP_IGNORE, such as `bind:logs`."""
        return f"bind:{self.name}"


OF_AN_APP = "the app's configuration"


@dataclass(frozen=True, slots=True)
class AppConfig:
    """An app's configuration. Its relative folders begin at one of `roots`, the likeliest one first.

    `instance` is where Flask apps keep what is not in their repository.
    """

    values: Mapping[Any, object] = field(default_factory=dict, repr=False)
    roots: tuple[Path, ...] = ()
    is_django: bool = False
    origin: str = OF_AN_APP  # what is said of where its values are from
    instance: Path | None = None

    @property
    def upload_names(self) -> tuple[str, ...]:
        """The settings that say where its uploads are."""
        return ("MEDIA_ROOT",) if self.is_django else ("UPLOAD_DIR", "UPLOAD_FOLDER")

    def database(self) -> tuple[str, object] | None:
        """The setting that says where its database is, and what it says."""
        engines, binds = self.values.get("SQLALCHEMY_ENGINES"), self.values.get("SQLALCHEMY_BINDS")
        django = self.values.get("DATABASES") if self.is_django else None
        places = (
            ("SQLALCHEMY_DATABASE_URI", self.values.get("SQLALCHEMY_DATABASE_URI")),
            ("SQLALCHEMY_ENGINES['default']", engines.get("default") if isinstance(engines, Mapping) else None),
            ("SQLALCHEMY_BINDS[None]", binds.get(None) if isinstance(binds, Mapping) else None),
            ("DATABASES['default']", django.get("default") if isinstance(django, Mapping) else None),
        )
        return next(((name, said) for name, said in places if said), None)

    def binds(self) -> tuple[Bind, ...]:
        """The databases beside the one that `database` finds."""
        names = ("DATABASES",) if self.is_django else ("SQLALCHEMY_BINDS", "SQLALCHEMY_ENGINES")
        found = {}
        for name in names:
            said = self.values.get(name)
            for key, each in said.items() if isinstance(said, Mapping) else ():
                if each and key not in (None, "default"):
                    found[str(key)] = self._bind(str(key), each)
        return tuple(found.values())

    def _bind(self, name: str, said: object) -> Bind:
        try:
            return Bind(name, self.address(said))
        except Unusable as error:
            return Bind(name, None, str(error))

    def address(self, said: object) -> DatabaseUrl:
        """The address that `database` found. Raises Unusable, in words that have nothing of its password."""
        url = _django_address(said) if self.is_django and isinstance(said, Mapping) else _address(said)
        return merge_connect_args(url, _connect_args(self.values.get("SQLALCHEMY_ENGINE_OPTIONS")))

    def folder(self, text: str) -> str:
        """A folder as an absolute path, by where the app lies and not by where we stand.

        Raises Unusable if two folders can be meant, or it is not known where a relative one begins.
        """
        path = expand_home(text)
        if path.is_absolute():
            return str(path)
        candidates = list(dict.fromkeys(root / path for root in self.roots))  # decision 86
        if not candidates:
            raise Unusable("an absolute path: the directory of the app's relative paths is not known")
        there = [each for each in candidates if each.exists()]
        if len({os.path.realpath(each) for each in there}) > 1:
            raise Unusable(f"one folder, and both {' and '.join(map(str, there))} exist. Give the absolute path of one")
        return str((there or candidates)[0])

    def folders(self) -> tuple[tuple[str, Path], ...]:
        """Each folder that the configuration mentions and that users may have filled, with the name of its setting.

        And each file with a key, without which some data cannot be read.
        """
        own = {above for root in self.roots for above in (root, *root.parents)}
        found = []
        for name, value in self.values.items():
            if not isinstance(name, str) or _NOT_THEIRS.search(name):
                continue
            if _KEY.search(name):
                found += [(name, path) for path in self._paths_in(value, Path.is_file) if path.is_file()]
            elif _FOLDER.search(name):
                found += [(name, path) for path in self._paths_in(value, Path.is_dir) if path not in own]
        if self.instance is not None and self.instance.is_dir():
            found.append(("instance_path", self.instance))
        return tuple(dict.fromkeys(found))

    def _paths_in(self, value: object, is_one: Callable[[Path], bool]) -> Iterator[Path]:
        """The absolute paths in it, and those relative ones that are there."""
        if isinstance(value, Mapping):
            for each in value.values():
                yield from self._paths_in(each, is_one)
        elif isinstance(value, str | Path) and "\0" not in str(value) and len(str(value)) < _LONGEST_PATH:
            text = _FILE_SCHEME.sub("", str(value).strip())
            candidates = [Path(text)] if text.startswith("/") else [root / text for root in self.roots if text]
            yield from (each for each in candidates if text.startswith("/") or is_one(each))


def app_config_of(values: Mapping[str, object], roots: Sequence[Path] = ()) -> AppConfig:
    """A Flask app's configuration; where its relative folders begin it mostly says itself."""
    root = getattr(values, "root_path", None)
    return AppConfig(values, tuple(roots) or ((Path(root),) if root else ()))


def _connect_args(options: object) -> Mapping[str, object]:
    found = options.get("connect_args") if isinstance(options, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _address(said: object) -> DatabaseUrl:
    """An address as SQLAlchemy and its extensions take it: text, a `URL`, its parts, or options of an engine."""
    render = getattr(said, "render_as_string", None)  # a sqlalchemy.URL hides its password from str()
    if render is not None:
        return parse_database_url(render(hide_password=False))
    if not isinstance(said, Mapping):
        return parse_database_url(str(said))
    if "url" in said:
        return merge_connect_args(_address(said["url"]), _connect_args(said))
    driver = str(said.get("drivername") or "")
    named = parse_database_url(f"{driver}://")  # which says what is no PostgreSQL
    query = said.get("query")
    return merge_connect_args(named, {**_parts(said, _PARTS), **(query if isinstance(query, Mapping) else {})})


def _django_address(said: Mapping[str, object]) -> DatabaseUrl:
    engine = str(said.get("ENGINE") or "")
    if not _POSTGRESQL_ENGINES.search(engine):
        raise Unusable(f"a PostgreSQL database; this is {engine or 'none'}, which Safe Harbor cannot back up")
    options = said.get("OPTIONS")
    return merge_connect_args(
        DatabaseUrl(()), {**_parts(said, _DJANGO_PARTS), **(options if isinstance(options, Mapping) else {})}
    )


def _parts(said: Mapping[str, object], names: Mapping[str, str]) -> dict[str, str]:
    return {key: str(said[name]) for name, key in names.items() if said.get(name) not in (None, "")}
