"""Whether materialized views of a restored database are as the manifest says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.postgres.views import compare_views, count_views, recorded_views

if TYPE_CHECKING:
    import psycopg

    from safeharbor_backup.archive.manifest import Manifest

_SHOWN = 5


def warn_of_views(session: psycopg.Connection, manifest: Manifest | None) -> list[str]:
    """A warning if materialized views of a restored database are not as the manifest says."""
    recorded = recorded_views(manifest.document) if manifest is not None else None
    if not recorded:
        return []
    different = compare_views(count_views(session), recorded)
    if not different:
        return []
    more = f"; and {len(different) - _SHOWN:,} more" if len(different) > _SHOWN else ""
    return [
        f"{'; '.join(different[:_SHOWN])}{more}. A restore computes them anew from its tables: one that was not "
        "refreshed before the backup comes out newer than it was"
    ]
