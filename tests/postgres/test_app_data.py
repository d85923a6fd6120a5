"""What an app has beside the database and the uploads that are archived."""

from __future__ import annotations

from msgspec.structs import asdict

from safeharbor_backup.actions.backup.run import take_backup
from safeharbor_backup.actions.catalog.entries import newest_manifest
from safeharbor_backup.actions.doctor.run import examine
from safeharbor_backup.progress import NoProgress
from safeharbor_backup.settings.app_config import AppConfig
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.model import Settings
from support.postgres import Database, Servers, drop_database, make_database
from support.runs import Site


class Notes(NoProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def settings_of(site: Site, binds: dict[str, str], ignore: str = "", **more: str) -> Settings:
    app = AppConfig({"SQLALCHEMY_BINDS": binds, **more}, (site.root,))
    return load_settings(site.full_environment({"BACKUP_IGNORE": ignore}), app)


def recorded(site: Site) -> object:
    manifest = newest_manifest(site.backups)
    assert manifest is not None
    assert manifest.app is not None
    return asdict(manifest.app)


def line_of(settings: Settings) -> list[tuple[str, str]]:
    return [(each.level.value, each.text) for each in examine(settings).findings if each.name == "app data"]


def test_a_database_of_the_app_that_no_archive_has_is_a_warning_until_it_is_ignored(
    site: Site, database: Database, servers: Servers
) -> None:
    other = make_database(database.server)
    try:
        binds = {
            "same": database.superuser_url,
            "stats": other.url,
            "files": "sqlite:///x.db",
            "gone": "postgresql://127.0.0.1:1/x",
        }

        warnings = take_backup(settings_of(site, binds)).warnings

        assert [text.partition(" (")[0].partition(":")[0] for text in warnings] == [
            'the app\'s database "stats"',
            'the app\'s database "files" is not in this archive',
            'whether the app\'s database "gone" is in this archive is unknown',
        ]
        remedy = "BACKUP_EXTRA_DATABASES=bind:stats includes it; BACKUP_IGNORE=bind:stats silences this"
        assert warnings[0].endswith(f"is not in this archive. {remedy}")
        assert recorded(site) == {"missing_databases": ("stats", "files", "gone"), "missing_folders": ()}
        quiet = settings_of(site, binds, "bind:stats, bind:files,bind:gone")
        assert take_backup(quiet).warnings == ()
        assert [level for level, _ in line_of(settings_of(site, binds))] == ["warning"] * 3
        assert [level for level, _ in line_of(quiet)] == ["ok"]
    finally:
        drop_database(other)


def test_folders_are_named_at_the_first_backup_and_when_there_are_others(site: Site) -> None:
    def take(**more: str) -> list[str]:
        notes = Notes()
        assert take_backup(settings_of(site, {}, **more), progress=notes).warnings == ()
        return [line for line in notes.lines if "configuration names" in line]

    def folder(name: str) -> str:
        (site.root / name).mkdir()
        (site.root / name / "file").write_text("x")
        return name

    first = take(EXPORT_FOLDER=folder("exports"))
    again = take(EXPORT_FOLDER="exports")
    more = take(EXPORT_FOLDER="exports", MEDIA_ROOT=folder("media"))

    assert len(first) == 1
    assert f"{site.root}/exports (EXPORT_FOLDER)" in first[0]
    assert again == []
    assert len(more) == 1
    assert f"{site.root}/media (MEDIA_ROOT)" in more[0]
    assert recorded(site) == {
        "missing_databases": (),
        "missing_folders": (f"{site.root}/exports", f"{site.root}/media"),
    }
    [(level, text)] = line_of(settings_of(site, {}, EXPORT_FOLDER="exports"))
    assert (level, "EXPORT_FOLDER" in text) == ("note", True)
