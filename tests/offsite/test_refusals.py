"""What the jobs refuse, and how they say so; most of it with the share job onto a plain directory, which is quick."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from support.archives import assemble, uploads_root
from support.needs import need_program
from support.operator import PAGE, ROOT, Operator, shell_blocks
from support.rest_server import serving_restic
from support.runs import Site

JOBS = ("restic", "borg", "rclone", "share")
DEPLOYED = ROOT / "deploy" / "offsite"
TAKEN = {"restic": 4, "borg": 4, "rclone": 4, "A share": 6, "Install": 1, "Mounts and containers": 1}
TAKEN["Drill the off-site copy"] = 2
NAME = "safeharbor-backup-2026-05-07T03-00-00Z.tar"


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """With the share job settled, and a directory in the place of the share. Archives are no more than names."""
    share = tmp_path / "nas"
    (share / "reef").mkdir(parents=True)
    (share / "reef" / ".mounted").touch()
    made = Operator(Site(tmp_path, "postgresql://nobody@127.0.0.1:9/none"), share=share)
    made.run("install -m 0600 deploy/offsite/share.env /etc/safeharbor/offsite-share.env")
    made.settle("share", OFFSITE_PRUNE="touch /mnt/nas/pruned".replace("/mnt/nas", str(share)))
    return made


def fresh(operator: Operator, hours: int = 0) -> Path:
    """A file with the name of an archive of so many hours ago."""
    name = time.strftime("safeharbor-backup-%Y-%m-%dT%H-%M-%SZ.tar", time.gmtime(time.time() - hours * 3600))
    path = operator.site.backups / name
    path.write_bytes(b"an archive of that hour")
    return path


def outcome(operator: Operator, status: int, reason: str, job: str = "share") -> None:
    """The job ends so, says so, and deletes nothing on the far side."""
    done = operator.job(job)
    assert (done.returncode, reason in done.stderr) == (status, True), done
    assert not (operator.share / "pruned").exists()


def test_after_a_fresh_archive_has_arrived_the_far_side_is_thinned_out(operator: Operator) -> None:
    archive = fresh(operator)

    done = operator.job("share")

    assert done.returncode == 0, done
    assert f"share: {archive.name} is there\n" in done.stdout
    assert (operator.share / "pruned").exists()
    assert int((operator.share / "reef" / archive.name).stat().st_mtime) == int(archive.stat().st_mtime)


def test_what_a_backup_takes_during_the_job_is_not_called_copied(operator: Operator) -> None:
    archive, later = fresh(operator), fresh(operator, hours=-1)
    aside = later.rename(operator.home / later.name)
    operator.settle("share", OFFSITE_PRUNE=f"mv {aside} {later}")

    assert operator.job("share").returncode == 0

    assert later.exists()
    known = json.loads((operator.site.backups / ".safeharbor" / "offsite.json").read_text())
    assert [(each["name"], each["archive"]) for each in known["copies"]] == [("share", archive.name)]


def test_a_stale_archive_is_copied_and_then_told(operator: Operator) -> None:
    archive = fresh(operator, hours=30)

    outcome(operator, 3, f"{archive.name} has arrived, but is 30 hours old: look at the backup")

    assert (operator.share / "reef" / archive.name).exists()


def test_no_archive_at_all_is_told(operator: Operator) -> None:
    outcome(operator, 3, f"there is no archive in {operator.site.backups}")


def test_a_backup_that_is_not_healthy_is_told(operator: Operator) -> None:
    fresh(operator)
    operator.settle("share", OFFSITE_HEALTHCHECK=f"BACKUP_DIR={operator.home} safeharbor status --healthcheck; false")

    outcome(operator, 3, "has arrived, but the backup is not healthy")


def test_a_share_that_is_not_mounted_stays_empty(operator: Operator) -> None:
    fresh(operator)
    (operator.share / "reef" / ".mounted").unlink()

    outcome(operator, 7, "is missing: the share is not mounted")

    assert os.listdir(operator.share / "reef") == []


def test_a_second_run_leaves_the_first_alone(operator: Operator) -> None:
    fresh(operator)
    with open(operator.etc / "offsite-share.env") as settings:
        fcntl.flock(settings, fcntl.LOCK_EX)

        outcome(operator, 4, "is at work")


def test_settings_that_others_may_read_are_refused(operator: Operator) -> None:
    settings = operator.etc / "offsite-share.env"
    settings.chmod(0o640)

    outcome(operator, 2, f"others may read {settings}. Type: chmod 600 {settings}")


def test_a_setting_that_is_missing_is_named(operator: Operator) -> None:
    operator.settle("share", OFFSITE_SENTINEL="")

    outcome(operator, 2, "OFFSITE_SENTINEL is not set")


def test_a_pre_upgrade_archive_under_an_old_name_is_no_copy_of_the_new_one(operator: Operator) -> None:
    fresh(operator)
    archive = operator.site.backups / "pre-upgrade-1.tar"
    archive.write_bytes(b"first")
    assert operator.job("share").returncode == 0
    (operator.share / "pruned").unlink()
    archive.write_bytes(b"the second one")

    outcome(operator, 1, "pre-upgrade-1.tar differs from its copy, which stays as it is")

    assert (operator.share / "reef" / archive.name).read_bytes() == b"first"


def test_what_changes_here_afterwards_changes_no_copy(operator: Operator) -> None:
    old, new = fresh(operator, hours=24), fresh(operator)
    content = old.read_bytes()
    assert operator.job("share").returncode == 0
    old.write_bytes(b"encrypted by somebody")
    new.unlink()
    newer = fresh(operator, hours=-1)

    assert operator.job("share").returncode == 0

    copies = {path.name: path.read_bytes() for path in (operator.share / "reef").glob("*.tar")}
    assert copies == {old.name: content, new.name: content, newer.name: content}


def test_a_copy_that_fails_is_told_and_made_by_the_next_run(operator: Operator) -> None:
    archive = fresh(operator)
    cp = operator.put_program("cp", 'for last; do :; done; head -c 5 "$4" > "$last"')

    outcome(operator, 1, f"{archive.name} could not be copied; the next run tries again")
    assert not list((operator.share / "reef").glob("*.tar"))

    cp.unlink()
    assert operator.job("share").returncode == 0
    assert sorted(os.listdir(operator.share / "reef")) == sorted([".mounted", archive.name])


def test_prune_leaves_an_archive_alone_while_it_is_copied(operator: Operator) -> None:
    old, new = fresh(operator, hours=24), fresh(operator)
    for archive in (old, new):
        archive.write_bytes(assemble([uploads_root()]))
    os.utime(old, (time.time() - 86400,) * 2)
    ours = f"BACKUP_DIR={operator.site.backups} BACKUP_RETENTION_DAILY=1 BACKUP_RETENTION_WEEKLY=0 safeharbor prune"
    operator.put_program("cp", f'{ours} || [ $? = 3 ]\nexec {need_program("cp")} "$@"')

    done = operator.job("share")

    assert "it is being read" in done.stdout + done.stderr
    assert done.returncode == 0, done
    assert {path.name for path in (operator.share / "reef").glob("*.tar")} == {old.name, new.name}


def test_what_is_no_plain_archive_stays_here(operator: Operator) -> None:
    archive = fresh(operator)
    for name in (f"{archive.name}.00112233.tmp", ".hidden.tar", "safeharbor-backup-latest.tar", "pre-upgrade a b.tar"):
        (operator.site.backups / name).touch()
    (operator.site.backups / "pre-upgrade-link.tar").symlink_to("/etc/passwd")
    (operator.site.backups / "pre-upgrade-$(touch x).tar").touch()

    done = operator.job("share")

    assert done.returncode == 0
    assert "skipped because of its name: pre-upgrade-$(touch x).tar" in done.stderr
    assert [path.name for path in (operator.share / "reef").glob("*.tar")] == [archive.name]


def test_a_far_side_that_is_away_is_told(operator: Operator) -> None:
    need_program("borg")
    fresh(operator)
    install, *_ = shell_blocks("borg")
    operator.run(install)
    operator.settle("borg")
    operator.extra["BORG_RSH"] = str(operator.put_program("ssh-of-the-test", "exit 255"))

    outcome(operator, 1, "the far side does not answer", job="borg")


def test_restic_needs_a_far_side_that_only_adds(operator: Operator) -> None:
    need_program("restic")
    fresh(operator)
    install, prepare, *_ = shell_blocks("restic")
    operator.run(install)
    with serving_restic(operator.far, "--append-only") as address:
        operator.settle("restic", RESTIC_REPOSITORY=address, OFFSITE_KEEP="")

        operator.run(prepare)

        assert operator.job("restic").returncode == 0


def test_borg_needs_a_far_side_that_only_adds(operator: Operator) -> None:
    need_program("borg")
    fresh(operator)
    serve = f'exec borg serve --append-only --restrict-to-repository "{operator.far}"'
    operator.extra["BORG_RSH"] = str(operator.put_program("ssh-of-the-test", serve))
    install, prepare, *_ = shell_blocks("borg")
    operator.run(install)
    operator.settle("borg", OFFSITE_KEEP="")

    operator.run(prepare)

    assert operator.job("borg").returncode == 0


def test_a_cut_copy_at_a_remote_is_told_and_holds_no_other_up(operator: Operator) -> None:
    need_program("rclone")
    cut, new = fresh(operator, hours=24), fresh(operator)
    install, *_ = shell_blocks("rclone")
    operator.run(install)
    operator.settle("rclone", OFFSITE_REMOTE=str(operator.far))
    (operator.far / cut.name).write_bytes(b"an")

    outcome(operator, 1, f"{cut.name} has 2 bytes there and 23 here: a cut copy", job="rclone")

    assert (operator.far / new.name).read_bytes() == new.read_bytes()


@pytest.mark.parametrize("script", sorted(DEPLOYED.glob("*.sh")), ids=lambda path: path.name)
def test_the_scripts_have_no_fault_that_shellcheck_knows(script: Path) -> None:
    done = subprocess.run([need_program("shellcheck"), script.name], cwd=DEPLOYED, capture_output=True, check=False)

    assert done.stdout.decode() == ""


@pytest.mark.parametrize("job", JOBS)
def test_the_units_are_right(operator: Operator, job: str) -> None:
    program = need_program("systemd-analyze")
    for unit in operator.units.iterdir():
        unit.write_text(operator.here(unit.read_text()))
    names = [f"safeharbor-offsite@{job}", f"safeharbor-offsite-drill@{job}"]
    units = [str(operator.units / f"{name}.{kind}") for name in names for kind in ("service", "timer")]

    done = subprocess.run([program, "verify", "--man=no", *units], capture_output=True, text=True, check=False)

    assert f"systemctl enable --now safeharbor-offsite@{job}.timer\n" in PAGE.read_text()
    assert "safeharbor-offsite" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_the_page_mounts_with_the_options_that_the_lines_for_fstab_have() -> None:
    lines = [line.split() for line in (DEPLOYED / "fstab").read_text().splitlines() if not line.startswith("#")]
    commands = [line.split() for line in shell_blocks("A share")[1].splitlines()]

    for (what, place, kind, options, *_), (_sudo, _mount, _t, command_kind, _o, some, *operands) in zip(
        lines, commands, strict=True
    ):
        assert (kind, what, place) == (command_kind, *operands)
        assert set(some.split(",")) < set(options.split(","))
        assert {"nofail", "x-systemd.automount", "_netdev"} < set(options.split(","))


def test_every_command_of_the_page_is_run_by_a_test() -> None:
    """The sections are taken apart by the tests beside this one; here is what they must not overlook."""
    blocks = {section: len(shell_blocks(section)) for section in TAKEN}

    assert blocks == TAKEN
    assert PAGE.read_text().count("```sh\n") == sum(TAKEN.values())


def test_every_setting_of_a_job_is_explained() -> None:
    for job in JOBS:
        script = (DEPLOYED / f"{job}.sh").read_text() + (DEPLOYED / "archives.sh").read_text()
        explained = (DEPLOYED / f"{job}.env").read_text()
        names = set(re.findall(r"\bOFFSITE_[A-Z_]+", script))
        if job in ("restic", "borg"):  # which encrypt by themselves
            names -= {"OFFSITE_AGE_RECIPIENT", "OFFSITE_AGE_IDENTITY"}
        for name in names:
            assert f"\n{name}=" in explained, (job, name)
