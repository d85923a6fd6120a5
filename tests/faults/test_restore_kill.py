"""SIGKILL at every durable step of a restore and of its recoveries, and at calls picked from a trace: never a mix."""

from __future__ import annotations

import shutil
import signal
import time

import psycopg
import pytest

from safeharbor_backup.actions.restore.request import RestoreRequest
from safeharbor_backup.actions.restore.run import restore_archive
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.load import load_settings
from support.faults import children_left
from support.kills import EVERYTHING, Rig, calls_of, killing, lasting, spread, traced, wholly, wholly_one_of
from support.postgres import Database, execute
from support.runs import Outcome, Site
from support.states import tree_of


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["undo", "resume"])
def test_a_restore_killed_at_any_step_is_taken_back_or_finished(site: Site, database: Database, how: str) -> None:
    rig = Rig(site, database)
    steps = rig.restored()
    assert {"journal", "staged", "swapping", "closed", "uploads swapped", "committed", "settled"} <= set(steps)

    for number in range(1, len(steps) + 1) if how == "undo" else lasting(steps):
        old = rig.changed()
        killed = rig.kill("restore", number)
        is_interrupted = rig.is_interrupted
        assert is_interrupted == (not killed.passed("settled")), killed.where
        is_thorough = how == "undo" and number in lasting(steps)
        if is_interrupted and is_thorough:
            rig.told(killed.where)

        done = rig.recover(how)

        assert done.status == (0 if is_interrupted or how == "undo" else 8), (killed.where, done.output)
        wholly(rig, old if how == "undo" else rig.new, killed.where)
        rig.settled(killed.where, with_backup=is_thorough)


def recovered_by_names(rig: Rig, how: str, where: str) -> Outcome:
    """With the journal lost nothing is decided by itself: what names speak of is listed, shown, asked for, and done."""
    before = (tree_of(rig.site.uploads), rig.sides, rig.staging)
    listed = rig.recover(how)
    assert listed.status == 8, (where, listed.output)
    ids = {name[-12:] for name in [*rig.sides, *rig.staging]}
    assert all(each in listed.stderr for each in ids), (where, listed.output)
    if not ids:
        return listed
    (found,) = ids
    asked = rig.site.run("restore", f"--{how}", "--id", found)
    refused = "Only the journal" in asked.stderr or "in place" in asked.stderr
    assert asked.status == (8 if refused else 1), (where, asked.output)
    assert (tree_of(rig.site.uploads), rig.sides, rig.staging) == before, where
    done = rig.site.run("restore", f"--{how}", "--id", found, "--yes")
    if done.status == 0:
        assert "Nothing is deleted" in done.stdout
    assert (len(rig.sides), rig.staging) == (len(before[1]), before[2]), where
    return done


@pytest.mark.timeout(900)
@pytest.mark.parametrize("options", [(), ("only uploads",)], ids=["all", "only uploads"])
def test_a_restore_killed_at_any_step_can_be_ended_whole_even_if_its_journal_is_lost(
    site: Site, database: Database, options: tuple[str, ...]
) -> None:
    rig = Rig(site, database, *options)
    steps = rig.restored()

    for number in lasting(steps):
        for how in ("undo", "resume")[number % 2 :: 2] if number < len(steps) - 3 else ("undo", "resume"):
            old = rig.changed()
            killed = rig.kill("restore", number)
            rig.lose_journal()

            done = recovered_by_names(rig, how, killed.where)

            is_named = bool(rig.sides or rig.staging)
            if how == "undo" or not is_named:
                assert done.status == (0 if is_named else 8), (killed.where, done.output)
                wholly(rig, old, killed.where)
            elif killed.passed("committed") or (options and killed.passed("uploads swapped")):
                assert done.status == 0, (killed.where, done.output)
                wholly(rig, rig.new, killed.where)
            else:
                assert done.status == 8, (killed.where, done.output)
                done = rig.site.run("restore", "--undo", "--id", rig.staging[0][-12:], "--yes")
                assert done.status == 0, (killed.where, done.output)
                wholly(rig, old, killed.where)
            rig.settled(killed.where, with_backup=number % 4 == 0)


