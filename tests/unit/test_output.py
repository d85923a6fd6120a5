from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import click

from safeharbor_backup.cli.streams import BestEffort, best_effort_output, lost_output
from safeharbor_backup.text import harmless


def test_a_name_that_a_stream_cannot_spell_is_escaped() -> None:
    raw = io.BytesIO()
    stream = BestEffort(io.TextIOWrapper(raw, encoding="ascii"))

    stream.write("reef \u2192 \udcff\n")
    stream.flush()

    assert raw.getvalue() == b"reef \\u2192 \\udcff\n"
    assert stream.lost == 0


def test_a_log_on_a_full_disk_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        stream = BestEffort(full)
        stream.write("first\n")
        stream.flush()
        assert (stream.lost, stream.is_cut) == (1, False)
        log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, full.fileno())  # somebody has made room
        os.close(log)

        stream.write("second\n")
        stream.flush()

    assert (tmp_path / "log").read_text() == "first\nsecond\n"


def test_what_an_app_does_to_its_standard_output_still_works() -> None:
    raw = io.BytesIO()
    stream = BestEffort(io.TextIOWrapper(raw, encoding="utf-8"))

    stream.reconfigure(line_buffering=True)  # type: ignore[operator]
    stream.write("a\n")

    assert raw.getvalue() == b"a\n"


def test_a_block_inside_another_is_the_same(capsys: object) -> None:
    with best_effort_output() as outer, best_effort_output() as inner:
        assert inner is outer
        assert lost_output() == 0
        click.echo("told")


def test_no_file_of_ours_becomes_the_standard_output_that_was_closed(tmp_path: Path) -> None:
    script = (
        "import os\nfrom safeharbor_backup.cli.streams import best_effort_output\n"
        f"with best_effort_output(): print('a result'); file = open({str(tmp_path / 'file')!r}, 'w'); "
        "assert file.fileno() > 2; os.write(1, b'from a library')"
    )

    done = subprocess.run(
        ["bash", "-c", 'exec "$0" -c "$1" >&- 2>&- <&-', sys.executable, script], env=os.environ, check=False
    )

    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_no_name_in_a_line_can_steer_a_terminal() -> None:
    assert harmless("plain → ünï\n\ttab") == "plain → ünï\n\ttab"
    assert harmless(click.style("ok", fg="green") + " x") == click.style("ok", fg="green") + " x"
    assert harmless("a\x1b]0;t\x07 \x1b[8m \x1b[2J \r \x9b \u202e \udce9") == (
        "a\\x1b]0;t\\x07 \\x1b[8m \\x1b[2J \\r \\x9b \\u202e \\udce9"
    )
