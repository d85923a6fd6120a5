"""Configurations as real applications have them, each cut down to what a backup sees of it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from support.runs import Outcome

if TYPE_CHECKING:
    from support.postgres import Database
    from support.runs import Site

FACTORY = """from flask import Flask
def create_app():
    app = Flask(__name__)
    app.config.update({config})
{then}    return app
"""


def flask(site: Site, database: Database, config: str, *words: str, then: str = "") -> Outcome:
    """Run `flask safeharbor …` for an app with this configuration beside the address of its database."""
    config = f"SQLALCHEMY_DATABASE_URI={database.url!r}, {config}"
    (site.root / "shape.py").write_text(FACTORY.format(config=config, then=then))
    environment = site.full_environment({"FLASK_APP": "shape:create_app"})
    for name in ("BACKUP_DATABASE_URL", "BACKUP_UPLOAD_DIR"):
        del environment[name]
    done = subprocess.run(
        [Path(sys.executable).parent / "flask", "safeharbor", *words],
        env=environment, cwd=site.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def names_in(site: Site) -> set[str]:
    with tarfile.open(site.archives[-1]) as archive:
        return {name for name in archive.getnames() if name.endswith(".txt")}


def test_configurations_of_real_apps(site: Site, database: Database) -> None:
    for name in ("previews", "avatars", "logos"):
        (site.root / name).mkdir()
        (site.root / name / f"{name}.txt").write_text(name)
    previews, avatars, logos = (str(site.root / name) for name in ("previews", "avatars", "logos"))

    # zou: its files are under a name of its own
    zou = flask(site, database, f"PREVIEW_FOLDER={previews!r}", "backup")
    assert zou.status == 2
    assert f"PREVIEW_FOLDER={previews}" in zou.stderr
    assert "=none" not in zou.stderr
    # ihatemoney: no files at all
    assert flask(site, database, "BACKUP_UPLOAD_DIR='none'", "backup").status == 0
    assert names_in(site) == set()
    # TimeTracker and invenio: several directories
    several = f"BACKUP_UPLOAD_DIR={{'avatars': {avatars!r}, 'logos': {logos!r}}}"
    assert flask(site, database, several, "backup", "--no-prune").status in (0, 3)
    assert names_in(site) == {"uploads/avatars/avatars.txt", "uploads/logos/logos.txt"}
    # CTFd: prints, and changes its database, while it is loaded
    loading = "    print('Loaded module')\n"
    ctfd = flask(site, database, f"UPLOAD_FOLDER={previews!r}", "list", "--json", then=loading)
    assert ctfd.status == 0
    assert len(ctfd.document["archives"]) == 2
    assert "Loaded module" in ctfd.stderr
