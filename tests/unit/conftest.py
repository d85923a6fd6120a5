"""What the unit tests share: client tools that need no PostgreSQL."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from safeharbor_backup.settings.model import Settings
from support.archives import fake_client_tools, put_archive
from support.settings import settings_of

if TYPE_CHECKING:
    from pathlib import Path

    from safeharbor_backup.postgres.client_tools import ClientTools


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> ClientTools:
    """A pg_restore that takes any dump."""
    return fake_client_tools(tmp_path_factory.mktemp("pg") / "bin")


@pytest.fixture
def settings(tools: ClientTools, tmp_path: Path) -> Settings:
    """Settings with those tools; archives are in `tmp_path`/backups, which exists."""
    (tmp_path / "backups").mkdir()
    return settings_of(backup_dir=tmp_path / "backups", pg_bin=(tools.bin_dir,))


@pytest.fixture
def configured(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same in the environment, and one archive of an hour ago; the uploads and the database are missing."""
    for name in list(os.environ):
        if name.startswith("BACKUP_") or name in ("DATABASE_URL", "UPLOAD_DIR", "SECRET_KEY"):
            monkeypatch.delenv(name)
    put_archive(settings.backup_dir, datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1))
    monkeypatch.setenv("BACKUP_DIR", str(settings.backup_dir))
    monkeypatch.setenv("BACKUP_PG_BIN", str(settings.pg_bin[0]))
    monkeypatch.setenv("BACKUP_DATABASE_URL", "postgresql://app:s3cr3t@db.internal:1/reef")
    monkeypatch.setenv("BACKUP_UPLOAD_DIR", str(tmp_path / "missing"))
    return settings
