"""The units under a real systemd: the page's commands, timers, alarms, stops, and a restore at a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support.engine import ROOT, Engine, Images
from support.stack import at_a_terminal, wait_for

pytestmark = pytest.mark.timeout(900)  # the first one waits for the images

PAGE = ROOT / "docs" / "systemd.md"
SERVICE = "safeharbor-backup@reef.service"
# what cannot be seen from outside: the limits, from within
PROBE = """
[Service]
ExecStartPre=/bin/sh -c "! touch /srv/planted /etc/planted /usr/planted && grep -q 'CapBnd:.0*$' /proc/self/status"
"""
EVERY_SECOND = """
[Timer]
OnCalendar=
OnCalendar=*-*-* *:*:*
RandomizedDelaySec=0
AccuracySec=100ms
"""
AT_ONCE = "[Timer]\nRandomizedDelaySec=0\nAccuracySec=100ms\n"


class Host:
    """A container with systemd as PID 1, and who types there as root."""

    def __init__(self, engine: Engine, image: str) -> None:
        self.engine = engine
        # what systemd asks of an engine: its own cgroups, and places in memory
        places = ("--tmpfs", "/run", "--tmpfs", "/run/lock", "--volume", f"{ROOT}/deploy:/source/deploy:ro")
        for rights in (("--privileged",), ("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")):
            started = engine.docker("run", "--detach", "--cgroupns", "private", *rights, *places, image, check=False)
            self.name = started.stdout.strip()
            if started.returncode == 0:
                break  # an engine that runs in a container itself may not give all rights
            engine.docker("rm", "--force", self.name)
        wait_for(lambda: self.type("systemctl is-system-running", check=False) in ("running", "degraded"), "it is up")

    def type(self, command: str, *, check: bool = True) -> str:
        """What a command line prints, without the blanks at its end."""
        words = ("exec", "--workdir", "/source", self.name, "sh", "-euc", command)
        return self.engine.docker(*words, check=check).stdout.strip()

    def at_a_terminal(self, command: str, typed: dict[str, str]) -> tuple[int, str]:
        """Status and screen of a command line that is typed at a terminal."""
        words = [self.engine.program, "exec", "--interactive", "--tty", self.name, "sh", "-euc", command]
        return at_a_terminal(words, self.engine.environment, ROOT, typed)

    def drop_in(self, unit: str, text: str) -> None:
        """What `systemctl edit` would write."""
        folder = f"/etc/systemd/system/{unit}.d"
        self.type(f"mkdir -p {folder} && cat >{folder}/override.conf <<'END'\n{text}\nEND\nsystemctl daemon-reload")

    @property
    def archives(self) -> list[str]:
        """The names of the archives there are."""
        return self.type("cd /srv/backups/reef && ls safeharbor-backup-*.tar", check=False).split()

    @property
    def alarms(self) -> int:
        """How many alarms were mailed so far."""
        return int(self.type("cat /srv/mail 2>/dev/null | grep -c ^Subject: || true"))


def commands() -> list[str]:
    """The page's lines of shell, without those that would install Safe Harbor."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("sudo ") for line in "".join(blocks).splitlines()]
    return [line for line in lines if "pip install" not in line and "-m venv" not in line]


def the(part: str) -> str:
    """The one line of the page that has this in it."""
    [line] = [line for line in commands() if part in line]
    return line


@pytest.fixture(scope="module")
def host(engine: Engine, images: Images) -> Iterator[Host]:
    """A host on which everything up to the first backup was typed, as the page says."""
    image = engine.build(
        f"{images.safeharbor}-systemd", ROOT / "tests/containers/systemd", SAFEHARBOR=images.safeharbor
    )
    made = Host(engine, image)
    try:
        server = "psql --quiet --host=/run/postgresql --username=postgres"
        made.type(f"{server} -c 'CREATE ROLE reef LOGIN CREATEDB' -c 'CREATE DATABASE reef OWNER reef'")
        made.type(f"{server} --username=reef reef -c 'CREATE TABLE entry AS SELECT generate_series(1, 9) AS id'")
        typed = commands()
        until = typed.index(the("daemon-reload"))
        made.type("\n".join(typed[:until]))
        made.type("sed -i 's#@localhost/#@/#; s#/reef.$#/reef?host=/run/postgresql'\"'#\" /etc/safeharbor/reef.env")
        made.drop_in(SERVICE, PROBE)
        made.type("\n".join(typed[until : typed.index(the("list-timers")) + 1]))
        yield made
    finally:
        engine.docker("rm", "--force", "--volumes", made.name)


