"""Any call of any verb fails, sites and errors by a seed: never a lost archive, a bad one, a secret, or a dead end.

SAFE_HARBOR_INJECTIONS is how many there are for each verb (1), SAFE_HARBOR_SEED chooses others.
"""

from __future__ import annotations

import os
import random
import signal

import pytest

from support.faults import Before, children_left
from support.injection import Call, calls_of, choose, failing, killed_at
from support.postgres import PASSWORD, Database
from support.runs import Site
from support.states import state_of

_EACH = int(os.environ.get("SAFE_HARBOR_INJECTIONS", "1"))
_SEED = os.environ.get("SAFE_HARBOR_SEED", "1")

# the journal of kept states, and what drills found, with a draft of it that is swept later
_STAYS = (".safeharbor-restore.json", "safeharbor-drill-", ".safeharbor-drill-")

VERBS = {
    "backup": (),
    "verify": ("--all",),
    "prune": (),
    "list": (),
    "status": (),
    "drill": (),
    "restore": ("--from", "ARCHIVE", "--yes"),
    "undo": (),
    "discard": (),
}


class Stage:
    """A site with one archive of its first state and a later state that is live; a kept state for undo and discard."""

    def __init__(self, site: Site, database: Database, verb: str) -> None:
        self.site = site
        self.database = database
        self.verb = verb
        assert site.run("backup").status == 0
        self.archive = site.archives[0]
        self.first = self.state()
        self.argv = (verb, *(str(self.archive) if each == "ARCHIVE" else each for each in VERBS[verb]))
        if verb in ("undo", "discard"):
            self.argv = ("restore", "--undo" if verb == "undo" else "--discard-previous", "--yes")
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
        return Before(self.site)

    def settle(self, before: Before, where: str) -> None:
        """What is live is one of the two states, after the recovery that the product names; and nothing blocks."""
        if self.site.run("backup", "--no-prune").status == 9:
            done = self.site.run("restore", "--undo")
            assert done.status == 0, (where, done.output)
        assert self.state() in (self.first, self.live), where
        if self.verb in ("restore", "undo", "discard"):
            self.site.run("restore", "--discard-previous", "--yes")
            kept = [name for name in os.listdir(self.site.uploads) if name.startswith(".safeharbor")]
            assert kept == [], where
        for name in self.site.leftovers:  # the plain run above has swept what a run leaves behind
            assert name.startswith(_STAYS), (where, name)
            (self.site.backups / name).unlink()
        before.unharmed()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("verb", VERBS)
def test_a_call_that_fails_does_no_harm(site: Site, database: Database, verb: str) -> None:
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
