"""Whoever broke into the web app: writes to the uploads as a user of its own or as ours, and strikes at any moment."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support.runs import Outcome, Site

NOBODY = 65534
PREFIX = ".safeharbor-restore-"

# Runs a verb as the command does. At the step of that name a process that was begun before, as the intruder's user,
# strikes once; "struck" is told only if it has done all that it wanted to.
_CHILD = """
import os, sys
from pathlib import Path
from safeharbor_backup.errors import SafeHarborError
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.actions.restore.recovery import resume_restore, undo_restore
from safeharbor_backup.actions.restore.request import RestoreRequest
from safeharbor_backup.actions.restore.run import restore_archive
from safeharbor_backup.settings.load import load_settings
from support.intruder import become, strike

verb, step, attack, user, uploads, victim, archive, *options = sys.argv[1:]
wake, told = os.pipe(), os.pipe()
if os.fork() == 0:
    os.close(wake[1])
    become(int(user), Path(uploads))
    answer = b"n"
    if os.read(wake[0], 1):
        try:
            strike(attack, Path(victim))
            answer = b"y"
        except OSError as error:
            print(error, file=sys.stderr)
        os.write(told[1], answer)
    os._exit(0)
os.close(told[1])

class Disturbed(NoProgress):
    struck = False

    def step(self, name):
        print(name, flush=True)
        if name == step and not self.struck:
            self.struck = True
            os.write(wake[1], b"!")
            if os.read(told[0], 1) == b"y":
                print("struck", flush=True)

settings, progress = load_settings(os.environ), Disturbed()
try:
    if verb == "restore":
        request = RestoreRequest(Path(archive), with_database="only uploads" not in options)
        restore_archive(settings, request, lambda plan: True, progress)
    elif verb == "undo":
        undo_restore(settings, "", progress)
    else:
        resume_restore(settings, progress)
except SafeHarborError as error:
    print(error.message, error.intact, file=sys.stderr)
    sys.exit(int(error.exit_status))
"""


@dataclass(frozen=True)
class Disturbed:
    """How a run ended that was struck: its steps, its status, and whether the intruder could do what it wanted."""

    outcome: Outcome
    has_struck: bool

    @property
    def status(self) -> int:
        return self.outcome.status


def disturb(site: Site, verb: str, step: str, attack: str, user: int, victim: Path, *options: str) -> Disturbed:
    """Run a verb that is struck by this attack at the step of that name."""
    environment = site.full_environment({"PYTHONPATH": os.pathsep.join([*sys.path])})
    run = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-c", _CHILD, verb, step, attack, str(user)),
            *(str(site.uploads), str(victim), str(site.archives[0]), *options),
        ],
        env=environment,
        capture_output=True,
        timeout=120,
        cwd=site.root,
        check=False,
    )
    outcome = Outcome(run.returncode, run.stdout.decode(), run.stderr.decode())
    assert "Traceback" not in outcome.stderr, outcome.stderr
    return Disturbed(outcome, "struck" in outcome.stdout.splitlines())


def strike_now(attack: str, user: int, uploads: Path, victim: Path) -> None:
    """The same between two runs; it must succeed."""
    child = os.fork()
    if child == 0:
        try:
            become(user, uploads)
            strike(attack, victim)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, attack


def become(user: int, uploads: Path) -> None:
    """Be that user, in the uploads: what is above may be closed to it."""
    os.chdir(uploads)
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def strike(attack: str, victim: Path) -> None:
    """What the intruder, in the uploads, does to the one stage that there is. Raises OSError if it may not."""
    uploads = Path()
    stage = next(each for each in uploads.iterdir() if each.name.startswith(PREFIX))
    if attack == "link":
        _hide(stage, uploads)
        stage.symlink_to(victim)
    elif attack == "links inside":
        _hide(stage, uploads)
        stage.mkdir()
        plant(stage, "old at rest\n", victim)
    elif attack == "copy":
        marker = stage / ".safeharbor-staging"
        text = marker.read_text()
        _hide(stage, uploads)
        stage.mkdir(0o700)
        plant(stage, text, victim)
    elif attack == "sides":
        for side in ("new", "old"):
            (stage / side).rename(stage / f"{side}.was")
            (stage / side).symlink_to(victim)
    elif attack == "fifo":
        (stage / ".safeharbor-staging").unlink()
        os.mkfifo(stage / ".safeharbor-staging")
    elif attack == "deeper":
        stage.rename(uploads / "2026" / "hidden")
    elif attack == "way":  # a directory on the way of the exchange
        (uploads / "2026").rename(uploads / "elsewhere")
        (uploads / "2026").symlink_to(victim)
    else:
        raise ValueError(attack)


def _hide(stage: Path, uploads: Path) -> None:
    stage.rename(uploads / "hidden")


def plant(stage: Path, marker: str, victim: Path) -> None:
    """A stage's content by whoever wants us to move things from or to `victim`."""
    (stage / ".safeharbor-staging").write_text(marker)
    for side in ("new", "old"):
        (stage / side).symlink_to(victim)


def lives_on(site: Site) -> dict[str, str]:
    """The live uploads without what the intruder has hidden in them: content by path."""
    found = {}
    for path in sorted(site.uploads.rglob("*")):
        inside = path.relative_to(site.uploads)
        if inside.parts[0].startswith(PREFIX) or "hidden" in inside.parts:
            continue
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            found[str(inside)] = path.read_bytes().hex()[:40]
    return found
