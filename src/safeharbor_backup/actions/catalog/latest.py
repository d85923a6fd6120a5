"""Which archive `latest` means: the newest complete one of this database, not from the future, not much too small.

All who mean the newest archive ask here: restore, drill, verify, the status and the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from safeharbor_backup.actions.catalog.entries import State, is_from_future
from safeharbor_backup.actions.catalog.guards import Shortfall, find_elsewhere, find_shortfalls
from safeharbor_backup.actions.catalog.last_runs import read_archives
from safeharbor_backup.errors import ArchiveRejected
from safeharbor_backup.state.adopted import read_adopted
from safeharbor_backup.text import ascii_safe, plural, typed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safeharbor_backup.actions.catalog.entries import CatalogEntry
    from safeharbor_backup.state.adopted import Adopted


class WhyNot(StrEnum):
    """Why an archive is not what `latest` means."""

    FUTURE = "from the future"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    NO_MANIFEST = "no manifest"
    OTHER_DATABASE = "other database"
    SHORT = "seriously short"
    OTHER_SERVER = "other server"


_STATES = {
    State.DAMAGED: WhyNot.DAMAGED,
    State.UNREADABLE: WhyNot.UNREADABLE,
    State.UNVERIFIED: WhyNot.NO_MANIFEST,
}
NOT_COMPLETE = (WhyNot.DAMAGED, WhyNot.UNREADABLE, WhyNot.NO_MANIFEST)


@dataclass(frozen=True, slots=True)
class Passed:
    """An archive that was skipped, and why."""

    entry: CatalogEntry
    code: WhyNot
    text: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What `latest` means, if anything, and the newer archives that it does not mean, newest first.

    `rival` is an older archive that may be meant just as well: it is of a database of the same name on another server.
    """

    entry: CatalogEntry | None
    passed: tuple[Passed, ...] = ()
    rival: Passed | None = None

    @property
    def is_clear(self) -> bool:
        """Whether it is simply the newest archive there is."""
        return self.entry is not None and not self.passed and self.rival is None


def choose_latest(
    archives: Sequence[CatalogEntry],
    adopted: Adopted,
    now: datetime,
    database: str = "",
    *,
    back: int = 0,
    before: datetime | None = None,
    takes_short: bool = False,
) -> Choice:
    """The choice among `archives`, which come newest first; `database` is the name of this one, if that is known.

    `back` is how many that can be relied on are to be left aside first; with `before` no archive from then on counts.
    `takes_short`: one that is much too small is not skipped, by somebody who looks for what went.
    """
    if all(entry.manifest is None or entry.manifest.database != database for entry in archives):
        database = ""  # an alias of a pooler, or a directory of others: then the name proves nothing
    passed: list[Passed] = []
    shortfalls = find_shortfalls(archives, adopted)
    for position, entry in enumerate(archives):
        if before is not None and entry.taken_at >= before:
            continue
        found = _judge(entry, shortfalls.get(entry.name), adopted, now, database)
        if found is not None and not (takes_short and found.code is WhyNot.SHORT):
            passed.append(found)
        elif back:
            back -= 1
        else:
            return Choice(entry, tuple(passed), _find_rival(entry, archives[position + 1 :], adopted))
    return Choice(None, tuple(passed))


def read_choice(
    directory: Path,
    database: str = "",
    now: datetime | None = None,
    *,
    back: int = 0,
    before: datetime | None = None,
    takes_short: bool = False,
) -> Choice:
    """The choice in the backup directory. Raises StorageUnavailable."""
    archives, adopted = read_archives(directory), read_adopted(directory)
    return choose_latest(
        archives, adopted, now or datetime.now(UTC), database, back=back, before=before, takes_short=takes_short
    )


def choose_to_prove(directory: Path, database: str = "") -> tuple[CatalogEntry, tuple[str, ...]]:
    """The archive that a verify or a drill takes by default, and the warnings about newer ones.

    One that is damaged or cannot be read is proven anyway: that is what proving is for. Raises ArchiveRejected if
    there is none, StorageUnavailable.
    """
    choice = read_choice(directory, database)
    over: list[Passed] = []
    for each in choice.passed:
        if each.code in NOT_COMPLETE:
            return each.entry, tuple(map(_say_passed, over))
        over.append(each)
    if choice.entry is not None:
        return choice.entry, tuple(map(_say_passed, over))
    if not over:
        raise ArchiveRejected(f"There is no archive in {directory}.", hint=f"`{typed('backup')}` takes one.")
    return over[0].entry, (f"{over[0].entry.name} cannot be relied on: {over[0].text}",)


def describe_choice(choice: Choice) -> str:
    """The candidates, a line for each."""
    lines = []
    if choice.passed:
        newest = choice.passed[0]
        lines.append(f"  the newest: {_describe(newest.entry)}\n    {newest.text}")
        lines += [f"  also skipped: {_describe(each.entry)}\n    {each.text}" for each in choice.passed[1:4]]
    if choice.entry is not None:
        which = "the newest that can be relied on" if choice.passed else "the newest"
        lines.append(f"  {which}: {_describe(choice.entry)}")
    if choice.rival is not None:
        lines.append(f"  before it: {_describe(choice.rival.entry)}\n    {choice.rival.text}")
    return "\n".join(lines)


def _judge(
    entry: CatalogEntry, short: Shortfall | None, adopted: Adopted, now: datetime, database: str
) -> Passed | None:
    """Why this one is not meant; `short` is why it is much too small beside the older ones, if it is."""
    manifest = entry.manifest
    if is_from_future(entry, now):
        return Passed(entry, WhyNot.FUTURE, "it is from the future: the clock was wrong then, or is now")
    if manifest is None or entry.state in _STATES:
        code = _STATES.get(entry.state, WhyNot.DAMAGED)
        return Passed(entry, code, f"{code.value}: {entry.problem}" if entry.problem else "it has no manifest")
    if database and manifest.database != database and manifest.identity not in adopted.databases:
        return Passed(entry, WhyNot.OTHER_DATABASE, f'it is of the database "{ascii_safe(manifest.database)}"')
    if short is not None:
        return Passed(entry, WhyNot.SHORT, f"it is much too small: {short.text}")
    return None


def _find_rival(entry: CatalogEntry, older: Sequence[CatalogEntry], adopted: Adopted) -> Passed | None:
    """The newest older archive, if one of its databases is one of the same name on another server, and not adopted."""
    manifest = entry.manifest
    for each in older:
        if manifest is None or each.manifest is None or each.manifest.database != manifest.database:
            continue
        elsewhere = find_elsewhere(manifest, each.manifest, adopted)
        if elsewhere:
            text = f'it is of another server\'s database "{ascii_safe(elsewhere[0])}"'
            return Passed(each, WhyNot.OTHER_SERVER, text)
        return None
    return None


def notices_of(choice: Choice) -> tuple[str, ...]:
    """The warnings about a choice that is not clear, for a command that only reads."""
    rival = choice.rival
    also = [f"{rival.entry.name} may also be the right one: {rival.text}"] if rival is not None else []
    return (*map(_say_passed, choice.passed), *also)


def _say_passed(passed: Passed) -> str:
    return f"{passed.entry.name} was skipped: {passed.text}"


def _describe(entry: CatalogEntry) -> str:
    manifest = entry.manifest
    inside = "?"
    if manifest is not None:
        inside = f"{plural(manifest.rows, 'row')}, {plural(manifest.upload_files, 'upload')}"
    return f"{entry.path}, {entry.taken_at:%Y-%m-%d %H:%M:%S} UTC, {inside}"
