"""What a drill has compared, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safeharbor_backup.text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeharbor_backup.state.evidence import Evidence


def as_recorded(compared: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was compared and is equal, in words."""
    words = []
    for what, noun, of in (
        ("tables", "rows of {}", "table"),
        ("content", "content of {}", "table"),
        ("large_objects", "content of {}", "large object"),
        ("materialized_views", "rows of {}", "materialized view"),
        ("sequences", "{}", "sequence"),
        ("uploads", "SHA-256 of {}", "upload"),
    ):
        found = compared.get(what)
        is_complete = found and (found["recorded"] == found["equal"] or (what == "content" and not found["different"]))
        if found and is_complete and (found["equal"] or what not in ("content", "materialized_views")):
            words.append(noun.format(plural(found["equal"], of)))
    for what, one in (("constraints", "constraint"), ("indexes", "index")):
        found = compared.get(what)
        if found and found["recorded"] == found["found"]:
            words.append(f"{found['found']:,} {one if found['found'] == 1 else what}")
    references = compared.get("references")
    if references and not (references["missing"]["count"] or references["outside"]["count"]):
        words.append(f"{plural(sum(references['columns'].values()), 'reference')} to uploads")
    revision = compared.get("alembic_revision")
    if revision and revision["recorded"] == revision["found"]:
        words.append(f"migrations at {revision['found']}")
    return words


def not_compared(evidence: Evidence) -> list[str]:
    """What the drill did not look at, or could not, and why."""
    words = [f"not recorded by this archive: {what}" for what in evidence.not_recorded]
    if not evidence.compared:
        return [*words, "nothing was compared"]
    content = evidence.compared.get("content")
    if content is None and "content of tables" not in evidence.not_recorded:
        words.append("content of tables: BACKUP_DRILL_HASH_SECONDS was 0")
    for what, noun in (("content", "content of"), ("large_objects", "content of")):
        found = evidence.compared.get(what)
        words += [f"{noun} {each}" for each in _texts(found, "not_hashed")]
    unseen = evidence.compared.get("sequences_in_use", {}).get("not_looked_at")
    if isinstance(unseen, int) and unseen:
        words.append(f"the columns of {plural(unseen, 'sequence')}")
    if evidence.app_check is None:
        words.append("no check by the app (BACKUP_DRILL_COMMAND)")
    return words


def _texts(found: Mapping[str, object] | None, key: str) -> list[str]:
    given = found.get(key) if found is not None else None
    return [str(each) for each in given] if isinstance(given, list) else []
