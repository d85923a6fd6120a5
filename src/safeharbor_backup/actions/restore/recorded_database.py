"""What a database that does not exist yet is to be like: as the archive's manifest says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.target import Target, TargetDatabase


def database_in_manifest(target: Target, manifest: Manifest | None) -> TargetDatabase:
    """What a database that does not exist yet is to be like."""
    template = replace(target.template(), owner="", tablespace="pg_default")
    section = manifest.document.get("database") if manifest is not None else None
    if not isinstance(section, dict):
        return template
    values = {key: section.get(key) for key in ("encoding", "collate", "ctype", "locale_provider", "locale", "owner")}
    if not all(isinstance(values[key], str) for key in ("encoding", "collate", "ctype", "locale_provider")):
        return template
    owner = str(values["owner"] or "")
    if not target.is_superuser or target.missing_roles({owner}):
        owner = ""
    return replace(
        template,
        owner=owner,
        encoding=str(values["encoding"]),
        collate=str(values["collate"]),
        ctype=str(values["ctype"]),
        provider=str(values["locale_provider"]),
        locale=values["locale"] if isinstance(values["locale"], str) else None,
        icu_rules=section["icu_rules"] if isinstance(section.get("icu_rules"), str) else None,
    )