@pytest.mark.timeout(900)
def test_a_restore_of_uploads_only_killed_at_any_step_ends_whole(site: Site, database: Database) -> None:
    rig = Rig(site, database, "only uploads")
    steps = rig.restored()
    assert {"journal", "swapping", "uploads swapped", "settled"} <= set(steps)

    for number in lasting(steps):
        for how in ("undo", "resume"):
            old = rig.changed()
            killed = rig.kill("restore", number)
            is_interrupted = rig.is_interrupted

            done = rig.recover(how)

            assert done.status == (0 if is_interrupted or how == "undo" else 8), (killed.where, done.output)
            wholly(rig, old if how == "undo" else rig.new, killed.where)
            rig.settled(killed.where, with_backup=number % 4 == 0)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", ["owner", "superuser"])
def test_a_restore_in_place_killed_at_any_step_ends_whole(site: Site, database: Database, role: str) -> None:
    rig = Rig(site, database, "in place")
    if role == "superuser":
        site.environment["BACKUP_DATABASE_URL"] = database.superuser_url
    steps = rig.restored()
    assert {"journal", "transaction begun", "loaded", "uploads swapped", "committed", "settled"} <= set(steps)

    for number in range(1, len(steps) + 1):
        # what the one role undoes here, the other one resumes
        is_odd = number % 2 == (role == "owner")
        how = "undo" if is_odd else "resume"
        old = rig.changed()
        killed = rig.kill("restore", number)
        is_interrupted = rig.is_interrupted
        if is_interrupted and number % 4 == 0:
            rig.told(killed.where)

        done = rig.recover(how)

        # once it is committed there is no way back
        is_new = killed.passed("committed") or (is_interrupted and how == "resume")
        assert done.status == (0 if is_interrupted else 8), (killed.where, done.output)
        wholly(rig, rig.new if is_new else old, killed.where)
        rig.settled(killed.where, with_backup=number % 4 == 0)


