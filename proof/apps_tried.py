"""The applications of `make apps`."""

from __future__ import annotations

from proof.apps_django import DJANGO
from proof.apps_flask import FLASK

APPS = {app.name: app for app in (*FLASK, *DJANGO)}
