"""`flask safeharbor …` inside any Flask app.

Flask imports this module at every `flask` call, before it loads any app; so it imports click only, and each
command loads the app itself when it runs.
"""

from __future__ import annotations

from safeharbor_backup.cli.lazy import IN_FLASK, LazyGroup

cli = LazyGroup(
    name="safeharbor",
    help="Back up this app's PostgreSQL database and its uploads into one archive that is proven to restore.",
    context_settings={"obj": None},
)
cli.settings_source = IN_FLASK
