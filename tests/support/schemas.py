"""Random schemas: each seed gives two of the known kinds, and tables of its own that lean on each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from support.kinds import Kind

_LETTERS = "abcXYZ \"'.;%$\\-üß漢\n\t/*()=,§"
# a type, and what a row with the number g has of it
_TYPES = {
    "int": "g",
    "bigint": "g * 3000000000",
    "text": "md5(g::text)",
    'varchar(40) COLLATE "C"': "'v' || g",
    "char(5)": "g::text",
    "numeric(12, 3)": "g / 7.0",
    "float8": "g / 3.0",
    "boolean": "g % 2 = 0",
    "timestamptz": "timestamptz '2026-01-01 00:00+00' + g * interval '1 hour'",
    "date": "date '2026-01-01' + g",
    "interval": "g * interval '1 day 2 hours'",
    "jsonb": "jsonb_build_object('g', g)",
    "int[]": "ARRAY[g, NULL]",
    "bytea": "decode(md5(g::text), 'hex')",
    "uuid": "md5(g::text)::uuid",
    "int4range": "int4range(g, g + 2)",
    "inet": "inet '10.0.0.0' + g",
}
_GIN = ("jsonb", "int[]")


@dataclass(frozen=True)
class _Table:
    name: str
    rows: int
    columns: dict[str, str]


@dataclass
class Schemas:
    """Scripts for one database; tables of later seeds may refer to those of earlier ones."""

    kinds: Sequence[Kind]
    major: int
    tables: list[_Table] = field(default_factory=list)

    def script(self, seed: int) -> str:
        """SQL that makes what this seed stands for."""
        return _Seed(seed, self).script()


class _Seed:
    def __init__(self, seed: int, schemas: Schemas) -> None:
        self._random = Random(seed)
        self._mark = str(seed)
        self._schemas = schemas
        self._lines: list[str] = []
        self._names = 0

    def script(self) -> str:
        several = [kind for kind in self._schemas.kinds if not kind.once]
        parts = [kind.script(f"{self._ugly()}{self._mark}") for kind in self._random.sample(several, 2)]
        self._schema = self._name()
        self._lines = [f"CREATE SCHEMA {self._schema}", f"COMMENT ON SCHEMA {self._schema} IS {self._text()}"]
        self._type = self._own()
        self._lines.append(f"CREATE TYPE {self._type} AS ENUM ('a', 'b', {self._text()})")
        self._function = self._own()
        body = {"sql": "SELECT upper($1)", "plpgsql": "BEGIN RETURN upper($1); END"}
        language = self._random.choice(list(body))
        head = f"CREATE FUNCTION {self._function}(text) RETURNS text LANGUAGE {language} IMMUTABLE"
        self._lines.append(f"{head} AS $f$ {body[language]} $f$")
        for _ in range(self._random.randint(1, 3)):
            self._add_table()
        self._add_views()
        return ";\n".join([*(part.rstrip().rstrip(";") for part in parts), *self._lines])

    def _ugly(self) -> str:
        return "".join(self._random.choices(_LETTERS, k=self._random.randint(0, 5)))

    def _name(self) -> str:
        self._names += 1
        name = f"{self._ugly()}{self._names}_{self._mark}".replace('"', '""')
        return f'"{name}"'

    def _own(self) -> str:
        return f"{self._schema}.{self._name()}"

    def _text(self) -> str:
        text = self._ugly().replace("'", "''")
        return f"'t{text}'"

    def _maybe(self, odds: float = 0.4) -> bool:
        return self._random.random() < odds

    def _add_table(self) -> None:
        choose, table = self._random, self._own()
        rows = choose.choice((0, 1, 20, 60))
        columns = {self._name(): choose.choice(list(_TYPES)) for _ in range(choose.randint(1, 5))}
        parts = ["id int"]
        values = ["g"]
        for name, of in columns.items():
            nullable = self._maybe()
            parts.append(f"{name} {of}{self._of_column(of, nullable=nullable)}")
            values.append(f"CASE WHEN g % 3 <> 0 THEN {_TYPES[of]} END" if nullable else _TYPES[of])
        targets = [each for each in self._schemas.tables if each.rows]
        target = choose.choice(targets) if targets and self._maybe(0.6) else None
        if target is not None:
            parts.append("up int")
            values.append(f"1 + g % {target.rows}")
        how = choose.choice(("", "", "", "UNLOGGED", "range", "hash", "inherits"))
        extra = self._extra_columns(is_parted=how in ("range", "hash"))
        self._create(table, how, [*parts, *extra])
        names = ["id", *columns, *(["up"] if target is not None else [])]
        self._lines.append(
            f"INSERT INTO {table}({', '.join(names)}) SELECT {', '.join(values)} FROM generate_series(1, {rows}) g"
        )
        if target is not None:
            options = choose.choice(("", "ON DELETE CASCADE", "DEFERRABLE INITIALLY DEFERRED", "NOT VALID"))
            options = "" if options == "NOT VALID" and how in ("range", "hash") else options
            self._lines.append(
                f"ALTER TABLE {table} ADD CONSTRAINT {self._name()} FOREIGN KEY (up) REFERENCES {target.name} {options}"
            )
        self._around(table, columns, how)
        if how not in ("inherits", "UNLOGGED"):  # neither can be referred to by whatever comes
            self._schemas.tables.append(_Table(table, rows, columns))

    def _of_column(self, of: str, *, nullable: bool) -> str:
        words = "" if nullable else " NOT NULL"
        if of == "text" and self._maybe():
            words += f" CHECK (length({self._function}('x')) = 1)"
        if of == "text" and self._maybe():
            words += f" DEFAULT {self._function}('d')"
        if of == "int" and self._maybe():
            words += f" DEFAULT {self._random.randint(-9, 9)}"
        return words

    def _extra_columns(self, *, is_parted: bool) -> list[str]:
        extra = []
        if self._maybe():
            extra.append(f"{self._name()} {self._type} DEFAULT 'b'")
        if self._maybe():
            extra.append(f"{self._name()} int GENERATED ALWAYS AS (id * 2) STORED")
        if self._maybe() and self._schemas.major >= 18:
            extra.append(f"{self._name()} int GENERATED ALWAYS AS (id + 1) VIRTUAL")
        if self._maybe() and (self._schemas.major >= 17 or not is_parted):
            extra.append(f"{self._name()} bigint GENERATED BY DEFAULT AS IDENTITY")
        return extra

    def _create(self, table: str, how: str, parts: list[str]) -> None:
        body = ", ".join([*parts, "PRIMARY KEY (id)"])
        if how == "range":
            self._lines.append(f"CREATE TABLE {table} ({body}) PARTITION BY RANGE (id)")
            self._lines.append(f"CREATE TABLE {self._own()} PARTITION OF {table} FOR VALUES FROM (0) TO (30)")
            self._lines.append(f"CREATE TABLE {self._own()} PARTITION OF {table} DEFAULT")
        elif how == "hash":
            self._lines.append(f"CREATE TABLE {table} ({body}) PARTITION BY HASH (id)")
            for remainder in (0, 1):
                bounds = f"FOR VALUES WITH (MODULUS 2, REMAINDER {remainder})"
                self._lines.append(f"CREATE TABLE {self._own()} PARTITION OF {table} {bounds}")
        elif how == "inherits":
            parent = self._own()
            self._lines.append(f"CREATE TABLE {parent} (id int, {self._name()} text DEFAULT 'p')")
            self._lines.append(f"CREATE TABLE {table} ({body}) INHERITS ({parent})")
        else:
            self._lines.append(f"CREATE {how} TABLE {table} ({body})")

    def _around(self, table: str, columns: dict[str, str], how: str) -> None:
        lines, is_parted = self._lines, how in ("range", "hash")
        for name, of in columns.items():
            if self._maybe():
                method = (
                    "gin"
                    if of in _GIN
                    else self._random.choice(("btree", "hash", "btree" if of == "boolean" else "brin"))
                )
                where = " WHERE id > 5" if self._maybe() and not is_parted else ""
                lines.append(f"CREATE INDEX {self._name()} ON {table} USING {method} ({name}){where}")
            if of == "text" and self._maybe():
                lines.append(f"CREATE INDEX {self._name()} ON {table} ({self._function}({name}))")
            if self._maybe(0.2):
                lines.append(f"COMMENT ON COLUMN {table}.{name} IS {self._text()}")
        if self._maybe():
            check = self._name()
            lines.append(f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK (id > 10) NOT VALID")
            lines.append(f"COMMENT ON CONSTRAINT {check} ON {table} IS {self._text()}")
        if self._maybe():
            function, trigger = self._own(), self._name()
            lines.append(
                f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RETURN NULL; END $f$"
            )
            lines.append(f"CREATE TRIGGER {trigger} AFTER INSERT ON {table} EXECUTE FUNCTION {function}()")
            lines.append(f"COMMENT ON TRIGGER {trigger} ON {table} IS {self._text()}")
        if self._maybe(0.2):
            lines.append(f"CREATE POLICY {self._name()} ON {table} USING (id > 3)")
            lines.append(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        if self._maybe() and len(columns) > 1:
            first, second, *_ = columns
            if "jsonb" not in (columns[first], columns[second]):
                lines.append(f"CREATE STATISTICS {self._own()} ON {first}, {second} FROM {table}")
        if self._maybe():
            lines.append(f"GRANT SELECT, UPDATE (id) ON {table} TO PUBLIC")

    def _add_views(self) -> None:
        lines, tables = self._lines, self._schemas.tables
        if not tables:
            return
        view = self._own()
        left, right = self._random.choice(tables), self._random.choice(tables)
        name = next(iter(left.columns))
        lines.append(
            f"CREATE VIEW {view} AS SELECT l.id, l.{name}, count(*) AS n FROM {left.name} l "
            f"LEFT JOIN {right.name} r ON r.id = l.id GROUP BY l.id"
        )
        source = self._random.choice((view, left.name, right.name))
        made = self._own()
        is_filled = self._maybe(0.8)
        data = "" if is_filled else " WITH NO DATA"
        lines.append(f"CREATE MATERIALIZED VIEW {made} AS SELECT id, id % 7 AS rest FROM {source}{data}")
        lines.append(f"CREATE INDEX {self._name()} ON {made} (rest)")
        if is_filled and self._maybe():
            lines.append(f"CREATE MATERIALIZED VIEW {self._own()} AS SELECT max(id) AS last FROM {made}")
