"""As much of ofelia as the stack relies on: labels read once, jobs by name, one at a time, run through the exec API.

`ofelia daemon --docker -f FILTER` keeps the schedule. It talks to the engine as ofelia does, by the same five requests.
"""

from __future__ import annotations

import http.client
import json
import shlex
import signal
import socket
import sys
import threading
import time
import urllib.parse
from datetime import UTC, datetime

from cronsim import CronSim


class Engine(http.client.HTTPConnection):
    """The engine behind its socket."""

    def __init__(self) -> None:
        super().__init__("localhost")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/docker.sock")


def ask(method: str, path: str, body: object = None) -> bytes:
    """What the engine answers; ends with its complaint if it refuses."""
    engine = Engine()
    engine.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
    answer = engine.getresponse()
    said = answer.read()
    if answer.status >= 400:
        sys.exit(f"{method} {path}: {answer.status} {said.decode()}")
    return said


def read_jobs(only: str) -> dict[str, dict[str, str]]:
    """The parameters of each job, from the labels of all containers that the filter `label=NAME=VALUE` passes."""
    assert only.startswith("label=")
    filters = urllib.parse.quote(json.dumps({"label": ["ofelia.enabled=true", only.removeprefix("label=")]}))
    jobs: dict[str, dict[str, str]] = {}
    for container in json.loads(ask("GET", f"/containers/json?filters={filters}")):
        for key, value in container["Labels"].items():
            parts = key.split(".")
            if len(parts) == 4 and parts[:2] == ["ofelia", "job-exec"]:
                job = jobs.setdefault(parts[2], {"container": container["Names"][0].lstrip("/"), "user": "root"})
                job[parts[3]] = value
    return jobs


def run(name: str, job: dict[str, str]) -> None:
    """Execute the job in its container and tell how it ended."""
    environment = json.loads(job.get("environment", "[]"))
    asked = {
        "AttachStdout": True, "AttachStderr": True, "Tty": False,
        "Cmd": shlex.split(job["command"]), "User": job["user"], "Env": environment,
    }  # fmt: skip
    execution = json.loads(ask("POST", f"/containers/{job['container']}/exec", asked))["Id"]
    ask("POST", f"/exec/{execution}/start", {"Detach": False, "Tty": False})
    status = json.loads(ask("GET", f"/exec/{execution}/json"))["ExitCode"]
    tell(f"{name} finished, failed: {str(status != 0).lower()}, status {status}")


def keep(name: str, job: dict[str, str]) -> None:
    """Run the job at its times for ever; one that is still running makes the next start fall out."""
    for moment in CronSim(job["schedule"], datetime.now(UTC)):
        time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))
        run(name, job)


def tell(text: str) -> None:
    """A line of the log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    assert sys.argv[1:4] == ["daemon", "--docker", "-f"], sys.argv
    ask("GET", "/version")
    registered = read_jobs(sys.argv[4])
    if not registered:
        sys.exit("no container with the label ofelia.enabled=true")
    for name, job in sorted(registered.items()):
        tell(f"New job registered {name!r} - {job['command']!r} - {job['schedule']!r}")
        threading.Thread(target=keep, args=(name, job), daemon=True).start()
    threading.Event().wait()
