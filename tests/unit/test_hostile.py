"""Archives made to harm, each against one rule.

In those of format 1 every digest and count matches, so that only the rule can refuse them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from safeharbor_backup.actions.verification import ArchiveKind
from safeharbor_backup.actions.verify import verify_archive
from safeharbor_backup.archive.layout import DIRECTORY, SYMLINK
from safeharbor_backup.archive.manifest_json import ManifestInvalid, encode_manifest, parse_manifest
from support.archives import (
    BLOCK,
    Lies,
    Part,
    assemble,
    examine,
    foreign_archive,
    raw_extra,
    raw_header,
    upload,
    uploads_root,
)
from support.hostile import CASES, EVIL, PILLARLESS, raw, special
from support.manifests import with_facts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safeharbor_backup.settings.model import Settings

pytestmark = pytest.mark.slow


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "archive.tar"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", CASES)
def test_a_hostile_archive_of_format_1_is_rejected_by_its_rule(name: str, file: Path, settings: Settings) -> None:
    case = CASES[name]
    file.write_bytes(assemble([uploads_root(), *case.parts]))

    found = examine(file, settings)

    assert found.kind is ArchiveKind.FORMAT_1
    assert found.problems
    assert case.says in found.problems[0]
    assert len(found.problems[0]) < 1000


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.foreign])
def test_a_hostile_archive_by_another_implementation_is_rejected(name: str, file: Path, settings: Settings) -> None:
    case = CASES[name]
    # the dump last, so that the rest is judged before it is decoded, which takes time
    dump_last = name != "a hard link to the dump"
    file.write_bytes(foreign_archive([uploads_root(), *case.parts], dump_last=dump_last))

    found = verify_archive(file, settings)

    assert found.kind is ArchiveKind.FOREIGN
    assert len(found.problems) == 1
    assert case.foreign in found.problems[0]
    assert len(found.problems[0]) < 1000


@pytest.mark.parametrize(
    "name",
    [name for name, case in CASES.items() if case.says and not case.foreign],
)
def test_what_harms_nobody_is_taken_from_another_implementation(name: str, file: Path, settings: Settings) -> None:
    file.write_bytes(foreign_archive([uploads_root(), *CASES[name].parts]))

    found = verify_archive(file, settings)

    assert found.problems == ()


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 80


@pytest.mark.parametrize("name", PILLARLESS)
def test_a_foreign_archive_without_its_two_pillars_is_rejected(name: str, file: Path, settings: Settings) -> None:
    archive, why = PILLARLESS[name]
    file.write_bytes(archive + bytes(2 * BLOCK))

    problems = verify_archive(file, settings).problems

    assert len(problems) == 1
    assert why in problems[0]


MEASURED = """
import json, os, sys
from pathlib import Path
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.actions.verify import verify_archive
found = verify_archive(Path(sys.argv[1]), load_settings({"BACKUP_PG_BIN": sys.argv[2]}))
status = Path("/proc/self/status").read_text()
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
print(json.dumps({"problems": found.problems, "peak_kib": peak, "cpu_seconds": sum(os.times()[:4])}))
"""


def many_pax_records() -> bytes:
    """As many headers as possible, each as large as is allowed and full of the shortest records."""
    full = raw_extra(b"x", b"5 a=\n" * 13_000)
    members = b"".join(full + raw_header(b"uploads/%04d" % number) for number in range(300))
    return foreign_archive([uploads_root(), raw(members), raw(special(b"3").header)])


WORST: dict[str, Callable[[], bytes]] = {
    "64 MB of pax": lambda: assemble([uploads_root(), *CASES["a pax header of 64 MB"].parts]),
    "64 MB of pax, foreign": lambda: foreign_archive([uploads_root(), *CASES["a pax header of 64 MB"].parts]),
    "1 TiB, foreign": lambda: foreign_archive([uploads_root(), *CASES["a size that pax makes 1 TiB"].parts]),
    "32,000 directories in one name": lambda: foreign_archive(
        [uploads_root(), raw(raw_extra(b"L", b"uploads/" + b"a/" * 32_000 + b"x\0") + EVIL)]
    ),
    "pax headers full of records": many_pax_records,
    "a manifest of 100 MB": lambda: assemble(
        [uploads_root()], lies=Lies(raw_manifest=b'"' + b"x" * 100_000_000 + b'"')
    ),
    "a deeply nested manifest": lambda: assemble([uploads_root()], lies=Lies(raw_manifest=b"[" * 16_000_000)),
    "a million names in the sums": lambda: assemble(
        [uploads_root()], lies=Lies(sums=b"0" * 64 + b"  x\n" * 10_000_000)
    ),
}


@pytest.mark.parametrize("name", WORST)
def test_the_worst_of_them_cost_neither_time_nor_memory(name: str, file: Path, settings: Settings) -> None:
    file.write_bytes(WORST[name]())
    arguments: list[str | Path] = [sys.executable, "-c", MEASURED, file, settings.pg_bin[0]]

    done = subprocess.run(
        arguments, env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path)}, capture_output=True, timeout=100
    )

    assert done.stderr == b""
    answer = json.loads(done.stdout)
    assert answer["problems"]
    assert answer["cpu_seconds"] < 10
    assert answer["peak_kib"] < 256 * 1024


def test_a_manifest_of_millions_of_values_is_refused_before_it_is_parsed() -> None:
    for data in (b"[" + b"{}," * 60_000 + b"{}]", b'{"a":[' + b"1," * 600_000 + b"1]}"):
        with pytest.raises(ManifestInvalid, match="more values"):
            parse_manifest(data)


FORBIDDEN = {
    "a set-uid file": upload(b"x", data=b"x", mode=0o4755),
    "a sticky file": upload(b"x", data=b"x", mode=0o1644),
    "a set-uid directory": upload(b"x/", DIRECTORY, mode=0o4755),
    "a link with a mode of its own": upload(b"x", SYMLINK, link=b"y", mode=0o644),
    "a file with a target": upload(b"x", data=b"x", link=b"y"),
    "a directory with a target": upload(b"x/", DIRECTORY, mode=0o755, link=b"y"),
}


@pytest.mark.parametrize("part", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_a_header_that_says_what_its_kind_cannot_have_is_rejected(
    tmp_path: Path, settings: Settings, part: Part
) -> None:
    path = tmp_path / "hostile.tar"
    path.write_bytes(assemble([uploads_root(), part]))

    problems = examine(path, settings).problems

    assert any("uploads/x" in problem for problem in problems), problems


def test_names_full_of_braces_and_commas_fit_a_manifest() -> None:
    archive = assemble([uploads_root()])
    start = archive.index(b'{"format"')
    manifest = parse_manifest(archive[start : archive.index(b"}\0", start) + 1])
    manifest = replace(manifest, raw_warnings=('{[,"\\' * 40_000, "," * 600_000))

    data = encode_manifest(with_facts(manifest, tables={"a{,": 1}))

    assert json.loads(data)["warnings"] == list(manifest.raw_warnings)
    assert parse_manifest(data).tables == {"a{,": 1}
