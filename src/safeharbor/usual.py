"""What is unusual of the newest archive beside the one before: half its size, or half its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor.uploads.omissions import ascii_safe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeharbor.catalog import CatalogEntry


def judge_usual(newest: CatalogEntry, before: CatalogEntry | None) -> tuple[str, ...]:
    """A sentence for each thing that halved since the archive before, or shrank more; none if that is of another
    database or unknown.
    """
    if before is None or newest.manifest is None or before.manifest is None:
        return ()
    now, then = newest.manifest, before.manifest
    if now.identity != then.identity:
        return ()
    sentences = []
    if now.rows * 2 <= then.rows and then.rows:
        lost = _most_lost(now.tables, then.tables)
        sentences.append(f"there are {now.rows:,} rows, where the archive before had {then.rows:,}{lost}")
    # another compression is another size, and no loss
    if newest.size * 2 <= before.size and now.compression == then.compression:
        sentences.append(f"the archive has {newest.size:,} bytes, where the one before had {before.size:,}")
    return tuple(sentences)


def _most_lost(now: Mapping[str, int], then: Mapping[str, int]) -> str:
    """Which table lost half of all lost rows or more; "" if none did."""
    losses = {name: rows - now.get(name, 0) for name, rows in then.items() if rows > now.get(name, 0)}
    if not losses:
        return ""
    name = max(losses, key=lambda each: losses[each])
    if losses[name] * 2 < sum(losses.values()):
        return ""
    left = f"has {now[name]:,} of {then[name]:,}" if name in now else f"with {then[name]:,} is gone"
    return f"; {ascii_safe(name)} {left}"
