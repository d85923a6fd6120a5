"""The logbook as its users meet it: through HTTP and through `flask`, on a real PostgreSQL."""

from __future__ import annotations

import io
import os
import re
import secrets
from typing import TYPE_CHECKING

import flask_migrate  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from logbook import create_app
from logbook.models import Entry, Photo, db
from logbook.settings import SettingsError, with_psycopg_driver
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of an empty database of this test's own, on the server that the environment names."""
    given = os.environ.get("LOGBOOK_TEST_DATABASE_URL")
    if not given:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("LOGBOOK_TEST_DATABASE_URL names no PostgreSQL on which databases may be created")
    url = sa.make_url(with_psycopg_driver(given) or given)
    name = f"logbook_test_{secrets.token_hex(6)}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"))
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name}"))


@pytest.fixture
def empty_app(database: str, tmp_path: Path) -> Iterator[Flask]:
    """The app before its first migration."""
    uploads = str(tmp_path / "uploads")
    app = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": database, "UPLOAD_DIR": uploads})
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def app(empty_app: Flask) -> Flask:
    with empty_app.app_context():
        flask_migrate.upgrade()
    return empty_app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def picture(form: str = "PNG", size: tuple[int, int] = (900, 600)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "#2f86a6").save(file, form)
    return file.getvalue()


def send(client: FlaskClient, *photos: tuple[bytes, str], **fields: str) -> TestResponse:
    token = re.search(r'name="form_token" value="([^"]+)"', client.get("/entries/new").text)
    assert token is not None
    data: dict[str, object] = {
        "form_token": token[1],
        "vessel": "Ægir",
        "berth": "b7",
        "arrived": "2026-05-07T03:00",
        "remark": "In for the night.",
        "photos": [(io.BytesIO(data), name) for data, name in photos],
    }
    return client.post("/entries/new", data=data | fields, content_type="multipart/form-data")


def files_below(app: Flask) -> list[str]:
    root = app.config["UPLOAD_DIR"]
    return sorted(
        os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names
    )


def test_an_entry_with_a_photo_is_written_and_seen(app: Flask, client: FlaskClient) -> None:
    sent = picture()

    answer = send(client, (sent, "Große Fahrt 入港.png"))

    assert answer.status_code == 303
    page = client.get(answer.location).text
    assert "Ægir" in page
    assert "B7" in page
    assert "7 May 2026, 03:00" in page
    assert "Große Fahrt 入港" in page
    assert "Ægir" in client.get("/").text
    with app.app_context():
        photo = db.session.scalars(db.select(Photo)).one()
        assert re.fullmatch(r"\d{4}/\d{2}/[0-9a-f]{32}\.png", photo.path)
        assert (photo.width, photo.height, photo.size_bytes) == (900, 600, len(sent))
        path = photo.path
    original = client.get(f"/uploads/{path}", buffered=True)
    assert original.data == sent
    assert original.mimetype == "image/png"
    thumbnail = client.get(f"/uploads/{path.removesuffix('.png')}-thumbnail.jpg", buffered=True)
    assert Image.open(io.BytesIO(thumbnail.data)).size == (640, 427)
    assert len(files_below(app)) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        picture()[: len(picture()) // 2],
        b"GIF89a" + bytes(60),
        picture("JPEG")[:300],
    ],
    ids=["empty", "svg", "half a PNG", "GIF", "head of a JPEG"],
)
def test_what_is_no_picture_is_refused_and_nothing_is_written(app: Flask, client: FlaskClient, data: bytes) -> None:
    answer = send(client, (picture(), "good.png"), (data, "bad.png"))

    assert answer.status_code == 422
    assert "“bad.png” was not accepted" in answer.text
    assert 'value="Ægir"' in answer.text
    assert files_below(app) == []
    with app.app_context():
        assert db.session.scalar(db.select(db.func.count(Entry.id))) == 0


def test_a_photo_gets_the_suffix_of_what_it_really_is(app: Flask, client: FlaskClient) -> None:
    send(client, (picture("JPEG"), "boat.png"), (picture("WEBP"), "boat.php"), (picture("JPEG"), "boat.JPEG"))

    with app.app_context():
        photos = db.session.scalars(db.select(Photo).order_by(Photo.position)).all()
        assert [photo.path.rpartition(".")[2] for photo in photos] == ["jpg", "webp", "jpeg"]
        paths = [photo.path for photo in photos]
    kinds = [client.get(f"/uploads/{path}", buffered=True).mimetype for path in paths]
    assert kinds == ["image/jpeg", "image/webp", "image/jpeg"]


