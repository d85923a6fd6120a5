"""Everything that talks to PostgreSQL: its server through psycopg, its client tools through `process`."""
