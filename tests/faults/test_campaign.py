"""Any call of any verb fails, sites and errors by a seed: never a lost archive, a bad one, a secret, or a dead end.

SAFE_HARBOR_INJECTIONS is how many there are for each verb (1), SAFE_HARBOR_SEED chooses others.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import pytest

from support.faults import Before, children_left
from support.filesystems import mounted_in_memory
from support.injection import Call, calls_of, choose, failing, killed_at
from support.kills import Rig
from support.postgres import PASSWORD, Database
from support.runs import Site
from support.states import state_of

_EACH = int(os.environ.get("SAFE_HARBOR_INJECTIONS", "1"))
_SEED = os.environ.get("SAFE_HARBOR_SEED", "1")

# the journal of kept states, and what drills found, with a draft of it that is swept later
_STAYS = (".safeharbor-restore.json", "safeharbor-drill-", ".safeharbor-drill-")

VERBS = {
    "backup": ("backup",),
    "shared": ("backup",),  # with blocks of the previous archive, on XFS
    "verify": ("verify", "--all"),
    "prune": ("prune",),
    "list": ("list",),
    "status": ("status",),
    "drill": ("drill",),
    "restore": ("restore", "--from", "ARCHIVE", "--yes"),
    "in place": ("restore", "--from", "ARCHIVE", "--yes", "--in-place"),
    "undo": ("restore", "--undo"),
    "resume": ("restore", "--resume"),
    "discard": ("restore", "--discard-previous", "--yes"),
}


class Stage:
    """A site with one archive of its first state and a later state that is live; a kept state for undo and discard."""

    def __init__(self, site: Site, database: Database, verb: str) -> None:
        self.site = site
        self.database = database
        self.verb = verb
        self.rig = Rig(site, database)  # it takes the archive
        self.archive = site.archives[0]
        self.first = self.state()
        self.argv = tuple(str(self.archive) if each == "ARCHIVE" else each for each in VERBS[verb])
        self.live = self.first

    def state(self) -> object:
        return state_of(self.database.url, self.database.server.major, self.site.uploads)

    def prepare(self) -> Before:
        """Another live state than the archive's, and what the verb needs."""
        self.site.run("restore", "--discard-previous", "--yes")
        for later in self.site.archives:
            if later != self.archive:
                later.unlink()
        (self.site.uploads / "later.txt").write_text("later")
        self.database.execute("DELETE FROM photo WHERE id > 3")
        self.live = self.state()
        if self.verb in ("undo", "discard"):
            done = self.site.run("restore", "--from", str(self.archive), "--yes")
            assert done.status == 0, done.output
        elif self.verb == "resume":
            assert not self.rig.kill("restore", "swapping").has_ended
        elif self.verb == "shared":
            self.site.run("backup", "--no-prune")
            assert "shared with" in self.site.run("backup", "--no-prune").stdout
        return Before(self.site)

    def settle(self, before: Before, where: str) -> None:
        """What is live is one of the two states, after the recovery that the product names; and nothing blocks."""
        if self.site.run("backup", "--no-prune").status == 9:
            done = self.site.run("restore", "--undo")
            assert done.status == 0, (where, done.output)
        assert self.state() in (self.first, self.live), where
        if self.argv[0] == "restore":
            self.site.run("restore", "--discard-previous", "--yes")
            kept = [name for name in os.listdir(self.site.uploads) if name.startswith(".safeharbor")]
            assert kept == [], where
        for name in self.site.leftovers:  # the plain run above has swept what a run leaves behind
            assert name.startswith(_STAYS), (where, name)
            (self.site.backups / name).unlink()
        before.unharmed()


@pytest.fixture
def place(site: Site, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The site, with its archives where they can share blocks if the verb is to."""
    if request.getfixturevalue("verb") != "shared":
        yield site
        return
    time.sleep(max(2.1 - (time.time() - (site.uploads / "2026").stat().st_ctime), 0))  # old enough to be trusted
    with mounted_in_memory("xfs", 320 << 20) as (directory, _):
        site.backups = directory
        site.environment["BACKUP_DIR"] = str(directory)
        yield site


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("verb", VERBS)
def test_a_call_that_fails_does_no_harm(place: Site, database: Database, verb: str) -> None:
    site = place
    stage = Stage(site, database, verb)
    stage.prepare()
    calls = calls_of(site, *stage.argv, all_imported=True)

    injected = 0
    for call, error in choose(calls, 3 * _EACH, random.Random(f"{_SEED} {verb}")):
        if injected >= _EACH:
            break
        before = stage.prepare()
        where = f"{verb}: {error} of {call}"

        run = failing(site, call, error, *stage.argv, all_imported=True)

        injected += run.count  # polls and the like differ a little from run to run, so one may not come
        assert PASSWORD not in run.outcome.output, where
        assert "Traceback" not in run.outcome.stderr, (where, run.outcome.stderr)
        assert run.outcome.status in {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 141}, (where, run.outcome.output)
        assert not children_left(site), where
        stage.settle(before, where)
    assert injected >= _EACH


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("verb", ["backup", "verify", "prune", "discard"])
def test_a_kill_does_no_harm(site: Site, database: Database, verb: str) -> None:
    stage = Stage(site, database, verb)
    stage.prepare()
    names = ("fsync", "unlink", "unlinkat", "rename", "renameat2", "pread64", "write", "sendto")
    calls = calls_of(site, *stage.argv, names=names)

    killed = 0
    for call in random.Random(f"{_SEED} {verb}").choices(calls, k=3 * _EACH):
        if killed >= _EACH:
            break
        before = stage.prepare()
        where = f"{verb}: killed at {call}"

        run = killed_at(site, Call(call.name, call.when), *stage.argv)

        killed += run.outcome.status == -signal.SIGKILL
        assert not children_left(site), where
        stage.settle(before, where)
    assert killed >= _EACH