def test_a_form_with_mistakes_comes_back_with_all_of_them(client: FlaskClient) -> None:
    answer = send(client, vessel=" \x00 ", berth="x" * 13, arrived="soon")

    assert answer.status_code == 422
    assert "The vessel is missing." in answer.text
    assert "At most 12 characters" in answer.text
    assert "the time of arrival" in answer.text


@pytest.mark.parametrize(
    "arrived",
    ["0001-01-01T00:00", "9999-12-31T23:59", "2026-05-07", "2026-05-07T03:00+02:00"],
    ids=["first year", "last year", "no time", "another time zone"],
)
def test_a_time_that_no_vessel_came_in_is_refused(client: FlaskClient, arrived: str) -> None:
    answer = send(client, arrived=arrived)

    assert answer.status_code == 422
    assert "the time of arrival" in answer.text


def test_a_form_beyond_the_upload_limit_is_refused(app: Flask, client: FlaskClient) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 2000

    assert send(client, (bytes(4000), "large.png")).status_code == 413
    assert files_below(app) == []


def test_numbers_beyond_all_entries_are_not_found(client: FlaskClient) -> None:
    for path in ("/entries/1", f"/entries/{10**10}", f"/entries/{10**30}", f"/?page={10**8}", f"/?page={10**30}"):
        assert client.get(path).status_code == 404


def test_an_entry_is_deleted_with_its_files(app: Flask, client: FlaskClient) -> None:
    address = send(client, (picture(), "a.png")).location
    token = re.search(r'name="form_token" value="([^"]+)"', client.get(address).text)
    assert token is not None

    answer = client.post(f"{address}/delete", data={"form_token": token[1]})

    assert answer.status_code == 303
    assert client.get(address).status_code == 404
    assert files_below(app) == []


def test_a_forged_form_is_refused(client: FlaskClient) -> None:
    client.get("/entries/new")

    for data in ({}, {"form_token": ""}, {"form_token": "guessed"}, {"form_token": "gu\u00e9ssed"}):
        assert client.post("/entries/new", data=data).status_code == 400
        assert client.post("/entries/1/delete", data=data).status_code == 400


def test_only_pictures_are_served_from_the_uploads(client: FlaskClient, tmp_path: Path) -> None:
    folder = tmp_path / "uploads" / "2026" / "05"
    folder.mkdir(parents=True)
    (folder / "page.html").write_text("<script></script>")
    (tmp_path / "secret.png").write_text("secret")

    for path in (
        "2026/05/page.html",
        "2026/05",
        "../secret.png",
        f"2026/05/{'0' * 32}.png",
        "%2e%2e/secret.png",
    ):
        assert client.get(f"/uploads/{path}").status_code == 404


def test_every_answer_carries_the_strict_policy(client: FlaskClient) -> None:
    for path in ("/", "/entries/new", "/health", "/nowhere", "/static/logbook.css"):
        answer = client.get(path, buffered=True)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "<script" not in answer.text
        assert "style=" not in answer.text


def log_in(client: FlaskClient, password: str) -> TestResponse:
    token = re.search(r'name="form_token" value="([^"]+)"', client.get("/admin/login").text)
    assert token is not None
    return client.post("/admin/login", data={"form_token": token[1], "password": password})


def test_the_admin_sees_how_the_backups_are(app: Flask, client: FlaskClient, tmp_path: Path) -> None:
    app.config["ADMIN_PASSWORD"] = "ahoy"
    app.config["BACKUP_STATUS_FILE"] = str(tmp_path / "status.json")
    assert client.get("/admin/backups/").location == "/admin/login"

    answer = log_in(client, "ahoy")

    assert (answer.status_code, answer.location) == (303, "/admin/backups/")
    page = client.get("/admin/backups/")
    assert page.status_code == 200
    assert "Nothing has run yet." in page.text
    assert "style-src 'sha256-" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"
    assert 'href="/admin/backups/"' in client.get("/").text


