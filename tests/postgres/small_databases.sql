-- What apps have in their databases, each as the smallest SQL of its kind. `-- kind: NAME` begins one, in a schema of that name.

-- kind: comment on a foreign key
CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (a_id int CONSTRAINT b_a_fk REFERENCES a);
COMMENT ON CONSTRAINT b_a_fk ON b IS 'why';

-- kind: comment on a trigger
CREATE TABLE t (id int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f(); COMMENT ON TRIGGER tr ON t IS 'x';

-- kind: old rows under a check of partitions
CREATE TABLE p (a int, b text) PARTITION BY LIST (b); CREATE TABLE p1 PARTITION OF p FOR VALUES IN ('x');
INSERT INTO p SELECT -1, 'x' FROM generate_series(1, 2000);
ALTER TABLE p ADD CONSTRAINT positive CHECK (a > 0) NOT VALID; COMMENT ON CONSTRAINT positive ON p IS 'later';

-- kind: old rows under a check of a domain
CREATE DOMAIN plz AS text; CREATE TABLE addr (p plz); INSERT INTO addr SELECT 'bad' FROM generate_series(1, 2000);
ALTER DOMAIN plz ADD CONSTRAINT five CHECK (VALUE ~ '^\d{5}$') NOT VALID;

-- kind: trigger that is off far below
CREATE TABLE p (n int) PARTITION BY RANGE (n); CREATE TABLE o PARTITION OF p DEFAULT PARTITION BY RANGE (n);
CREATE TABLE a PARTITION OF o DEFAULT; INSERT INTO p VALUES (1);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER tr BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE a DISABLE TRIGGER tr;

-- kind: accents
SET search_path = public; CREATE FUNCTION plain(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
  'BEGIN RETURN unaccent($1); END';
CREATE TABLE partner (name text CHECK (plain(name) <> ''), slug text GENERATED ALWAYS AS (plain(name)) STORED);
INSERT INTO partner VALUES ('Zoë'); CREATE INDEX ON partner (plain(name)); CREATE INDEX ON partner
  USING gin (name gin_trgm_ops); CREATE MATERIALIZED VIEW plain_names AS SELECT plain(name) FROM partner;

-- kind: words
SET search_path = public; CREATE TABLE topic (id int, search tsvector, tags hstore);
INSERT INTO topic VALUES (1, to_tsvector('english', 'the titles'), 'a=>1'); CREATE INDEX ON topic USING gist (tags);
CREATE MATERIALIZED VIEW word AS SELECT word, ndoc FROM ts_stat('SELECT search FROM topic');
CREATE UNIQUE INDEX ON word (word); CREATE MATERIALIZED VIEW words AS SELECT count(*) FROM word;

-- kind: numbers by the name of a table
SET search_path = public; CREATE SEQUENCE status_id_seq; CREATE FUNCTION next_of(name text) RETURNS bigint
  LANGUAGE plpgsql AS $$ BEGIN RETURN nextval(name || '_id_seq'); END $$;
CREATE TABLE status (id bigint PRIMARY KEY DEFAULT next_of('status'), reblog bigint REFERENCES status);
INSERT INTO status DEFAULT VALUES; INSERT INTO status(reblog) VALUES (1);

-- kind: check by a row elsewhere
SET search_path = public; CREATE TABLE rate (code text PRIMARY KEY, r numeric); INSERT INTO rate VALUES ('e', 2);
CREATE FUNCTION rate_of(c text) RETURNS numeric LANGUAGE plpgsql STABLE AS
  'BEGIN RETURN (SELECT r FROM rate WHERE code = c); END';
CREATE TABLE a_price (c text, r numeric DEFAULT rate_of('e') CHECK (r = rate_of(c))); INSERT INTO a_price VALUES ('e');
CREATE FUNCTION total() RETURNS numeric LANGUAGE sql STABLE BEGIN ATOMIC SELECT sum(r) FROM a_price; END;
CREATE TABLE total_then (t numeric DEFAULT total()); INSERT INTO total_then DEFAULT VALUES;

-- kind: secrets
CREATE DOMAIN hash AS text CHECK (VALUE = public.crypt('p', VALUE)); CREATE TABLE account (email public.citext UNIQUE,
  pw hash, mac bytea GENERATED ALWAYS AS (public.digest(email::text, 'sha256')) STORED, path public.ltree);
INSERT INTO account VALUES ('A@b', public.crypt('p', public.gen_salt('md5')), DEFAULT, 'a.b');
CREATE INDEX ON account USING gist (path); CREATE INDEX ON account (encode(mac, 'hex'));

-- kind: arrays of composite domains
CREATE TYPE amount AS (n numeric(12, 2), cur char(3)); CREATE DOMAIN price AS amount CHECK ((VALUE).n >= 0);
COMMENT ON CONSTRAINT price_check ON DOMAIN price IS 'none below';
CREATE DOMAIN prices AS price[] CHECK (cardinality(VALUE) < 5) DEFAULT '{}'; CREATE TABLE offer (p prices, q price);
INSERT INTO offer VALUES (ARRAY[ROW(2, 'USD')::amount]::price[], ROW(3, 'CHF')::amount);

-- kind: rooms
CREATE TABLE room (n int, during tstzrange, EXCLUDE USING gist (n WITH =, during WITH &&) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO room VALUES (1, '[2026-01-01, 2026-01-02)'), (1, '[2026-01-02, 2026-01-03)');

-- kind: ring of tables
CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a DEFERRABLE
  INITIALLY DEFERRED); ALTER TABLE a ADD CONSTRAINT back FOREIGN KEY (b) REFERENCES b ON DELETE SET NULL (b);
INSERT INTO b VALUES (1, 1); INSERT INTO a VALUES (1, 1); CREATE SEQUENCE s OWNED BY b.id;
ALTER TABLE a ALTER id SET DEFAULT nextval('s'); SELECT setval('s', 1);

-- kind: chunks
CREATE TABLE metric (at date DEFAULT '2026-01-01', v float8, device int DEFAULT 1);
CREATE TABLE chunk (extra text, device int DEFAULT 7, CHECK (at < '2026-02-01') NO INHERIT) INHERITS (metric);
CREATE FUNCTION route() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not here'; END $$;
CREATE TRIGGER route BEFORE INSERT ON metric FOR EACH ROW EXECUTE FUNCTION route();
ALTER TABLE metric ENABLE ALWAYS TRIGGER route; INSERT INTO chunk(v) VALUES ('NaN'), ('-0');

-- kind: tree
CREATE TABLE node (id int PRIMARY KEY, parent int REFERENCES node, name text); INSERT INTO node VALUES (1, 1, 'r');
CREATE RECURSIVE VIEW path (id, p) AS SELECT id, name FROM node WHERE id = parent
  UNION ALL SELECT n.id, p || n.name FROM node n JOIN path ON path.id = n.parent AND n.id <> n.parent;
CREATE RULE up AS ON UPDATE TO path DO INSTEAD UPDATE node SET name = NEW.p WHERE id = NEW.id;
CREATE TABLE log (id int); CREATE RULE logged AS ON INSERT TO node DO ALSO INSERT INTO log VALUES (NEW.id);
CREATE VIEW per_node AS SELECT n.id, n.name, count(l.*) FROM node n LEFT JOIN log l USING (id) GROUP BY n.id;

-- kind: own rows only
CREATE TABLE note (who name DEFAULT current_user, t text); INSERT INTO note(t) VALUES ('x');
ALTER TABLE note ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON note USING (who = current_user);
CREATE POLICY ins ON note AS RESTRICTIVE FOR INSERT WITH CHECK (t <> ''); COMMENT ON POLICY own ON note IS 'own';
CREATE VIEW mine WITH (security_invoker = true) AS SELECT * FROM note WITH LOCAL CHECK OPTION;
CREATE PUBLICATION own_rows FOR TABLE note (who) WHERE (t <> 'x') WITH (publish = 'insert');

-- kind: languages
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE word (w text COLLATE ci PRIMARY KEY); INSERT INTO word VALUES ('Ä'), ('b');
CREATE TEXT SEARCH CONFIGURATION cfg (COPY = german); CREATE TABLE doc (t text, v tsvector); CREATE INDEX ON doc
  USING gin (to_tsvector('cfg', t)); INSERT INTO doc VALUES ('Häuser', to_tsvector('cfg', 'Häuser'));

-- kind: view that comes after its key
CREATE TABLE node (id int PRIMARY KEY, name text); CREATE TABLE log (id int);
INSERT INTO node VALUES (1, 'a'); INSERT INTO log VALUES (1), (1);
CREATE MATERIALIZED VIEW per_node AS SELECT n.id, n.name, count(l.*) AS c FROM node n LEFT JOIN log l USING (id) GROUP BY n.id;
CREATE UNIQUE INDEX per_node_id ON per_node (id); COMMENT ON INDEX per_node_id IS 'of a late view';
CREATE FUNCTION all_of_it() RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT sum(c) FROM per_node; END;
CREATE TABLE total (n bigint DEFAULT all_of_it()); INSERT INTO total DEFAULT VALUES; CREATE VIEW totals AS SELECT * FROM total;

-- kind: view and function of each other
CREATE VIEW v AS SELECT 1 AS x; CREATE FUNCTION f() RETURNS SETOF v LANGUAGE sql AS $$ SELECT 2 $$;
CREATE OR REPLACE VIEW v AS SELECT f.x FROM f() f; COMMENT ON COLUMN v.x IS 'x'; CREATE VIEW after_it AS SELECT * FROM v;