def test_the_pages_commands_take_a_backup_within_the_units_limits(host: Host) -> None:
    [archive] = host.archives

    assert host.type(f"stat -c '%U %a' /srv/backups/reef/{archive}") == "reef 600"
    assert len(re.findall(r"safeharbor-\w+@reef\.timer", host.type(the("list-timers")))) == 3
    host.type("systemctl start safeharbor-verify@reef.service safeharbor-drill@reef.service")
    assert host.type("ls /srv/backups/reef/safeharbor-drill-*.json")
    assert host.alarms == 0, host.type("cat /srv/mail")
    assert host.type("ls /srv/planted /etc/planted /usr/planted 2>/dev/null || true") == ""


def test_a_timer_starts_a_backup_at_its_time_and_makes_up_for_a_missed_one(host: Host) -> None:
    before = host.archives
    host.drop_in("safeharbor-backup@reef.timer", EVERY_SECOND)
    host.type("systemctl restart safeharbor-backup@reef.timer")
    wait_for(lambda: len(host.archives) > len(before), "a backup at its time")
    host.type(f"systemctl stop safeharbor-backup@reef.timer {SERVICE}")

    host.drop_in("safeharbor-backup@reef.timer", AT_ONCE)
    before = host.archives
    host.type("touch -d '2 days ago' /var/lib/systemd/timers/stamp-safeharbor-backup@reef.timer")
    host.type("systemctl start safeharbor-backup@reef.timer")

    wait_for(lambda: len(host.archives) > len(before), "the missed backup is made up for")
    is_over = f"test inactive = $(systemctl is-active {SERVICE}) && echo yes"
    wait_for(lambda: host.type(is_over, check=False), "it has ended")


def test_a_failure_raises_the_alarm_and_has_our_name_and_a_stop_does_neither(host: Host) -> None:
    lock = "psql --quiet --host=/run/postgresql --username=reef reef -c 'BEGIN; LOCK TABLE entry; SELECT pg_sleep(600)'"
    host.type(f"systemd-run --quiet --unit=holder {lock}")
    host.type(f"systemctl start --no-block {SERVICE}")
    wait_for(lambda: host.type("ls /srv/backups/reef/*.tmp", check=False), "the backup is at work")
    host.type(f"systemctl stop {SERVICE} holder.service")
    assert host.alarms == 0, host.type("cat /srv/mail")
    assert host.type(f"systemctl is-failed {SERVICE}", check=False) == "inactive"
    assert host.type("ls /srv/backups/reef/*.tmp", check=False) == ""

    host.type("systemctl stop postgresql.service")
    host.type(f"systemctl start {SERVICE}", check=False)

    wait_for(lambda: host.alarms == 1, "the alarm")
    mail = host.type("cat /srv/mail")
    assert f"Subject: {SERVICE} failed on " in mail
    assert "Ended with 6, DATABASE" in mail
    host.type(f"systemctl start postgresql.service && systemctl reset-failed {SERVICE}")


def test_doctor_and_a_restore_ask_at_a_terminal_and_leave_no_unit(host: Host) -> None:
    host.type("rm /srv/reef/uploads/1.jpg")

    checked, findings = host.at_a_terminal(the("safeharbor doctor"), {})
    status, screen = host.at_a_terminal(the("restore --from"), {"Type 'restore' to confirm": "restore"})

    assert checked in (0, 3), findings
    assert status in (0, 3), screen
    assert "restored 1 table and 1 upload file" in screen or "restored 1 tables" in screen, screen
    assert host.type("cat /srv/reef/uploads/1.jpg") == "picture"
    assert host.type("systemctl --plain --no-legend list-units 'run-*'") == ""
