"""Manifests that differ from a real one in what a test is about."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from safeharbor_backup.archive.manifest import Manifest
from safeharbor_backup.archive.manifest_sections import NameList, SharedSection

_SECTIONS = {
    "counts": ("dump_bytes", "upload_files", "upload_directories", "upload_links", "upload_bytes"),
    "source": ("database", "system_identifier"),
    "about_uploads": ("unreadable_directories", "folders", "directories", "excluded_by"),
}


def with_facts(manifest: Manifest, *, shared_size: int | None = None, unreadable: int = 0, **facts: Any) -> Manifest:
    """The manifest with other values of its properties, by their names; all else is a field of its database."""
    for section, names in _SECTIONS.items():
        changed = {name: facts.pop(name) for name in names if name in facts}
        manifest = replace(manifest, **{section: replace(getattr(manifest, section), **changed)})
    if unreadable:
        uploads = replace(manifest.about_uploads, unreadable=NameList(count=unreadable))
        manifest = replace(manifest, about_uploads=uploads)
    if shared_size is not None:
        manifest = replace(manifest, shared=SharedSection(archive="", members=1, bytes=shared_size))
    return replace(manifest, about_database=replace(manifest.about_database, **facts))
