"""One database with every kind of object that pg_dump writes: what is called good comes back equal, every way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from safeharbor_backup.postgres.private_cluster import PrivateServer
from support.coming_back import assert_comes_back, site_of
from support.kinds import KINDS, kinds_for
from support.postgres import MAJORS, Database, Servers, drop_database, execute, make_database

UGLY = " ü\"q's; % $1\n-- x"
# what computes during a load: it has to be in force then
SETTINGS = """
    ALTER DATABASE "{name}" SET timezone = 'Asia/Tokyo';
    ALTER DATABASE "{name}" SET default_text_search_config = 'pg_catalog.german';
"""
TENANT_SETTING = "ALTER DATABASE \"{name}\" SET app.tenant = 'reef';"  # which an owner may not carry over
TENANT = """
    CREATE FUNCTION public.tenant() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('app.tenant') $$;
    CREATE TABLE public.of_tenant (who text DEFAULT public.tenant() CHECK (who = current_setting('app.tenant')));
    INSERT INTO public.of_tenant DEFAULT VALUES;
    CREATE MATERIALIZED VIEW public.tenants AS SELECT public.tenant() AS who;
"""


def extensions_of(server: PrivateServer) -> set[str]:
    return {str(row[0]) for row in server.execute("SELECT name FROM pg_available_extensions")}


@contextmanager
def database_of(server: PrivateServer, scripts: list[str], *, superuser: bool) -> Iterator[Database]:
    """A database in which each script was run, by its owner or by a superuser; a reader has grants on all of it."""
    database = make_database(server)
    reader = database.owner.replace("owner", "reader")
    server.execute(f"CREATE ROLE {reader}")
    try:
        execute(server.url(), SETTINGS.format(name=database.name))
        if superuser:
            execute(server.url(), TENANT_SETTING.format(name=database.name))
        for script in (TENANT, *scripts) if superuser else scripts:
            database.execute(script, superuser=superuser)
        database.execute(GRANTS.replace("READER", reader), superuser=superuser)
        yield database
    finally:
        drop_database(database)
        server.execute(f"DROP ROLE {reader}")


GRANTS = """
    DO $$ DECLARE s text; t record; BEGIN
        FOR s IN SELECT quote_ident(nspname) FROM pg_namespace WHERE pg_get_userbyid(nspowner) = current_user
                 AND nspname !~ '^(pg_|information_schema|public)' LOOP
            EXECUTE format('GRANT USAGE ON SCHEMA %s TO READER WITH GRANT OPTION', s);
            EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %s TO READER', s);
            EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %s TO READER', s);
            EXECUTE format('REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA %s FROM PUBLIC', s);
            EXECUTE format('GRANT EXECUTE ON ALL ROUTINES IN SCHEMA %s TO READER', s);
        END LOOP;
    END $$;
"""


@pytest.mark.parametrize("superuser", [True, False], ids=["superuser", "owner"])
@pytest.mark.parametrize("major", MAJORS)
def test_a_database_of_every_kind_comes_back_equal(
    servers: Servers, tmp_path: Path, major: int, superuser: bool
) -> None:
    server = servers[major]
    kinds = kinds_for(major, superuser=superuser, extensions=extensions_of(server))
    scripts = [kind.script() for kind in kinds] + [kind.script(UGLY) for kind in kinds if not kind.once]
    with database_of(server, scripts, superuser=superuser) as database:
        # a drill by a superuser cannot start subscriptions, and says so
        assert_comes_back(database, site_of(tmp_path, database, superuser=superuser), (0, 3) if superuser else (0,))


def test_there_are_at_least_sixty_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 60
