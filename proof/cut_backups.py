"""Backups one after another, with sharing, pruning and a mark that keeps an archive, on a disk that loses power."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

from proof.cut_surroundings import (
    DATABASE,
    OWNER,
    archives,
    change,
    copied,
    initialise,
    make_application,
    new_site,
    server_home,
    server_of,
    verified,
)
from proof.disks import Recording, Span, mounted, recorded
from safeharbor_backup.postgres.private_cluster import PrivateServer
from support.runs import Site

_SIZES = {"ext4": 64 << 20, "xfs": 320 << 20, "btrfs": 128 << 20}
_UPLOADS = 12
_ROUNDS = 6
_CARELESS_ROUNDS = 3
_UNSHARED = 2.1  # seconds for which what changed a moment ago is not shared


class BackupCuts:
    """The states of one kind of filesystem. It is mounted at `place`; the server is elsewhere, and loses no power."""

    def __init__(
        self, kind: str, memory: Path, place: Path, image: Path, until_end: ExitStack, preload: str = ""
    ) -> None:
        self.kind = kind
        self.name = f"backups-{kind}{'-careless' if preload else ''}"
        self._home = memory / self.name
        self._place = place / self.name
        self._cluster = place / f"cluster-{self.name}"
        self._image = image
        self._careless = {"LD_PRELOAD": preload} if preload else {}
        shutil.rmtree(self._cluster, ignore_errors=True)  # of a sitting that was killed
        until_end.callback(shutil.rmtree, self._cluster, ignore_errors=True)
        programs, home = until_end.enter_context(server_home(self._cluster))
        is_new = not (self._home / "cluster").exists()
        if is_new:
            initialise(programs, home, self._cluster)
        else:
            copied(self._home / "cluster", self._cluster)
        server = server_of(programs, home, durable=False)
        server.start()
        until_end.callback(server.stop)
        self._site = new_site(self._place, server.url(DATABASE, OWNER), programs)
        if is_new:
            self._record(server)
            server.stop()
            copied(self._cluster, self._home / "cluster")
            server.start()
        self.recording = Recording(self._home, kind)

    def _record(self, server: PrivateServer) -> None:
        site = self._site
        with recorded(self._home, self.kind, [_SIZES[self.kind]], [self._place]) as mark:
            site.uploads.mkdir()
            site.backups.mkdir()
            make_application(server, site, _UPLOADS)
            self._do(site, "backup")
            kept = site.archives[0].name
            for number in range(1, _CARELESS_ROUNDS if self._careless else _ROUNDS):
                change(site, number)
                time.sleep(_UNSHARED if self.kind != "ext4" else 0)
                mark("", archives=archives(site), kept=kept if number > 1 else "")
                self._do(site, "backup", *(["--full"] if number == 4 else []))
                mark("backup", archives=archives(site), kept=kept if number > 1 else "")
                if number == 1:
                    self._do(site, "keep", kept, "--because", "it is the first")
                    mark("keep", archives=archives(site), kept=kept)
            site.environment["BACKUP_RETENTION_DAILY"] = "1"
            self._do(site, "prune")
            mark("prune", archives=archives(site), kept=kept)
            site.environment["BACKUP_RETENTION_DAILY"] = "2"

    def _do(self, site: Site, *arguments: str) -> None:
        site.environment.update(self._careless)
        done = site.run(*arguments)
        for name in self._careless:
            del site.environment[name]
        assert done.status == 0, done.output

    def run(self, span: Span, position: int, kept: str, chance: Random) -> None:
        """Cut the power there, and look."""
        site = self._site
        self.recording.build(position, kept, chance, [self._image])
        is_acknowledged = position == span.end
        before, after = span.before["archives"], span.after["archives"]
        with mounted(self._image, self._place):
            found = archives(site)
            known = {name: digest for each in self.recording.spans for name, digest in each.after["archives"].items()}
            assert all(known.get(name, digest) == digest for name, digest in found.items()), "an archive was changed"
            lost = set(after if is_acknowledged else before) - set(found)
            assert lost <= set(before) - set(after), f"acknowledged, and gone: {sorted(lost)}"
            assert not lost or set(after) <= set(found), "pruned before the new archive was there for good"
            if mark := span.after["kept"] if is_acknowledged else span.before["kept"]:
                assert (site.backups / f"{mark}.keep").exists(), "the mark that keeps an archive is gone"
            verified(site)
            for draft in site.backups.glob("*.keep.*.tmp"):
                os.utime(draft, (0, 0))  # a young one may be in use, since no lock is needed to mark an archive
            again = site.run("backup")
            assert again.status == 0, again.output
            left = [name for name in site.leftovers if not name.endswith(".tar.keep")]
            assert left == [], left
            verified(site)
