"""When an archive cannot be relied on: much too small beside an earlier one, or of another database.

Retention deletes nothing then, and `latest` does not mean it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safeharbor_backup.text import ascii_safe, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.state.adopted import Adopted


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why an archive looks much too small, in words, and the archive that it was compared with."""

    text: str
    usual: CatalogEntry | None = None


def judge_shortfall(newest: Manifest, earlier: Manifest | None) -> str:
    """Why an archive looks much too small beside an earlier one; "" if it does not."""
    asked = newest.upload_files + newest.unreadable
    if newest.unreadable_directories or newest.unreadable * 100 > asked:
        return f"{newest.unreadable} of {asked} uploads could not be read"
    if earlier is None:
        return ""
    kinds = [
        (plural(newest.upload_files, "upload file"), newest.upload_files, earlier.upload_files, ""),
        (f"{newest.upload_bytes:,} bytes of uploads", newest.upload_bytes, earlier.upload_bytes, ""),
        (plural(newest.rows, "row"), newest.rows, earlier.rows, _most_lost(newest.tables, earlier.tables)),
    ]
    for what, now, before, most in kinds:
        if now * 2 <= before and before > 0:
            return f"the archive has {what}, an earlier one had {before:,}{most}"
    return _emptied(newest, earlier) or _short_beside(newest, earlier)


def _short_beside(newest: Manifest, earlier: Manifest) -> str:
    """The database beside the main one that is not there any more, or has lost half of its rows; "" if none has.

    One that was only taken out of the settings counts too: nothing else would keep the archives that still have it.
    """
    now = {each.name: each for each in newest.databases}
    renamed = {(each.source.system_identifier, each.source.database): each for each in newest.databases}
    for each in earlier.databases:
        found = now.get(each.name) or renamed.get((each.source.system_identifier, each.source.database))
        if found is None and each.rows:
            return f"the archive has no database {each.name}, an earlier one had {plural(each.rows, 'row')} in it"
        if found is not None and found.rows * 2 <= each.rows and each.rows > 0:
            most = _most_lost(found.database.tables, each.database.tables)
            return (
                f"the archive has {plural(found.rows, 'row')} in {found.name}, an earlier one had {each.rows:,}{most}"
            )
    return ""


def _emptied(newest: Manifest, earlier: Manifest) -> str:
    """The directory with a name of its own that has no file any more, as if it were not mounted; "" if none is so."""
    then = {each.name: each.files for each in earlier.folders or ()}
    now = {each.name: each.files for each in newest.folders or ()}
    for each in newest.directories:
        before = then.get(each.name, 0)
        if before and not now.get(each.name, 0):
            return f"the archive has no files of {ascii_safe(each.name)}, an earlier one had {before:,}"
    return ""


def find_shortfall(
    archives: Sequence[CatalogEntry], newest: CatalogEntry, adopted: Adopted, is_comparable: Callable[[Manifest], bool]
) -> Shortfall | None:
    """Whether `newest` is much too small beside the last of `archives` that was not itself short, if it is comparable.

    Measured by the previous archive alone, a loss would be noticed for one night, and the next would prune what is
    still good. What was adopted is where counting begins again, also when that archive is pruned one day.
    """
    if newest.manifest is None or newest.name in adopted.archives:
        return None
    since = max(adopted.archives, default="")
    usual: CatalogEntry | None = None
    for entry in sorted(archives, key=lambda each: each.name):
        manifest = entry.manifest
        if manifest is None or not since <= entry.name or entry.name == newest.name or not is_comparable(manifest):
            continue
        if entry.name == since or _beside(entry, usual) is None:
            usual = entry
    return _beside(newest, usual)


def find_shortfalls(archives: Sequence[CatalogEntry], adopted: Adopted) -> dict[str, Shortfall]:
    """The same of each archive, by its name, beside the older ones of a database of that name; in one go."""
    since = max(adopted.archives, default="")
    usual: dict[str, CatalogEntry] = {}
    found = {}
    for entry in sorted(archives, key=lambda each: each.name):
        if entry.manifest is None:
            continue
        database = entry.manifest.database
        short = _beside(entry, usual.get(database))
        if short is not None and entry.name not in adopted.archives:
            found[entry.name] = short
        if entry.name >= since and (entry.name == since or short is None):
            usual[database] = entry
    return found


def _beside(entry: CatalogEntry, usual: CatalogEntry | None) -> Shortfall | None:
    if entry.manifest is None:
        return None
    text = judge_shortfall(entry.manifest, usual.manifest if usual is not None else None)
    return Shortfall(text, usual) if text else None


def judge_size(newest: CatalogEntry, before: CatalogEntry | None) -> str:
    """A note that the archive's size halved, "" if it did not. That alone is no reason to keep more."""
    if before is None or newest.manifest is None or before.manifest is None:
        return ""
    now, then = newest.manifest, before.manifest
    # another compression is another size, and no loss
    if now.identity != then.identity or newest.size * 2 > before.size or now.compression != then.compression:
        return ""
    return f"the archive has {newest.size:,} bytes, the previous one had {before.size:,}"


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


def judge_identity(newest: Manifest, other: Manifest | None, adopted: Adopted) -> str:
    """Why the newest archive and another one are of different databases; "" if they are not, or were adopted."""
    if other is None:
        return ""
    for name, _, there in _exchanged(newest, other, adopted):
        which = f" as {name}" if name else ""
        return f'of another database{which} ("{ascii_safe(there)}" on another server or by another name)'
    return ""


def find_elsewhere(newest: Manifest, other: Manifest, adopted: Adopted) -> list[str]:
    """The databases of an archive that the newest one has by the same names, but of another server."""
    return [there for _, here, there in _exchanged(newest, other, adopted) if here == there]


def identities_of(manifests: Sequence[Manifest]) -> tuple[set[tuple[str, str]], set[tuple[str, str, str]]]:
    """The databases that these are of, as `Adopted` has them: the main ones, and those beside them."""
    others = {(beside.name, *beside.identity) for each in manifests for beside in each.databases}
    return {each.identity for each in manifests}, others


def _exchanged(newest: Manifest, other: Manifest, adopted: Adopted) -> Iterator[tuple[str, str, str]]:
    """Databases of both archives that are not the same: the name there ("": the main one), and those of both."""
    if not _belong_together(newest.identity, other.identity, adopted.databases):
        yield "", newest.database, other.database
    elif adopted.others is None and newest.identity != other.identity and _both(newest, other) <= adopted.databases:
        return  # an earlier version's file: whoever adopted that the main one moved could not say it of these
    now = {each.name: each for each in newest.databases}
    for there in other.databases:
        here = now.get(there.name)
        accepted = {(system, name) for label, system, name in adopted.others or () if label == there.name}
        if here is not None and not _belong_together(here.identity, there.identity, accepted):
            yield there.name, here.source.database, there.source.database


def _both(newest: Manifest, other: Manifest) -> set[tuple[str, str]]:
    return {newest.identity, other.identity}


def _belong_together(one: tuple[str, str], other: tuple[str, str], adopted: Collection[tuple[str, str]]) -> bool:
    """Whether both are the same database, as far as can be told, or were adopted: system identifiers and names."""
    if one == other or (one in adopted and other in adopted):
        return True
    return not (one[0] and other[0]) and one[1] == other[1]  # a managed server that hides its identifier
