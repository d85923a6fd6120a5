"""Flask's applications of `make apps`: how each is installed and configured, and how it makes its schema and rows."""

from __future__ import annotations

from proof.app import App

_IHATEMONEY = App(
    "ihatemoney",
    "ihatemoney.models",
    "Flask",
    ("ihatemoney", "psycopg2-binary"),
    ("ihatemoney", "safeharbor"),
    environment={"IHATEMONEY_SETTINGS_FILE_PATH": "@PLACE@/ihatemoney.cfg"},
    files={
        "ihatemoney.cfg": 'SQLALCHEMY_DATABASE_URI = "@URL@"\nSECRET_KEY = "s"\nBACKUP_UPLOAD_DIR = "none"\n',
    },
    data="""
from ihatemoney.run import create_app
from ihatemoney.models import Project
with create_app().app_context():
    Project.create_demo_project()
""",
    works="""
from ihatemoney.run import create_app
from ihatemoney.models import Project
with create_app().app_context():
    assert Project.query.count() == 1
""",
)

_ALERTA = App(
    "alerta-server",
    "alerta.app",
    "Flask",
    ("alerta-server", "psycopg2-binary"),
    ("flask", "--app", "alerta.app", "safeharbor"),
    environment={"DATABASE_URL": "@URL@", "BACKUP_UPLOAD_DIR": "none"},
    data="""
from alerta.app import create_app
client = create_app().test_client()
for number in range(50):
    alert = {"resource": f"web{number}", "event": "Down", "environment": "Production", "service": ["shop"]}
    assert client.post("/alert", json=alert).status_code == 201
""",
    works="""
from alerta.app import create_app
assert create_app().test_client().get("/alerts").json["total"] == 50
""",
)

_ANITYA = App(
    "anitya",
    "anitya.app",
    "Flask",
    ("anitya", "psycopg[binary]"),
    ("flask", "--app", "anitya.wsgi", "safeharbor"),
    environment={"ANITYA_WEB_CONFIG": "@PLACE@/anitya.toml", "BACKUP_UPLOAD_DIR": "none"},
    files={"anitya.toml": 'secret_key = "s"\ndb_url = "@URL@"\nsqlalchemy_database_uri = "@URL@"\n'},
    schema=(("flask", "--app", "anitya.wsgi", "db", "sync"),),
    data="""
from anitya.app import create
from anitya.db import Project, db
with create().app_context():
    for number in range(50):
        db.session.add(Project(name=f"project {number}", homepage=f"https://{number}.example.org", backend="GitHub"))
    db.session.commit()
""",
    works="""
from anitya.app import create
from anitya.db import Project, db
with create().app_context():
    assert db.session.query(Project).count() == 50
""",
)

_PRIVACYIDEA = App(
    "privacyIDEA",
    "privacyidea.app",
    "Flask",
    ("privacyIDEA", "psycopg2-binary"),
    ("safeharbor",),
    elsewhere=True,  # it writes a row whenever it is loaded
    environment={
        "PRIVACYIDEA_CONFIGFILE": "@PLACE@/pi.cfg",
        "BACKUP_DATABASE_URL": "@URL@",
        "BACKUP_UPLOAD_DIR": "@PLACE@/keys",
    },
    files={
        "pi.cfg": """
SQLALCHEMY_DATABASE_URI = "@URL@".replace("postgresql", "postgresql+psycopg2", 1)
SECRET_KEY = "s"
PI_PEPPER = "p"
PI_ENCFILE = "@PLACE@/keys/enckey"
PI_AUDIT_KEY_PRIVATE = "@PLACE@/keys/private.pem"
PI_AUDIT_KEY_PUBLIC = "@PLACE@/keys/public.pem"
PI_LOGFILE = "@PLACE@/pi.log"
""",
    },
    schema=(
        ("pi-manage", "setup", "create_enckey"),
        ("pi-manage", "setup", "create_audit_keys"),
        ("pi-manage", "setup", "create_tables"),
    ),
    trees=("keys",),
    data="""
from privacyidea.app import create_app
from privacyidea.lib.token import init_token
with create_app("production", "@PLACE@/pi.cfg", silent=True).app_context():
    for number in range(20):
        init_token({"serial": f"HOTP{number}", "type": "hotp", "genkey": True})
""",
    works="""
from privacyidea.app import create_app
from privacyidea.lib.token import get_tokens
with create_app("production", "@PLACE@/pi.cfg", silent=True).app_context():
    assert len({each.token.get_otpkey().getKey() for each in get_tokens()}) == 20
""",
)

_ZOU = App(
    "zou",
    "zou.app",
    "Flask",
    ("zou",),
    ("flask", "--app", "zou.app:create_app", "safeharbor"),  # `zou` is no group of Flask
    needs_redis=True,
    environment={
        "DB_HOST": "127.0.0.1",
        "DB_PORT": "@PORT@",
        "DB_USERNAME": "@ROLE@",
        "DB_PASSWORD": "secret",
        "DB_DATABASE": "@ROLE@",
        "SECRET_KEY": "a secret",
        "KV_HOST": "127.0.0.1",
        "KV_PORT": "@REDIS@",
        "TMP_DIR": "@PLACE@/tmp",
        "PREVIEW_FOLDER": "@PLACE@/previews",
        "BACKUP_UPLOAD_DIR": "@PLACE@/previews",
    },
    schema=(("zou", "init-db"),),
    trees=("previews",),
    data="""
import uuid
from pathlib import Path
from zou.app import create_app
with create_app().app_context():
    from zou.app.models.person import Person
    from zou.app.stores import file_store
    for number in range(20):
        person = Person.create(first_name="Ann", last_name=f"{number}", email=f"{number}@example.org", password=b"p")
        picture = Path("@PLACE@/picture")
        picture.write_bytes(bytes([number]) * 5000)
        file_store.add_picture("thumbnails", str(person.id), str(picture))
""",
    works="""
from zou.app import create_app
with create_app().app_context():
    from zou.app.models.person import Person
    from zou.app.stores import file_store
    people = Person.query.order_by(Person.email).all()
    assert len({file_store.read_picture("thumbnails", str(each.id))[:1] for each in people}) == 20
""",
)

