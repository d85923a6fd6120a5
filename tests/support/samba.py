"""A real Samba server and its share as a mounted filesystem, in a network of their own: nothing but loopback."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.needs import missing, need_program, need_root

USER, PASSWORD = "root", "not the real one"
HOST, SHARE = "127.0.0.1", "backups"

_SERVER = """
[global]
server role = standalone server
netbios name = NAS
disable netbios = yes
smb ports = 445
interfaces = lo
bind interfaces only = yes
private dir = {state}
lock directory = {state}
state directory = {state}
cache directory = {state}
pid directory = {state}
ncalrpc dir = {state}/ncalrpc
log file = {state}/log
passdb backend = tdbsam:{state}/passdb.tdb
load printers = no
disable spoolss = yes
[backups]
path = {share}
read only = no
"""
_CLIENT = """
smb_query_browsers "false"
auth "{host}" "{user}" "{password}"
host "{host}" visible=true
"""


@dataclass(frozen=True)
class Samba:
    """A running server; `enter` begins a command that runs in its network; `share` is what it serves, on our disk."""

    root: Path
    share: Path
    enter: tuple[str, ...]


@contextmanager
def samba_server(root: Path) -> Iterator[Samba]:
    """A server with one share and one user, on the port that all clients expect."""
    need_root()
    for program in ("smbd", "smbpasswd", "smbclient", "unshare", "nsenter", "ip"):
        need_program(program)
    state, share, config = root / "state", root / "share", root / "smb.conf"
    for directory in (state / "ncalrpc", share):
        directory.mkdir(parents=True)
    config.write_text(_SERVER.format(state=state, share=share))
    secret = f"{PASSWORD}\n{PASSWORD}\n".encode()
    subprocess.run(["smbpasswd", "-c", config, "-s", "-a", USER], input=secret, check=True, stdout=subprocess.DEVNULL)
    # another network needs no port of this machine, and shows that nothing but loopback is talked to
    with _running(["unshare", "--net", "sleep", "infinity"], root / "network.log") as network:
        enter = ("nsenter", f"--net=/proc/{network.pid}/ns/net")
        own = os.readlink("/proc/self/ns/net")
        _wait(lambda: os.readlink(f"/proc/{network.pid}/ns/net") != own, root / "network.log")
        subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True)
        server = [*enter, str(need_program("smbd")), "--foreground", "--no-process-group", "-s", str(config)]
        ask = [*enter, "smbclient", "-s", str(config), "-U", f"{USER}%{PASSWORD}", "-c", "ls", f"//{HOST}/{SHARE}"]
        with _running(server, root / "smbd.log"):
            _wait(lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0, root / "smbd.log")
            yield Samba(root, share, enter)


@contextmanager
def mounted_share(samba: Samba, place: Path) -> Iterator[Path]:
    """The share as a mounted filesystem at the path that is yielded, somewhere below `place`."""
    need_program("smbnetfs")
    if not Path("/dev/fuse").exists():
        missing("this machine has no /dev/fuse")
    home = samba.root / "home"
    (home / ".smb").mkdir(parents=True, exist_ok=True)
    (home / ".smb" / "smb.conf").write_text((samba.root / "smb.conf").read_text())
    config = home / ".smb" / "smbnetfs.conf"
    config.touch(mode=0o600)
    config.write_text(_CLIENT.format(host=HOST, user=USER, password=PASSWORD))
    place.mkdir()
    client = [*samba.enter, "env", f"HOME={home}", "smbnetfs", str(place), "-f", "-o", f"config={config}"]
    log = samba.root / "smbnetfs.log"
    with _running(client, log):
        _wait(lambda: os.path.ismount(place), log)
        try:
            yield place / HOST / SHARE
        finally:
            if subprocess.run(["umount", place], check=False).returncode != 0:
                subprocess.run(["umount", "--lazy", place], check=True)


@contextmanager
def _running(argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program in the foreground that is ended with the block."""
    with open(log, "wb") as output:
        # a group of its own: smbd ends its whole group when it is ended
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(is_ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 20
    while not is_ready():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
