"""What an archive says of itself: manifest.json, made at backup and believed only after its digest."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, cast

from safeharbor_backup.archive.layout import FORMAT_VERSION, MANIFEST_LIMIT_BYTES
from safeharbor_backup.text import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Mapping

    Folder = tuple[str, int, int]  # a name as it is, files, bytes

# 16 MiB of empty objects would be 400 MB of Python
_MOST_VALUES = 500_000
_MOST_CONTAINERS = 50_000
_ESCAPED = {ord(char): f"\\u{ord(char):04x}" for char in ",{["}


class ManifestInvalid(ValueError):
    """Why a manifest cannot be believed."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that was checked; `document` is all of it, the fields are what the program itself relies on.

    Sizes in bytes. `tables` maps `schema.table` to its exact row count in the snapshot. `folders` are the top-level
    directories of the uploads; `owners` are user and group of what is in them; `excluded_by` has the patterns of what
    was left out on purpose, which a restore leaves where it is. The fields with defaults are where a manifest does not
    have them, or has something else.
    """

    document: Mapping[str, object]
    taken_at: datetime
    block_size: int
    sums_offset: int
    sums_sha256: str
    list_sha256: str
    dump_size: int
    upload_files: int
    upload_directories: int
    upload_links: int
    upload_bytes: int
    tables: Mapping[str, int]
    system_identifier: str
    database: str
    client_major: int
    unreadable: int
    unreadable_directories: int
    warnings: tuple[str, ...]
    server_version: str = ""
    compression: str = ""
    shared_size: int = 0
    folders: tuple[Folder, ...] | None = None
    excluded_by: tuple[str, ...] = ()
    owners: frozenset[tuple[int, int]] = frozenset()

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(self.tables.values())

    @property
    def identity(self) -> tuple[str, str]:
        """Whose backup this is: the server's system identifier and the database's name."""
        return self.system_identifier, self.database


def encode_manifest(document: Mapping[str, object]) -> bytes:
    """The manifest as it stands in the archive: ASCII JSON, readable, keys in the order given."""
    text = json.dumps(document, indent=1)
    if _has_too_many(text.encode("ascii")):
        # names full of braces or commas: escaped, they do not count as structure
        text = re.sub(r'"(?:[^"\\]|\\.)*"', lambda found: found[0].translate(_ESCAPED), text)
    return text.encode("ascii") + b"\n"


def parse_manifest(data: bytes) -> Manifest:
    """The checked manifest. Raises ManifestInvalid; never anything else, whatever `data` holds."""
    if len(data) > MANIFEST_LIMIT_BYTES:
        raise ManifestInvalid("it is larger than the format allows")
    if _has_too_many(data):
        raise ManifestInvalid("it has more values than the format allows")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise ManifestInvalid("it is not JSON") from None
    top = _Section(document, "")
    version = top.number("format")
    if version != FORMAT_VERSION:
        raise ManifestInvalid(f"it is of format {version}; this program reads format {FORMAT_VERSION}")
    source, counts, digests = top.section("source"), top.section("counts"), top.section("digests")
    omissions = top.section("uploads")
    taken_at = top.text("taken_at")
    try:
        moment = datetime.strptime(taken_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise ManifestInvalid(f"taken_at is {taken_at!r}") from None
    return Manifest(
        document=cast("Mapping[str, object]", document),
        taken_at=moment,
        block_size=top.number("block_size"),
        sums_offset=top.number("sums_offset"),
        sums_sha256=digests.text("SHA256SUMS"),
        list_sha256=digests.text("members"),
        dump_size=counts.number("dump_bytes"),
        upload_files=counts.number("upload_files"),
        upload_directories=counts.number("upload_directories"),
        upload_links=counts.number("upload_links"),
        upload_bytes=counts.number("upload_bytes"),
        tables=top.section("database").section("tables").numbers(),
        system_identifier=source.text("system_identifier"),
        database=source.text("database"),
        client_major=_major(top.section("database").text("client_version")),
        unreadable=omissions.section("unreadable").number("count"),
        unreadable_directories=omissions.number("unreadable_directories"),
        warnings=tuple(map(ascii_safe, top.texts("warnings"))),  # they go to a terminal
        server_version=_text_or_none(document, "database", "server_version"),
        compression=_text_or_none(document, "database", "compression"),
        shared_size=_number_or_zero(document, "shared", "bytes"),
        folders=_folders(document["uploads"].get("folders")),
        excluded_by=_texts_or_none(document["uploads"].get("excluded_by")),
        owners=_owners(document["uploads"].get("owners")),
    )


def _text_or_none(document: Mapping[str, object], section: str, key: str) -> str:
    inside = document.get(section)
    value = inside.get(key) if isinstance(inside, dict) else None
    return ascii_safe(value) if isinstance(value, str) else ""


def _number_or_zero(document: Mapping[str, object], section: str, key: str) -> int:
    inside = document.get(section)
    value = inside.get(key) if isinstance(inside, dict) else None
    return value if isinstance(value, int) and value > 0 else 0


def _texts_or_none(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else ()


def _owners(value: object) -> frozenset[tuple[int, int]]:
    """Those that are pairs of numbers."""
    pairs = value if isinstance(value, list) else []
    return frozenset(
        (each[0], each[1])
        for each in pairs
        if isinstance(each, list) and list(map(type, each)) == [int, int] and min(each) >= 0
    )


def _folders(value: object) -> tuple[Folder, ...] | None:
    """All of them, or None. There may be a thousand in each of hundreds of archives, so no step is taken in Python."""
    if not isinstance(value, list) or not value:
        return None if value != [] else ()
    try:
        found = tuple(map(itemgetter("name", "files", "bytes"), value))
        names, files, sizes = zip(*found, strict=True)
    except (TypeError, KeyError):
        return None
    if set(map(type, names)) == {str} and set(map(type, files + sizes)) == {int} and min(files + sizes) >= 0:
        return found
    return None


def _major(version: str) -> int:
    digits = version.partition(".")[0][:4]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _has_too_many(data: bytes) -> bool:
    return data.count(b",") > _MOST_VALUES or data.count(b"{") + data.count(b"[") > _MOST_CONTAINERS


class _Section:
    """Typed look-ups in a JSON object."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise ManifestInvalid(f"{path or 'it'} is not an object")
        self._value = cast("dict[str, object]", value)
        self._path = path

    def number(self, key: str) -> int:
        value = self._value.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ManifestInvalid(f"{self._path}{ascii_safe(key)} is not a number")
        return value

    def text(self, key: str) -> str:
        value = self._value.get(key)
        if not isinstance(value, str):
            raise ManifestInvalid(f"{self._path}{key} is not a text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._value.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ManifestInvalid(f"{self._path}{key} is not a list of texts")
        return tuple(value)

    def section(self, key: str) -> _Section:
        return _Section(self._value.get(key), f"{self._path}{key}.")

    def numbers(self) -> Mapping[str, int]:
        numbers = cast("dict[str, int]", self._value)
        if set(map(type, numbers.values())) <= {int} and min(numbers.values(), default=0) >= 0:  # there can be many
            return numbers
        return {key: self.number(key) for key in self._value}


def secret_key_fingerprint(secret_key: str, salt: str | None = None) -> dict[str, str]:
    """A salted, slow hash of an app's SECRET_KEY, so that a weak key cannot be guessed from an archive.

    scrypt with n=2**14, r=8, p=1: about 50 ms and 16 MiB (RFC 7914).
    """
    salt = salt or secrets.token_hex(16)
    digest = hashlib.scrypt(secret_key.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=32)  # decision 14
    return {"method": "scrypt-16384-8-1", "salt": salt, "sha": digest.hex()}


def fingerprint_matches(secret_key: str, fingerprint: Mapping[str, str]) -> bool:
    """Whether `fingerprint` was made from this key."""
    again = secret_key_fingerprint(secret_key, fingerprint["salt"])
    return hmac.compare_digest(again["sha"], fingerprint["sha"])
