"""A whole host that loses power while it restores: PostgreSQL with fsync, uploads, archives, on one disk or on two."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

from proof.cut_surroundings import (
    DATABASE,
    OWNER,
    archives,
    change,
    initialise,
    live,
    make_application,
    new_site,
    server_home,
    server_of,
    verified,
)
from proof.disks import Marker, Recording, Span, is_recorded, mounted, recorded
from safeharbor_backup.postgres.private_cluster import PrivateServer
from safeharbor_backup.state.journal import Journal, find_interrupted

_SIZES = {"ext4": (224 << 20, 64 << 20), "xfs": (448 << 20, 320 << 20), "btrfs": (448 << 20, 128 << 20)}
# what is on the first disk and what on the second
LAYOUTS = {
    "one disk": (("cluster", "uploads", "backups"),),
    "archives apart": (("cluster", "uploads"), ("backups",)),
    "database apart": (("cluster",), ("uploads", "backups")),
}
_UPLOADS = 8
_ON_LIVE = ("--live-database", "--live-uploads")


class HostCuts:
    """The states of one host."""

    def __init__(
        self, name: str, memory: Path, place: Path, images: Path, until_end: ExitStack, preload: str = ""
    ) -> None:
        kind, layout = name.split(", ")
        name = f"host-{kind}-{layout.replace(' ', '-')}{'-careless' if preload else ''}"
        self._kind = kind
        self._disks = LAYOUTS[layout]
        self._careless = {"LD_PRELOAD": preload} if preload else {}
        self._home = memory / name
        self._root = place / name
        self._images = [images / f"proof-{os.getpid()}-{name}-{number}" for number in range(len(self._disks))]
        self._places = [self._root / f"disk{number}" for number in range(len(self._disks))]
        for image in self._images:
            until_end.callback(image.unlink, missing_ok=True)
        at = {what: self._places[number] / what for number, disk in enumerate(self._disks) for what in disk}
        self._cluster = at["cluster"]
        self._programs, self._server_home = until_end.enter_context(server_home(self._cluster))
        url = f"postgresql://{OWNER}@/{DATABASE}?host={self._server_home.path}&port=5432"
        self._site = new_site(self._root, url, self._programs)
        self._site.uploads, self._site.backups = at["uploads"], at["backups"]
        self._site.environment.update(BACKUP_UPLOAD_DIR=str(at["uploads"]), BACKUP_DIR=str(at["backups"]))
        if not is_recorded(self._home):
            sizes = list(_SIZES[kind][: len(self._disks)])
            with recorded(self._home, kind, sizes, self._places) as mark:
                self._record(mark)
        self.recording = Recording(self._home, kind)

    def _record(self, mark: Marker) -> None:
        site = self._site
        initialise(self._programs, self._server_home, self._cluster)
        site.uploads.mkdir()
        site.backups.mkdir()
        with self._running(durable=not self._careless) as server:
            make_application(server, site, _UPLOADS)
            assert site.run("backup").status == 0
            first = site.archives[0].name
            change(site, 1)
            self._do(mark, "backup", "backup")
            second = site.archives[1].name
            change(site, 2)
            restore = ("restore", "--yes", "--from")
            self._do(mark, "restore", *restore, first)
            self._do(mark, "undo", "restore", "--undo")
            self._do(mark, "discard", "restore", "--discard-previous", "--yes")
            self._do(mark, "restore without keeping", *restore, second, "--no-keep-previous", *_ON_LIVE)
            change(site, 3)
            self._do(mark, "in place", *restore, first, "--in-place")
            self._do(mark, "discard", "restore", "--discard-previous", "--yes")
            change(site, 4)
            self._do(mark, "restore", *restore, second)
            self._do(mark, "backup", "backup")

    def _do(self, mark: Marker, doing: str, *arguments: str) -> None:
        mark("", archives=archives(self._site), live=live(self._site))
        self._site.environment.update(self._careless)
        done = self._site.run(*arguments)
        self._site.environment.pop("LD_PRELOAD", None)
        assert done.status in (0, 3), done.output
        mark(doing, archives=archives(self._site), live=live(self._site))

    @contextmanager
    def _running(self, *, durable: bool = True) -> Iterator[PrivateServer]:
        server = server_of(self._programs, self._server_home, durable=durable)
        server.start()
        try:
            yield server
        finally:
            server.kill()

    def run(self, span: Span, position: int, kept: str, chance: Random) -> None:
        """Cut the power there, start the host, type one command if one is needed, and look."""
        self.recording.build(position, kept, chance, self._images)
        with ExitStack() as stack:
            for image, place in zip(self._images, self._places, strict=True):
                stack.enter_context(mounted(image, place))
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)
            stack.enter_context(self._running())
            self._look(span, position == span.end, chance)

    def _look(self, span: Span, is_acknowledged: bool, chance: Random) -> None:
        site = self._site
        found = archives(site)
        for name, digest in (span.after if is_acknowledged else span.before)["archives"].items():
            if name in span.after["archives"]:
                assert found.get(name) == digest, f"acknowledged, and gone or changed: {name}"
        allowed = [span.after["live"]] if is_acknowledged else [span.before["live"], span.after["live"]]
        pending = find_interrupted(site.backups)
        if pending is not None:
            assert not is_acknowledged, "acknowledged, and yet interrupted"
            verb = chance.choice(("resume", "undo"))
            done = site.run("restore", f"--{verb}")
            assert done.status in (0, 3), done.output
            if verb == "resume" or span.doing == "undo":
                allowed = [span.after["live"]]
            elif span.doing != "in place":  # there the transaction has decided
                allowed = [span.before["live"]]
            assert find_interrupted(site.backups) is None
        now = live(site)
        assert now in allowed, f"{span.doing}, {pending}: live is {now}, and not {allowed}"
        done = site.run("backup", "--no-prune")
        assert done.status == 0, done.output
        left = [name for name in site.leftovers if name != ".safeharbor-restore.json"]
        assert left == [], left
        verified(site)
        self._nothing_is_left()

    def _nothing_is_left(self) -> None:
        """Beside the live state is only what the journal knows."""
        site = self._site
        known = {record.id for record in Journal(site.backups).read()}
        stages = {path.name.rpartition("-")[2] for path in site.uploads.glob(".safeharbor-restore-*")}
        assert stages <= known, (stages, known)
        server = server_of(self._programs, self._server_home, durable=True)
        sides = {name[-12:] for (name,) in server.execute("SELECT datname FROM pg_database WHERE datname ~ '^app_'")}
        assert sides <= known, (sides, known)
