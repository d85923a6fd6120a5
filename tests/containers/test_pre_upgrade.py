"""A backup before pending migrations, in the stack: `migrate` runs to its end, and only then the app starts."""

from __future__ import annotations

import pytest

from support.engine import Images
from support.stack import Stack, wait_for

# one process, since they share an engine; the first one waits for the images
pytestmark = [pytest.mark.xdist_group("engine"), pytest.mark.timeout(900)]

WITH_BACKUP_BEFORE = ("--file", "compose.yaml", "--file", "deploy/pre-upgrade/compose.yaml")


def test_an_upgrade_is_backed_up_and_a_plain_start_is_not(stack: Stack, images: Images) -> None:
    stack.set(MIGRATE_IMAGE=images.app)
    stack.run_in("web", "flask", "db", "downgrade", "0001")

    stack.compose(*WITH_BACKUP_BEFORE, "up", "--detach")

    wait_for(stack.browser.is_served, "the app answers")
    assert stack.sql("SELECT version_num FROM alembic_version") == "0002"
    [backup] = stack.backups.glob("pre-upgrade-*.tar")
    assert stack.run_in("backups", "safeharbor", "verify", f"/backups/{backup.name}").returncode == 0

    stack.compose(*WITH_BACKUP_BEFORE, "up", "--detach", "--force-recreate", "migrate", "web")

    wait_for(stack.browser.is_served, "the app answers")
    assert list(stack.backups.glob("pre-upgrade-*.tar")) == [backup]


def test_without_a_backup_nothing_is_migrated_and_the_app_does_not_start(stack: Stack, images: Images) -> None:
    stack.set(MIGRATE_IMAGE=images.app)
    stack.run_in("web", "flask", "db", "downgrade", "0001")
    stack.backups.chmod(0o500)

    done = stack.compose(*WITH_BACKUP_BEFORE, "up", "--detach", "--force-recreate", "migrate", "web", check=False)

    assert done.returncode != 0
    assert (
        "the backup failed with status 7. Nothing was migrated."
        in stack.compose(*WITH_BACKUP_BEFORE, "logs", "migrate").stdout
    )
    assert stack.sql("SELECT version_num FROM alembic_version") == "0001"
    assert not stack.browser.is_served()
    stack.backups.chmod(0o755)
