"""One database of a drill's copy against its manifest: structure, sequences and views, and its rows by content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.actions.drill.content_check import compare_content, compare_views
from safeharbor_backup.postgres.behind_sequences import find_behind
from safeharbor_backup.postgres.structure import read_structure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeharbor_backup.actions.drill.compare import Comparison
    from safeharbor_backup.actions.restore.staged_database import StagedDatabase
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.progress import Progress

_SHOWN = 5


def check_database(copy: StagedDatabase, comparison: Comparison, hash_seconds: int, progress: Progress) -> None:
    """Compare what was restored; rows by their content for so many seconds, with 0 not at all.

    Raises SafeHarborError, psycopg.Error.
    """
    manifest = copy.archive.manifest
    if manifest is None:
        return
    dumped_major = copy.loader.plan.contents.server_version.partition(".")[0]
    same_major = dumped_major == str(copy.target.major)
    with copy.session() as session, session.transaction():
        structure = read_structure(session)
        unpopulated = comparison.judge_structure(structure, manifest, same_major=same_major)
        comparison.judge_revision(session, manifest)
        comparison.judge_sequences_in_use(*find_behind(session))
    if unpopulated:  # decision 87
        progress.note(f"not populated, as in the backup; refresh these after a restore: {_some(unpopulated)}")
    if not hash_seconds:
        return
    if manifest.about_database.printing is None:
        comparison.not_recorded.append("content of tables")
        return
    _check_content(copy, comparison, manifest, structure.views, hash_seconds, progress, same_major=same_major)


def _check_content(
    copy: StagedDatabase,
    comparison: Comparison,
    manifest: Manifest,
    views: Mapping[str, int | None],
    seconds: int,
    progress: Progress,
    *,
    same_major: bool,
) -> None:
    tools = copy.loader.plan.contents.tools
    with copy.session() as session:
        found = compare_content(session, copy.archive.dump, tools, manifest, seconds)
    if same_major:
        with copy.session() as session:  # whose settings are those of the backup's
            found.views = compare_views(session, manifest, views, seconds - found.seconds)
    if found.views:  # decision 87
        progress.note(_some(found.views))
    comparison.judge_content(found, same_major=same_major)
    if found.objects_are not in ("equal", "different"):
        found.not_hashed.append(f"large objects: {found.objects_are}")
    if found.not_hashed:
        progress.note(f"not compared by content: {_some(found.not_hashed)}")


def _some(items: list[str]) -> str:
    more = f"; and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more
