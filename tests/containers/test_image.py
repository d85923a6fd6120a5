"""The images by themselves, without a stack."""

from __future__ import annotations

import re
import tomllib

import pytest

from support.engine import BASE, PG_MAJOR, ROOT, Engine, Images
from support.stack import wait_for

pytestmark = pytest.mark.timeout(900)  # the first one waits for the images

CONFINED = ("--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true")

# a server of its own, of the newest major, with a query that would be compiled if there were a compiler
OWN_SERVER = """
from safeharbor_backup.postgres.private_cluster import find_server_bins, private_server
bins = find_server_bins()
with private_server(bins[max(bins)], options={"jit_above_cost": "0"}) as server:
    print(max(bins), server.execute("SELECT sum(g) FROM generate_series(1, 1000) g", "postgres"))
"""


def test_the_image_runs_as_an_ordinary_user_and_needs_no_shell(engine: Engine, images: Images) -> None:
    config = engine.inspect(images.safeharbor)["Config"]

    assert config["User"] == "1000:1000"
    assert config["Entrypoint"] is None
    assert config["Cmd"] == ["safeharbor", "idle"]
    assert config["Healthcheck"]["Test"] == ["CMD", "safeharbor", "status", "--healthcheck"]


def test_the_image_has_nothing_of_its_base_but_files(engine: Engine, images: Images) -> None:
    config = engine.inspect(images.safeharbor)["Config"]

    assert not config.get("Volumes")
    assert not config.get("ExposedPorts")
    assert not config.get("StopSignal")
    assert {variable.split("=")[0] for variable in config["Env"]} == {
        "PATH", "LANG", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED",
    }  # fmt: skip


def test_the_image_says_what_it_is(engine: Engine, images: Images) -> None:
    labels = engine.inspect(images.safeharbor)["Config"]["Labels"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert labels["org.opencontainers.image.title"] == "Safe Harbor"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.base.name"] == BASE
    # no public address is made up: the command that `make release` prints gives them
    assert labels["org.opencontainers.image.source"] == labels["org.opencontainers.image.documentation"] == "unknown"


def test_the_image_can_send_alerts_and_write_metrics(engine: Engine, images: Images) -> None:
    program = "import prometheus_client, safeharbor_backup.actions.alerts.notify as n; print(n.find_notify_problems(['json://127.0.0.1/']))"

    assert engine.docker("run", *CONFINED, images.safeharbor, "python3", "-c", program).stdout == "()\n"


def test_the_image_can_sign_the_evidence_of_drills(engine: Engine, images: Images) -> None:
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/tmp/key"]
    program = (
        "import subprocess, pathlib; from safeharbor_backup.system.signature import sign;"
        f"subprocess.run({make}, check=True); print(sign(b'x', pathlib.Path('/tmp/key'))[:14])"
    )

    assert engine.docker("run", *CONFINED, images.safeharbor, "python3", "-c", program).stdout == "b'-----BEGIN SSH'\n"


def test_the_clients_of_each_major_are_where_the_commands_look_first(engine: Engine, images: Images) -> None:
    program = f"/usr/lib/postgresql/{PG_MAJOR}/bin/pg_dump"

    said = engine.docker("run", *CONFINED, images.safeharbor, program, "--version").stdout

    assert re.match(rf"pg_dump \(PostgreSQL\) {PG_MAJOR}\.", said)


def test_the_newest_server_runs_in_the_image_as_any_user(engine: Engine, images: Images) -> None:
    said = engine.docker("run", *CONFINED, "--user", "4242:0", images.safeharbor, "python", "-c", OWN_SERVER).stdout

    assert said.split(maxsplit=1)[0] == PG_MAJOR
    assert "500500" in said


def test_the_dependencies_are_the_locked_ones(engine: Engine, images: Images) -> None:
    script = "import importlib.metadata as m; print(*(f'{d.name.lower()}=={d.version}' for d in m.distributions()))"

    installed = set(engine.docker("run", *CONFINED, images.safeharbor, "python", "-c", script).stdout.split())

    locked = set(re.findall(r"^([a-z0-9-]+==[^ ]+)", (ROOT / "requirements" / "runtime.txt").read_text(), re.MULTILINE))
    assert {each.replace("_", "-") for each in installed if not each.startswith("safeharbor-backup==")} <= locked


@pytest.mark.parametrize("command", [["safeharbor", "status"], ["flask", "safeharbor", "status"]], ids=" ".join)
def test_both_commands_work_in_the_image_without_an_app(engine: Engine, images: Images, command: list[str]) -> None:
    done = engine.docker("run", *CONFINED, images.safeharbor, *command)

    assert "no backup yet" in done.stdout


def test_a_container_that_idles_ends_at_once_when_it_is_stopped(engine: Engine, images: Images) -> None:
    container = engine.docker("run", "--detach", *CONFINED, images.safeharbor).stdout.strip()
    wait_for(lambda: "waiting for" in engine.docker("logs", container).stdout, "it idles")

    engine.docker("stop", "--time", "20", container, timeout=19)


def test_an_apps_own_image_has_the_app_the_commands_and_the_client(engine: Engine, images: Images) -> None:
    settings = ("--env", "SECRET_KEY=x", "--env", "DATABASE_URL=postgresql://reef@db.invalid/reef")

    told = engine.docker("run", *CONFINED, *settings, images.app, "flask", "safeharbor", "backup", check=False)
    client = engine.docker("run", *CONFINED, images.app, "pg_dump", "--version").stdout

    # the app was loaded: its database and its uploads, and no word that none is named
    assert told.stdout.startswith('Backing up database "reef" on db.invalid:5432 and uploads /data/uploads\n')
    assert "No Flask app is named" not in told.stderr
    assert f" {PG_MAJOR}." in client
    assert engine.inspect(images.app)["Config"]["User"] == "1000:1000"
