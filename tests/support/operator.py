"""An operator who does what docs/off-site.md says, word for word, on a host whose directories lie elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from support.runs import Site

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "off-site.md"


def shell_blocks(section: str) -> list[str]:
    """The shell commands of one section of the page, block by block."""
    text = PAGE.read_text().split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@dataclass
class Operator:
    """Runs blocks of the page for a site. `share` is where the page has /mnt/nas, `extra` is in the environment."""

    site: Site
    share: Path = field(default_factory=Path)
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        root = self.site.root
        self.etc, self.library, self.far = root / "etc", root / "lib", root / "far"
        self.units, self.programs, self.home = root / "units", root / "programs", root / "home"
        for directory in (self.far, self.units, self.programs, self.home):
            directory.mkdir()
        self.put_program("systemctl", f'echo "$*" >> {root}/systemctl.log')
        self.put_program("mount", f'echo "$*" >> {root}/mount.log')
        self.run(shell_blocks("Install")[0])

    def put_program(self, name: str, script: str) -> Path:
        """A stand-in for a program that the test cannot have; it comes first on PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def here(self, text: str) -> str:
        """The page's paths as this host has them."""
        places = {
            "/usr/local/lib/safeharbor-offsite": self.library,
            "/etc/safeharbor": self.etc,
            "/etc/systemd/system": self.units,
            "/srv/reef/backups": self.site.backups,
            "/volume1/reef": self.far,
            "/mnt/nas": self.share,
        }
        for place, path in places.items():
            text = text.replace(place, str(path))
        return text.replace("sudo ", "")

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return self.site.full_environment({"PATH": path, "HOME": str(self.home), "TMPDIR": "/tmp", **self.extra})

    def try_to(self, script: str) -> subprocess.CompletedProcess[str]:
        """Type it into a shell."""
        return subprocess.run(
            ["bash", "-euc", self.here(script)],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run(self, script: str) -> str:
        """Type it and see it end well."""
        done = self.try_to(script)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def job(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run a job as its timer does."""
        return self.try_to(f"/usr/local/lib/safeharbor-offsite/{name}.sh /etc/safeharbor/offsite-{name}.env")

    def drill_of(self, name: str) -> str:
        """What the page has for a drill of what is far away, for another job than it names."""
        return shell_blocks("Drill the off-site copy")[1].replace("restic", name)

    def settle(self, job: str, **values: str) -> None:
        """Edit a job's file of settings: its paths are this host's, and what else is given."""
        path = self.etc / f"offsite-{job}.env"
        text = self.here(path.read_text())
        for name, value in values.items():
            text, count = re.subn(rf"^{name}=.*$", f'{name}="{value}"', text, flags=re.MULTILINE)
            assert count == 1, name
        path.write_text(text)
        assert path.stat().st_mode & 0o777 == 0o600
