"""Every command in the pages about the stack is typed here, in the order in which a reader types it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support.engine import PG_MAJOR, ROOT, Engine, Images
from support.needs import need_program, need_root
from support.stack import Stack, photo, wait_for

pytestmark = pytest.mark.timeout(900)  # the first one waits for the images

# what a page cannot know of a machine without a registry: the names of the images here, and the only client they have
SIDECAR, WEB = f"{Images().safeharbor}-pages", f"{Images().web}-pages"
HERE = {
    "safeharbor-logbook": WEB,
    "build --pull": "build",
    "PG_MAJOR=18": f"PG_MAJOR={PG_MAJOR} --build-arg SAFEHARBOR={SIDECAR}",
}


@pytest.fixture(scope="module")
def fresh(engine: Engine, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A fresh copy in which nobody has typed anything, not even a .env."""
    need_root()
    need_program("openssl")
    made = Stack(engine, images, tmp_path_factory.mktemp("pages") / "harbor")
    made.settings |= {"SAFEHARBOR_IMAGE": SIDECAR, "WEB_IMAGE": WEB}  # nobody has built these yet
    programs = made.folder / ".programs"  # root needs no sudo, and a bare machine has none
    programs.mkdir()
    (programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (programs / "sudo").chmod(0o755)
    yield made
    made.down()
    engine.docker("image", "rm", "my-app-with-safeharbor", SIDECAR, WEB, check=False)


def test_the_page_on_deploying_keeps_its_word(fresh: Stack) -> None:
    sections = commands_of("deploy.md")

    type_in(fresh, sections.pop("The first backup")[0].replace("docker compose up -d\n", ""))
    fresh.set()  # names and ports of this machine go into the .env that the page has made
    assert (fresh.folder / ".env").stat().st_mode & 0o777 == 0o600
    assert "POSTGRES_PASSWORD=logbook" not in (fresh.folder / ".env").read_text()
    first = fresh.compose("up", "--detach").stderr
    assert not re.search("Error|pull access denied", first), first
    wait_for(fresh.browser.is_served, "the app answers")
    fresh.browser.write_entry("Kittiwake", [photo(7), photo(8)])
    pictures = fresh.browser.pictures()
    assert len(pictures) == 2
    for block in commands_of("deploy.md")["The first backup"][1:]:
        type_in(fresh, block)
    assert len(fresh.archives) == 1

    destroy, restore, undo, adopt = sections.pop("The first restore")
    type_in(fresh, destroy)
    wait_for(fresh.browser.is_served, "the app answers")
    assert fresh.browser.pictures() == {}
    shown = type_in(fresh, restore)
    assert "would restore 3 tables, 4 upload files" in shown
    assert "restored 3 tables and 4 upload files" in shown
    wait_for(fresh.browser.is_served, "the app answers")
    assert fresh.browser.pictures() == pictures
    assert "Now live:" in type_in(fresh, undo)
    assert fresh.browser.pictures() == pictures
    assert "nothing was pruned: the previous archive is of another database" in unwrapped(type_in(fresh, adopt))

    for title in ("Updating", "Permissions", "Your app's own image"):
        for block in sections.pop(title):
            type_in(fresh, block)
            wait_for(fresh.browser.is_served, "the app answers")
    assert fresh.browser.pictures() == pictures
    assert sections == {}


def test_the_page_on_backups_keeps_its_word(fresh: Stack) -> None:
    for blocks in commands_of("backups.md").values():
        for block in blocks:
            type_in(fresh, block)

    assert (fresh.backups / "before-the-move.tar").exists()
    # the page ends with the other scheduler: nothing of the first one is left, and nothing has the socket
    names = fresh.engine.docker(
        "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={fresh.project}"
    ).stdout.split()
    containers = [fresh.engine.inspect(name) for name in names]
    services = {each["Config"]["Labels"]["com.docker.compose.service"] for each in containers}
    assert services == {"web", "postgres", "backups-init", "backup-scheduler"}
    assert "docker.sock" not in str([each["Mounts"] for each in containers])


def test_the_file_of_settings_needs_no_change_to_start(engine: Engine, fresh: Stack) -> None:
    config = engine.compose_config(ROOT, "COMPOSE_PROFILES=backup\n", fresh.folder / "only-the-profile")

    assert sorted(config["services"]) == ["backups", "backups-init", "ofelia", "postgres", "web"]


def unwrapped(screen: str) -> str:
    """What was on a screen, without its colours and line breaks."""
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen).split())


def commands_of(page: str) -> dict[str, list[str]]:
    """The shell blocks of a page by their section."""
    found: dict[str, list[str]] = {}
    for section in (ROOT / "docs" / page).read_text().split("\n## ")[1:]:
        blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        if blocks:
            found[section.splitlines()[0]] = blocks
    return found


def type_in(stack: Stack, block: str) -> str:
    """Type a block at a terminal; what is then on the screen. Every command must end with 0."""
    for shown, here in HERE.items():
        block = block.replace(shown, here)
    prompt = {"Type 'restore' to confirm": "restore"}
    status, screen = stack.at_a_terminal(f"export PATH=$PWD/.programs:$PATH\n{block}", prompt)
    assert status == 0, f"{block}\n{screen}"
    return screen
