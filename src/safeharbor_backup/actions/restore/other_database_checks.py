"""What may forbid a restore of the databases beside the main one: no address, another server, names too much alike."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING
from urllib.parse import quote

from safeharbor_backup.errors import CannotRestore, SafeHarborError, SettingsInvalid, one_line
from safeharbor_backup.postgres.connection import bounded
from safeharbor_backup.postgres.side_names import side_database
from safeharbor_backup.postgres.target import target_connected
from safeharbor_backup.settings.extra_databases import is_same_server
from safeharbor_backup.settings.model import Concern, Settings
from safeharbor_backup.text import ascii_safe, typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.postgres.target import Target
    from safeharbor_backup.settings.extra_databases import ExtraDatabase

_ID = "0" * 12


def require_same_server(target: Target, extra: ExtraDatabase, settings: Settings, hint: str = "") -> None:
    """Raises CannotRestore if the database is on another server than the main one, or that cannot be told."""
    address = extra.address
    mains = [each for each in (settings.database, settings.restore_database) if each is not None]
    if address is None or any(is_same_server(address, main) for main in mains):
        return
    try:
        with target_connected(bounded(address, settings), extra.database or target.name) as other:
            if _server(other) == _server(target):
                return
    except SafeHarborError as error:
        raise CannotRestore(
            f"Whether {extra.name} is on the server of the main database is not known: {one_line(error)}",
            hint=f"See that its address in BACKUP_EXTRA_DATABASES is right. {hint}".rstrip(),
        ) from error
    raise CannotRestore(
        f"It is on another server ({address.describe()}) than {target.url.describe()}: databases are exchanged in one "
        "transaction, which only one server can do.",
        hint=hint,
    )


def _server(target: Target) -> str:
    """What tells its cluster from others: its number, or its address where it does not tell that."""
    info = target.session.info
    return target.system_identifier() or f"{info.hostaddr or info.host}:{info.port}"


def judge_names(names: list[str]) -> list[SafeHarborError]:
    """A problem if the names that two databases have while they are not live would be the same."""
    beside = [side_database(name, "restore", _ID) for name in names]
    if len(set(beside)) == len(beside):
        return []
    shown = ", ".join(f'"{ascii_safe(name)}"' for name in names)
    return [
        CannotRestore(
            f"Of {shown}, two have names that begin with the same 42 bytes, or are one database: they cannot be told "
            "apart once they are set aside.",
            hint="Rename one, and correct BACKUP_EXTRA_DATABASES.",
        )
    ]


def why_not_configured(settings: Settings, databases: Sequence[OpenArchive]) -> SafeHarborError | None:
    """The error of a restore if these databases of an archive have no address: it says how to give one to each."""
    problems = settings.problems_in(Concern.EXTRA_DATABASES)
    if problems and databases:
        return SettingsInvalid([str(each) for each in problems])
    unknown = [each for each in databases if settings.extra_database(each.name) is None]
    if not unknown:
        return None
    names = ", ".join(each.name for each in unknown)
    places = ",".join(
        f"{each.name}=postgresql://USER:PASSWORD@HOST/{quote(each.manifest.database if each.manifest else '', safe='')}"
        for each in unknown
    )
    return CannotRestore(
        f"The archive has the {'database' if len(unknown) == 1 else 'databases'} {names} beside the main one, which "
        "BACKUP_EXTRA_DATABASES does not name.",
        hint=f"Say where each goes: BACKUP_EXTRA_DATABASES={places}, beside what it has. {left_out_by(unknown[0])}",
    )


def left_out_by(view: OpenArchive) -> str:
    """What to type so that a restore leaves that database as it is, and how to get at its dump."""
    member = f"databases/{view.name}.dump"
    return (
        f"BACKUP_EXTRA_DATABASES={view.name}=none leaves that one as it is; "
        f"`{typed(f'extract {shlex.quote(str(view.path))} {member} --to DIR')}` takes its dump out, for pg_restore."
    )
