"""Safe Harbor: backups of a PostgreSQL database and its uploads that are proven to restore.

A program may import what this module names; each name is loaded, with what it needs, when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safeharbor_backup.actions.backup.run import take_backup
    from safeharbor_backup.actions.restore.plan import plan_restore
    from safeharbor_backup.actions.restore.request import RestoreRequest
    from safeharbor_backup.actions.restore.run import restore_archive
    from safeharbor_backup.actions.verify import verify_archive
    from safeharbor_backup.errors import SafeHarborError
    from safeharbor_backup.settings.load import load_settings
    from safeharbor_backup.settings.model import Settings

__version__ = "0.2.0"
__all__ = [
    "RestoreRequest",
    "SafeHarborError",
    "Settings",
    "load_settings",
    "plan_restore",
    "restore_archive",
    "take_backup",
    "verify_archive",
]
_HOMES = {
    "RestoreRequest": "actions.restore.request",
    "SafeHarborError": "errors",
    "Settings": "settings.model",
    "load_settings": "settings.load",
    "plan_restore": "actions.restore.plan",
    "restore_archive": "actions.restore.run",
    "take_backup": "actions.backup.run",
    "verify_archive": "actions.verify",
}


if not TYPE_CHECKING:  # a type checker shall find no name that is not above

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
