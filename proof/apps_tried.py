"""The applications of `make apps`: how each is installed and configured, and how it makes its schema and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class App:
    """In texts @PLACE@ is an empty directory, @URL@ the address of the database, @ROLE@ its name and its owner's."""

    name: str  # of the distribution
    module: str  # what is imported to see that it still works
    framework: str
    requires: Sequence[str]
    command: Sequence[str]  # how ours is typed there
    data: str  # Python that makes rows by its own models
    schema: Sequence[Sequence[str]] = ()  # its own commands, where no loading does it
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)  # its configuration
    trees: Sequence[str] = ()  # directories that it keeps files in
    works: str = ""  # Python that reads those rows again
    elsewhere: bool = False  # ours gets an environment of its own, as docs/apps.md says for this kind


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

_WAGTAIL = App(
    "wagtail",
    "wagtail",
    "Django",
    ("wagtail", "psycopg[binary]"),
    ("safeharbor", "--django"),
    environment={"DJANGO_SETTINGS_MODULE": "local", "PYTHONPATH": "@PLACE@:@PLACE@/project"},
    files={
        "local.py": """
from shop.settings.dev import *
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": "@ROLE@", "USER": "@ROLE@",
    "PASSWORD": "secret", "HOST": "127.0.0.1", "PORT": "@PORT@",
}}
MEDIA_ROOT = "@PLACE@/media"
""",
    },
    schema=(
        ("mkdir", "project"),
        ("-u", "DJANGO_SETTINGS_MODULE", "wagtail", "start", "shop", "project"),
        ("django-admin", "migrate"),
    ),
    trees=("media",),
    data="""
import io, django; django.setup()
from django.core.files.images import ImageFile
from PIL import Image as Picture
from wagtail.images.models import Image
from wagtail.models import Page
for number in range(5):
    file = io.BytesIO()
    Picture.new("RGB", (40, 30), (number, 0, 0)).save(file, "PNG")
    Image.objects.create(title=f"picture {number}", file=ImageFile(file, name=f"{number}.png"))
home = Page.objects.get(depth=2).specific
home.title = "Ahoi"
home.save_revision().publish()
""",
    works="""
import django; django.setup()
from wagtail.images.models import Image
from wagtail.models import Page
assert all(each.file.read() for each in Image.objects.all()) and Image.objects.count() == 5
assert Page.objects.get(depth=2).title == "Ahoi"
""",
)

_ARA = App(
    "ara",
    "ara",
    "Django",
    ("ara[server]", "psycopg2-binary"),  # it insists on that one; beside ours Django would take psycopg 3
    ("safeharbor",),
    elsewhere=True,
    environment={
        "BACKUP_DATABASE_URL": "@URL@",
        "BACKUP_UPLOAD_DIR": "@PLACE@/media",
        "DJANGO_SETTINGS_MODULE": "ara.server.settings",
        "ARA_BASE_DIR": "@PLACE@/ara",
        "ARA_MEDIA_ROOT": "@PLACE@/media",
        "ARA_DATABASE_ENGINE": "django.db.backends.postgresql",
        "ARA_DATABASE_NAME": "@ROLE@",
        "ARA_DATABASE_USER": "@ROLE@",
        "ARA_DATABASE_PASSWORD": "secret",
        "ARA_DATABASE_HOST": "127.0.0.1",
        "ARA_DATABASE_PORT": "@PORT@",
    },
    schema=(("ara-manage", "migrate"),),
    trees=("media",),
    data="""
import django; django.setup()
from ara.api.models import Playbook
for number in range(50):
    Playbook.objects.create(name=f"play {number}", path=f"/{number}.yml", ansible_version="2", status="completed")
""",
    works="""
import django; django.setup()
from ara.api.models import Playbook
assert Playbook.objects.count() == 50
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

APPS = {app.name: app for app in (_IHATEMONEY, _ALERTA, _ANITYA, _PRIVACYIDEA, _WAGTAIL, _ARA)}
