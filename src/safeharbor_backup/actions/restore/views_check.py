"""Whether materialized views of a restored database are as the manifest says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.postgres.views import compare_views, count_views

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from safeharbor_backup.archive.manifest import Manifest

_SHOWN = 5


def judge_views(session: psycopg.Connection, manifest: Manifest | None, note: Callable[[str], None]) -> list[str]:
    """A warning if materialized views of a restored database are lost; that some have other rows is a note."""
    recorded = manifest.about_database.materialized_views if manifest is not None else None
    if not recorded:
        return []
    different = compare_views(count_views(session), recorded)
    if different.recomputed:  # decision 87
        note(
            f"{_shortened(different.recomputed)}: a restore computes them anew from its tables, and so refreshes those "
            "that were not refreshed before the backup"
        )
    return [_shortened(different.lost)] if different.lost else []


def _shortened(sentences: list[str]) -> str:
    more = f"; and {len(sentences) - _SHOWN:,} more" if len(sentences) > _SHOWN else ""
    return "; ".join(sentences[:_SHOWN]) + more
