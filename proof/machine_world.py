"""An operator who types commands, and what each of them must have come to."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime

from proof.machine_host import KILLED, Ended, Host, Kept, Pending
from proof.machine_model import Archive, State, is_held, latest, may_go


class World(Host):
    """What the operator does, and what is promised of that."""

    # --- after each step

    def look(self) -> None:
        """What is true after each step, whatever was done."""
        for name, archive in self.archives.items():
            path = self.backups / name
            assert path.exists(), f"{name} is gone"
            assert hashlib.sha256(path.read_bytes()).hexdigest() == archive.sha256, f"{name} was changed"
        assert self.names() == set(self.archives), "archives that nobody took"
        if self.pending is None:
            seen = self.seen()
            assert seen == self.live, f"live is {seen}, and should be {self.live}"
            kept = {each["id"] for each in self.journal() if each["phase"] == "kept"}
            assert kept == set(self.kept), f"kept are {kept}, and should be {set(self.kept)}"

    def _archives_after(self, ended: Ended, before: State, written: bool) -> str:
        """Take in what a command has done to the archives: what it wrote, which is returned, and what it deleted."""
        new = self.names() - set(self.archives)
        assert len(new) <= int(written), f"unexpected archives: {new}"
        for name in new:
            path = self.backups / name
            taken = datetime.strptime(name, "safeharbor-backup-%Y-%m-%dT%H-%M-%SZ.tar").replace(tzinfo=UTC).timestamp()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            self.archives[name] = Archive(name, before, taken, path.stat().st_mtime, digest)
        assert new or not written or ended.status not in (0, 3), "acknowledged, and no archive there"
        gone = set(self.archives) - self.names()
        allowed = may_go(list(self.archives.values()), self.now(), self.adopted, next(iter(new), ""))
        assert gone <= allowed, f"deleted, and not to be: {gone - allowed}; held are {self.archives}"
        assert not gone or not written or new, "deleted before a new archive was there"
        if ended.status in (0, 3):
            assert gone == allowed, f"to be deleted, and there: {allowed - gone}"
        for name in gone:
            del self.archives[name]
        for name in new:  # the kernel's clock is not ahead: a prune in the same run has seen that, later ones do not
            os.utime(self.backups / name, (self.now(), self.now()))
            self.archives[name].modified = (self.backups / name).stat().st_mtime
        return next(iter(new), "")

    # --- backups

    def do_backup(self, kill: float | None) -> None:
        ended = self.type("backup", kill=kill, calls=3000)
        before = self.live
        if self.pending is not None:
            assert ended.status in (9, KILLED) or self.is_full, ended.output
            assert self.names() == set(self.archives)
            return
        if self.is_full:
            assert ended.status != 0, ended.output
        else:
            assert ended.status in (0, 3, KILLED), ended.output
        written = self._archives_after(ended, before, written=True)
        if ended.status == 0:
            held = is_held(list(self.archives.values()), self.now(), self.adopted, written)
            assert not held, "nothing was said of an archive that cannot be relied on"

    def do_prune(self, kill: float | None, *, adopt: bool) -> None:
        ended = self.type("prune", *(["--adopt"] if adopt else []), kill=kill, calls=700)
        if adopt and self.archives:
            adopted = self._read_adopted()
            assert ended.status not in (0, 3) or adopted == max(self.archives), ended.output
            self.adopted = adopted
        self._archives_after(ended, self.live, written=False)

    def _read_adopted(self) -> str:
        try:
            found = json.loads((self.backups / ".safeharbor" / "adopted.json").read_text())
        except FileNotFoundError:
            return ""
        return max(found["archives"], default="")

    def do_keep(self, number: int, kill: float | None, *, away: bool) -> None:
        archive = self._pick(number)
        mark = self.backups / f"{archive.name}.keep"
        ended = self.type(
            *(["unkeep", archive.name] if away else ["keep", archive.name, "--because", "I say so"]),
            kill=kill,
            calls=450,
        )
        if ended.status == 0:
            assert mark.exists() is not away, ended.output
        elif not ended.was_killed and not self.is_full:
            assert away, ended.output
            assert not archive.is_marked, ended.output
        archive.is_marked = mark.exists()

    def do_extract(self, number: int) -> None:
        archive = self._pick(number)
        if not archive.state.files:
            return
        name, content = archive.state.files[number % len(archive.state.files)]
        with_damage = archive.is_damaged
        place = self.root / "extracted"
        ended = self.type("extract", archive.name, name, "--to", str(place))
        assert with_damage or ended.status in (0, 3), ended.output
        if ended.status in (0, 3):
            assert (place / name).read_text() == content
        shutil.rmtree(place, ignore_errors=True)

    def do_verify(self, number: int) -> None:
        archive = self._pick(number)
        ended = self.type("verify", archive.name)
        assert (ended.status in (0, 3)) is not archive.is_damaged, ended.output

    def do_drill(self) -> None:
        meant, _ = latest(list(self.archives.values()), self.now(), self.adopted)
        ended = self.type("drill", *([meant.name] if meant is not None else []))
        assert meant is None or self.is_full or ended.status in (0, 3), ended.output

    def _pick(self, number: int) -> Archive:
        return self.archives[sorted(self.archives)[number % len(self.archives)]]

    # --- restores

    def do_restore(self, number: int | None, kill: float | None, *, how: str) -> None:
        """Restore an archive, or `latest` without a number."""
        meant, is_clear = latest(list(self.archives.values()), self.now(), self.adopted)
        archive = meant if number is None else self._pick(number)
        options = {
            "whole": [],
            "in place": ["--in-place"],
            "uploads": ["--only", "uploads"],
            "unkept": ["--no-keep-previous", "--live-database", "--live-uploads"],
        }[how]
        name = "latest" if number is None else self._pick(number).name
        before, known = self.live, {each["id"] for each in self.journal()}
        ended = self.type("restore", "--from", name, "--yes", *options, kill=kill, calls=3700)
        if self.pending is not None:
            assert ended.status not in (0, 3), ended.output
            return
        if ended.status in (0, 3):
            assert archive is not None, f"restored, and there is none to be relied on: {ended.output}"
            assert number is not None or is_clear, f"taken for latest without a word: {ended.output}"
        if archive is None:
            return
        after = archive.state if how != "uploads" else replace(before, files=archive.state.files)
        may_fail = archive.is_damaged or self.is_full or (number is None and not is_clear)
        assert may_fail or ended.status in (0, 3, KILLED), ended.output
        aside = Kept(
            before.rows if how not in ("uploads", "in place") else None, before.files, is_in_place=how == "in place"
        )
        self._settle_restore(ended, before, after, aside, known, is_kept=how != "unkept")

    def _settle_restore(
        self, ended: Ended, before: State, after: State, aside: Kept, known: set[str], *, is_kept: bool
    ) -> None:
        new = [each for each in self.journal() if each["id"] not in known]
        open_ones = [each for each in new if each["phase"] in ("staging", "swapping")]
        self._forget_deleted()
        if open_ones:
            assert ended.status not in (0, 3), "acknowledged, and interrupted"
            both = (before, after)
            undone = both if aside.is_in_place and open_ones[0]["phase"] == "swapping" else (before,)
            self.pending = Pending(open_ones[0]["id"], undone, (after,), aside)
            return
        self.live = self._one_of(ended, before, after)
        for each in new:
            if each["phase"] == "kept":
                assert is_kept or ended.status not in (0, 3), "kept, though it was not to be"
                self.kept[each["id"]] = aside
        assert ended.status not in (0, 3) or not is_kept or any(each["phase"] == "kept" for each in new), ended.output

    def _one_of(self, ended: Ended, before: State, after: State) -> State:
        """What is live after a command: exactly what was asked for, or what it was, if it was not acknowledged."""
        seen = self.seen()
        if ended.status in (0, 3):
            assert seen == after, f"acknowledged: {after}; live: {seen}"
        else:
            assert seen in (before, after), f"a mix: {seen}; before: {before}; after: {after}"
        return seen

    def do_undo(self, kill: float | None) -> None:
        """Back; if something was interrupted, whatever that was."""
        if self.pending is not None:
            self._go_on("undo", kill)
            return
        before = self.live
        chosen = next((each for each in reversed(self.kept) if not self.kept[each].is_undone), None)
        chosen = chosen or next(reversed(self.kept), None)
        ended = self.type("restore", "--undo", kill=kill, calls=1700)
        if chosen is None or self.kept[chosen].is_in_place:
            assert ended.status not in (0, 3), ended.output
            assert self.seen() == before
            self._forget_deleted()
            return
        aside = self.kept[chosen]
        after = State(
            aside.rows if aside.rows is not None else before.rows,
            aside.files if aside.files is not None else before.files,
        )
        turned = Kept(before.rows if aside.rows is not None else None, before.files, not aside.is_undone)
        self._forget_deleted()
        record = next(each for each in self.journal() if each["id"] == chosen)
        if record["phase"] == "swapping":
            assert ended.status not in (0, 3), "acknowledged, and interrupted"
            del self.kept[chosen]
            self.pending = Pending(chosen, (after,), (after,), turned)
            return
        assert self.is_full or ended.status in (0, 3, KILLED), ended.output
        self.live = self._one_of(ended, before, after)
        if (record["live"] == "old") == turned.is_undone:
            self.kept[chosen] = turned

    def do_resume(self, kill: float | None) -> None:
        if self.pending is not None:
            self._go_on("resume", kill)
            return
        ended = self.type("restore", "--resume", kill=kill, calls=340)
        assert ended.status not in (0, 3), ended.output
        self._forget_deleted()

    def _go_on(self, verb: str, kill: float | None) -> None:
        pending = self.pending
        assert pending is not None
        ended = self.type("restore", f"--{verb}", kill=kill, calls=2500)
        wanted = pending.undone if verb == "undo" else pending.resumed
        found = [each for each in self.journal() if each["phase"] in ("staging", "swapping")]
        if found:
            assert ended.status not in (0, 3), f"acknowledged, and interrupted: {ended.output}"
            assert self.is_full or ended.was_killed, ended.output
            resumed = pending.resumed
            if verb == "undo":
                resumed = tuple({*pending.undone, *pending.resumed})
            self.pending = replace(pending, id=found[0]["id"], resumed=resumed)
            return
        either = {*pending.undone, *pending.resumed}
        seen = self.seen()
        allowed = set(wanted) if ended.status in (0, 3) else either
        assert seen in allowed, f"--{verb}, {ended.status}: live is {seen}, and should be of {allowed}\n{ended.output}"
        self.pending, self.live = None, seen
        self._take_in(pending, seen)

    def _take_in(self, pending: Pending, seen: State) -> None:
        """What the journal keeps after a recovery: the other one of the two states."""
        self._forget_deleted()
        states = list(dict.fromkeys((*pending.undone, *pending.resumed)))
        for each in self.journal():
            if each["phase"] != "kept" or each["id"] in self.kept:
                continue
            is_undone = each["live"] == "old"
            aside = pending.kept
            if is_undone and not aside.is_undone and len(states) == 2:  # the restored state is the one that is kept
                other = next(state for state in states if state != seen)
                aside = Kept(other.rows if aside.rows is not None else None, other.files, is_in_place=aside.is_in_place)
            self.kept[each["id"]] = replace(aside, is_undone=is_undone)
        order = [each["id"] for each in self.journal()]  # undo takes the newest restore, whichever was recovered last
        self.kept = dict(sorted(self.kept.items(), key=lambda item: order.index(item[0])))

    def _forget_deleted(self) -> None:
        """What is half deleted cannot be brought back, and what is gone is gone: only a discard does that."""
        there = {each["id"] for each in self.journal() if each["phase"] in ("kept", "swapping")}
        for each in set(self.kept) - there:
            assert self._is_discarding, f"what restore {each} kept is gone"
            del self.kept[each]

    _is_discarding = False

    def do_discard(self, kill: float | None) -> None:
        ended = self.type("restore", "--discard-previous", "--yes", kill=kill, calls=1200)
        if self.pending is not None:
            assert ended.status in (9, KILLED) or (ended.status == 0 and not self.kept), ended.output
            return
        assert self.is_full or ended.status in (0, 3, KILLED) or not self.kept, ended.output
        self._is_discarding = True
        self._forget_deleted()
        self._is_discarding = False
        if ended.status == 0:
            assert self.kept == {}, ended.output
            assert not list(self.uploads.glob(".safeharbor-restore-*")), "left in the uploads"
