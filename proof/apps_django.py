"""Django's applications of `make apps`: how each is installed and configured, and how it makes its schema and rows."""

from __future__ import annotations

from proof.app import App

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

DJANGO = (_WAGTAIL, _ARA)
