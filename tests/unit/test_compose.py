"""compose.yaml, .env.example and the settings of the program belong together, as far as text can tell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from safeharbor_backup.settings.setting import Setting
from safeharbor_backup.settings.table import SETTINGS

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text()
SERVICES = COMPOSE.split("\nservices:\n")[1].split("\nnetworks:\n")[0]
EXAMPLE = (ROOT / ".env.example").read_text()

# places in the sidecar that compose.yaml mounts, and what its image has where it is looked for first
FIXED = {"BACKUP_DIR", "BACKUP_UPLOAD_DIR", "BACKUP_STATUS_FILE", "BACKUP_PG_BIN", "BACKUP_COMMAND"}
# Compose gives this one itself
GIVEN = {"COMPOSE_PROJECT_NAME"}


def test_every_setting_reaches_the_sidecar() -> None:
    sidecar = COMPOSE.split("\nx-sidecar:")[1].split("\nservices:")[0]

    for variable in SETTINGS:
        if variable.name != "BACKUP_PG_BIN":
            assert f"    {variable.name}: " in sidecar, variable.name


def test_every_setting_is_explained_in_the_example() -> None:
    explained = {name for name, _ in lines_of_example()}

    assert {each.name for each in SETTINGS} - FIXED <= explained


def test_every_variable_of_compose_is_explained_in_the_example_and_no_other() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE)) | {"COMPOSE_PROFILES"}

    assert {name for name, _ in lines_of_example()} == used | GIVEN


def test_the_example_has_the_defaults_of_compose() -> None:
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^{}$]+)\}", COMPOSE))

    for name, value in lines_of_example():
        if name in defaults:
            assert value == defaults[name], name


@pytest.mark.parametrize("setting", [each for each in SETTINGS if each.default], ids=lambda each: each.name)
def test_the_example_has_the_defaults_of_the_program(setting: Setting) -> None:
    if setting.name not in FIXED:
        assert dict(lines_of_example())[setting.name] == setting.default


def test_the_example_turns_the_backups_on() -> None:
    assert "\nCOMPOSE_PROFILES=backup\n" in EXAMPLE


@pytest.mark.parametrize("service", re.findall(r"^  ([a-z-]+):$", SERVICES, re.MULTILINE))
def test_every_service_is_in_the_table_of_the_page(service: str) -> None:
    assert f"\n| `{service}` |" in (ROOT / "docs" / "deploy.md").read_text()


def test_the_readme_shows_commands_of_the_page_that_a_test_types() -> None:
    section = (ROOT / "README.md").read_text().split("\n## Beside containers\n")[1]
    shown = section.split("```sh\n")[1].split("```")[0].splitlines()

    assert shown
    assert set(shown) <= set((ROOT / "docs" / "deploy.md").read_text().splitlines())


def test_images_are_pinned() -> None:
    images = re.findall(r"(?:image: |_IMAGE:-|_BASE:-)([a-z/-]+(?::[a-z0-9.-]+)?)", COMPOSE)

    for image in {image for image in images if not image.startswith("safeharbor")}:
        assert re.search(r":(?!latest)[a-z0-9.-]+$", image), image


def lines_of_example() -> list[tuple[str, str]]:
    """Each variable of the example and its value, set or shown behind a #."""
    return [(name, value.strip('"')) for name, value in re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE)]
