from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from safeharbor_backup.archive.manifest import Manifest
from safeharbor_backup.archive.manifest_json import ManifestInvalid, encode_manifest, parse_manifest
from safeharbor_backup.archive.manifest_sections import (
    Fingerprint,
    Folder,
    NameList,
    ReferencesSection,
    SharedSection,
)
from safeharbor_backup.archive.reader import read_front
from safeharbor_backup.archive.source import opened_archive
from support.archives import TAKEN_AT, Facts, put_archive
from support.json_schemas import complaints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOMETHING_ELSE = (None, True, -2, 1.5, "something", ["something"], {"some": "thing"})


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """One whose every section is there."""
    path = put_archive(tmp_path_factory.mktemp("archives"), TAKEN_AT, facts=Facts(tables={"public.entry": 3}))
    with opened_archive(path) as source:
        plain = read_front(source).manifest
    names = NameList(count=1, names=("not UTF-8: \udce9",))
    return msgspec.structs.replace(
        plain,
        about_uploads=msgspec.structs.replace(plain.about_uploads, folders=(Folder(name="\udce9", files=1, bytes=2),)),
        references=ReferencesSection(columns={"public.entry.photo": 3}, missing=names, elsewhere=1),
        shared=SharedSection(archive="earlier.tar", members=2, bytes=10),
        secret_key=Fingerprint(method="scrypt-16384-8-1", salt="00", sha="00"),
    )


def fields_of(
    kind: type[msgspec.Struct], *path: str, is_needed: bool = True
) -> Iterator[tuple[tuple[str, ...], Any, bool]]:
    """Every field at any depth: the keys that lead to it, its type, and whether a manifest needs it."""
    for field in msgspec.structs.fields(kind):
        where, needed = (*path, field.encode_name), is_needed and field.required
        yield where, field.type, needed
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from fields_of(field.type, *where, is_needed=needed)


def changed(document: dict[str, Any], path: tuple[str, ...], value: object) -> bytes:
    document = deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(document).encode()


def fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(("path", "kind", "is_needed"), list(fields_of(Manifest)))
def test_a_field_of_another_type_costs_an_archive_only_if_it_is_needed(
    manifest: Manifest, path: tuple[str, ...], kind: Any, *, is_needed: bool
) -> None:
    document = json.loads(encode_manifest(manifest))

    for value in SOMETHING_ELSE:
        data = changed(document, path, value)
        if fits(value, kind):
            continue
        if is_needed:
            with pytest.raises(ManifestInvalid, match=rf"^{'.'.join(path)}(\.\w+)? is not "):
                parse_manifest(data)
        else:
            assert parse_manifest(data).counts.upload_bytes == manifest.counts.upload_bytes


def test_what_nobody_knows_is_ignored_and_the_rest_is_as_it_was(manifest: Manifest) -> None:
    document = json.loads(encode_manifest(manifest))
    document["database"]["new"] = document["new \udce9"] = {"of": ["a later version"]}

    assert parse_manifest(json.dumps(document).encode()) == manifest


def test_what_is_of_no_use_alone_is_left_out_alone(manifest: Manifest) -> None:
    document = json.loads(encode_manifest(manifest))
    document["database"]["sequences"] = {"public.a": 3, "public.b": "3"}
    document["references"]["elsewhere"] = "many"

    found = parse_manifest(json.dumps(document).encode())

    assert found.about_database.sequences == {"public.a": 3}
    assert found.references is not None
    assert (found.references.elsewhere, found.references.columns) == (0, {"public.entry.photo": 3})


def test_a_manifest_with_nothing_but_what_it_needs_is_one(manifest: Manifest) -> None:
    document = json.loads(encode_manifest(manifest))
    for path, _, is_needed in reversed(list(fields_of(Manifest))):
        if not is_needed:
            inner = document
            for key in path[:-1]:
                inner = inner[key]
            inner.pop(path[-1], None)  # databases are not there without any

    found = parse_manifest(json.dumps(document).encode())

    assert found.counts.upload_files == manifest.counts.upload_files
    assert (found.folders, found.references, found.about_database.encoding) == (None, None, "")


def test_another_format_is_named_whatever_it_lacks() -> None:
    with pytest.raises(ManifestInvalid, match="it is of format 3; this program reads formats 1 and 2"):
        parse_manifest(b'{"format": 3}')


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b'{"format": 1' + b"0" * 5000 + b"}", b"\xff"], ids=len)
def test_what_is_no_json_is_told(data: bytes) -> None:
    with pytest.raises(ManifestInvalid, match=r"not JSON|more values"):
        parse_manifest(data)


def test_a_manifest_is_as_its_schema_says(manifest: Manifest, tmp_path: Path) -> None:
    assert complaints("manifest", json.loads(encode_manifest(manifest))) == []
    assert complaints("manifest", {**json.loads(encode_manifest(manifest)), "new": 1}) != []
    assert parse_manifest(encode_manifest(manifest)) == manifest
