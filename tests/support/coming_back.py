"""Through every way that an archive can be used, and whether what comes back is what there was."""

from __future__ import annotations

import difflib
from pathlib import Path

from support.postgres import Database
from support.runs import Site
from support.states import Whole, whole_state

DAMAGE = """
    DO $$ DECLARE s text; n int := 0; BEGIN
        FOR s IN SELECT quote_ident(nspname) FROM pg_namespace WHERE pg_get_userbyid(nspowner) = current_user
                 AND nspname !~ '^(pg_|information_schema|public)' ORDER BY 1 LOOP
            n := n + 1;
            IF n % 3 = 0 THEN EXECUTE format('DROP SCHEMA %s CASCADE', s); END IF;
            IF n % 3 = 1 THEN EXECUTE format('CREATE TABLE %s.newer AS SELECT 1 AS id', s); END IF;
            EXIT WHEN n > 12;
        END LOOP;
    END $$;
    SELECT lo_from_bytea(0, 'newer');
"""


def site_of(root: Path, database: Database, *, superuser: bool) -> Site:
    root.mkdir(exist_ok=True)
    site = Site(root, database.superuser_url if superuser else database.url)
    (site.uploads / "photo.jpg").write_bytes(b"a photo")
    return site


def now(database: Database, site: Site) -> Whole:
    return whole_state(database.superuser_url, database.server.major, site.uploads)


def assert_same(left: Whole, right: Whole) -> None:
    """Equal, or the lines that differ."""
    lines = difflib.unified_diff(left.lines, right.lines, "now", "expected", n=0, lineterm="")
    difference = "\n".join(lines)
    assert not difference, difference[:6000]


def assert_comes_back(database: Database, site: Site, known: tuple[int, ...] = (0,)) -> None:
    """Backup, drill, damage, staged restore, undo, restore in place: whole and equal each time."""
    before = now(database, site)
    done = site.run("backup")
    assert done.status in known, done.output
    done = site.run("drill", "--json")
    assert done.status in known, done.output
    content = done.document["compared"]["content"]
    assert (content["different"], content["not_hashed"]) == ([], [])
    assert content["equal"] == content["recorded"] == done.document["compared"]["tables"]["recorded"]
    superuser = site.environment["BACKUP_DATABASE_URL"] == database.superuser_url
    database.execute(DAMAGE, superuser=superuser)
    (site.uploads / "photo.jpg").write_bytes(b"another photo")
    damaged = now(database, site)

    planned = site.run("restore", "--from", "latest", "--dry-run")
    done = site.run("restore", "--from", "latest", "--yes")
    assert (planned.status, done.status) in {(each, each) for each in known}, planned.output + done.output
    assert_same(now(database, site), before)
    done = site.run("restore", "--undo")
    assert done.status == 0, done.output
    assert_same(now(database, site), damaged)

    planned = site.run("restore", "--from", "latest", "--in-place", "--dry-run")
    done = site.run("restore", "--from", "latest", "--in-place", "--yes")
    assert (planned.status, done.status) in {(each, each) for each in known}, planned.output + done.output
    assert_same(now(database, site), before)
