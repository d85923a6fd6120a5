"""Removing everything from a database that itself stays, and finding what that would leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

# what belongs to other roles and would stay, or make the wipe fail; 16384 is the first number that initdb does not use
_STRANGERS = """
    SELECT pg_catalog.pg_get_userbyid(o.owner)::text, pg_catalog.pg_describe_object(o.class, o.oid, 0)
    FROM (SELECT 'pg_catalog.pg_class'::regclass AS class, oid, relowner AS owner FROM pg_catalog.pg_class
            WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relpersistence <> 't'
          UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, oid, proowner FROM pg_catalog.pg_proc
          UNION ALL SELECT 'pg_catalog.pg_type'::regclass, oid, typowner FROM pg_catalog.pg_type
            WHERE typrelid = 0 AND typelem = 0
          UNION ALL SELECT 'pg_catalog.pg_namespace'::regclass, oid, nspowner FROM pg_catalog.pg_namespace
            WHERE nspname !~ '^pg_'
          UNION ALL SELECT 'pg_catalog.pg_largeobject'::regclass, oid, lomowner FROM pg_catalog.pg_largeobject_metadata
          UNION ALL SELECT 'pg_catalog.pg_publication'::regclass, oid, pubowner FROM pg_catalog.pg_publication
            WHERE NOT puballtables  -- which the owner's dump leaves out
          UNION ALL SELECT 'pg_catalog.pg_foreign_server'::regclass, oid, srvowner FROM pg_catalog.pg_foreign_server
         ) o
    WHERE o.oid >= 16384 AND pg_catalog.pg_get_userbyid(o.owner) <> current_user
      AND NOT (o.class = 'pg_catalog.pg_namespace'::regclass
               AND pg_catalog.pg_get_userbyid(o.owner) = 'pg_database_owner')
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = o.class AND e.objid = o.oid
                      AND e.deptype IN ('e', 'i'))
    ORDER BY 1, 2 LIMIT 20
"""

_WIPE_AS_OWNER = "DROP OWNED BY CURRENT_USER CASCADE;\n"

# DROP OWNED always fails for the bootstrap superuser, which owns the system catalogs
_WIPE_AS_SUPERUSER = """
DO $safeharbor$
DECLARE statement text;
BEGIN
  FOR statement IN  -- those of an extension go with it, and must not act until then
    SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_depend d
                             WHERE d.classid = 'pg_catalog.pg_event_trigger'::regclass AND d.objid = t.oid
                               AND d.deptype = 'e')
                THEN format('ALTER EVENT TRIGGER %I DISABLE', evtname) ELSE format('DROP EVENT TRIGGER %I', evtname) END
    FROM pg_catalog.pg_event_trigger t
    UNION ALL SELECT format('DROP PUBLICATION %I', pubname) FROM pg_catalog.pg_publication
  LOOP EXECUTE statement; END LOOP;
  FOR statement IN  -- the publisher's slot stays: removing it needs a connection there, and no transaction
    SELECT s FROM pg_catalog.pg_subscription,
      unnest(ARRAY[format('ALTER SUBSCRIPTION %I DISABLE', subname),
                   format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subname),
                   format('DROP SUBSCRIPTION %I', subname)]) WITH ORDINALITY u(s, number)
    WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    ORDER BY subname, number
  LOOP EXECUTE statement; END LOOP;
  FOR statement IN
    SELECT format('DROP EXTENSION IF EXISTS %I CASCADE', extname) FROM pg_catalog.pg_extension
    WHERE extname <> 'plpgsql'
  LOOP EXECUTE statement; END LOOP;
  FOR statement IN
    SELECT format('DROP SCHEMA IF EXISTS %I CASCADE', nspname) FROM pg_catalog.pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
  LOOP EXECUTE statement; END LOOP;
  FOR statement IN  -- what is in no schema
    SELECT format('DROP CAST (%s AS %s) CASCADE', castsource::regtype, casttarget::regtype) FROM pg_catalog.pg_cast
    WHERE oid >= 16384
    UNION ALL SELECT format('DROP TRANSFORM FOR %s LANGUAGE %I CASCADE', trftype::regtype, lanname)
              FROM pg_catalog.pg_transform t JOIN pg_catalog.pg_language l ON l.oid = t.trflang WHERE t.oid >= 16384
    UNION ALL SELECT format('DROP ACCESS METHOD %I CASCADE', amname) FROM pg_catalog.pg_am WHERE oid >= 16384
    UNION ALL SELECT format('DROP FOREIGN DATA WRAPPER %I CASCADE', fdwname) FROM pg_catalog.pg_foreign_data_wrapper
    UNION ALL SELECT format('DROP LANGUAGE %I CASCADE', lanname) FROM pg_catalog.pg_language
              WHERE lanispl AND lanname <> 'plpgsql'
  LOOP EXECUTE statement; END LOOP;
  PERFORM pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata;
  FOR statement IN  -- back to what PostgreSQL gives by itself: then the entry goes, and what refers to it
    SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %s %s', defaclrole::regrole, s)
    FROM (SELECT d.*, CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
                                         WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS kind
          FROM pg_catalog.pg_default_acl d WHERE defaclnamespace = 0) d,
      LATERAL (SELECT 1, format('REVOKE ALL ON %s FROM %s', kind,
                                CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
               FROM pg_catalog.aclexplode(defaclacl) a
               UNION SELECT 2, format('GRANT ALL ON %s TO %s', kind, defaclrole::regrole)
               UNION SELECT 3, format('GRANT ALL ON %s TO PUBLIC', kind) WHERE defaclobjtype IN ('f', 'T')) u(step, s)
    ORDER BY d.oid, step
  LOOP EXECUTE statement; END LOOP;
END
$safeharbor$;
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
COMMENT ON SCHEMA public IS 'standard public schema';
GRANT USAGE ON SCHEMA public TO PUBLIC;
"""


def find_strangers(session: psycopg.Connection) -> list[str]:
    """What other roles own in the session's database and a wipe by its owner would leave. Raises psycopg.Error."""
    return [f"{thing} of {role}" for role, thing in session.execute(_STRANGERS).fetchall()]


def wipe_script(*, is_superuser: bool) -> str:
    """The statements that remove everything that is in the database, for a transaction in psql."""
    return _WIPE_AS_SUPERUSER if is_superuser else _WIPE_AS_OWNER
