"""Commands that are killed at any place, some with another command killed over that, and servers that die there."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing, suppress
from random import Random

from proof.campaign import Missed
from proof.ground import Disturbing, Ground, grounds_server, sources_with
from safeharbor_backup.postgres.private_cluster import PrivateServer
from support.faults import children_left
from support.postgres import execute
from support.shim import Shim

# what makes a difference that a kill could leave, or speaks with the server
_TELLING = (
    *("creat", "write ", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "rmdir", "mkdir", "link", "symlink"),
    *("ftruncate", "fch", "chmod", "futimens", "utimensat", "clone", "copy_file_range", "flock", "fork", "send "),
    *("close at system/lock.py", "pthread_create", "connect"),
)
_SECOND = ("restore --undo", "restore --resume", "restore --discard-previous --yes", "backup --no-prune", "the same")
# as users have them: the server's own default, and what is switched off for speed
_LAZY = {"synchronous_commit": "off", "wal_writer_delay": "10s", "checkpoint_timeout": "1h"}
_SAFE = {"synchronous_commit": "on", "checkpoint_timeout": "1h"}
# without it a killed swap does not know how far it has come
_MISTAKE = ("actions/restore/swap.py", "lambda mark: self._write_part(replace(part, mark=mark))", "lambda _: None")


class Cases(Disturbing):
    promise = (
        "Whatever is killed, archives are whole or absent, one whole state is live, and one command does the rest."
    )
    attack = (
        "SIGKILL at each place that writes or speaks with the server, in 15 commands; a second command killed over "
        "what the first left; the server stopped at once, or its sessions ended, at the same places."
    )
    in_ci = 10

    def cases_of(self, places: Mapping[str, int]) -> list[tuple[str, ...]]:
        telling = {place: calls for place, calls in places.items() if place.startswith(_TELLING)}
        cases: list[tuple[str, ...]] = [("kill", place, "1") for place in telling]
        cases += [("kill", place, str(calls)) for place, calls in telling.items() if calls > 1]
        cases += [("twice", place, "1") for place in telling if not place.startswith("send ")]
        asks = [place for place in telling if place.startswith("send ")]
        return cases + [(action, place, "1") for place in asks for action in ("stop", "cut")]

    def run(self, number: int, chance: Random) -> Mapping[str, int]:
        ground, (action, place, when) = self.case(number)
        if action in ("stop", "cut"):
            return self._without_server(ground, action, place)
        where = self._killed(ground, place, int(when), self.shim)
        if action == "twice":
            where += self._killed_again(ground, chance)
        ground.settle(where)
        return {action: 1}

    def control(self) -> None:
        ground = self.ground("restore")
        places = self.shim.places(ground.site, ground.order(), *ground.arguments)
        ground.is_fresh = False
        with sources_with(*_MISTAKE) as sources, closing(Shim(sources)) as shim:
            for place in places:
                if place.startswith("renameat2 ") and "uploads/exchange.py" in place:
                    for when in range(1, places[place] + 1):
                        ground.reset()
                        with suppress(Missed):
                            where = self._killed(ground, place, when, shim)
                            ground.is_fresh = False
                            ground.settle(where)

    def server(self) -> AbstractContextManager[PrivateServer]:
        lazy = Random(f"{self.seed} {len(self._grounds)}").random() < 0.5
        return grounds_server(_LAZY if lazy else _SAFE, durable=True)

    def _killed(self, ground: Ground, place: str, when: int, shim: Shim) -> str:
        run = self.disturb(ground, shim, place=place, action="kill", when=when)
        where = f"{ground.verb}: killed at {place} ({when})"
        assert run.status == -signal.SIGKILL, (where, run.output)
        assert not children_left(ground.site), where
        ground.is_fresh = not ground.kind.moves
        return where

    def _killed_again(self, ground: Ground, chance: Random) -> str:
        """Another command over what is left, killed at one of the places where it usually speaks or writes."""
        typed = chance.choice(_SECOND)
        again = ground.arguments if typed == "the same" else tuple(typed.split(" "))
        call, when = chance.choice(("fsync", "send", "write", "renameat2", "creat")), chance.randint(1, 4)
        done = self.shim.disturbed(ground.site, ground.order(place=call, action="kill", when=when), *again)
        assert done.outcome.status == -signal.SIGKILL or not done.has_happened, done.outcome.output
        return f", then `{typed}` {'killed' if done.has_happened else 'ended'} at {call} {when}"

    def _without_server(self, ground: Ground, action: str, place: str) -> Mapping[str, int]:
        """The server stops at once, or ends its sessions, as the command is about to ask it something."""
        postmaster = int((ground.server.data_dir / "postmaster.pid").read_text().split()[0])
        execute(ground.server.url(), "CHECKPOINT")
        ground.is_fresh = not ground.kind.moves
        try:
            run = self.disturb(ground, place=place, action=action, server=postmaster)
        finally:
            if action == "stop":
                ground.server.kill()
                ground.server.start()
        where = f"{ground.verb}: {action} of the server at {place}, status {run.status}"
        ground.judge(run, where)
        ground.settle(where)
        return {f"server: {action}": 1}
