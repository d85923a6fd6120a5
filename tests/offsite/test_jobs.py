"""Each job as the page has it: copy three archives, lose everything here, fetch, verify, restore, equal."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from support.needs import need_program
from support.operator import Operator, shell_blocks
from support.postgres import Database, execute
from support.rest_server import serving_restic
from support.runs import Site
from support.samba import HOST, PASSWORD, SHARE, USER, Samba, mounted_share, samba_server
from support.states import State, state_of

PRE_UPGRADE = "pre-upgrade-2026-11-25.tar"
DAY = 24 * 3600


@pytest.fixture(scope="module")
def server_of_shares(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samba]:
    with samba_server(tmp_path_factory.mktemp("samba")) as server:
        yield server


@pytest.fixture
def samba(server_of_shares: Samba) -> Samba:
    """With nothing on its share."""
    shutil.rmtree(server_of_shares.share)
    server_of_shares.share.mkdir()
    return server_of_shares


def take_three_backups(site: Site, database: Database) -> State:
    """Changes between them, an archive from before an upgrade, and files that are not for others; the last state."""
    for number in range(3):
        database.execute(f"INSERT INTO entry SELECT {1000 + number}, 'night {number}'")
        (site.uploads / f"{number}.jpg").write_bytes(os.urandom(20_000))
        assert site.run("backup").status == 0
        time.sleep(1.1)  # restic tells snapshots apart by the second in which an archive was finished
    assert site.run("backup", "--output", str(site.backups / PRE_UPGRADE)).status == 0
    (site.backups / f"{site.archives[0].name}.00112233.tmp").write_bytes(b"half of an archive")
    (site.backups / ".safeharbor").mkdir(exist_ok=True)
    (site.backups / "notes.txt").write_text("somebody's")
    return state_of(database.url, 18, site.uploads)


def digests_of(site: Site) -> dict[str, str]:
    """The archives here, nightly and not, with their SHA-256."""
    paths = [*site.archives, *site.backups.glob("pre-upgrade-*.tar")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def lose_everything(operator: Operator, database: Database) -> None:
    """The database, the uploads, the archives, and what the tools had remembered."""
    execute(database.server.url(), f"DROP DATABASE {database.name} WITH (FORCE)")
    for directory in (operator.site.uploads, operator.site.backups, operator.home):
        shutil.rmtree(directory)
        directory.mkdir()


def require_restorable(operator: Operator, get_back: str, database: Database, state: State, digest: str) -> None:
    """What the page says gets the newest archive back, and that restores everything."""
    site = operator.site

    said = operator.run(get_back)

    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in site.archives] == [digest]
    assert ": OK (" in said
    assert "would restore 2 tables, 13 upload files" in said
    assert site.run("restore", "--from", "latest", "--yes").status == 0
    assert state_of(database.url, 18, site.uploads) == state


def test_restic_through_a_rest_server(site: Site, database: Database) -> None:
    need_program("restic")
    operator = Operator(site)
    install, prepare, schedule, get_back = shell_blocks("restic")
    state, before = take_three_backups(site, database), digests_of(site)
    newest = site.archives[-1].name

    def there() -> list[str]:
        """Tags of all snapshots that are no word of ours for a kind: names of archives."""
        listed = operator.run("set -a; . /etc/safeharbor/offsite-restic.env; restic snapshots --json")
        return sorted(tag for snapshot in json.loads(listed) for tag in snapshot["tags"] if tag.endswith(".tar"))

    with serving_restic(operator.far) as address:
        operator.run(install)
        operator.settle("restic", RESTIC_REPOSITORY=address, OFFSITE_KEEP="--keep-last 2")
        assert operator.run(prepare).count("copying") == 4
        operator.run(schedule)
        again = operator.job("restic")
        assert (again.returncode, "copying" in again.stdout) == (0, False)  # what it forgot does not come back
        assert there() == sorted([PRE_UPGRADE, *(path.name for path in site.archives[1:])])
        require_drilled(operator, operator.drill_of("restic"), "restic")
        evidence = require_evidence_copied(operator, "restic")
        load = "set -a; . /etc/safeharbor/offsite-restic.env; restic dump --no-lock"
        assert {name: operator.run(f"{load} --tag {name} latest /{name}") for name in evidence} == evidence
        assert len(there()) == 3  # nothing of the archives has changed

        lose_everything(operator, database)
        require_restorable(operator, get_back, database, state, before[newest])


def test_borg_through_its_own_protocol(site: Site, database: Database) -> None:
    need_program("borg")
    operator = Operator(site)
    login = operator.put_program(
        "ssh-of-the-test",
        'while [ "$1" != borg ]; do shift; done\n' + f'exec "$@" --restrict-to-repository {operator.far}/reef',
    )
    operator.extra["BORG_RSH"] = str(login)
    install, prepare, schedule, get_back = shell_blocks("borg")
    state, before = take_three_backups(site, database), digests_of(site)
    newest = site.archives[-1].name

    def there() -> list[str]:
        known = "BORG_PASSCOMMAND='cat /etc/safeharbor/borg.passphrase'"
        return sorted(
            operator.run(f"set -a; . /etc/safeharbor/offsite-borg.env; {known} borg list --format '{{archive}}.tar '")
            .split()
        )  # fmt: skip

    operator.run(install)
    operator.settle("borg", BORG_REPO=f"ssh://backup@nas.example:22{operator.far}/reef", OFFSITE_KEEP="--keep-last 2")
    assert operator.run(prepare).count("copying") == 4
    operator.run(schedule)
    again = operator.job("borg")
    assert (again.returncode, "copying" in again.stdout) == (0, False)  # what was pruned does not come back
    assert there() == sorted([PRE_UPGRADE, *(path.name for path in site.archives[1:])])
    require_drilled(operator, operator.drill_of("borg"), "borg")
    evidence = require_evidence_copied(operator, "borg")
    load = "set -a; . /etc/safeharbor/offsite-borg.env; BORG_PASSCOMMAND='cat /etc/safeharbor/borg.passphrase'"
    assert {name: operator.run(f"{load} borg extract --stdout ::{name}") for name in evidence} == evidence
    assert len(there()) == 3 + len(evidence)

    lose_everything(operator, database)
    require_restorable(operator, get_back, database, state, before[newest])


def test_rclone_encrypted_into_a_samba_server(site: Site, database: Database, samba: Samba) -> None:
    operator = Operator(site)
    operator.put_program("rclone", f'exec {shlex.join(samba.enter)} {need_program("rclone")} "$@"')
    install, by_hand, schedule, get_back = shell_blocks("rclone")
    state, before = take_three_backups(site, database), digests_of(site)
    oldest, newest = site.archives[0], site.archives[-1].name
    os.utime(oldest, (time.time() - 100 * DAY,) * 2)

    def there() -> list[str]:
        listed = operator.run("set -a; . /etc/safeharbor/offsite-rclone.env; rclone lsf $OFFSITE_REMOTE")
        return sorted(listed.split())

    operator.run(install)
    (operator.etc / "rclone.conf").write_text(
        f"[nas]\ntype = smb\nhost = {HOST}\nuser = {USER}\npass = {obscured(PASSWORD)}\n"
        f"[reef-crypt]\ntype = crypt\nremote = nas:{SHARE}/reef\npassword = {obscured('secret')}\n"
    )
    operator.settle("rclone", OFFSITE_KEEP_DAYS="", OFFSITE_COMPARE="--download")
    operator.run("RCLONE_CONFIG=/etc/safeharbor/rclone.conf rclone mkdir reef-crypt:")
    operator.run(by_hand)
    operator.run(schedule)
    assert there() == sorted(before)
    assert not [path for path in (samba.share / "reef").iterdir() if path.name.endswith(".tar")]  # names are secret too

    operator.settle("rclone", OFFSITE_KEEP_DAYS="90")
    outputs = [operator.job("rclone") for _ in range(2)]
    assert [(each.returncode, "copying" in each.stdout) for each in outputs] == [(0, False), (0, False)]
    assert there() == sorted(set(before) - {oldest.name})

    lose_everything(operator, database)
    require_restorable(operator, get_back, database, state, before[newest])


def test_the_share_job_onto_a_mounted_samba_share(site: Site, database: Database, samba: Samba) -> None:
    with mounted_share(samba, site.root / "mount") as share:
        operator = Operator(site, share=share)
        credentials, mounts, prepare, schedule, get_back, *_ = shell_blocks("A share")
        state, before = take_three_backups(site, database), digests_of(site)
        newest = site.archives[-1].name

        operator.run(credentials.replace("install -d -m 0755 /mnt/nas", "true"))
        operator.run(mounts)
        operator.run("\n".join(prepare.splitlines()[:3]))
        operator.settle("share")
        operator.run(prepare.splitlines()[3])
        operator.run(schedule)
        assert {path.name for path in share.glob("reef/*.tar")} == set(before)
        assert sorted(os.listdir(samba.share / "reef")) == sorted([".mounted", *before])

        example = (operator.etc / "offsite-share.env").read_text().split("For example:\n# ", 1)[1].splitlines()[0]
        keep_two = example.replace("=30", "=2").replace("=12", "=0").replace("/opt/safeharbor/bin/", "")
        operator.settle("share", OFFSITE_PRUNE=keep_two)
        outputs = [operator.job("share") for _ in range(2)]
        assert [(each.returncode, "copying" in each.stdout) for each in outputs] == [(0, False), (0, False)], outputs
        assert {path.name for path in share.glob("reef/*.tar")} == {PRE_UPGRADE, *(a.name for a in site.archives[1:])}

        lose_everything(operator, database)
        require_restorable(operator, get_back, database, state, before[newest])


@pytest.mark.parametrize("job", ["share", "rclone"])
def test_encrypted_with_age_only_its_key_opens_what_is_far_away(site: Site, job: str) -> None:
    keygen = need_program("age-keygen")
    share = site.root / "nas"
    (share / "reef").mkdir(parents=True)
    (share / "reef" / ".mounted").touch()
    operator = Operator(site, share=share)
    made, another = (subprocess.run([keygen], check=True, capture_output=True, text=True) for _ in range(2))
    key, wrong = site.root / "reef.key", site.root / "wrong.key"
    key.write_text(made.stdout)
    wrong.write_text(another.stdout)
    operator.run(
        f"install -m 0600 deploy/offsite/{job}.env /etc/safeharbor/offsite-{job}.env; touch {site.root}/none.conf"
    )
    (site.root / "none.conf").chmod(0o600)
    (site.uploads / "empty").write_bytes(b"")
    for size in (0, 65536 - 1536):  # what age adds depends on the size
        (site.uploads / "of a size").write_bytes(os.urandom(size))
        assert site.run("backup").status == 0
        time.sleep(1.1)
    public = made.stderr.split()[-1]
    there = {"OFFSITE_REMOTE": str(operator.far), "RCLONE_CONFIG": f"{site.root}/none.conf"} if job == "rclone" else {}
    operator.settle(job, OFFSITE_AGE_RECIPIENT=public, **there)
    far = operator.far if job == "rclone" else share / "reef"

    outputs = [operator.job(job) for _ in range(2)]

    assert [(each.returncode, each.stdout.count("copying")) for each in outputs] == [(0, 2), (0, 0)], outputs
    assert sorted(path.name for path in far.glob("s*")) == [f"{path.name}.age" for path in site.archives]
    assert all(path.read_bytes().startswith(b"age-encryption.org/v1\n") for path in far.glob("s*"))
    assert [path for path in site.backups.iterdir() if path.name.startswith(".offsite")] == []
    drill = operator.drill_of(job)
    assert "OFFSITE_AGE_IDENTITY is not set" in operator.try_to(drill).stderr
    operator.settle(job, OFFSITE_AGE_IDENTITY=str(wrong))
    assert "cannot be decrypted" in operator.try_to(drill).stderr
    operator.settle(job, OFFSITE_AGE_IDENTITY=str(key))
    require_drilled(operator, drill, job)
    evidence = require_evidence_copied(operator, job)
    decrypt = f"age --decrypt --identity {key} {far}"
    assert {name: operator.run(f"{decrypt}/{name}.age") for name in evidence} == evidence
    assert not list(far.glob("*.json")) + list(far.glob("*.sig"))


def require_drilled(operator: Operator, drill: str, copy: str) -> None:
    """What is far away restores on trial; that copy is known, and of the archives here nothing is proven."""
    said = operator.run(drill)

    assert f"{operator.site.archives[-1].name} restores: " in said
    status = json.loads(operator.run("safeharbor status --json"))
    (known,) = status["offsite"]
    assert (known["name"], known["archive"]) == (copy, operator.site.archives[-1].name)
    assert known["copied_at"] <= known["drilled_at"]
    assert status["last_drill"] is None
    assert status["contents"][0]["drilled_at"] is None
    evidence = json.loads(max(operator.site.backups.glob("safeharbor-drill-*.json")).read_text())
    assert evidence["archive"]["offsite"] == copy
    assert not list(operator.site.backups.glob(".offsite*"))


def require_evidence_copied(operator: Operator, job: str) -> dict[str, str]:
    """The files that a drill has left, by name, after one run of the job has copied each of them, and the next none."""
    backups = operator.site.backups
    (found,) = backups.glob("safeharbor-drill-*.json")
    found.with_name(f"{found.name}.sig").write_text("signed\n")
    (backups / "safeharbor-drill-of-somebody.json").write_text("none of ours")
    (backups / "safeharbor-drill-2026-01-01T00-00-00Z.json").symlink_to("/etc/passwd")

    outputs = [operator.job(job) for _ in range(2)]

    evidence = {name: (backups / name).read_text() for name in (found.name, f"{found.name}.sig")}
    copied = [f"{job}: {name} is there" for name in evidence]
    said = [[line for line in each.stdout.splitlines() if "safeharbor-drill-" in line] for each in outputs]
    assert [each.returncode for each in outputs] == [0, 0], outputs
    assert said == [copied, []]
    return evidence


def obscured(password: str) -> str:
    """As a file of rclone has it."""
    return subprocess.run(["rclone", "obscure", password], check=True, capture_output=True, text=True).stdout.strip()
