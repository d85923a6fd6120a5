"""The manifest's bytes: written as readable JSON, and believed only if they are valid, whatever they hold."""

from __future__ import annotations

import re
from itertools import pairwise

from msgspec import Struct

from safeharbor_backup.archive.layout import FORMAT_VERSION, FORMAT_WITH_DATABASES, MANIFEST_LIMIT_BYTES, format_of
from safeharbor_backup.archive.manifest import Manifest
from safeharbor_backup.system.documents import Count, Misfit, NotJson, dump_document, read_document
from safeharbor_backup.text import PLAIN_NAME, ascii_safe

# 16 MiB of empty objects would be 400 MB of Python
_MOST_VALUES = 500_000
_MOST_CONTAINERS = 50_000
_ESCAPED = {ord(char): f"\\u{ord(char):04x}" for char in ",{["}


class ManifestInvalid(ValueError):
    """Why a manifest cannot be believed."""


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as it is in the archive: ASCII JSON, readable, keys in the order of the classes."""
    text = dump_document(manifest, indent=1)
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
        try:
            manifest = read_document(data, Manifest)
        except Misfit:
            _require_version(read_document(data, _Version).format)  # another format may lack what ours has
            raise
    except (NotJson, Misfit) as error:
        raise ManifestInvalid(str(error)) from None
    _require_version(manifest.format)
    try:
        manifest.taken_at  # noqa: B018 - whether it is one
    except ValueError:
        raise ManifestInvalid(f"taken_at is {manifest.taken_at_text!r}") from None
    _check_databases(manifest)
    return manifest


class _Version(Struct):
    format: Count


def _require_version(version: int) -> None:
    if version not in (FORMAT_VERSION, FORMAT_WITH_DATABASES):
        raise ManifestInvalid(f"it is of format {version}; this program reads formats 1 and 2")


def _check_databases(manifest: Manifest) -> None:
    """Their names become those of members, and are in one order: so none is there twice. Raises ManifestInvalid."""
    names = [each.name for each in manifest.databases]
    if format_of(len(names)) != manifest.format:
        raise ManifestInvalid(f"it is of format {manifest.format}, and has {len(names)} databases beside the main one")
    for name in names:
        if PLAIN_NAME.fullmatch(name) is None:
            raise ManifestInvalid(f"a database has a name that archives do not have: {ascii_safe(name)!r}")
    if any(one >= other for one, other in pairwise(names)):
        raise ManifestInvalid("a database appears twice, or out of order")


def _has_too_many(data: bytes) -> bool:
    return data.count(b",") > _MOST_VALUES or data.count(b"{") + data.count(b"[") > _MOST_CONTAINERS
