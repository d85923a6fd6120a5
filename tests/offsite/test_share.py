"""Archives straight on a share: what works there, and what stops a backup when it is not there."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.needs import need_root
from support.operator import Operator, shell_blocks
from support.postgres import Database
from support.runs import Site
from support.samba import mounted_share, samba_server
from support.states import state_of


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("share")
    with samba_server(root) as samba, mounted_share(samba, root / "mount") as mounted:
        yield mounted


def test_every_command_works_on_a_mounted_samba_share(site: Site, database: Database, share: Path) -> None:
    few = {"BACKUP_DIR": str(share), "BACKUP_RETENTION_DAILY": "1", "BACKUP_RETENTION_WEEKLY": "0"}
    before = state_of(database.url, 18, site.uploads)

    statuses = [site.run(*command, timeout=120, **few).status for command in (
        ("backup",),
        ("backup", "--output", str(share / "pre-upgrade.tar")),
        ("backup", "--output", str(share / "pre-upgrade.tar")),
        ("backup",),
        ("verify", "--all"),
        ("status",),
    )]  # fmt: skip
    database.execute("DROP TABLE photo")
    restored = site.run("restore", "--from", "latest", "--yes", timeout=120, **few)

    assert statuses == [0] * 6
    assert restored.status == 0, restored.output
    assert state_of(database.url, 18, site.uploads) == before
    assert site.run("restore", "--undo", timeout=120, **few).status == 0
    assert database.execute("SELECT to_regclass('photo')") == [(None,)]
    names = set(os.listdir(share))
    assert len([name for name in names if name.startswith("safeharbor-backup-")]) == 1  # the other one was pruned
    assert {name for name in names if "tmp" in name} == set()


def test_a_failed_run_leaves_nothing_on_a_share(site: Site, share: Path) -> None:
    before = set(os.listdir(share))

    done = site.run("backup", BACKUP_DIR=str(share), BACKUP_PG_BIN=str(site.root), PATH="/nowhere")

    assert done.status == 1, done.output
    stays = {".safeharbor.lock", ".safeharbor"}  # where the failed run is recorded
    assert set(os.listdir(share)) - stays == before - stays


def test_without_the_share_the_sentinel_stops_the_backup(site: Site, tmp_path: Path) -> None:
    mount_point = tmp_path / "nas"
    (mount_point / "reef").mkdir(parents=True)
    operator = Operator(site, share=mount_point)
    straight = shell_blocks("A share")[5]
    site.backups.rmdir()

    operator.run(straight)  # the share is there
    (mount_point / "reef").rename(tmp_path / "the share")
    absent = operator.try_to(straight.splitlines()[2])
    (mount_point / "reef").mkdir()  # a mount point on the host's own disk
    empty = operator.try_to(straight.splitlines()[2])

    assert (absent.returncode, empty.returncode) == (7, 7)
    assert "is a symlink to" in absent.stderr
    assert f"Error: The sentinel {site.backups}/.mounted is missing: the share is not mounted." in empty.stderr
    assert os.listdir(mount_point / "reef") == []
    assert len(list((tmp_path / "the share").glob("safeharbor-backup-*.tar"))) == 1


# what Docker does with a bind mount: the container's mounts follow the host's, and then the one is made what was asked
_HOST = """
set -e
mount --bind {root} {root}
mount --make-shared {root}
mkfifo {root}/come {root}/come-back
unshare --mount --propagation slave sh -c '
    mount --bind {root}/nas {root}/container
    mount --make-{propagation} {root}/container
    eval "$TAKE_BACKUP"; echo before: $?
    echo started > {root}/come
    read -r _ < {root}/come-back
    eval "$TAKE_BACKUP"; echo after: $?
' &
read -r _ < {root}/come
{tell}
mount -t tmpfs share {root}/nas
mkdir {root}/nas/reef
touch {root}/nas/reef/.mounted
echo mounted > {root}/come-back
wait
ls {root}/nas/reef
"""


@pytest.mark.parametrize(("propagation", "after"), [("rslave", 0), ("rprivate", 7)])
def test_a_share_that_comes_after_the_container(site: Site, tmp_path: Path, propagation: str, after: int) -> None:
    need_root()
    for name in ("nas/reef", "container"):
        (tmp_path / name).mkdir(parents=True)
    inside = tmp_path / "container" / "reef"
    settings = {"BACKUP_DIR": str(inside), "BACKUP_SENTINEL": str(inside / ".mounted")}
    settings["TAKE_BACKUP"] = shlex.join(site.argv("backup", "--quiet"))
    tell = Operator(site, share=tmp_path / "nas").here(shell_blocks("Mounts and containers")[0])
    script = _HOST.format(root=tmp_path, propagation=propagation, tell=tell)

    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        env=site.full_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )

    assert f"before: 7\nshared\nafter: {after}\n" in done.stdout, done
    assert ("safeharbor-backup-" in done.stdout) == (after == 0)
    assert os.listdir(tmp_path / "nas" / "reef") == []
