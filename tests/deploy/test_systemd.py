"""The systemd units: sound to systemd itself, locked down, and what they run really works within their limits."""

from __future__ import annotations

import getpass
import grp
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import click
import pytest

from safeharbor_backup.cli.main import cli
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.table import SETTINGS
from safeharbor_backup.state.history import read_history
from support.needs import need_program, need_root
from support.runs import Site

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "deploy" / "systemd"
PAGE = ROOT / "docs" / "systemd.md"
SERVICES = ("safeharbor-backup@.service", "safeharbor-verify@.service", "safeharbor-drill@.service")
TIMERS = ("safeharbor-backup@.timer", "safeharbor-verify@.timer", "safeharbor-drill@.timer")
UNITS = tuple(name.replace("@", "@reef") for name in (*SERVICES, *TIMERS))
ALARM = "safeharbor-alarm@safeharbor-backup@reef.service"


def unit(name: str) -> dict[str, list[str]]:
    """The values of each key of a unit of the user reef; no key here is in two sections."""
    values: defaultdict[str, list[str]] = defaultdict(list)
    for key, value in re.findall(r"^(\w+)=(.*)$", (SYSTEMD / name).read_text(), re.MULTILINE):
        values[key].append(value.replace("%i", "reef") if "alarm" not in name else value)
    return values


def settings_file() -> dict[str, str]:
    """The settings as systemd reads them; a shell reads this file alike."""
    lines = (SYSTEMD / "backup.env").read_text().splitlines()
    return dict(shlex.split(line)[0].split("=", 1) for line in lines if line and line[0] != "#")


