"""Which entries of a dump are loaded, and what is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safeharbor_backup.postgres.contents import number_of
from safeharbor_backup.postgres.grants import tokens_of
from safeharbor_backup.postgres.toc_entries import users_of, with_dependants

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from safeharbor_backup.postgres.contents import DumpContents
    from safeharbor_backup.postgres.toc_entries import TocEntry

# kinds of entries that only a superuser may create (CREATE … in the manual, each under "Notes")
_SUPERUSERS_ONLY = ("EVENT TRIGGER", "FOREIGN DATA WRAPPER", "ACCESS METHOD", "TEXT SEARCH PARSER",
                    "TEXT SEARCH TEMPLATE", "OPERATOR CLASS", "OPERATOR FAMILY", "PUBLICATION TABLES IN SCHEMA",
                    "SUBSCRIPTION")  # fmt: skip


def select_entries(
    contents: DumpContents, available: Mapping[str, bool], installed: Iterable[str] = ()
) -> tuple[list[str], list[str]]:
    """The entries that a role that is not a superuser can create, and what is left out, in words.

    `available` are the extensions of the server, true if one needs no superuser; `installed` are those that are in
    the database already and will stay.
    """
    staying = set(installed)
    out = {name for name in contents.extensions if not available.get(name, True)} | staying
    gone: set[int] = set()
    left_out: list[str] = []
    for entry in contents.toc.values():
        what = ""
        if entry.kind == "EXTENSION" and entry.name in out:
            gone.add(entry.number)
            what = f"extension {entry.name}" if entry.name not in staying else ""
        elif entry.kind == "PUBLICATION" and _is_for_all_tables(entry):
            what = f"publication {entry.name} for all tables"
        elif entry.kind in _SUPERUSERS_ONLY:
            what = f"{entry.kind.lower()} {f'{entry.schema} ' if entry.schema else ''}{entry.name}"
        if what:
            gone.add(entry.number)
            left_out.append(f"{what}, which only a superuser may create")
    return _without(contents.entries, gone | _remarks_on(contents.toc, gone)), left_out


def without_subscriptions(entries: Iterable[str], toc: Mapping[int, TocEntry]) -> list[str]:
    """The same without subscriptions, which keep a database from being dropped as long as they name a slot."""
    return _without(
        entries, with_dependants(toc, [each.number for each in toc.values() if each.kind == "SUBSCRIPTION"])
    )


def _without(entries: Iterable[str], gone: set[int]) -> list[str]:
    return [entry for entry in entries if number_of(entry) not in gone]


def _remarks_on(toc: Mapping[int, TocEntry], numbers: set[int]) -> set[int]:
    return {user.number for user in users_of(toc, numbers) if user.kind in ("COMMENT", "SECURITY LABEL")}


def _is_for_all_tables(publication: TocEntry) -> bool:
    """`CREATE PUBLICATION name FOR ALL TABLES …`: what follows the name, which may be quoted, counts."""
    words = [token.text for token in tokens_of(publication.definition)]
    return [word.upper() for word in words[3:6]] == ["FOR", "ALL", "TABLES"]
