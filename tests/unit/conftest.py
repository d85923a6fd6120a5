"""What the unit tests share: client tools that need no PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safeharbor.settings import Settings
from support.archives import fake_client_tools

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor.postgres.tools import ClientTools


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> ClientTools:
    """A pg_restore that takes any dump."""
    return fake_client_tools(tmp_path_factory.mktemp("pg") / "bin")


@pytest.fixture
def settings(tools: ClientTools, tmp_path: Path) -> Settings:
    """Settings with those tools; archives are in `tmp_path`/backups, which exists."""
    (tmp_path / "backups").mkdir()
    return Settings(backup_dir=tmp_path / "backups", pg_bin=(tools.bin_dir,))