def test_nobody_else_sees_it(app: Flask, client: FlaskClient) -> None:
    app.config["ADMIN_PASSWORD"] = "ahoy"
    for password in ("", "AHOY", "ahoy!", "\N{ANCHOR}"):
        assert log_in(client, password).status_code == 403
        assert client.get("/admin/backups/").status_code == 303


def test_another_password_ends_the_sessions_of_the_old_one(app: Flask, client: FlaskClient) -> None:
    app.config["ADMIN_PASSWORD"] = "ahoy"
    log_in(client, "ahoy")
    assert client.get("/admin/backups/").status_code == 200

    app.config["ADMIN_PASSWORD"] = "land in sight"

    assert client.get("/admin/backups/").status_code == 303


def test_without_a_password_there_is_no_admin(client: FlaskClient) -> None:
    assert client.get("/admin/backups/").status_code == 403
    assert client.get("/admin/login").status_code == 404
    assert "/admin/backups/" not in client.get("/").text


def test_health_asks_the_database(client: FlaskClient, tmp_path: Path) -> None:
    assert client.get("/health").get_json() == {"status": "ok", "database": "answers"}

    nowhere = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"
    broken = create_app({"TESTING": True, "SQLALCHEMY_DATABASE_URI": nowhere, "UPLOAD_DIR": str(tmp_path)})
    assert broken.test_client().get("/health").status_code == 503


def test_migrations_lead_to_the_models_and_back(empty_app: Flask) -> None:
    with empty_app.app_context():
        for _ in range(2):
            flask_migrate.upgrade()
            with db.engine.connect() as connection:
                context = MigrationContext.configure(connection, opts={"compare_server_default": True})
                assert compare_metadata(context, db.metadata) == []
            flask_migrate.downgrade(revision="0001")
            assert "caption" not in {column["name"] for column in sa.inspect(db.engine).get_columns("photo")}
            flask_migrate.downgrade(revision="base")
            assert sa.inspect(db.engine).get_table_names() == ["alembic_version"]


def test_the_same_seed_gives_the_same_logbook(app: Flask) -> None:
    runner = app.test_cli_runner()
    arguments = ["seed", "--entries", "3", "--photos-per-entry", "2", "--seed", "5"]

    assert runner.invoke(args=arguments).exit_code == 0
    first = files_below(app)
    with app.app_context():
        vessels = db.session.scalars(db.select(Entry.vessel).order_by(Entry.id)).all()
        db.session.execute(db.delete(Entry))
        db.session.commit()
    assert runner.invoke(args=arguments).exit_code == 0

    assert files_below(app) == first
    assert len(first) == 3 * 2 * 2
    with app.app_context():
        assert db.session.scalars(db.select(Entry.vessel).order_by(Entry.id)).all() == vessels
    page = app.test_client().get("/").text
    assert page.count('<li class="card">') == 3


def test_seeding_again_adds_to_what_is_left_after_a_deletion(app: Flask) -> None:
    runner = app.test_cli_runner()
    arguments = ["seed", "--entries", "2", "--photos-per-entry", "1"]
    runner.invoke(args=arguments)
    with app.app_context():
        db.session.execute(db.delete(Entry).where(Entry.id == 1))
        db.session.commit()

    assert runner.invoke(args=arguments).exit_code == 0

    with app.app_context():
        paths = db.session.scalars(db.select(Photo.path)).all()
        assert len(set(paths)) == 3


def test_more_entries_than_fit_go_to_further_pages(app: Flask, client: FlaskClient) -> None:
    app.test_cli_runner().invoke(args=["seed", "--entries", "30", "--photos-per-entry", "0"])

    assert client.get("/").text.count('<li class="card">') == 12
    assert client.get("/?page=3").text.count('<li class="card">') == 6
    assert client.get("/?page=4").status_code == 404


def test_missing_settings_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("SECRET_KEY", "")
    monkeypatch.delenv("FLASK_DEBUG", raising=False)
    monkeypatch.setenv("UPLOAD_LIMIT_MB", "lots")

    with pytest.raises(SettingsError) as caught:
        create_app()

    for name in ("DATABASE_URL", "SECRET_KEY", "UPLOAD_LIMIT_MB"):
        assert name in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_common_form_of_the_database_url_is_taken(scheme: str) -> None:
    assert with_psycopg_driver(f"{scheme}://u:p@h/d") == "postgresql+psycopg://u:p@h/d"
    assert with_psycopg_driver("sqlite:///logbook.db") is None
