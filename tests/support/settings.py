"""Settings as values, for what is tested below the edge that reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.model import Settings


def settings_of(**given: Any) -> Settings:
    """The defaults, without a database and uploads, but for what is given."""
    return replace(load_settings({}), **{"upload_dirs": (), "problems": (), "origins": {}, **given})
