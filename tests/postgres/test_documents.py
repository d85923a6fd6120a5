"""Whatever is written and printed as JSON is as its schema in the documentation says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from safeharbor_backup.archive.manifest_json import encode_manifest
from safeharbor_backup.archive.reader import read_front
from safeharbor_backup.archive.source import opened_archive
from safeharbor_backup.state.directory import STATE_DIRECTORY
from safeharbor_backup.state.history import HISTORY_NAME
from support.json_schemas import complaints

if TYPE_CHECKING:
    from support.runs import Site


def test_each_document_of_a_site_is_as_its_schema_says(site: Site) -> None:
    (site.uploads / "album").mkdir()
    (site.uploads / "album" / "a.jpg").write_bytes(b"picture")
    (site.uploads / "with a space\udce9.txt").write_bytes(b"not UTF-8")
    status_file = site.root / "status.json"
    found = {
        "backup": site.run("backup", "--json", SECRET_KEY="k" * 40).document,
        "drill": site.run("drill", "--json").document,
    }
    (site.uploads / "b.txt").write_bytes(b"another")
    assert site.run("backup", "--quiet", BACKUP_STATUS_FILE=str(status_file)).status == 0
    first, second = site.archives
    found |= {
        name: site.run(*words, "--json").document
        for name, words in {
            "list": ["list"],
            "verify": ["verify", "--all"],
            "status": ["status"],
            "doctor": ["doctor"],
            "prune": ["prune", "--dry-run", "--adopt"],
            "diff": ["diff", first.name, second.name, "--names"],
            "find": ["find", "*.jpg"],
            "extract": ["extract", second.name, "album/a.jpg", "--to", str(site.root / "to")],
        }.items()
    }
    for name, words in {
        "keep": ["keep", first.name, "--because", "before the move"],
        "unkeep": ["unkeep", first.name],
        "report": ["report", "--html", "b.html"],
        "offsite-done": ["offsite-done", "nas"],
        "restore-plan": ["restore", "--from", "latest", "--dry-run"],
        "restore": ["restore", "--from", first.name, "--yes"],
        "restore-recovery": ["restore", "--undo", "--yes"],
        "restore-discard": ["restore", "--discard-previous", "--yes"],
    }.items():
        found[name] = site.run(*words, "--json").document
    assert (found["restore"]["done"], found["restore"]["tables"]) == ("restore", 2)
    assert found["restore-recovery"]["done"] == "undo"
    assert found["restore-discard"]["ids"] == [found["restore"]["id"]]
    with opened_archive(first) as source:
        found["manifest"] = json.loads(encode_manifest(read_front(source).manifest))

    assert {name: complaints(name, document) for name, document in found.items()} == {name: [] for name in found}
    assert complaints("status", json.loads(status_file.read_text())) == []
    [evidence] = site.backups.glob("safeharbor-drill-*.json")
    assert complaints("evidence", json.loads(evidence.read_text())) == []
    lines = (site.backups / STATE_DIRECTORY / HISTORY_NAME).read_text().splitlines()
    assert [complaints("history", json.loads(line)) for line in lines] == [[]] * len(lines)
    assert len(lines) >= 4