def commands_of_page() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return "".join(blocks).splitlines()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A root directory with systemd's own units, and with ours as the page's `install` lines put them there."""
    need_program("systemd-analyze")
    root = tmp_path / "root"
    shutil.copytree("/usr/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
    (root / "lib").symlink_to("usr/lib")
    for directory in ("etc/systemd/system", "srv", "opt/safeharbor/bin"):
        (root / directory).mkdir(parents=True)
    # what the page's venv and pip lines would make
    (root / "opt/safeharbor/bin/safeharbor").symlink_to(Path(sys.executable).parent / "safeharbor")
    me, mine = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    installs = [command for command in commands_of_page() if command.startswith("sudo install ")]
    assert len(installs) == 5
    for command in installs:
        line = re.sub(r" /(srv|etc)/", rf" {root}/\1/", command.removeprefix("sudo "))
        line = line.replace("-o reef -g reef", f"-o {me} -g {mine}")
        subprocess.run(["sh", "-c", line], cwd=ROOT, check=True)
    return root


def analyze(*arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_systemd_finds_nothing_to_say_about_the_units(installed: Path) -> None:
    # the link leads out of the root, where systemd does not follow
    program = installed / "opt/safeharbor/bin/safeharbor"
    program.unlink()
    shutil.copy(Path(sys.executable).parent / "safeharbor", program)

    assert analyze("verify", "--man=no", f"--root={installed}", *UNITS, ALARM) == (0, "")
    assert (installed / "etc/safeharbor/reef.env").stat().st_mode & 0o777 == 0o600
    assert (installed / "srv/backups/reef").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("right", "wrong"), [("KillMode=mixed", "KilMode=mixed"), ("/bin/safeharbor", "/bin/nosuch")])
def test_systemd_would_notice_a_mistake(installed: Path, right: str, wrong: str) -> None:
    changed = installed / "etc/systemd/system/safeharbor-backup@.service"
    changed.write_text(changed.read_text().replace(right, wrong))

    _, said = analyze("verify", "--man=no", f"--root={installed}", "safeharbor-backup@reef.service")
    assert wrong.split("=")[0] in said


def test_the_timers_can_be_enabled(installed: Path) -> None:
    command = next(command for command in commands_of_page() if " enable " in command)
    arguments = command.removeprefix("sudo systemctl ").replace(" --now", "").split()

    subprocess.run([need_program("systemctl"), f"--root={installed}", *arguments], capture_output=True, check=True)

    wanted = installed / "etc/systemd/system/timers.target.wants"
    assert sorted(path.name for path in wanted.iterdir()) == sorted(name for name in UNITS if name.endswith("timer"))


@pytest.mark.parametrize("name", SERVICES)
def test_the_services_are_as_locked_down_as_the_page_says(name: str) -> None:
    need_program("systemd-analyze")
    status, output = analyze("security", "--no-pager", "--offline=true", "--threshold=20", SYSTEMD / name)

    assert status == 0, output  # the threshold is in tenths
    assert "below 2 of 10" in PAGE.read_text()
    assert "RemoveIPC" not in unit(name)  # it would take the running app's shared memory


@pytest.mark.parametrize("name", TIMERS)
def test_the_timers_mean_what_the_page_says(name: str) -> None:
    need_program("systemd-analyze")
    (calendar,) = unit(name)["OnCalendar"]
    status, output = analyze("calendar", calendar)

    assert status == 0
    assert f"Normalized form: {calendar}" in output
    assert re.search(r"\d\d:\d\d:\d\d UTC", calendar)
    assert unit(name)["Persistent"] == ["yes"]
    assert re.search(r"\d\d:\d\d", calendar)[0] in PAGE.read_text()  # type: ignore[index]


@pytest.mark.parametrize("name", SERVICES)
def test_the_services_run_commands_that_exist_and_raise_the_alarm(name: str) -> None:
    program, verb, *arguments = unit(name)["ExecStart"][0].split()
    command = cli.get_command(click.Context(cli), verb)

    assert program == "/opt/safeharbor/bin/safeharbor"
    assert command is not None
    command.make_context(verb, arguments)
    assert unit(name)["OnFailure"] == ["safeharbor-alarm@%N.service"]
    assert unit(name)["EnvironmentFile"] == ["/etc/safeharbor/reef.env"]
    assert unit(name)["User"] == ["reef"]


def test_every_variable_is_a_setting_and_every_value_can_be_used() -> None:
    settings = settings_file()

    assert set(settings) <= {each.name for each in SETTINGS}
    assert load_settings(settings).problems == ()
    assert unit(SERVICES[0])["ReadWritePaths"] == [settings["BACKUP_DIR"]]
    assert unit(SERVICES[0])["RequiresMountsFor"][0].split()[0] == settings["BACKUP_DIR"]
    assert settings["BACKUP_UPLOAD_DIR"].startswith(unit(SERVICES[0])["RequiresMountsFor"][0].split()[1])


# a system that is read-only but for $0 (ProtectSystem=strict with ReadWritePaths) and a place for temporary files
# (PrivateTmp; not /tmp here, where the site is), and no memory that is both writable
# and executable (MemoryDenyWriteExecute; 65 is PR_SET_MDWE, which Linux has from 6.3 on)
_CONFINED = """
mount --bind "$0" "$0" && mount -o remount,bind,ro / && mount -t tmpfs tmpfs /var/tmp || exit 99
python=$1; shift
exec "$python" -c 'import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])' "$@"
"""


def test_what_the_services_run_works_within_their_limits(site: Site) -> None:
    need_root()
    places = {"/srv/backups/reef": str(site.backups), "/srv/reef/uploads": str(site.uploads)}
    given = {key: places.get(value, value) for key, value in settings_file().items()}
    site.environment = given | {name: site.environment[name] for name in ("BACKUP_DATABASE_URL", "BACKUP_PG_BIN")}
    (site.uploads / "away").symlink_to("/outside")

    def run(name: str) -> subprocess.CompletedProcess[bytes]:
        arguments = unit(name)["ExecStart"][0].split()[1:]
        writable = unit(name)["ReadWritePaths"][0].removeprefix("-").replace("/srv/backups/reef", str(site.backups))
        argv = ["unshare", "--mount", "sh", "-c", _CONFINED, writable, sys.executable, *site.argv(*arguments)]
        return subprocess.run(argv, env=site.full_environment(), capture_output=True, check=False)

    backup, verify, drill = (run(name) for name in SERVICES)

    assert backup.returncode == 3, backup.stderr.decode()  # done, with a warning, and no failure for systemd
    assert unit(SERVICES[0])["SuccessExitStatus"] == ["3", "143 SIGTERM"]
    assert backup.stdout == b""
    assert verify.returncode == 0, verify.stderr.decode()
    assert verify.stderr == b""
    assert [outcome.command for outcome in read_history(site.backups)] == ["backup", "verify", "drill"]
    assert unit(SERVICES[1])["SuccessExitStatus"] == ["143 SIGTERM"]
    assert (drill.returncode, drill.stdout, drill.stderr.decode()) == (0, b"", "")
    assert len(list(site.backups.glob("safeharbor-drill-*.json"))) == 1


def test_the_alarm_mails_which_unit_failed_and_its_last_lines(tmp_path: Path) -> None:
    for name, content in {
        "journalctl": 'echo "journal of $*"',
        "sendmail": f'{{ echo "to $*"; cat; }} > {tmp_path}/mail',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{content}\n")
        (tmp_path / name).chmod(0o755)
    called = unit("safeharbor-alarm@.service")["ExecStart"][0].split()

    subprocess.run(
        [SYSTEMD / "alarm", "safeharbor-backup@reef"], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=True
    )

    mail = (tmp_path / "mail").read_text()
    assert called == ["/etc/safeharbor/alarm", "%i"]
    assert mail.startswith("to root\nSubject: safeharbor-backup@reef.service failed on ")
    assert "journal of --unit=safeharbor-backup@reef.service" in mail