def test_while_a_restore_is_interrupted_no_other_one_is_undone(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    swapping = rig.restored().index("closed") + 1
    (kept,) = rig.kept_ids
    (site.uploads / "live.txt").write_text("live")
    live = rig.state()
    rig.kill("restore", swapping)

    refused = site.run("restore", "--undo", "--id", kept)

    assert refused.status == 9, refused.output
    assert rig.recover("undo").status == 0
    wholly(rig, live, "killed when closed")
    assert rig.kept_ids == [kept]


def test_with_the_journal_lost_an_id_chooses_among_the_kept_states(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    original = rig.changed()
    assert rig.kill("restore", EVERYTHING).has_ended
    (first,) = rig.kept_ids
    (site.uploads / "between.txt").write_text("between")
    assert rig.kill("restore", EVERYTHING).has_ended
    rig.lose_journal()

    done = site.run("restore", "--undo", "--id", first, "--yes")

    assert done.status == 0, done.output
    wholly(rig, original, "undone")


@pytest.mark.timeout(900)
def test_an_undo_killed_at_any_step_goes_on_and_does_not_turn_round(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    old = rig.changed()
    rig.finish("restore")
    steps = rig.finish("undo")
    assert steps == ["swapping", "closed", "uploads swapped", "committed", "settled"]

    for number in range(1, len(steps) + 1):
        for how in ("undo", "resume"):
            if rig.state() == old:
                rig.finish("undo")  # which makes the restored state live again
            wholly(rig, rig.new, "before the kill")
            killed = rig.kill("undo", number)
            is_interrupted = rig.is_interrupted
            assert is_interrupted == (not killed.passed("settled")), killed.where

            done = rig.recover(how)

            assert done.status == (0 if is_interrupted or how == "undo" else 8), (killed.where, done.output)
            # typed again it goes on; after its end it is another one, back to the restored state
            wholly(rig, rig.new if how == "undo" and not is_interrupted else old, killed.where)
            rig.settled(killed.where, with_backup=False)


@pytest.mark.parametrize("how", ["undo", "resume"])
@pytest.mark.parametrize("point", ["swapping", "closed", "uploads swapped", "committed"])
def test_an_undo_of_an_undo_goes_on_too_where_it_was_going(
    site: Site, database: Database, point: str, how: str
) -> None:
    rig = Rig(site, database)
    old = rig.changed()
    rig.finish("restore")
    rig.finish("undo")
    wholly(rig, old, "undone")
    rig.kill("undo", point)
    told = site.run("list")
    assert "finishes it, and so does `--resume`. Live will be: the restored data" in told.stderr

    done = rig.recover(how)

    assert done.status == 0, done.output
    wholly(rig, rig.new, point)
    rig.settled(point, with_backup=False)


def test_an_undo_of_an_undo_whose_uploads_are_lost_says_what_becomes_live(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    rig.changed()
    rig.finish("restore")
    rig.finish("undo")
    rig.kill("undo", "closed")
    shutil.rmtree(site.uploads / rig.staging[0])
    refused = site.run("restore", "--undo")
    assert refused.status == 8, refused.output
    assert "--undo --abandon-uploads` makes the database live that has the restored data" in refused.stderr

    done = site.run("restore", "--undo", "--abandon-uploads")

    assert done.status == 3, done.output
    assert rig.state().database == rig.new.database


@pytest.mark.timeout(900)
def test_an_undo_of_a_restore_killed_after_its_commit_may_itself_be_killed(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    committed = rig.restored().index("committed") + 1
    rig.changed()
    rig.kill("restore", committed)
    steps = rig.finish("undo")

    for number in range(1, len(steps) + 1):
        old = rig.changed()
        rig.kill("restore", committed)
        killed = rig.kill("undo", number)
        is_interrupted = rig.is_interrupted
        how = ("undo", "resume")[number % 2]

        done = rig.recover(how)

        assert done.status == (0 if is_interrupted or how == "undo" else 8), (killed.where, done.output)
        wholly(rig, rig.new if how == "undo" and not is_interrupted else old, killed.where)
        rig.settled(killed.where, with_backup=False)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("point", ["staged", "closed", "uploads swapped"])
def test_a_resume_killed_at_any_step_is_taken_back_or_finished(site: Site, database: Database, point: str) -> None:
    rig = Rig(site, database)
    first = rig.restored().index(point) + 1
    rig.changed()
    rig.kill("restore", first)
    steps = rig.finish("resume")

    for position, number in enumerate(lasting(steps)):
        old = rig.changed()
        rig.kill("restore", first)
        killed = rig.kill("resume", number)
        is_interrupted = rig.is_interrupted
        how = ("undo", "resume")[position % 2]

        done = rig.recover(how)

        assert done.status == (0 if is_interrupted or how == "undo" else 8), (killed.where, done.output)
        wholly(rig, old if how == "undo" else rig.new, killed.where)
        rig.settled(killed.where, with_backup=False)


@pytest.mark.timeout(900)
def test_a_restore_killed_at_calls_all_over_it_is_taken_back_whole(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    verb = ("--from", str(rig.archive), "--yes", "--jobs", "2")
    rig.changed()
    points = spread(calls_of(site, *verb), 24)
    assert site.run("restore", "--undo").status == 0

    kills = 0
    for number, (call, when) in enumerate(points):
        where = f"killed at {call} {when}"
        old = rig.changed()
        kills += traced(site, *killing(call, when), verb=verb) == -signal.SIGKILL
        assert not children_left(site), where

        done = rig.recover("undo")

        assert done.status in (0, 8), (where, done.output)
        wholly(rig, old, where)
        rig.settled(where, with_backup=number % 10 == 0)

    assert kills >= 20  # the number of polls and the like differs a little from run to run


@pytest.mark.timeout(900)
@pytest.mark.parametrize("call", ["write", "sendto", "openat"])
def test_a_restore_whose_tools_are_killed_too_is_taken_back_whole(site: Site, database: Database, call: str) -> None:
    rig = Rig(site, database)
    verb = ("--from", str(rig.archive), "--yes", "--jobs", "2")

    for when in (3, 14):  # each process counts for itself: pg_restore and its jobs die as well
        where = f"killed at {call} {when} of any process"
        old = rig.changed()
        traced(site, "-f", *killing(call, when), verb=verb)
        assert not children_left(site), where

        done = rig.recover("undo")

        assert done.status in (0, 8), (where, done.output)
        wholly(rig, old, where)
        rig.settled(where, with_backup=False)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["undo", "resume"])
def test_a_recovery_killed_at_calls_all_over_it_can_be_done_again(site: Site, database: Database, how: str) -> None:
    rig = Rig(site, database)
    swapped = rig.restored().index("uploads swapped") + 1
    rig.changed()
    rig.kill("restore", swapped)
    points = spread(calls_of(site, f"--{how}"), 7)

    for call, when in points:
        where = f"--{how} killed at {call} {when}"
        old = rig.changed()
        rig.kill("restore", swapped)
        traced(site, *killing(call, when), verb=(f"--{how}",))
        is_interrupted = rig.is_interrupted

        done = rig.recover(how)

        assert done.status == (0 if is_interrupted else 8), (where, done.output)
        wholly(rig, old if how == "undo" else rig.new, where)
        rig.settled(where, with_backup=False)


@pytest.mark.timeout(900)
def test_a_restore_that_keeps_nothing_can_be_killed_while_it_discards(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    verb = ("--from", str(rig.archive), "--yes", "--no-keep-previous", "--live-database", "--live-uploads")
    rig.changed()
    calls = calls_of(site, *verb)
    last = max(position for position, (call, _) in enumerate(calls) if call == "renameat2")  # the last entry swapped

    for call, when in spread(calls[last:], 7):
        where = f"killed at {call} {when}"
        old = rig.changed()
        traced(site, *killing(call, when), verb=verb)
        is_interrupted = rig.is_interrupted

        done = rig.recover("resume" if is_interrupted else "undo")

        assert done.status in (0, 8), (where, done.output)
        wholly_one_of(rig, old, rig.new, where)
        discarded = site.run("restore", "--discard-previous", "--yes")
        assert discarded.status == 0, (where, discarded.output)
        assert (rig.sides, rig.staging, rig.kept_ids) == ([], [], []), where


def test_a_database_that_the_server_still_creates_after_the_kill_is_not_left(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    old = rig.changed()
    creating = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE DATABASE%' AND wait_event_type = 'Lock'"
    with psycopg.connect(database.server.url()) as blocker:
        blocker.execute("COMMENT ON DATABASE template0 IS 'not to be copied now'")
        run = site.start("restore", "--from", str(rig.archive), "--yes")
        deadline = time.monotonic() + 20
        while not (found := execute(database.server.url(), creating)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        run.kill()
        run.communicate()

        recovery = site.start("restore", "--undo")
        time.sleep(1.5)
        blocker.rollback()
    said = recovery.communicate(timeout=60)[1].decode()
    while execute(database.server.url(), f"SELECT FROM pg_stat_activity WHERE pid = {found[0][0]}"):
        time.sleep(0.05)
    if recovery.returncode in (4, 9):  # it has seen that the dead restore's session is at work yet
        assert rig.is_interrupted
        assert rig.recover("undo").status == 0

    assert recovery.returncode in (0, 4, 9), said
    wholly(rig, old, "killed in CREATE DATABASE")
    rig.settled("killed in CREATE DATABASE")


@pytest.mark.parametrize(("call", "number"), [("fsync", 1), ("rename", 2)])  # the first is the mark of a run at work
def test_a_kill_while_the_journal_is_written_leaves_no_draft_for_ever(
    site: Site, database: Database, call: str, number: int
) -> None:
    rig = Rig(site, database)
    old = rig.changed()
    verb = ("--from", str(rig.archive), "--yes")
    traced(site, *killing(call, number), verb=verb)
    assert len(site.leftovers) == 1

    assert rig.recover("undo").status == 8
    assert site.run("backup", "--no-prune").status == 0

    wholly(rig, old, f"killed at the first {call}")
    assert site.leftovers == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["undo", "resume"])
def test_a_restore_in_place_whose_journal_is_lost_too_ends_whole(site: Site, database: Database, how: str) -> None:
    rig = Rig(site, database, "in place")
    steps = rig.restored()

    for number in range(steps.index("transaction begun") + 1, len(steps) + 1):
        old = rig.changed()
        killed = rig.kill("restore", number)
        (site.backups / ".safeharbor-restore.json").unlink()

        done = recovered_by_names(rig, how, killed.where)

        is_new = killed.passed("committed")
        if is_new != (how == "resume"):  # there is no way in that direction, and the other one is named
            assert done.status == 8, (killed.where, done.output)
            other = "undo" if how == "resume" else "resume"
            assert f"--{other} --id" in done.stderr
            done = site.run("restore", f"--{other}", "--id", rig.staging[0][-12:], "--yes")
        assert done.status == 0, (killed.where, done.output)
        wholly(rig, rig.new if is_new else old, killed.where)


def test_a_kept_state_that_cannot_be_deleted_hinders_nothing_else(site: Site, database: Database) -> None:
    rig = Rig(site, database)
    rig.changed()
    rig.finish("restore")
    (kept,) = rig.kept_ids
    log = site.root / "denied"
    denied = ("-o", str(log), "-e", "trace=unlinkat", "-e", "inject=unlinkat:error=EPERM:when=1+")

    status = traced(site, *denied, verb=("--discard-previous", "--yes"))

    assert status == 7
    assert "(INJECTED)" in log.read_text()
    listed = site.run("status")
    assert "partly deleted: what the restore of" in listed.stdout
    assert listed.status == 0, listed.output
    blocked = [traced(site, *denied, verb=verb) for verb in (("--undo",), ("--discard-previous", "--yes"))]
    assert blocked == [8, 7]  # nothing whole is left to go back to
    again = traced(site, *denied, verb=("--from", str(rig.archive), "--yes"))
    assert again == 3
    wholly(rig, rig.new, "restored beside what cannot be deleted")
    assert kept in rig.kept_ids

    done = site.run("restore", "--discard-previous", "--yes")

    assert done.status == 0, done.output
    assert "discarded 2 kept states" in done.stdout
    assert (rig.sides, rig.staging, rig.kept_ids) == ([], [], [])


class Failing(NoProgress):
    """Fails at one step in a way that nobody foresaw."""

    def __init__(self, step: str) -> None:
        self._step = step

    def step(self, name: str) -> None:
        if name == self._step:
            raise RuntimeError(f"at {name}")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("step", ["staged", "swapping", "closed", "uploads swapped", "committed"])
def test_what_nobody_foresaw_leaves_one_whole_state_that_lets_sessions_in(
    site: Site, database: Database, step: str
) -> None:
    rig = Rig(site, database)
    old = rig.changed()
    settings, request = load_settings(site.environment), RestoreRequest(rig.archive)

    if step == "committed":  # it came too late to take anything back
        restore_archive(settings, request, lambda _plan: True, Failing(step))
        wholly(rig, rig.new, step)
        rig.settled(step)
        return
    with pytest.raises(RuntimeError, match=step):
        restore_archive(settings, request, lambda _plan: True, Failing(step))

    wholly(rig, old, step)
    rig.settled(step)


def test_an_archive_that_is_found_damaged_in_place_leaves_nothing_to_be_settled(site: Site, database: Database) -> None:
    rig = Rig(site, database, "in place")
    old = rig.changed()
    damaged = bytearray(rig.archive.read_bytes())
    place = damaged.index(b"PGDMP") + 3000
    damaged[place] ^= 1
    rig.archive.write_bytes(damaged)

    done = site.run("restore", "--from", str(rig.archive), "--in-place", "--yes")

    assert done.status == 5, done.output
    wholly(rig, old, "refused")
    assert not rig.is_interrupted
    assert (rig.kept_ids, rig.staging) == ([], [])
