"""The Compose stack as an operator has it: a fresh copy of the checkout, its own project, a free port."""

from __future__ import annotations

import http.cookiejar
import io
import os
import pty
import re
import secrets
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from support.engine import ROOT, Engine, Images

# what git does not track, as .gitignore names it
_MADE_HERE = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".cache",
    ".demo",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    "*.egg-info",
    "backups",
    ".env",
    "dist",
)


class Stack:
    """A stack and its operator. Nothing runs until somebody says `up`."""

    def __init__(self, engine: Engine, images: Images, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=_MADE_HERE, symlinks=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.project = f"{folder.name}-{secrets.token_hex(3)}"
        self.settings = {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_PROFILES": "backup",
            "WEB_PORT": str(self.port),
            **images.variables,
        }
        self.browser = Browser(self.port)

    def set(self, **settings: str) -> None:
        """Change settings in .env, as an editor would; the first time, from the example."""
        self.settings |= settings
        env = self.folder / ".env"
        lines = (env if env.exists() else self.folder / ".env.example").read_text().splitlines()
        kept = [line for line in lines if line.split("=")[0] not in self.settings]
        changed = [f"{name}={value!r}" for name, value in self.settings.items()]
        env.write_text("\n".join([*kept, *changed, ""]))

    def compose(self, *arguments: str, check: bool = True, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` in the folder."""
        done = subprocess.run(
            [self.engine.program, "compose", *arguments],
            cwd=self.folder, env=self.engine.environment, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"compose {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def up(self) -> None:
        """Everything runs, and the app answers."""
        self.compose("up", "--detach")
        wait_for(self.browser.is_served, "the app answers")

    def down(self) -> None:
        """Nothing is left, data included."""
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "5")

    def run_in(self, service: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Execute a command in a service's container."""
        return self.compose("exec", "-T", service, *command, check=check)

    def container(self, service: str) -> Any:
        """What the engine knows of a service's container."""
        return self.engine.inspect(self.compose("ps", "--all", "--quiet", service).stdout.strip())

    def sql(self, query: str) -> str:
        """The answer of the stack's database."""
        said = self.run_in("postgres", "psql", "-U", "logbook", "-d", "logbook", "-Atqc", query)
        return said.stdout.strip()

    @property
    def backups(self) -> Path:
        """Where the archives are on the host."""
        return self.folder / "backups"

    @property
    def archives(self) -> list[Path]:
        """The archives there are."""
        return sorted(self.backups.glob("safeharbor-backup-*.tar"))

    @property
    def drafts(self) -> list[Path]:
        """What unfinished runs have left."""
        return list(self.backups.glob("*.tmp"))

    def at_a_terminal(self, command: str, typed: dict[str, str]) -> tuple[int, str]:
        """Run a command line at a terminal: its status and what was on the screen. `typed` answers each prompt once."""
        return at_a_terminal(["/bin/bash", "-euc", command], self.engine.environment, self.folder, typed)


class Browser:
    """Somebody who uses the logbook."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(cookies)

    def get(self, path: str = "/") -> bytes:
        """A page or a picture."""
        with self._opener.open(self._address + path, timeout=10) as answer:
            return bytes(answer.read())

    def is_served(self) -> bool:
        """Whether the app says that it is healthy."""
        try:
            return b'"ok"' in self.get("/health")
        except OSError:
            return False

    def log_in(self, password: str) -> bytes:
        """The page that the admin comes to."""
        token = re.search(rb'name="form_token" value="([^"]+)"', self.get("/admin/login"))
        assert token is not None
        fields = urllib.parse.urlencode({"form_token": token[1].decode(), "password": password}).encode()
        with self._opener.open(f"{self._address}/admin/login", fields, timeout=10) as answer:
            return bytes(answer.read())

    def write_entry(self, vessel: str, photos: list[bytes]) -> None:
        """Fill in the form and send it."""
        token = re.search(rb'name="form_token" value="([^"]+)"', self.get("/entries/new"))
        assert token is not None
        fields = {"form_token": token[1].decode(), "vessel": vessel, "berth": "B7", "arrived": "2026-05-07T04:10"}
        parts = [
            f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()
        ]
        parts += [
            b'Content-Disposition: form-data; name="photos"; filename="photo.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
            + photo
            for photo in photos
        ]
        body = b"".join(b"--line\r\n" + part + b"\r\n" for part in parts) + b"--line--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=line"}
        request = urllib.request.Request(f"{self._address}/entries/new", body, headers)
        with self._opener.open(request, timeout=10) as answer:
            assert vessel.encode() in answer.read()

    def pictures(self) -> dict[str, bytes]:
        """Every picture that the first page shows, by its path."""
        paths = re.findall(rb'"(/uploads/[^"]+)"', self.get())
        return {path.decode(): self.get(path.decode()) for path in paths}


def at_a_terminal(argv: list[str], environment: dict[str, str], folder: Path, typed: dict[str, str]) -> tuple[int, str]:
    """Run a program at a terminal: its status and what was on the screen. `typed` answers each prompt once."""
    own, terminal = pty.openpty()
    child = subprocess.Popen(
        argv, cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    screen, waiting = b"", dict(typed)
    while True:
        try:
            said = os.read(own, 65536)
        except OSError:  # EIO: nobody holds the other end any more
            break
        screen += said
        for prompt in [prompt for prompt in waiting if prompt.encode() in screen]:
            os.write(own, waiting.pop(prompt).encode() + b"\n")
    os.close(own)
    return child.wait(timeout=60), screen.decode(errors="replace").replace("\r\n", "\n")


def photo(number: int) -> bytes:
    """A small picture, another one for each number."""
    from PIL import Image

    file = io.BytesIO()
    Image.frombytes("RGB", (64, 48), Random(number).randbytes(64 * 48 * 3)).save(file, "JPEG")
    return file.getvalue()


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.2)
