"""Where the page of an app finds the status document: the setting that the backup goes by too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from safeharbor_backup.settings.load import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def configured_status_file(config: Mapping[str, object]) -> Path | None:
    """`BACKUP_STATUS_FILE` of the environment, otherwise of an app's configuration; None if unset or unusable."""
    return load_settings(os.environ, config).status_file
