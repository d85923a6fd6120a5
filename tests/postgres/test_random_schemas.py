"""What a backup calls good is restored, equal, whatever the schema: 200 random ones, fifty to a database.

Each schema has a seed of its own, which names it in a failure. `SCHEMAS_FROM_SEED=1000` tries 200 others.
"""

from __future__ import annotations

import os
from difflib import unified_diff
from pathlib import Path

import psycopg
import pytest

from support.kinds import kinds_for
from support.postgres import MAJORS, Servers, drop_database, make_database
from support.runs import Site
from support.schemas import Schemas
from support.states import whole_state

TO_A_DATABASE = 50
FIRST = int(os.environ.get("SCHEMAS_FROM_SEED", "0"))


@pytest.mark.parametrize("major", MAJORS)
def test_what_a_backup_calls_good_is_restored_equal(servers: Servers, tmp_path: Path, major: int) -> None:
    number = MAJORS.index(major)
    is_superuser = number % 2 == 0
    database = make_database(servers[major])
    site = Site(tmp_path, database.superuser_url if is_superuser else database.url)
    # a subscription does not replicate after a restore, of which the restore warns
    kinds = [kind for kind in kinds_for(major, superuser=is_superuser) if kind.name != "subscription"]
    schemas = Schemas(kinds, major)
    first = FIRST + number * TO_A_DATABASE
    for seed in range(first, first + TO_A_DATABASE):
        script = schemas.script(seed)
        try:
            database.execute(script, superuser=is_superuser)
        except psycopg.Error as error:
            error.add_note(f"seed {seed} on PostgreSQL {major}:\n{script}")
            raise
    before = whole_state(database.superuser_url, major, site.uploads)

    taken = site.run("backup")
    restored = site.run("restore", "--from", "latest", "--yes")
    after = whole_state(database.superuser_url, major, site.uploads)
    drop_database(database)

    seeds = f"PostgreSQL {major}, seeds {first} to {first + TO_A_DATABASE - 1}"
    assert taken.status == 0, f"{seeds}: {taken.output}"
    assert restored.status == 0, f"{seeds}: {restored.output}"
    difference = "\n".join(unified_diff(before.lines, after.lines, "before", "after", n=0, lineterm=""))
    assert not difference, f"{seeds}:\n{difference[:6000]}"
