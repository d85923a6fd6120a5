"""Databases beside the main one: the setting that names them, and what an archive with them may and may not hold."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from safeharbor_backup.actions.diff import compare_archives
from safeharbor_backup.actions.extract import extract_files
from safeharbor_backup.actions.restore.request import opened_for_restore
from safeharbor_backup.actions.status.document import describe_status
from safeharbor_backup.actions.status.run import read_status
from safeharbor_backup.actions.verification import ArchiveKind
from safeharbor_backup.actions.verify import verify_source
from safeharbor_backup.archive.headers import WIDE_HEADER_BYTES, encode_pad, encode_wide
from safeharbor_backup.archive.layout import DUMP_NAME, FILE, Member
from safeharbor_backup.archive.manifest_json import ManifestInvalid, encode_manifest, parse_manifest
from safeharbor_backup.archive.reader import Rejected, read_front, read_members
from safeharbor_backup.archive.source import opened_archive
from safeharbor_backup.errors import ArchiveNotFound, SettingsInvalid
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.min_free import parse_min_free
from safeharbor_backup.settings.model import Concern, Settings
from safeharbor_backup.web.archives import items_of
from support.archives import BLOCK, DUMP, Facts, examine, put_archive, raw_header, write_archive
from support.settings import settings_of

MAIN = "postgresql://main:pw@db/reef"
STATS = b"PGDMP of stats" * 100
LOGS = b"PGDMP of logs"


def _load(text: str, config: Mapping[str, object] | None = None) -> Settings:
    return load_settings({"BACKUP_DATABASE_URL": MAIN, "BACKUP_EXTRA_DATABASES": text}, config or {})


def _addresses(settings: Settings) -> dict[str, str]:
    assert settings.problems == ()
    return {each.name: each.address.describe() if each.address else "none" for each in settings.extra_databases}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("stats=postgresql://u:p@h/stats", {"stats": '"stats" on h:5432'}),
        (
            "stats=postgresql://u:p,w@h,i/stats?options=-c%20a, logs=postgresql://x/y\nold=none",
            {"logs": '"y" on x:5432', "old": "none", "stats": '"stats" on h:5432, i:5432'},
        ),
        ("b=host=a dbname=b user=c,a=host=a dbname=a", {"a": '"a" on a:5432', "b": '"b" on a:5432'}),
        ("", {}),
    ],
)
def test_each_has_a_name_and_an_address(text: str, found: dict[str, str]) -> None:
    assert _addresses(_load(text)) == found


def test_a_bind_of_the_app_gives_its_address() -> None:
    config = {"SQLALCHEMY_BINDS": {"stats": "postgresql://u:p@h/numbers", "cache": "sqlite:///c.db"}}

    assert _addresses(_load("bind:stats", config)) == {"stats": '"numbers" on h:5432'}
    assert _addresses(_load("s=bind:stats", config)) == {"s": '"numbers" on h:5432'}
    for text, why in (
        ("bind:cache", "sqlite"),
        ("bind:nope", "it has no 'bind:nope', but bind:stats, bind:cache"),
    ):
        (problem,) = _load(text, config).problems
        assert why in str(problem)
    assert "is not loaded" in str(_load("bind:stats").problems[0])


def test_the_apps_configuration_may_have_them_as_a_mapping() -> None:
    config: dict[str, object] = {
        "BACKUP_EXTRA_DATABASES": {"stats": "postgresql://u:p@h/numbers", "more": "bind:more"},
        "SQLALCHEMY_BINDS": {"more": "postgresql://u:p@h/more"},
    }
    settings = load_settings({"BACKUP_DATABASE_URL": MAIN}, config)

    assert _addresses(settings) == {"more": '"more" on h:5432', "stats": '"numbers" on h:5432'}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("postgresql://u:hunter2@h/x", "one has no name"),
        ("../stats=postgresql://u:hunter2@h/x", "one has no name"),
        (".stats=postgresql://u:hunter2@h/x", "'.stats' is not such a name"),
        ("s=postgresql://u:hunter2@h/x,S=postgresql://h/y", "'S' appears twice"),
        ("s=postgresql://u:hunter2@h/x,t=postgresql://v@h/x", "'s' and 't' are the same database"),
        ("s=mysql://u:hunter2@h/x", "for 's' a PostgreSQL database"),
        ("s=", "'s' has no address"),
        ("s=postgresql://u:hunter2@db/reef", "'s' is that of BACKUP_DATABASE_URL"),
    ],
)
def test_what_cannot_be_used_is_named_without_its_password(text: str, why: str) -> None:
    settings = _load(text)
    (problem,) = settings.problems

    assert why in str(problem)
    assert "hunter2" not in str(problem) + repr(settings)
    with pytest.raises(SettingsInvalid, match="BACKUP_EXTRA_DATABASES"):
        settings.require(Concern.EXTRA_DATABASES)
    settings.require(Concern.DATABASE)


def test_they_may_be_in_a_file_and_their_passwords_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("stats=postgresql://u:hunter2@h/stats\n")
    given = {"BACKUP_DATABASE_URL": MAIN, "BACKUP_EXTRA_DATABASES_FILE": str(tmp_path / "secret")}

    settings = load_settings(given)

    assert _addresses(settings) == {"stats": '"stats" on h:5432'}
    assert settings.extra_databases[0].address is not None
    assert settings.extra_databases[0].address.password == "hunter2"
    assert "hunter2" not in repr(settings) + repr(settings.given)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "a.txt").write_text("alpha")
    write_archive(tmp_path / "a.tar", uploads=tmp_path / "up", facts=Facts(others={"logs": LOGS, "stats": STATS}))
    return tmp_path / "a.tar"


DECODED = {
    DUMP_NAME: hashlib.sha256(DUMP).hexdigest(),
    b"databases/logs.dump": hashlib.sha256(LOGS).hexdigest(),
    b"databases/stats.dump": hashlib.sha256(STATS).hexdigest(),
}


def _problems(path: Path, decoded: dict[bytes, str] | None = None) -> tuple[str, ...]:
    with opened_archive(path) as source:
        return verify_source(source, settings_of(), decoded_sha256=DECODED if decoded is None else decoded).problems


def test_an_archive_with_them_is_sound_and_of_format_2(archive: Path) -> None:
    with opened_archive(archive) as source:
        found = verify_source(source, settings_of(), decoded_sha256=DECODED)
        front = read_front(source)

    assert (found.problems, found.kind) == ((), ArchiveKind.FORMAT_2)
    assert [(member.name, member.size) for member, _ in front.others] == [
        (b"databases/logs.dump", len(LOGS)),
        (b"databases/stats.dump", len(STATS)),
    ]
    data = archive.read_bytes()
    assert [data[at : at + member.size] for member, at in front.others] == [LOGS, STATS]


def test_an_archive_without_them_says_nothing_of_them(tmp_path: Path) -> None:
    write_archive(tmp_path / "plain.tar")

    found = examine(tmp_path / "plain.tar", settings_of())

    assert (found.problems, found.kind) == ((), ArchiveKind.FORMAT_1)
    with opened_archive(tmp_path / "plain.tar") as source:
        manifest = read_front(source).manifest
    assert "databases" not in json.loads(encode_manifest(manifest))
    assert b"safeharbor=1 " in (tmp_path / "plain.tar").read_bytes()[:4096]


def test_plain_tools_read_it(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    subprocess.run(["tar", "-xf", archive, "-C", tmp_path / "out"], check=True)
    checked = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "out", check=True)

    assert checked.returncode == 0
    assert (tmp_path / "out" / "databases" / "stats.dump").read_bytes() == STATS
    listed = subprocess.run(["tar", "-tf", archive], check=True, capture_output=True, text=True).stdout.split()
    assert listed[:4] == ["db.dump", "databases/logs.dump", "databases/stats.dump", "uploads/"]


def test_the_header_of_a_dump_takes_as_much_whatever_its_size() -> None:
    for size in (0, 8 * 1024**3 - 1, 8 * 1024**3, 2**50):
        assert len(encode_wide(Member(b"databases/" + b"x" * 63 + b".dump", FILE, 0o600, 0, 0, 1, size))) == (
            WIDE_HEADER_BYTES
        )


def test_each_database_is_seen_as_an_archive_of_that_alone(archive: Path) -> None:
    with opened_for_restore(archive) as opened:
        main, logs, stats = opened.databases()

        assert (main.name, logs.name, stats.name) == ("", "logs", "stats")
        assert stats.manifest is not None
        assert (stats.manifest.database, stats.manifest.dump_size) == ("stats_db", len(STATS))
        with stats.dump.opened() as descriptor:
            assert os.read(descriptor, stats.dump.size) == STATS


def test_a_dump_that_is_not_what_was_decoded_is_a_problem(archive: Path) -> None:
    decoded = {**DECODED, b"databases/stats.dump": "0" * 64}

    assert _problems(archive, decoded) == ("databases/stats.dump is not, byte for byte, what pg_dump wrote",)


def _changed(path: Path, at: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def test_a_byte_of_a_dump_that_changes_is_noticed(archive: Path) -> None:
    with opened_archive(archive) as source:
        (_, _), (_, at) = read_front(source).others
    _changed(archive, at, b"X")

    assert "databases/stats.dump does not have the SHA-256 that SHA256SUMS states" in _problems(archive)


@pytest.mark.parametrize(
    "name", [b"databases/../x.dump", b"databases/other.dump", b"uploads/stats.dump", b"/etc/passwd"]
)
def test_a_dump_of_another_name_than_the_manifests_is_refused(archive: Path, name: bytes) -> None:
    with opened_archive(archive) as source:
        (_, _), (member, at) = read_front(source).others
    header = raw_header(name, size=member.size, mode=0o600, mtime=member.mtime)
    _changed(archive, at - BLOCK, header)

    assert _problems(archive) == ("databases/stats.dump is not where its manifest says",)


def test_a_dump_that_becomes_another_while_the_archive_is_read_is_refused(archive: Path) -> None:
    with opened_archive(archive) as source:
        front = read_front(source)
        (_, _), (member, at) = front.others
        other = raw_header(b"databases/other.dump", size=member.size, mode=0o600, mtime=member.mtime)
        _changed(archive, at - BLOCK, other)
        members = read_members(source, front)
        for expected in (b"db.dump", b"databases/logs.dump"):
            each, _ = next(members)
            assert each.name == expected
            source.take(each.size)
        with pytest.raises(Rejected, match=r"databases/stats\.dump is not where its manifest says"):
            next(members)


def _with_databases(path: Path, names: list[str]) -> str:
    """Why the manifest of this archive is refused with these names in it."""
    with opened_archive(path) as source:
        document = json.loads(encode_manifest(read_front(source).manifest))
    one = document["databases"][0]
    document["databases"] = [{**one, "name": name} for name in names]
    with pytest.raises(ManifestInvalid) as refusal:
        parse_manifest(json.dumps(document).encode())
    return str(refusal.value)


def test_names_that_are_none_come_twice_or_are_out_of_order_are_refused(archive: Path) -> None:
    for name in ("../x", "", "a/b", ".hidden", "x" * 64, "a\nb"):
        assert "a name that archives do not have" in _with_databases(archive, [name])
    assert "appears twice" in _with_databases(archive, ["a", "a"])
    assert "out of order" in _with_databases(archive, ["b", "a"])
    assert "of format 2, and has 0 databases" in _with_databases(archive, [])


def test_format_1_has_none(archive: Path) -> None:
    with opened_archive(archive) as source:
        document = json.loads(encode_manifest(read_front(source).manifest))

    with pytest.raises(ManifestInvalid, match="it is of format 1, and has 2 databases"):
        parse_manifest(json.dumps({**document, "format": 1}).encode())


def test_a_member_that_the_manifest_does_not_name_is_refused(tmp_path: Path) -> None:
    """A dump more is put behind the last one: the uploads are not where they should be."""
    write_archive(tmp_path / "a.tar", facts=Facts(others={"stats": STATS}))
    data = (tmp_path / "a.tar").read_bytes()
    with opened_archive(tmp_path / "a.tar") as source:
        ((member, at),) = read_front(source).others
    end = at + member.size + -member.size % BLOCK
    more = raw_header(b"databases/zzz.dump", size=0, mode=0o600, mtime=member.mtime)
    (tmp_path / "b.tar").write_bytes(data[:end] + more + data[end:])

    (problem,) = _problems(tmp_path / "b.tar")
    assert "its manifest is not where its first header says" in problem


def test_a_dump_that_the_manifest_names_and_the_archive_lacks_is_noticed_even_at_a_quick_look(archive: Path) -> None:
    """Zeros of a member that no reader shows are in its place: all offsets are as they were."""
    with opened_archive(archive) as source:
        (_, _), (member, at) = read_front(source).others
    hidden = encode_pad(2 + -(-member.size // BLOCK) + 1)  # its pad, its header, its data
    _changed(archive, at - WIDE_HEADER_BYTES, hidden)

    with opened_archive(archive) as source:
        found = verify_source(source, settings_of(), quick=True)

    assert found.problems == ("databases/stats.dump is not where its manifest says",)


def test_an_error_at_the_header_of_a_dump_names_the_archive(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened_archive(archive) as source:
        (_, at), _ = read_front(source).others
        real, failed = os.pread, list[int]()

        def fail(descriptor: int, size: int, offset: int) -> bytes:
            if offset < at <= offset + size:
                failed.append(offset)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(descriptor, size, offset)

        monkeypatch.setattr("os.pread", fail)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)) as error:
            read_front(source)

    assert len(failed) == 1
    assert (error.value.errno, error.value.filename) == (errno.EIO, str(archive))


def test_of_a_large_dump_only_the_header_is_read_at_the_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tar"
    write_archive(path, facts=Facts(others={"logs": bytes(4 * 1024**2), "stats": STATS}))
    real, lengths = os.pread, list[int]()

    def count(descriptor: int, size: int, offset: int) -> bytes:
        data = real(descriptor, size, offset)
        lengths.append(len(data))
        return data

    monkeypatch.setattr("os.pread", count)
    with opened_archive(path) as source:
        front = read_front(source)

    assert [member.size for member, _ in front.others] == [4 * 1024**2, len(STATS)]
    assert 4096 < sum(lengths) < 64 * 1024


def test_a_dump_can_be_taken_out_and_is_checked(archive: Path, tmp_path: Path) -> None:
    done = extract_files(archive, ["databases/stats.dump", "uploads/a.txt"], tmp_path / "out", parse_min_free("0"))

    assert (tmp_path / "out" / "databases" / "stats.dump").read_bytes() == STATS
    assert (tmp_path / "out" / "a.txt").read_text() == "alpha"
    assert done.files == 2
    with pytest.raises(ArchiveNotFound):
        extract_files(archive, ["databases/nope.dump"], tmp_path / "other", parse_min_free("0"))


def test_a_damaged_dump_is_not_taken_out(archive: Path, tmp_path: Path) -> None:
    with opened_archive(archive) as source:
        (_, at), _ = read_front(source).others
    _changed(archive, at, b"X")

    with pytest.raises(Exception, match="does not have the SHA-256"):
        extract_files(archive, ["databases/logs.dump"], tmp_path / "out", parse_min_free("0"))
    assert not (tmp_path / "out" / "databases").exists()


def test_other_commands_read_such_an_archive(archive: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "b.tar", uploads=tmp_path / "up", facts=Facts(others={"logs": LOGS}))

    found = compare_archives(archive, tmp_path / "b.tar")

    assert sum(found.uploads.counts.values()) == 0
    assert any("databases beside the main one are not compared" in each for each in found.unknown)


def test_the_page_and_the_status_show_them(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    put_archive(tmp_path, now - timedelta(hours=1), facts=Facts(others={"stats": STATS}))
    settings = settings_of(backup_dir=tmp_path)

    document = describe_status(read_status(settings), settings)

    assert document.contents[0].databases == (("stats", 2, 5),)
    assert ("Database stats", "2 tables, 5 rows") in items_of(document, now, {})[0].facts
