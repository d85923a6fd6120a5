"""The Compose stack at work, on the host and in its containers."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tarfile
import threading
import time
import urllib.error
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from support.engine import Images
from support.patience import patient
from support.stack import Stack, wait_for

pytestmark = pytest.mark.timeout(900)  # the first one waits for the images

USER = 1000


def test_one_command_on_a_fresh_copy_starts_it_all(stack: Stack) -> None:
    shown = stack.compose("--profile", "backup", "ps", "ofelia", "backups").stdout
    states = {name: stack.container(name)["State"] for name in ("web", "postgres", "backups", "ofelia")}

    assert f"{stack.project}-ofelia-1" in shown
    assert f"{stack.project}-backups-1" in shown
    assert {name: state["Status"] for name, state in states.items()} == dict.fromkeys(states, "running")
    assert stack.container("ofelia")["RestartCount"] == 0


def test_a_backup_by_hand_lands_on_the_host(stack: Stack) -> None:
    before = stack.archives

    done = stack.compose("--profile", "backup", "exec", "-T", "backups", "flask", "safeharbor", "backup")

    [archive] = set(stack.archives) - set(before)
    assert f"/backups/{archive.name} (" in done.stdout


def test_the_profile_offsite_copies_into_a_repository_that_is_drilled_and_says_so(stack: Stack) -> None:
    if not stack.archives:
        backed_up(stack)
    stack.set(COMPOSE_PROFILES="backup,offsite", OFFSITE_REPOSITORY="/backups/far", OFFSITE_PASSWORD="hush hush")
    stack.compose("run", "--rm", "-T", "offsite", "restic", "init")

    stack.compose("up", "--detach", "offsite")

    wait_for(lambda: "offsite: done; again at 04:30 UTC" in said_by(stack, "offsite"), "the archives are copied")
    assert "hush" not in said_by(stack, "offsite")
    [copy] = json.loads(stack.run_in("backups", "safeharbor", "status", "--json", check=False).stdout)["offsite"]
    assert (copy["name"], copy["archive"]) == ("restic", stack.archives[-1].name)
    drilled = stack.run_in("offsite", "bash", "/opt/safeharbor/offsite/compose.sh", "--drill")
    assert f"{stack.archives[-1].name} restores: " in drilled.stdout
    started = time.monotonic()
    stack.compose("stop", "offsite")
    assert time.monotonic() - started < patient(60)  # of the two minutes that it has
    stack.set(COMPOSE_PROFILES="backup", OFFSITE_REPOSITORY="", OFFSITE_PASSWORD="")
    stack.compose("--profile", "offsite", "rm", "--force", "offsite")
    stack.run_in("backups", "safeharbor", "offsite-done", "restic", "--forget")
    shutil.rmtree(stack.backups / "far")


def test_ofelia_finds_its_three_jobs_and_no_others(stack: Stack) -> None:
    told = stack.compose("logs", "ofelia").stdout

    assert set(re.findall(r"New job registered (.*)", told)) == {
        f"'{stack.project}-backup' - 'flask safeharbor backup' - '0 0 3 * * *'",
        f"'{stack.project}-verify' - 'flask safeharbor verify --latest' - '0 0 5 * * 0'",
        f"'{stack.project}-drill' - 'flask safeharbor drill' - '0 0 6 * * 0'",
    }


def test_the_job_of_the_label_backs_up_as_ofelia_runs_it(stack: Stack) -> None:
    before = stack.archives
    time.sleep(1.1)  # names have seconds

    status, told = run_job(stack, "backup")

    assert status == 0, told
    [archive] = set(stack.archives) - set(before)
    about = archive.stat()
    assert (about.st_uid, about.st_gid, about.st_mode & 0o7777) == (USER, USER, 0o600)
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert names[0] == "db.dump"
    assert names[-2:] == ["SHA256SUMS", "manifest.json"]
    assert sum(name.endswith(".jpg") for name in names) == 6  # three photos and their thumbnails
    assert run_job(stack, "verify")[0] == 0


def test_the_job_of_the_label_drills_on_the_stacks_own_server_and_leaves_nothing(stack: Stack) -> None:
    backed_up(stack)

    status, told = run_job(stack, "drill")

    assert status == 0, told
    assert "on postgres:5432, PostgreSQL" in told
    newest = max(stack.backups.glob("safeharbor-drill-*.json"))
    found = json.loads(newest.read_text())
    about = newest.stat()
    assert (found["result"], found["archive"]["name"]) == ("passed", stack.archives[-1].name)
    assert found["compared"]["uploads"]["equal"] == 6
    assert (about.st_uid, about.st_gid, about.st_mode & 0o7777) == (USER, USER, 0o600)
    assert stack.sql(r"SELECT count(*) FROM pg_database WHERE datname LIKE '%\_drill\_%'") == "0"
    assert list(stack.backups.glob(".safeharbor-drill-*")) == []


def test_the_jobs_run_as_the_sidecars_user_and_never_twice_at_once(stack: Stack) -> None:
    for name in ("backup", "verify", "drill"):
        job = job_of(stack, name)
        assert job["user"] == f"{USER}:{USER}"
        assert job["no-overlap"] == "true"
        assert not set(job["command"]) & set("\"'\\$")  # ofelia splits at blanks only as we do


def test_the_app_can_read_how_the_backups_are(stack: Stack) -> None:
    backed_up(stack)

    document = json.loads(stack.run_in("web", "cat", "/backup-status/status.json").stdout)

    assert document["healthy"] is True
    assert document["newest"]["name"] == stack.archives[-1].name


def test_the_apps_admin_sees_how_the_backups_are_and_others_do_not(stack: Stack) -> None:
    stack.set(ADMIN_PASSWORD="ahoy")
    stack.compose("up", "--detach")
    wait_for(stack.browser.is_served, "the app answers")
    backed_up(stack)
    assert b"<h1>Admin</h1>" in stack.browser.get("/admin/backups/")  # sent to the login

    page = stack.browser.log_in("ahoy").decode()

    assert f"--from /backups/{stack.archives[-1].name} --dry-run" in page
    assert "Backups: good" in page
    stack.set(ADMIN_PASSWORD="")
    stack.compose("up", "--detach")
    wait_for(stack.browser.is_served, "the app answers")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        stack.browser.get("/admin/backups/")


def test_the_app_cannot_touch_the_backups(stack: Stack) -> None:
    mounts = {mount["Destination"]: mount["RW"] for mount in stack.container("web")["Mounts"]}

    assert mounts == {"/data/uploads": True, "/backup-status": False}
    assert stack.run_in("web", "ls", "/backups", check=False).returncode != 0
    assert stack.run_in("web", "touch", "/backup-status/status.json", check=False).returncode != 0


@pytest.mark.parametrize("service", ["web", "backups", "ofelia"])
def test_the_root_is_read_only_and_nothing_is_allowed(stack: Stack, service: str) -> None:
    host = stack.container(service)["HostConfig"]

    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] is None
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert stack.run_in(service, "touch", "/usr/planted", check=False).returncode != 0
    assert stack.run_in(service, "grep", "CapBnd", "/proc/self/status").stdout.split()[1].strip("0") == ""


def test_ofelia_has_the_socket_and_nothing_else(stack: Stack) -> None:
    ofelia = stack.container("ofelia")

    assert [(mount["Destination"], mount["RW"]) for mount in ofelia["Mounts"]] == [("/var/run/docker.sock", False)]
    assert ofelia["HostConfig"]["NetworkMode"] == "none"


def test_no_container_but_ofelia_has_the_socket(stack: Stack) -> None:
    for service in ("web", "postgres", "backups"):
        assert "docker.sock" not in json.dumps(stack.container(service)["Mounts"])


def test_doctor_finds_no_problem_in_the_sidecar(stack: Stack) -> None:
    done = stack.run_in("backups", "flask", "safeharbor", "doctor", check=False)

    assert done.returncode in (0, 3), done.stdout  # 3: the client of the base image may lack the fixes of 2026
    assert "no container engine can be reached from here" in done.stdout
    assert "not checked" not in done.stdout


def test_a_wrong_owner_gives_the_exact_command_and_the_next_start_puts_it_right(stack: Stack) -> None:
    os.chown(stack.backups, 0, 0)
    stack.backups.chmod(0o755)

    refused = stack.run_in("backups", "flask", "safeharbor", "backup", check=False)

    assert refused.returncode == 7
    assert f"sudo chown {USER}:{USER} /backups" in refused.stderr
    assert "on the host" in refused.stderr
    stack.compose("up", "--detach")
    assert stack.backups.stat().st_uid == USER
    backed_up(stack)


def test_a_run_as_root_does_not_break_the_next_run_as_the_user(stack: Stack) -> None:
    before = stack.archives
    as_root = ("run", "--rm", "-T", "--user", "0:0", "--cap-add", "DAC_OVERRIDE", "--cap-add", "CHOWN")

    stack.compose(*as_root, "backups", "flask", "safeharbor", "backup")

    [by_root] = set(stack.archives) - set(before)
    assert by_root.stat().st_uid == USER  # it belongs to whom the directory belongs
    backed_up(stack)
    # without capabilities root may write nothing there, and says so
    assert stack.compose("exec", "-T", "--user", "0:0", "backups", "safeharbor", "backup", check=False).returncode == 7
    backed_up(stack)


def test_a_backup_is_taken_by_any_user_that_may_write_where_archives_go(stack: Stack, tmp_path: Path) -> None:
    os.chown(tmp_path, 4242, 0)
    image, address = stack.settings["SAFEHARBOR_IMAGE"], "postgresql://logbook:logbook@postgres/logbook"
    places = ("--volume", f"{tmp_path}:/backups", "--volume", f"{stack.project}_uploads:/data/uploads:ro")
    confined = ("--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", f"{stack.project}_database")
    settings = ("--env", f"BACKUP_DATABASE_URL={address}", "--env", "BACKUP_UPLOAD_DIR=/data/uploads")

    done = stack.engine.docker("run", "--user", "4242:0", *confined, *places, *settings, image, "safeharbor", "backup")

    [archive] = tmp_path.glob("safeharbor-backup-*.tar")
    assert archive.stat().st_uid == 4242, done


def test_a_stop_in_the_middle_leaves_no_archive_and_the_next_run_is_clean(stack: Stack) -> None:
    before = stack.archives
    locked = "BEGIN; LOCK TABLE entry; SELECT pg_sleep(60)"  # pg_dump waits for this table
    holder = threading.Thread(
        target=stack.run_in, args=("postgres", "psql", "-U", "logbook", "-c", locked), kwargs={"check": False}
    )
    holder.start()
    is_locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted"
    wait_for(lambda: stack.sql(is_locked) == "1", "the table is locked")
    outcome: list[tuple[int, str]] = []
    run = threading.Thread(target=lambda: outcome.append(run_job(stack, "backup")))
    run.start()
    wait_for(lambda: stack.drafts, "the backup is at work")

    started = time.monotonic()
    stack.compose("stop", "backups")
    took = time.monotonic() - started
    run.join(timeout=60)

    assert outcome[0][0] == 143, outcome
    assert "Nothing unfinished is left behind" in outcome[0][1]
    assert took < 60  # of the two minutes that it has
    assert stack.archives == before
    assert stack.drafts == []
    stack.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE mode = 'AccessExclusiveLock'")
    holder.join(timeout=60)
    stack.compose("up", "--detach")
    backed_up(stack)


def test_docker_says_unhealthy_when_the_newest_backup_is_too_old(stack: Stack) -> None:
    backed_up(stack)
    override = {"services": {"backups": {"healthcheck": {"interval": "1s", "retries": 1, "start_period": "1s"}}}}
    (stack.folder / "compose.override.yaml").write_text(json.dumps(override))
    stack.compose("up", "--detach", "backups")
    wait_for(lambda: health(stack) == "healthy", "the sidecar is healthy")

    stack.set(BACKUP_MAX_AGE="1s")
    stack.compose("up", "--detach", "backups")

    wait_for(lambda: health(stack) == "unhealthy", "the sidecar is unhealthy")
    assert "(unhealthy)" in stack.compose("ps", "backups").stdout
    stack.set(BACKUP_MAX_AGE="")
    (stack.folder / "compose.override.yaml").unlink()
    stack.compose("up", "--detach")


def test_ofelia_starts_the_backup_at_its_time(stack: Stack) -> None:
    before = stack.archives

    stack.set(BACKUP_SCHEDULE="*/5 * * * * *")
    stack.compose("up", "--detach")

    wait_for(lambda: set(stack.archives) - set(before), "there is a new archive")
    stack.set(BACKUP_SCHEDULE="")
    stack.compose("up", "--detach")


def test_an_apps_own_image_takes_the_sidecars_place(stack: Stack, images: Images) -> None:
    stack.set(SAFEHARBOR_IMAGE=images.app)
    stack.compose("up", "--detach", "--no-build", "backups")

    done = stack.run_in("backups", "flask", "safeharbor", "backup")

    assert "No Flask app is named" not in done.stderr
    assert "/backups/safeharbor-backup-" in done.stdout
    stack.set(SAFEHARBOR_IMAGE=images.safeharbor)
    stack.compose("up", "--detach")


def test_a_schedule_is_not_lost_if_only_the_sidecar_was_started_anew(stack: Stack) -> None:
    """ofelia reads schedules when it starts, and Compose restarts it with `backups` only if both are started."""
    stack.set(BACKUP_SCHEDULE="0 30 4 * * *")
    stack.compose("up", "--detach", "backups")
    assert "'0 30 4 * * *'" not in stack.compose("logs", "ofelia").stdout

    stack.compose("up", "--detach")

    wait_for(lambda: "'0 30 4 * * *'" in stack.compose("logs", "ofelia").stdout, "ofelia knows the new schedule")
    stack.set(BACKUP_SCHEDULE="")
    stack.compose("up", "--detach")


def test_the_scheduler_backs_up_without_the_socket(stack: Stack) -> None:
    stack.compose("stop", "ofelia", "backups")
    stack.set(COMPOSE_PROFILES="backup-scheduler", BACKUP_SCHEDULE="*/5 * * * * *")
    before = stack.archives

    stack.compose("up", "--detach")

    wait_for(lambda: len(set(stack.archives) - set(before)) > 1, "there are two new archives")
    assert "docker.sock" not in json.dumps(stack.container("backup-scheduler")["Mounts"])
    started = time.monotonic()
    stack.compose("stop", "backup-scheduler")
    assert time.monotonic() - started < patient(60)  # of the two minutes that it has
    assert stack.drafts == []
    stack.set(COMPOSE_PROFILES="backup", BACKUP_SCHEDULE="")
    stack.compose("--profile", "backup-scheduler", "rm", "--force", "backup-scheduler")
    stack.compose("up", "--detach")


def backed_up(stack: Stack) -> None:
    """Take a backup and expect no complaint."""
    done = stack.run_in("backups", "flask", "safeharbor", "backup")
    assert re.search(r"^/backups/safeharbor-backup-\S+\.tar \(", done.stdout, re.MULTILINE), done


def said_by(stack: Stack, service: str) -> str:
    """What a service has written."""
    logs = stack.compose("logs", service)
    return logs.stdout + logs.stderr


def health(stack: Stack) -> str:
    """What the engine says of the sidecar."""
    return str(stack.container("backups")["State"]["Health"]["Status"])


def job_of(stack: Stack, name: str) -> dict[str, str]:
    """A job's parameters, from the labels as the engine has them, by the filter that ofelia is started with."""
    flag, only = stack.container("ofelia")["Config"]["Cmd"][-2:]
    assert (flag, only.split("=")[0]) == ("-f", "label")
    filters = {"label": ["ofelia.enabled=true", only.removeprefix("label=")]}
    [container] = stack.engine.ask("GET", f"/containers/json?filters={urllib.parse.quote(json.dumps(filters))}")
    prefix = f"ofelia.job-exec.{stack.project}-{name}."
    parameters = {
        key.removeprefix(prefix): value for key, value in container["Labels"].items() if key.startswith(prefix)
    }
    return {"container": container["Id"], **parameters}


def run_job(stack: Stack, name: str) -> tuple[int, str]:
    """Exit status and output of a job, run as ofelia runs it."""
    job = job_of(stack, name)
    asked: dict[str, Any] = {
        "AttachStdout": True, "AttachStderr": True, "Cmd": shlex.split(job["command"]), "User": job["user"],
        "Env": json.loads(job.get("environment", "[]")),
    }  # fmt: skip
    execution = stack.engine.ask("POST", f"/containers/{job['container']}/exec", asked)["Id"]
    told = stack.engine.ask("POST", f"/exec/{execution}/start", {"Detach": False, "Tty": False})
    return stack.engine.ask("GET", f"/exec/{execution}/json")["ExitCode"], told
