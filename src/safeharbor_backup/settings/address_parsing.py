"""A database address in any form that SQLAlchemy and libpq users write, taken apart once.

SQLAlchemy and libpq disagree at the edges (drivers in the scheme, `%2F` hosts, several hosts, `/` or `@`
in a password). This parser takes what either takes and leaves the rest to libpq.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from safeharbor_backup.errors import Unusable
from safeharbor_backup.settings.database_url import LIBPQ_KEYS, SECRET_KEYS, DatabaseUrl

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEME = re.compile(r"^(?P<backend>[A-Za-z][A-Za-z0-9.-]*)(?:[+_](?P<driver>[A-Za-z0-9_]+))?:(?://)?")
# how libraries for settings call it: dj-database-url, django-environ, GeoAlchemy, TimescaleDB's
_POSTGRESQL = frozenset(
    {"postgres", "postgresql", "pgsql", "psql", "postgis", "timescale", "timescaledb", "timescalegis"}
)
_KEYWORDS = re.compile(r"^\s*[a-z_]+\s*=")


class UnusableDatabaseUrl(Unusable):
    """Why an address cannot be used, in words without its password."""


def parse_database_url(text: str) -> DatabaseUrl:
    """The address in `text`, a URL or a libpq keyword string.

    Raises UnusableDatabaseUrl, in words that never contain the password.
    """
    text = text.strip()
    if not _is_text(text):
        raise UnusableDatabaseUrl("an address in UTF-8")
    scheme = _SCHEME.match(text)
    if scheme is not None and "://" in scheme.group():
        backend = scheme["backend"].lower()
        if backend not in _POSTGRESQL:
            raise UnusableDatabaseUrl(
                f"a PostgreSQL database; this is a {backend} address, which Safe Harbor cannot back up"
            )
        found = _parse_url(text[scheme.end() :])
    elif _KEYWORDS.match(text):
        found = _parse_keywords(text)
    else:
        raise UnusableDatabaseUrl("a URL such as postgresql://user@host:5432/database")
    return replace(_sorted_out(found), driver=scheme["driver"] or "" if scheme is not None else "")


def merge_connect_args(url: DatabaseUrl, connect_args: Mapping[str, object]) -> DatabaseUrl:
    """`url` with what SQLAlchemy's `connect_args` add to it and libpq understands."""
    merged = dict(url.parameters)
    if url.password is not None:
        merged["password"] = url.password
    merged.update({key: str(value) for key, value in connect_args.items() if isinstance(value, str | int)})
    return replace(_sorted_out(merged), driver=url.driver)


def _parse_url(rest: str) -> dict[str, str]:
    found: dict[str, str] = {}
    user, password, rest = _split_user(rest)
    if user:
        found["user"] = unquote(user)
    if password is not None:
        found["password"] = unquote(password)
    place, _, query = rest.partition("?")
    authority, _, database = place.partition("/")
    _require_one_meaning(authority, database, query)
    hosts, ports = _split_hosts(authority)
    if any(hosts):
        found["host"] = ",".join(hosts)
    if any(ports):
        found["port"] = ",".join(ports)
    if database:
        found["dbname"] = unquote(database)
    found.update(_parse_query(query.partition("#")[0] if "#" in query else query))
    return found


_MORE_KEYS = frozenset({"password", "ssl", "host", *SECRET_KEYS})  # whose values may have an @, besides libpq's
_SPELL = (
    "a URL with one meaning: in this one an @ comes after the host, and may belong to the password. Write these "
    "characters of a password as %40 (@), %2F (/), %3A (:), %3F (?), %23 (#), %25 (%)"
)


def _require_one_meaning(authority: str, database: str, query: str) -> None:
    """Raises UnusableDatabaseUrl where a part of the password would be taken for the host or the database."""
    pairs = [pair.partition("=") for pair in query.split("&") if "@" in pair]
    is_odd = any(not equals or unquote(key) not in LIBPQ_KEYS | _MORE_KEYS for key, equals, _ in pairs)
    if "@" in database or "#" in authority or is_odd:
        raise UnusableDatabaseUrl(_SPELL)


def _split_user(rest: str) -> tuple[str, str | None, str]:
    """User, password and what follows the `@`; a `/` or `@` in the password need not be escaped."""
    before_path = re.split(r"[/?]", rest, maxsplit=1)[0]
    if "@" in before_path:
        credentials, _, _ = before_path.rpartition("@")
        user, colon, password = credentials.partition(":")
        return user, password if colon else None, rest[len(credentials) + 1 :]
    # `user:pa/ss@host`, as SQLAlchemy takes it; but `host:5432/db?x=a@b` has a port there.
    unescaped = re.match(r"(?P<user>[^:/?@]*):(?P<password>.*?)@(?=[^@/?]*(?:[/?]|$))", rest)
    if unescaped and not re.match(r"\d*(?:[/?]|$)", unescaped["password"]):
        return unescaped["user"], unescaped["password"], rest[unescaped.end() :]
    return "", None, rest


def _split_hosts(authority: str) -> tuple[list[str], list[str]]:
    hosts, ports = [], []
    for place in authority.split(","):
        bracketed = re.fullmatch(r"\[(?P<host>[^\]]+)\](?::(?P<port>.*))?", place)
        if bracketed:
            host, port = bracketed["host"], bracketed["port"] or ""
        else:
            host, _, port = place.partition(":")
        if port and not port.isdigit():
            raise UnusableDatabaseUrl("a URL whose port is a number")
        hosts.append(unquote(host))
        ports.append(port)
    return hosts, ports


def _parse_query(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    hosts: list[str] = []
    for pair in filter(None, query.split("&")):
        key, _, value = pair.partition("=")
        key = unquote(key)
        # SQLAlchemy writes a space as "+"; in a password a "+" is more likely a plus.
        value = unquote(value if key in ("password", "user") else value.replace("+", " "))
        if key == "host":
            hosts.append(value)
        elif key == "ssl":  # asyncpg and JDBC
            found["sslmode"] = "require" if value.lower() in ("true", "1") else value
        else:
            found[key] = value
    if hosts:
        split = [
            _split_hosts(part) if not part.startswith("/") and "," not in part else ([part], [""]) for part in hosts
        ]
        found["host"] = ",".join(host for part, _ in split for host in part)
        ports = [port for _, part in split for port in part]
        if any(ports):
            found["port"] = ",".join(ports)
    return found


def _parse_keywords(text: str) -> dict[str, str]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        return {key: str(value) for key, value in conninfo_to_dict(text).items() if value is not None}
    except psycopg.ProgrammingError:
        # libpq's message quotes the text, and with it perhaps the password
        raise UnusableDatabaseUrl("a libpq connection string such as host=db dbname=app user=app") from None


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _sorted_out(found: Mapping[str, str]) -> DatabaseUrl:
    if not all(map(_is_text, found.values())):
        raise UnusableDatabaseUrl("an address without NUL, in UTF-8")
    secrets = sorted(SECRET_KEYS & found.keys())
    if secrets:
        raise UnusableDatabaseUrl(
            f"an address without {' and '.join(secrets)}: every user of the host could read it while pg_dump runs. "
            "Use a key without passphrase, a password, or .pgpass"
        )
    parameters = {key: value for key, value in found.items() if key in LIBPQ_KEYS and value}
    return DatabaseUrl(tuple(parameters.items()), found.get("password") or None)