_INVENIO = App(
    "invenio-app",
    "invenio_app.factory",
    "Flask",
    ("invenio-app", "invenio-db[postgresql]", "invenio-files-rest", "invenio-accounts"),
    ("invenio", "safeharbor"),
    environment={
        "INVENIO_INSTANCE_PATH": "@PLACE@/instance",
        "INVENIO_SQLALCHEMY_DATABASE_URI": "@URL@",
        "INVENIO_SECRET_KEY": "a secret",
        "INVENIO_CACHE_TYPE": "SimpleCache",  # without Redis
        "BACKUP_UPLOAD_DIR": "first=@PLACE@/first,second=@PLACE@/second",
    },
    schema=(
        ("invenio", "alembic", "upgrade"),
        ("invenio", "files", "location", "create", "--default", "first", "file://@PLACE@/first"),
        ("invenio", "files", "location", "create", "second", "file://@PLACE@/second"),
        ("invenio", "users", "create", "ann@example.org", "--password", "123456", "--active"),
    ),
    trees=("first", "second"),
    data="""
import io
from invenio_app.factory import create_app
from invenio_db import db
from invenio_files_rest.models import Bucket, Location, ObjectVersion
with create_app().app_context():
    for location in Location.all():
        bucket = Bucket.create(location=location)
        for number in range(10):
            ObjectVersion.create(bucket, f"{number}.txt", stream=io.BytesIO(b"%d" % number * 5000))
    db.session.commit()
""",
    works="""
from invenio_accounts.models import User
from invenio_app.factory import create_app
from invenio_files_rest.models import ObjectVersion
with create_app().app_context():
    assert User.query.count() == 1
    files = [each.file for each in ObjectVersion.query.all()]
    assert len(files) == 20 and all(each.verify_checksum() for each in files)
""",
)

_FITTRACKEE = App(
    "fittrackee",
    "fittrackee",
    "Flask",
    ("fittrackee",),
    ("flask", "--app", "fittrackee", "safeharbor"),  # `ftcli` is no group of Flask
    extension="postgis",
    needs_redis=True,
    environment={
        "DATABASE_URL": "@URL@",
        "RESTORE_DATABASE_URL": "@SUPERUSER@",  # only such a role may create PostGIS
        "REDIS_URL": "redis://127.0.0.1:@REDIS@",
        "APP_SECRET_KEY": "a secret of thirty-two characters",
        "UI_URL": "https://fit.example.org",
        "UPLOAD_FOLDER": "@PLACE@",
    },
    schema=(
        ("ftcli", "db", "upgrade"),
        (
            "ftcli",
            "users",
            "create",
            "ann",
            "--email",
            "ann@example.org",
            "--password",
            "a password",
            "--role",
            "admin",
        ),
    ),
    trees=("uploads",),
    data="""
import http.server, io, json, os, threading
from PIL import Image

class Tiles(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        Image.new("RGB", (256, 256)).save(self.wfile, "PNG")

tiles = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tiles)
threading.Thread(target=tiles.serve_forever, daemon=True).start()
os.environ["TILE_SERVER_URL"] = f"http://127.0.0.1:{tiles.server_port}/{{z}}/{{x}}/{{y}}.png"
from fittrackee import create_app
client = create_app().test_client()

def post(address, **what):
    cookie = client.get_cookie("csrf_access_token", domain="fit.example.org")  # each answer sets another
    headers = {"X-CSRF-TOKEN": cookie.value} if cookie else {}
    answer = client.post(f"/api/{address}", base_url="https://fit.example.org", headers=headers, **what)
    assert answer.status_code < 300, answer.text

post("auth/login", json={"email": "ann@example.org", "password": "a password"})
post("auth/account/privacy-policy", json={"accepted_policy": True})
for number in range(1, 6):
    points = "".join(
        f'<trkpt lat="{44 + step / 1000}" lon="{6 + number / 100}"><ele>{100 + step}</ele>'
        f"<time>2026-0{number}-01T10:{step:02}:00Z</time></trkpt>"
        for step in range(30)
    )
    track = f'<?xml version="1.0"?><gpx version="1.1" creator="x" xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>{points}'
    file = (io.BytesIO(f"{track}</trkseg></trk></gpx>".encode()), "track.gpx")
    post("workouts", data={"file": file, "data": json.dumps({"sport_id": 1})})
""",
    works="""
from pathlib import Path
from fittrackee import create_app, db
from fittrackee.workouts.models import Workout
app = create_app()
with app.app_context():
    workouts = Workout.query.all()
    assert len(workouts) == 5
    folder = Path(app.config["UPLOAD_FOLDER"])
    assert all((folder / name).read_bytes() for each in workouts for name in (each.original_file, each.map))
    lengths = db.session.execute(db.text("SELECT ST_NPoints(geom) FROM workout_segments")).scalars().all()
    assert lengths == [30] * 5, lengths
""",
)

FLASK = (_IHATEMONEY, _ALERTA, _ANITYA, _PRIVACYIDEA, _ZOU, _INVENIO, _FITTRACKEE)
