"""One of our parsers under atheris, a process of its own: `python -m proof.fuzz_target TARGET -runs=N DIRECTORY`.

Only the refusals that a parser documents may leave it. The process ends with another status than 0 at anything else.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import atheris
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

with atheris.instrument_imports(include=["safeharbor_backup"], enable_loader_override=False):
    from safeharbor_backup.actions.status.schema import StatusDocument
    from safeharbor_backup.archive.index import IndexUnusable, read_index_front, read_records
    from safeharbor_backup.archive.manifest_json import ManifestInvalid, parse_manifest
    from safeharbor_backup.errors import SafeHarborError
    from safeharbor_backup.settings.address_parsing import UnusableDatabaseUrl, parse_database_url
    from safeharbor_backup.settings.load import load_settings
    from safeharbor_backup.settings.table import SETTINGS
    from safeharbor_backup.state.journal import JOURNAL_NAME, Journal
    from safeharbor_backup.system.documents import Misfit, NotJson, read_document
    from safeharbor_backup.web.document import read_document as read_status
    from support.readers import FOREIGN, OWN, Readers

_JOURNALS = Path(__file__).parents[1] / "tests" / "support" / "journals"


@dataclass(frozen=True)
class Target:
    """`feed` gets any bytes; `seeds` are inputs to begin with."""

    feed: Callable[[bytes], object]
    seeds: list[bytes]


def _reader() -> Target:
    return Target(Readers().feed, [*FOREIGN, *OWN])


def _manifest() -> Target:
    def feed(data: bytes) -> None:
        try:
            parse_manifest(data)
        except ManifestInvalid:
            pass

    return Target(feed, [archive[archive.rindex(b'{"format"') :].rstrip(b"\0") for archive in OWN])


def _index() -> Target:
    descriptor = os.memfd_create("index", os.MFD_CLOEXEC)

    def feed(data: bytes) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)
        try:
            read_index_front(descriptor)
        except IndexUnusable:
            pass
        for _ in read_records(descriptor):
            pass

    return Target(feed, [bytes(200)])


def _journal() -> Target:
    directory = Path(tempfile.mkdtemp(prefix="fuzz-journal-"))

    def feed(data: bytes) -> None:
        (directory / JOURNAL_NAME).write_bytes(data)
        try:
            Journal(directory).read()
        except SafeHarborError:
            pass

    return Target(feed, [each.read_bytes() for each in sorted(_JOURNALS.rglob("*.json"))])


def _status() -> Target:
    def feed(data: bytes) -> None:
        try:
            read_document(data, StatusDocument)
        except (Misfit, NotJson):
            pass
        try:
            given = json.loads(data)
        except (ValueError, RecursionError):
            return
        try:
            read_status(given)
        except SafeHarborError:
            pass

    return Target(feed, [b'{"schema": 1, "state": "good", "archives": []}'])


def _settings() -> Target:
    names = sorted(setting.name for setting in SETTINGS)

    def feed(data: bytes) -> None:
        name = names[data[0] % len(names)] if data else names[0]
        text = data[1:].replace(b"\0", b"").decode("utf-8", "surrogateescape")
        try:
            load_settings({name: text}).require()
        except SafeHarborError:
            pass

    seeds = [bytes([number]) + text for number in range(0, len(names), 3) for text in (b"1", b"/x", b"a=/b")]
    return Target(feed, seeds)


def _urls() -> Target:
    def feed(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        try:
            url = parse_database_url(text)
            url.describe()
            assert conninfo_to_dict(url.conninfo()).get("dbname", "") == url.get("dbname")
        except UnusableDatabaseUrl:
            pass

    seeds = [
        b"postgresql://u:p@h:1/d?sslmode=require",
        b"postgres://[::1],b:2/%20",
        b"host=/x dbname='a b' password=\\'",
    ]
    return Target(feed, seeds)


def _urls_as_they_were() -> Target:
    """What parse_database_url did before this campaign met bytes that are no text."""

    def feed(data: bytes) -> None:
        try:
            conninfo_to_dict(data.decode("utf-8", "surrogateescape"))
        except ProgrammingError:
            pass

    return Target(feed, [b"host=/x"])


TARGETS: Mapping[str, Callable[[], Target]] = {
    "reader": _reader,
    "manifest": _manifest,
    "index": _index,
    "journal": _journal,
    "status": _status,
    "settings": _settings,
    "urls": _urls,
}
CONTROL = "urls as they were"


def main() -> None:
    name, *options = sys.argv[1:]
    target = _urls_as_they_were() if name == CONTROL else TARGETS[name]()
    corpus = Path(options[-1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *options], target.feed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
