"""`make apps`: applications from the package index, backed up and restored with our wheel installed beside them."""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proof.app import App
from proof.apps_tried import APPS
from proof.figures import APP_FIGURES, ROOT, write_pages
from safeharbor_backup.postgres.private_cluster import PrivateServer, find_server_bins
from support.postgres import Servers, execute
from support.receivers import free_port
from support.states import State, dump_text, tree_of

_CACHE = ROOT / ".cache" / "apps"
_FILES = 12  # in each directory, beside what the application writes itself
_TABLES = "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE tableowner = user"
_NOT_RUN = "not run: "
_STEPS = (("backup",), ("verify", "--latest"), ("drill",))


class NotHere(Exception):
    """What an application needs is not on this machine."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m proof.apps", description=__doc__)
    parser.add_argument("--only", default=",".join(APPS), help=f"of {', '.join(APPS)}: some, with commas between")
    parser.add_argument("--again", action="store_true", help="take the environments that the last run has made")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers end with it
    names = arguments.only.split(",")
    if unknown := set(names) - set(APPS):
        sys.exit(f"There is no application {', '.join(sorted(unknown))}. There are: {', '.join(APPS)}.")
    wheel = _build_wheel()
    with ExitStack() as until_end:
        servers = Servers()
        until_end.callback(servers.close)
        rows = []
        for name in names:
            rows.append(_try(APPS[name], wheel, servers, again=arguments.again))
            _record(rows)
    for row in rows:
        print(f"{row['name']:<16}{row.get('version', ''):<12}{row['result']}")
    sys.exit(any(row["result"] != "same" for row in rows))


def _try(app: App, wheel: Path, servers: Servers, *, again: bool) -> dict[str, Any]:
    """What came of it: a row of the table."""
    print(f"{app.name}: {', '.join(app.requires)}", flush=True)
    row: dict[str, Any] = {"name": app.name, "framework": app.framework, "elsewhere": app.elsewhere}
    with tempfile.TemporaryDirectory(prefix="app-") as place, ExitStack() as until_end:
        try:
            server = _newest(servers, app.extension)
            row["server"] = server.major
            redis_port = until_end.enter_context(_redis(Path(place))) if app.needs_redis else 0
            trial = Trial(app, Path(place), server, redis_port)
            trial.install(again=again)
            row |= trial.describe()
            trial.make_data()
            trial.install_beside(wheel)
            row |= trial.back_and_forth()
            row["result"] = "same"
        except NotHere as error:
            row["result"] = f"{_NOT_RUN}{error}"
        except (AssertionError, subprocess.TimeoutExpired) as error:
            traceback.print_exc()
            row["result"] = str(error).strip().splitlines()[-1][:200]
        return row


def _newest(servers: Servers, extension: str) -> PrivateServer:
    """The newest server that has this extension. Raises NotHere."""
    for major in sorted(find_server_bins(), reverse=True):
        query = f"SELECT 1 FROM pg_available_extensions WHERE name = '{extension}'"
        if not extension or execute(servers[major].url(), query):
            return servers[major]
    raise NotHere(f"no PostgreSQL here has the extension {extension}")


@contextmanager
def _redis(place: Path) -> Iterator[int]:
    """The port of a Redis that keeps nothing. Raises NotHere."""
    if (program := shutil.which("redis-server")) is None:
        raise NotHere("there is no redis-server here")
    port = free_port()
    argv = [
        program,
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--dir",
        str(place),
        "--save",
        "",
        "--appendonly",
        "no",
    ]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


class Trial:
    """One application with a database, directories and an environment of its own."""

    def __init__(self, app: App, place: Path, server: PrivateServer, redis_port: int) -> None:
        self._app, self._place, self._server = app, place, server
        self._venv = _CACHE / app.name
        self._own = place / "own"  # our environment, if it is not the application's
        self._asked: list[str] = []
        role = f"app_{secrets.token_hex(4)}"
        execute(server.url(), f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'secret'")
        execute(server.url(), f"CREATE DATABASE {role} OWNER {role}")
        self._url = f"postgresql://{role}:secret@127.0.0.1:{server.port}/{role}"
        if app.extension:
            execute(server.url(role), f"CREATE EXTENSION {app.extension}")
        self._words = {"PLACE": str(place), "URL": self._url, "PORT": str(server.port), "ROLE": role}
        self._words |= {"SUPERUSER": server.url(role), "REDIS": str(redis_port)}
        self._trees = [place / name for name in app.trees]
        for directory in (place / "backups", *self._trees):
            directory.mkdir(parents=True, mode=0o700)
        for name, text in app.files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(self._filled(text))

    def install(self, *, again: bool) -> None:
        """An environment that has the application alone. Asserts that it can be imported."""
        frozen = self._venv / "frozen.txt"
        if not (again and frozen.exists()):
            shutil.rmtree(self._venv, ignore_errors=True)
            self._require([sys.executable, "-m", "venv", str(self._venv)])
            self._pip("install", "--quiet", "--prefer-binary", *self._app.requires)
            frozen.write_text(self._pip("freeze"))
        self._python(f"import {self._app.module}")

    def describe(self) -> dict[str, Any]:
        """The versions of what was installed."""
        versions = _versions((self._venv / "frozen.txt").read_text())
        names = {"version": self._app.name, "of_framework": self._app.framework}
        return {key: versions.get(name.lower().replace("_", "-"), "") for key, name in names.items()}

    def make_data(self) -> None:
        """Its schema by its own commands, rows by its own models, and files."""
        for argv in self._app.schema:
            self._require([self._filled(word) for word in argv])
        self._python(self._app.data)
        for tree in self._trees:
            for number in range(_FILES):
                path = tree / f"{number % 3}" / f"file {number}.bin"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(secrets.token_bytes(1000 * number))

    def install_beside(self, wheel: Path) -> None:
        """Our wheel in its environment. Asserts that no version there has changed, and that nothing lacks anything."""
        before, lacks = _versions((self._venv / "frozen.txt").read_text()), self._lacks()
        if self._app.elsewhere:
            self._require(["python", "-m", "venv", "--clear", str(self._own)])
            self._require([str(self._own / "bin" / "python"), "-m", "pip", "install", "--quiet", str(wheel)], 1200)
            return
        extra = "[flask]" if self._app.framework == "Flask" else ""
        self._pip("install", "--quiet", "--prefer-binary", f"{wheel}{extra}")
        self._pip("install", "--quiet", "--no-deps", "--force-reinstall", str(wheel))
        after = _versions(self._pip("freeze"))
        changed = {name: (version, after.get(name)) for name, version in before.items() if after.get(name) != version}
        assert not changed, f"installing Safe Harbor changed {changed}"
        assert self._lacks() <= lacks, f"pip check: {self._lacks() - lacks}"
        self._python(f"import {self._app.module}")

    def back_and_forth(self) -> dict[str, int]:
        """Backup, damage, restore, undo, and undo of that. Asserts each time that the state is the right one."""
        for step in _STEPS:
            self._safeharbor(*step)
        good, tables = self._state(), self._rows(_TABLES)
        self._damage([str(row[0]) for row in tables])
        self._safeharbor("restore", "--from", "latest", "--dry-run")  # some change the database when they are loaded
        bad = self._state()
        assert bad != good, "the damage is not seen, so nothing that follows proves anything"
        self._safeharbor("restore", "--from", "latest", "--yes")
        self._require_state(good, "after the restore")
        self._python(f"import {self._app.module}\n{self._app.works}")
        restored = self._state()
        self._safeharbor("restore", "--undo")
        self._require_state(bad, "after the undo")
        self._safeharbor("restore", "--undo")
        self._require_state(restored, "after the second undo")
        self._safeharbor("restore", "--discard-previous", "--yes")
        return {"tables": len(tables), "entries": len(good.uploads), "asked": len(self._asked)}

    def _damage(self, tables: list[str]) -> None:
        for table in sorted(tables)[:: max(1, len(tables) // 3)][:3]:
            self._rows(f"DROP TABLE {table} CASCADE")
        for tree in self._trees:
            shutil.rmtree(tree / "1")
            (tree / "junk").write_bytes(b"junk")

    def _require_state(self, expected: State, when: str) -> None:
        found = self._state()
        assert found.uploads == expected.uploads, f"{when}: other files"
        if found.database != expected.database:  # PostgreSQL writes some expressions otherwise once they were loaded
            assert found.database == self._reloaded(expected.database), f"{when}: another database"

    def _reloaded(self, text: bytes) -> bytes:
        """The dump text of a database into which psql has loaded this text."""
        name = f"{self._words['ROLE']}_again"
        execute(self._server.url(), f"CREATE DATABASE {name} OWNER {self._words['ROLE']}")
        address = self._server.url(name)
        psql = find_server_bins()[self._server.major] / "psql"
        loaded = subprocess.run([psql, "--quiet", "--no-psqlrc", address], input=text, capture_output=True, check=False)
        assert loaded.returncode == 0, loaded.stderr.decode()
        found = dump_text(address, self._server.major)
        execute(self._server.url(), f"DROP DATABASE {name}")
        return found

    def _state(self) -> State:
        files = {f"{tree.name}/{name}": what for tree in self._trees for name, what in tree_of(tree).items()}
        return State(dump_text(self._url, self._server.major), files)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return execute(self._url, query)

    def _lacks(self) -> set[str]:
        return set(self._run(["python", "-m", "pip", "check"]).stdout.decode().splitlines())

    def _pip(self, *arguments: str) -> str:
        return self._require(["python", "-m", "pip", *arguments], seconds=1200)

    def _python(self, code: str) -> None:
        self._require(["python", "-c", self._filled(code)])

    def _safeharbor(self, *arguments: str) -> None:
        """Run our command; where it asks for a password since the application no longer loads, do what it says."""
        argv = [*self._app.command, *arguments]
        done = self._run(argv)
        if pasted := re.search(r"; type: (.*:PASSWORD@.*)", done.stderr.decode()):
            assert done.returncode == 2, done.stderr.decode()
            self._asked.append(arguments[0])
            argv = ["sh", "-c", pasted[1].replace(":PASSWORD@", ":secret@")]
            done = self._run(argv)
        _require_success(argv, done)

    def _require(self, argv: list[str], seconds: int = 300) -> str:
        """Run it; what it printed. Asserts that it ended with 0."""
        done = self._run(argv, seconds)
        _require_success(argv, done)
        return done.stdout.decode()

    def _run(self, argv: list[str], seconds: int = 300) -> subprocess.CompletedProcess[bytes]:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
        pip = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
        bins = find_server_bins()[self._server.major]
        own = {"BACKUP_DIR": str(self._place / "backups"), "BACKUP_PG_BIN": str(bins), "PYTHONDONTWRITEBYTECODE": "1"}
        own["PATH"] = f"{self._venv / 'bin'}:{self._own / 'bin'}:{kept['PATH']}"
        given = {name: self._filled(value) for name, value in self._app.environment.items()}
        environment: Mapping[str, str] = {**kept, **pip, **own, **given}
        # env finds the program by the PATH that it is given
        argv = ["env", *argv]
        return subprocess.run(argv, env=environment, cwd=self._place, capture_output=True, check=False, timeout=seconds)

    def _filled(self, text: str) -> str:
        for name, value in self._words.items():
            text = text.replace(f"@{name}@", value)
        return text


def _require_success(argv: list[str], done: subprocess.CompletedProcess[bytes]) -> None:
    assert done.returncode == 0, f"{argv}: {done.stdout.decode()[-2000:]}\n{done.stderr.decode()[-4000:]}"


def _versions(frozen: str) -> dict[str, str]:
    pairs = (line.split("==") for line in frozen.splitlines() if "==" in line)
    return {name.lower().replace("_", "-"): version for name, version in pairs}


def _build_wheel() -> Path:
    place = _CACHE / "wheel"
    shutil.rmtree(place, ignore_errors=True)
    argv = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*argv, str(place), str(ROOT)], check=True)
    [wheel] = place.glob("*.whl")
    return wheel


def _record(rows: list[dict[str, Any]]) -> None:
    """What each came to, with what other runs have written. A run that could not be takes the place of none."""
    known = json.loads(APP_FIGURES.read_text()) if APP_FIGURES.exists() else {}
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    news = [row for row in rows if row["name"] not in known or not row["result"].startswith(_NOT_RUN)]
    known |= {row["name"]: {**row, "date": today} for row in news}
    APP_FIGURES.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    write_pages()


if __name__ == "__main__":
    main()
