"""The app is broken into: what it plants or exchanges in the uploads reaches nothing outside, and decides nothing.

Runs are root's, the intruder is another user or the same one. Each test sees that the attack was carried out.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.intruder import NOBODY, PREFIX, disturb, lives_on, plant, strike_now
from support.needs import need_root
from support.runs import Site
from support.states import tree_of

ID = "0123456789ab"
OTHERS, OURS = NOBODY, 0
STEPS = ["staging directory", "staged", "swapping", "uploads swapped", "settled"]


@dataclass
class Place:
    """A site whose uploads belong to the intruder, with one archive of a first state and a second one live."""

    site: Site
    victim: Path
    first: dict[str, str]
    second: dict[str, str]
    outside: dict[str, str]

    def unharmed(self, where: object) -> None:
        """Nothing outside of the uploads was written, moved or deleted."""
        assert _outside(self.site, self.victim) == self.outside, where


def _outside(site: Site, victim: Path) -> dict[str, str]:
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in site.archives}
    return {**tree_of(victim), **digests}


@pytest.fixture
def place(site: Site, tmp_path: Path) -> Place:
    need_root()
    victim = tmp_path / "victim"
    (victim / "deep").mkdir(parents=True, mode=0o700)
    os.chmod(victim, 0o700)
    (victim / "keys").write_text("of root")
    (victim / "deep" / "more").write_text("of root too")
    give(site)
    assert site.run("backup").status == 0
    first = lives_on(site)
    (site.uploads / "2026" / "3.jpg").write_bytes(b"other")
    (site.uploads / "evil.pth").write_text("import os")
    (site.uploads / "new").mkdir()
    (site.uploads / "new" / "file").write_text("new")
    give(site)
    return Place(site, victim, first, lives_on(site), _outside(site, victim))


def give(site: Site) -> None:
    """The uploads, and all in them, to the intruder."""
    for path in (site.uploads, *site.uploads.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def restored(place: Place) -> None:
    """A whole restore of the uploads, whose previous state is kept."""
    done = place.site.run("restore", "--from", "latest", "--only", "uploads", "--yes")
    assert done.status == 0, done.output
    assert lives_on(place.site) == place.first


@pytest.mark.parametrize(
    ("user", "attack"),
    [
        (OTHERS, "link"), (OTHERS, "links inside"), (OTHERS, "way"),
        (OURS, "link"), (OURS, "copy"), (OURS, "sides"), (OURS, "fifo"), (OURS, "deeper"),
    ],
)  # fmt: skip
def test_a_stage_exchanged_at_any_step_of_a_restore_reaches_nothing_outside(
    place: Place, user: int, attack: str
) -> None:
    missed = []
    for step in STEPS:
        run = disturb(place.site, "restore", step, attack, user, place.victim, "only uploads")
        where = (step, run.outcome.output)
        assert run.status in (0, 1, 8, 9), where
        missed += [] if run.has_struck else [where]
        place.unharmed(where)
        if attack not in ("way", "deeper"):  # those change themselves what is live
            whole = place.first if run.status == 0 else place.second
            assert run.status == 9 or lives_on(place.site) == whole, where
        if run.status != 0:
            undone = place.site.run("restore", "--undo", "--yes")
            assert undone.status in (0, 8), (where, undone.output)
            after = place.site.run("backup", "--no-prune")
            assert after.status in (0, 3), (where, undone.output, after.output)
            place.site.archives[-1].unlink()
            place.unharmed(where)
        start_again(place)
    assert missed == [], "the intruder could not do it"


def start_again(place: Place) -> None:
    """The second state live, and nothing left of what was."""
    (place.site.backups / ".safeharbor-restore.json").unlink(missing_ok=True)
    subprocess.run(["find", place.site.uploads, "-mindepth", "1", "-delete"], check=True)
    (place.site.uploads / "2026").mkdir()
    for number in range(1, 11):
        (place.site.uploads / "2026" / f"{number}.jpg").write_bytes(number.to_bytes(2, "big") * 3000)
    (place.site.uploads / "2026" / "3.jpg").write_bytes(b"other")
    (place.site.uploads / "evil.pth").write_text("import os")
    (place.site.uploads / "new").mkdir()
    (place.site.uploads / "new" / "file").write_text("new")
    give(place.site)
    assert lives_on(place.site) == place.second


@pytest.mark.parametrize("verb", [("--undo",), ("--discard-previous", "--yes")], ids=["undo", "discard"])
@pytest.mark.parametrize(
    ("user", "attack"),
    [(OTHERS, "link"), (OTHERS, "links inside"), (OURS, "copy"), (OURS, "sides"), (OURS, "fifo"), (OURS, "deeper")],
)
def test_a_stage_exchanged_after_a_restore_is_not_obeyed(
    place: Place, verb: tuple[str, ...], user: int, attack: str
) -> None:
    restored(place)
    strike_now(attack, user, place.site.uploads, place.victim)

    done = place.site.run("restore", *verb)

    assert done.status in (0, 8), done.output
    place.unharmed(done.output)
    assert lives_on(place.site) in (place.first, place.second), done.output
    if done.status == 8:
        assert lives_on(place.site) == place.first, done.output


@pytest.mark.parametrize("step", ["swapping", "uploads swapped"])
@pytest.mark.parametrize(("user", "attack"), [(OTHERS, "link"), (OTHERS, "links inside"), (OURS, "sides")])
def test_a_stage_exchanged_while_an_undo_runs_reaches_nothing_outside(
    place: Place, step: str, user: int, attack: str
) -> None:
    restored(place)

    run = disturb(place.site, "undo", step, attack, user, place.victim)

    assert run.has_struck, run.outcome.output
    assert run.status in (0, 1, 8, 9), run.outcome.output
    place.unharmed(run.outcome.output)
    if run.status == 0:
        assert lives_on(place.site) == place.second


@pytest.mark.parametrize("verb", ["--resume", "--undo"])
@pytest.mark.parametrize("step", ["staging directory", "swapping", "uploads swapped"])
@pytest.mark.parametrize(("user", "attack"), [(OTHERS, "link"), (OTHERS, "links inside"), (OURS, "copy")])
def test_a_stage_exchanged_after_a_crash_is_not_obeyed(
    place: Place, verb: str, step: str, user: int, attack: str
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _DIES, step, str(place.site.archives[0])],
        env=place.site.full_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _, said = child.communicate(timeout=60)
    assert child.returncode == -9, said
    live = lives_on(place.site)
    strike_now(attack, user, place.site.uploads, place.victim)

    done = place.site.run("restore", verb, "--yes")

    assert done.status in (0, 1, 8, 9), done.output
    place.unharmed(done.output)
    assert lives_on(place.site) in (live, place.first, place.second), done.output


_DIES = """
import os, signal, sys
from pathlib import Path
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.actions.restore.request import RestoreRequest
from safeharbor_backup.actions.restore.run import restore_archive
from safeharbor_backup.settings.load import load_settings

