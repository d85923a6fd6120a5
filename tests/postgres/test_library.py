"""The library as a program uses it: a script, and a worker of a queue whose threads are not the main one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import safeharbor_backup

if TYPE_CHECKING:
    from support.postgres import Database
    from support.runs import Site

PROGRAM = """
import json, os, signal, sys, threading
from pathlib import Path
from safeharbor_backup import (
    RestoreRequest, SafeHarborError, Settings, load_settings, plan_restore, restore_archive, take_backup, verify_archive
)
from safeharbor_backup.progress import NoProgress

heard, told = [], {}
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, frame: heard.append(number))
before = [signal.getsignal(number) for number in signal.valid_signals()]

class Disturbed(NoProgress):
    def phase(self, name, total_bytes=None):
        os.kill(os.getpid(), signal.SIGTERM)
        if name in ("dump", "uploads", "dump and uploads"):
            told.setdefault("totals", []).append(total_bytes)

def work():
    settings = load_settings(os.environ)
    assert isinstance(settings, Settings)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    backup = take_backup(settings, progress=Disturbed())
    told["archive"] = str(backup.path)
    told["is_sound"] = verify_archive(backup.path, settings).is_sound
    request = RestoreRequest(backup.path)
    plan = plan_restore(settings, request)
    told["problems"] = [str(each) for each in plan.problems]
    (settings.upload_dirs[0].path / "2026" / "1.jpg").unlink()
    told["restored"] = restore_archive(settings, request, lambda plan: not plan.problems, Disturbed()).upload_files
    try:
        verify_archive(Path("nowhere.tar"), settings)
    except SafeHarborError as error:
        told["error"] = [error.message, error.exit_status]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask

if sys.argv[1] == "worker":
    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        thread.join(0.05)  # the main thread is here, as in a program that waits for its workers
else:
    work()
assert [signal.getsignal(number) for number in signal.valid_signals()] == before
print(json.dumps({**told, "heard": len(heard)}))
"""


@pytest.mark.parametrize("thread", ["script", "worker"])
def test_a_program_backs_up_verifies_and_restores_in_any_thread(site: Site, database: Database, thread: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, thread],
        env=site.full_environment(),
        capture_output=True,
        text=True,
        cwd=site.root,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # the core prints nothing
    told = json.loads(done.stdout)
    assert [str(path) for path in site.archives] == [told["archive"]]
    assert (told["is_sound"], told["problems"], told["restored"]) == (True, [], 10)
    assert told["error"][1] == 2
    assert "nowhere.tar" in told["error"][0]
    size = sum(path.stat().st_size for path in site.uploads.rglob("*.jpg"))
    assert sum(told["totals"]) > size  # of the first backup too, by a walk
    assert told["heard"] > 5  # the program's own handler heard each, and the run went on
    assert (site.uploads / "2026" / "1.jpg").exists()
    assert database.execute("SELECT count(*) FROM entry") == [(500,)]


def test_the_package_names_what_a_program_may_rely_on_and_nothing_it_does_not_have() -> None:
    assert {name for name in safeharbor_backup.__all__ if getattr(safeharbor_backup, name) is None} == set()
    assert set(safeharbor_backup.__all__) <= set(dir(safeharbor_backup))
    with pytest.raises(AttributeError, match="no attribute 'take_over'"):
        _ = safeharbor_backup.take_over  # type: ignore[attr-defined]


def test_the_package_runs_as_the_command(site: Site) -> None:
    module = [sys.executable, "-W", "error", "-m", "safeharbor_backup"]

    done = subprocess.run([*module, "--version"], capture_output=True, text=True, cwd=site.root, check=True)

    assert done.stdout == f"safeharbor {safeharbor_backup.__version__}\n"
