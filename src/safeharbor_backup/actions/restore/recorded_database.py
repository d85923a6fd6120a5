"""What a database that does not exist yet is to be like: as the archive's manifest says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safeharbor_backup.postgres.properties import Properties, parse_acl

if TYPE_CHECKING:
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.postgres.target import Target, TargetDatabase


def database_in_manifest(target: Target, manifest: Manifest | None) -> TargetDatabase:
    """What a database that does not exist yet is to be like."""
    template = replace(target.template(), owner="", tablespace="pg_default")
    if manifest is None:
        return template
    recorded = manifest.about_database
    if not (recorded.encoding and recorded.collate and recorded.ctype and recorded.locale_provider):
        return template
    owner = recorded.owner
    if not target.is_superuser or target.missing_roles({owner}):
        owner = ""
    return replace(
        template,
        owner=owner,
        encoding=recorded.encoding,
        collate=recorded.collate,
        ctype=recorded.ctype,
        provider=recorded.locale_provider,
        locale=recorded.locale,
        icu_rules=recorded.icu_rules,
    )


def properties_in_manifest(manifest: Manifest | None) -> Properties:
    """The properties of a database that does not exist; the server's defaults where nothing is recorded."""
    if manifest is None:
        return Properties(-1, None, None, ())
    recorded = manifest.about_database
    settings = tuple((each.role, line) for each in recorded.settings for line in each.settings)
    grants = parse_acl(recorded.acl) if recorded.acl is not None else None
    return Properties(recorded.connection_limit, recorded.comment, grants, settings, recorded.is_template)