class Dying(NoProgress):
    def step(self, name):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGKILL)

restore_archive(
    load_settings(os.environ), RestoreRequest(Path(sys.argv[2]), with_database=False), lambda plan: True, Dying()
)
"""

# exchanges the stage for a link and back as fast as it can, until told to end; its last word is how often it did
_RACE = """
import os, sys
uploads, victim, user = sys.argv[1:]
os.chdir(uploads)
os.setgroups([]); os.setgid(int(user)); os.setuid(int(user))
times = 0
print("ready", flush=True)
while not os.path.exists("end"):
    for name in [each for each in os.listdir(".") if each.startswith(".safeharbor-restore-")]:
        try:
            os.rename(name, "hidden")
            os.symlink(victim, name)
            times += 1
            os.unlink(name)
            os.rename("hidden", name)
        except OSError:
            pass
print(times)
"""


def test_a_stage_exchanged_all_the_time_reaches_nothing_outside(place: Place) -> None:
    for verb in (["--from", "latest", "--only", "uploads"], ["--undo"], ["--discard-previous"]) * 2:
        if len(verb) == 1:
            restored(place)
        intruder = subprocess.Popen(
            [sys.executable, "-c", _RACE, place.site.uploads, place.victim, str(NOBODY)], stdout=subprocess.PIPE
        )
        assert intruder.stdout is not None
        assert intruder.stdout.readline() == b"ready\n"

        done = place.site.run("restore", *verb, "--yes")

        (place.site.uploads / "end").touch()
        assert int(intruder.communicate(timeout=60)[0]) > 0, "it had no chance"
        (place.site.uploads / "end").unlink(missing_ok=True)
        assert done.status in (0, 1, 3, 7, 8, 9), done.output
        place.unharmed(done.output)
        start_again(place)


def _directory(marker: str) -> Callable[[Path, Path], None]:
    def make(stage: Path, victim: Path) -> None:
        stage.mkdir(0o700)
        plant(stage, marker, victim)

    return make


def _fifo(stage: Path, _: Path) -> None:
    stage.mkdir()
    (stage / "new").mkdir()
    (stage / "old").mkdir()
    os.mkfifo(stage / ".safeharbor-staging")
    os.mkfifo(stage / "transaction")


def _own_sides(stage: Path, _: Path) -> None:
    for side in ("new", "old"):
        (stage / side).mkdir(parents=True)
    (stage / ".safeharbor-staging").write_text("old out\n")


PLANTED: dict[str, Callable[[Path, Path], None]] = {
    "a directory with links, old out": _directory("old out\n"),
    "a directory with links, new in": _directory("new in\n"),
    "a directory of its own, old out": _own_sides,
    "a link": lambda stage, victim: stage.symlink_to(victim),
    "a file": lambda stage, _: stage.touch(),
    "a FIFO": lambda stage, _: os.mkfifo(stage),
    "FIFOs inside": _fifo,
}


@pytest.mark.parametrize("kind", PLANTED)
def test_what_only_looks_like_a_stage_is_named_once_and_not_obeyed(place: Place, kind: str) -> None:
    site = place.site
    stage = site.uploads / f"{PREFIX}{ID}"
    PLANTED[kind](stage, place.victim)
    os.chown(stage, NOBODY, NOBODY, follow_symlinks=False)
    planted = tree_of(site.uploads), os.lstat(stage).st_ino

    done = site.run("backup", timeout=60)
    doctor = site.run("doctor", timeout=60)
    status = site.run("status", timeout=60)
    recoveries = [
        site.run("restore", *verb, timeout=60)
        for verb in (["--undo"], ["--resume"], ["--undo", "--id", ID], ["--resume", "--id", ID])
    ]
    discarded = site.run("restore", "--discard-previous", "--yes", timeout=60)

    assert done.status == 3, done.output
    assert done.stderr.count(stage.name) == 1, done.stderr
    assert len([line for line in doctor.stdout.splitlines() if stage.name in line]) == 1, doctor.stdout
    assert doctor.status == 3, doctor.output
    assert "INTERRUPTED" not in status.stdout
    assert all(each.status in (1, 8) for each in recoveries), [each.output for each in recoveries]
    assert discarded.status == 0, discarded.output
    with tarfile.open(site.archives[-1]) as archive:
        assert [name for name in archive.getnames() if PREFIX in name] == []
    assert (tree_of(site.uploads), os.lstat(stage).st_ino) == planted
    place.outside[site.archives[-1].name] = _outside(site, place.victim)[site.archives[-1].name]
    place.unharmed(kind)
    assert site.run("restore", "--from", str(site.archives[0]), "--only", "uploads", "--yes").status in (0, 3)
    assert lives_on(site) == place.first
    assert os.lstat(stage).st_ino == planted[1]
    place.unharmed(kind)
