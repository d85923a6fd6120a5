"""Builds a release into dist/: wheel, source archive, SBOM and checksums, from what is committed and from nothing else.

Everything is built twice, in two places, and must come out the same to the byte. What is in it is looked at, and the
wheel is installed and started. Nothing is uploaded: docs/releasing.md says what comes then.

`--rehearse` does all of that without the addresses that a release has to name, and puts nothing into dist/.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".cache" / "release" / "bin"
PACKAGE = "safeharbor_backup"
# what must be in the wheel, beside the code
WANTED = (
    f"{PACKAGE}/py.typed",
    f"{PACKAGE}/shipped/docs/restore.md",
    f"{PACKAGE}/shipped/deploy/systemd/safeharbor-backup@.service",
    f"{PACKAGE}/web/templates/page.html",
)
# what [project.urls] has to name: labels as indexes know them
ADDRESSES = ("Documentation", "Source", "Issues", "Changelog")
_NOBODYS = re.compile(r"(^|\.)(example(\.(com|net|org))?|localhost|test|invalid|local|internal)$")  # RFC 2606, RFC 6762
UNWANTED = re.compile(r"(^|/)(tests|\.git|\.venv|\.cache|__pycache__|secret\.yaml|\.env)(/|$)|\.pyc$")


def main() -> None:
    is_rehearsal = sys.argv[1:] == ["--rehearse"]
    require(is_rehearsal or not sys.argv[1:], "only --rehearse can be given")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version, addresses = project["version"], project.get("urls", {})
    check_version(version)
    if not is_rehearsal:
        check_addresses(addresses)
    epoch = said("git", "log", "-1", "--format=%ct")
    if said("git", "status", "--porcelain"):
        print("release: what is not committed is not in it")
    with tempfile.TemporaryDirectory() as place:
        first, second = (build(Path(place) / name, epoch) for name in ("first", "and-a-second"))
        require(
            {path.name: digest(path) for path in first} == {path.name: digest(path) for path in second},
            "two builds of the same commit differ",
        )
        wheel, sdist = first
        check_wheel(wheel, version)
        check_sdist(sdist, wheel, Path(place), epoch)
        run(TOOLS / "twine", "check", "--strict", wheel, sdist)
        start(wheel, Path(place), version)
        sbom = write_sbom(Path(place), version)
        if is_rehearsal:
            print("release: all is well; nothing was put into dist/")
            return
        publish([wheel, sdist, sbom])
    print(image_command(version, addresses))


def check_version(version: str) -> None:
    """One version everywhere, and a section of the changelog about it."""
    places = {
        f"src/{PACKAGE}/__init__.py": f'__version__ = "{version}"',
        "Dockerfile": f"ARG VERSION={version}\n",
        "deploy/kubernetes/kustomization.yaml": f'newTag: "{version}"',
        "CHANGELOG.md": f"\n## {version}",
    }
    for path, words in places.items():
        require(words in (ROOT / path).read_text(), f"{path} is not about {version}")


def check_addresses(addresses: Mapping[str, str]) -> None:
    """Whoever finds the package or the image finds its sources and its documentation (decision 115)."""
    lacking = ", ".join(name for name in ADDRESSES if name not in addresses)
    require(not lacking, f"[project.urls] in pyproject.toml lacks {lacking}; no address is made up here")
    for name, address in addresses.items():
        parts = urlsplit(address)
        is_public = (
            parts.scheme == "https" and "." in (parts.hostname or "") and not _NOBODYS.search(parts.hostname or "")
        )
        require(is_public, f"[project.urls] {name}: {address} is no public address that begins with https://")


def image_command(version: str, addresses: Mapping[str, str]) -> str:
    """What builds the image of this release, with its labels."""
    arguments = {
        "REVISION": said("git", "rev-parse", "HEAD"),
        "CREATED": said("git", "log", "-1", "--format=%cI"),
        "SOURCE": addresses["Source"],
        "DOCUMENTATION": addresses["Documentation"],
    }
    given = (f"--build-arg {shlex.quote(f'{name}={value}')}" for name, value in arguments.items())
    return " \\\n    ".join(["docker build --pull", *given, f"--tag safeharbor:{version} ."])


def build(place: Path, epoch: str) -> tuple[Path, Path]:
    """Wheel and source archive of the commit, built in a directory of their own."""
    source, out = place / "source", place / "out"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", source], input=archive, check=True)
    return build_from(source, out, epoch)


def build_from(source: Path, out: Path, epoch: str) -> tuple[Path, Path]:
    """Wheel and source archive of a tree."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch, "PYTHONHASHSEED": "0"}
    argv: list[str | Path] = [TOOLS / "python", "-m", "hatchling", "build", "--directory", out]
    subprocess.run(argv, cwd=source, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def check_wheel(wheel: Path, version: str) -> None:
    """It has the code, the pages and the examples, and nothing of the workshop."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read(f"{PACKAGE}-{version}.dist-info/entry_points.txt").decode()
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    manual = f"{PACKAGE}-{version}.data/data/share/man/man1/safeharbor.1"
    lacking = (modules | {*WANTED, manual}) - set(names)
    require(not lacking, f"the wheel lacks {', '.join(sorted(lacking))}")
    extra = [name for name in names if UNWANTED.search(name)]
    require(not extra, f"the wheel has {', '.join(extra)}")
    require("safeharbor = safeharbor_backup.cli.main:main" in entry_points, "the wheel has no command")


def check_sdist(sdist: Path, wheel: Path, place: Path, epoch: str) -> None:
    """What is built from the source archive is the same wheel."""
    unpacked = place / "unpacked"
    unpacked.mkdir()
    with tarfile.open(sdist) as archive:
        extra = [name for name in archive.getnames() if re.search(r"/(\.git|\.venv|\.cache|\.env)(/|$)", name)]
        require(not extra, f"the source archive has {', '.join(extra)}")
    subprocess.run(["tar", "-x", "-C", unpacked, "-f", sdist], check=True)
    [source] = unpacked.iterdir()
    again, _ = build_from(source, place / "again", epoch)
    require(digest(again) == digest(wheel), "the source archive makes another wheel")


def start(wheel: Path, place: Path, version: str) -> None:
    """Installed with the locked dependencies and nothing of this tree, it starts and shows its pages."""
    installed = place / "installed"
    run(sys.executable, "-m", "venv", installed)
    pip: list[str | Path] = [
        installed / "bin" / "python",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
    ]
    run(*pip, "--require-hashes", "--requirement", ROOT / "requirements" / "runtime.txt")
    run(*pip, "--no-deps", "--no-index", wheel)
    said_version = said(installed / "bin" / "safeharbor", "--version", at=place)
    require(said_version == f"safeharbor {version}", f"it says {said_version}")
    run(installed / "bin" / "safeharbor", "help", "restore")


def write_sbom(place: Path, version: str) -> Path:
    """What the image and a locked installation consist of, as CycloneDX, with the hashes of each package."""
    path = place / f"{PACKAGE}-{version}.cdx.json"
    arguments = ("--pyproject", ROOT / "pyproject.toml", "--output-reproducible", "--mc-type", "application")
    runtime = ROOT / "requirements" / "runtime.txt"
    run(TOOLS / "cyclonedx-py", "requirements", *arguments, "--of", "JSON", "-o", path, runtime)
    document = json.loads(path.read_text())
    known = {each["name"] for each in document["components"]}
    locked = set(re.findall(r"^([a-z0-9-]+)==", runtime.read_text(), re.MULTILINE))
    require(locked <= known, f"the SBOM lacks {', '.join(sorted(locked - known))}")
    require(document["metadata"]["component"]["version"] == version, "the SBOM is of another version")
    return path


def publish(files: list[Path]) -> None:
    """Into dist/, with their checksums."""
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    for path in files:
        shutil.copy(path, dist)
    sums = "".join(f"{digest(path)}  {path.name}\n" for path in files)
    (dist / "SHA256SUMS").write_text(sums)
    print(sums, end="")


def digest(path: Path) -> str:
    """SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def said(*argv: str | Path, at: Path = ROOT) -> str:
    """What a program prints."""
    return subprocess.run(argv, cwd=at, capture_output=True, text=True, check=True).stdout.strip()


def run(*argv: str | Path) -> None:
    """Run a program whose output is of interest only if it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"{argv[0]} failed: {done.stdout}{done.stderr}")


def require(is_so: bool, otherwise: str) -> None:
    """End if it is not so."""
    if not is_so:
        sys.exit(f"release: {otherwise}")


if __name__ == "__main__":
    main()
