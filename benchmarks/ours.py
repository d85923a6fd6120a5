"""Safe Harbor as a command, and its environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from safeharbor_backup.postgres.private_cluster import PrivateServer

COMMAND = [sys.executable, "-c", "from safeharbor_backup.cli.main import main; main()"]


def environment(
    server: PrivateServer, bin_dir: Path, database: str, uploads: Path, backups: Path, compression: str
) -> dict[str, str]:
    """The settings of a run beside this server."""
    return {
        **os.environ,
        "BACKUP_DATABASE_URL": server.url(database),
        "BACKUP_UPLOAD_DIR": str(uploads),
        "BACKUP_DIR": str(backups),
        "BACKUP_PG_BIN": str(bin_dir),
        "BACKUP_DUMP_COMPRESSION": compression,
    }
