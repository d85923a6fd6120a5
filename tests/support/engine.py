"""A container engine for tests, started if none answers and ended again, and images that stand in for a registry's."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pytest

from support.needs import missing

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "container-engine"
SOCKET = "/var/run/docker.sock"
BASE = "safeharbor-test-base"
PG_MAJOR = "15"  # the only one that Debian 12 has


@dataclass(frozen=True)
class Engine:
    """The engine's client."""

    program: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the client: Compose is where the script has put it; no settings of whoever tests."""
        kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TERM")}
        return {
            **kept,
            "PATH": f"{Path(self.program).parent}:{os.environ['PATH']}",
            "DOCKER_CONFIG": str(ROOT / ".cache" / "container-engine" / "config"),
            "DOCKER_BUILDKIT": "1",
            "BUILDKIT_PROGRESS": "plain",
        }

    def docker(
        self, *arguments: str, check: bool = True, timeout: float = 600, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker` to its end, with more variables in its environment."""
        done = subprocess.run(
            [self.program, *arguments],
            env=self.environment | variables, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def build(
        self, tag: str, context: Path, *, file: str = "Dockerfile", buildkit: bool = True, **arguments: str
    ) -> str:
        """Build an image, as newer engines or as those before 23 do; keyword arguments are its build arguments."""
        given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        built = ("build", "--quiet", "--tag", tag, "--file", str(context / file), *given, str(context))
        self.docker(*built, DOCKER_BUILDKIT="1" if buildkit else "0")
        return tag

    def ids_of(self, *tags: str) -> set[str]:
        """What the images of these names are now; one that does not exist is none."""
        return {name for tag in tags for name in self.docker("image", "ls", "--quiet", tag).stdout.split()}

    def inspect(self, name: str) -> Any:
        """What the engine knows of a container or an image."""
        return json.loads(self.docker("inspect", name).stdout)[0]

    def compose_config(self, project: Path, settings: str, folder: Path) -> Any:
        """What Compose makes of a project's file with these settings in its .env; nothing is started."""
        folder.mkdir()
        (folder / ".env").write_text(settings)
        return json.loads(
            self.docker(
                "compose", "--project-directory", str(folder), "--file", str(project / "compose.yaml"),
                "config", "--format", "json",
            ).stdout
        )  # fmt: skip

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """An answer of the engine's API, as one that holds its socket gets it: JSON, else text."""
        connection = _Socket("localhost", timeout=240)
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status < 400, said
        connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        return json.loads(said) if is_json and said else said.decode(errors="replace")


class _Socket(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


# one set of names for each checkout, so that the tests of two do not meet
_NAME = f"safeharbor-test-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class Images:
    """Names of images, all built here."""

    safeharbor: str = _NAME
    web: str = f"{_NAME}-web"
    app: str = f"{_NAME}-app"
    postgres: str = f"{_NAME}-postgres"
    ofelia: str = f"{_NAME}-ofelia"

    @property
    def variables(self) -> dict[str, str]:
        """What goes into .env, so that Compose uses and builds these."""
        return {
            "SAFEHARBOR_IMAGE": self.safeharbor,
            "SAFEHARBOR_BASE": BASE,
            "SAFEHARBOR_PG_MAJORS": PG_MAJOR,
            "WEB_IMAGE": self.web,
            "WEB_BASE": BASE,
            "POSTGRES_IMAGE": self.postgres,
            "OFELIA_IMAGE": self.ofelia,
        }


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """An engine that answers, Compose and a base image."""
    program = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else shutil.which("docker")
    if program is None:
        missing("docker is not installed; as root `scripts/test-needs` installs it")
    found = Engine(program)
    was_there = found.docker("version", check=False).returncode == 0
    made = subprocess.run([SCRIPT, "up"], capture_output=True, text=True, check=False)
    try:
        if made.returncode != 0:
            missing(f"{made.stdout}{made.stderr}".strip())
        yield found
    finally:
        if not was_there:
            subprocess.run([SCRIPT, "down"], check=True)


@pytest.fixture(scope="session")
def images(engine: Engine) -> Images:
    """All images, built from this checkout by its own Dockerfiles, and what stands in for those of a registry."""
    made = Images()
    before = engine.ids_of(*astuple(made))
    stand_ins = ROOT / "tests" / "containers"
    with ThreadPoolExecutor() as together:  # both wait for downloads most of the time
        sidecar = together.submit(engine.build, made.safeharbor, ROOT, BASE=BASE, PG_MAJORS=PG_MAJOR)
        together.submit(engine.build, made.web, ROOT, file="examples/logbook/Dockerfile", BASE=BASE).result()
        sidecar.result()
    app = {"APP": made.web, "SAFEHARBOR": made.safeharbor, "PG_MAJOR": PG_MAJOR}
    engine.build(made.app, ROOT, file="deploy/docker/Dockerfile.app", buildkit=False, **app)
    engine.build(made.postgres, stand_ins / "postgres", SAFEHARBOR=made.safeharbor)
    engine.build(made.ofelia, stand_ins / "ofelia", SAFEHARBOR=made.safeharbor)
    for old in before - engine.ids_of(*astuple(made)):  # else each change of the code leaves images without a name
        engine.docker("image", "rm", old, check=False)
    return made
