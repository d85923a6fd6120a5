"""All settings, a row each: what is read, its default and what it is for. Pages and checks are made from this table.

To add one: a row at its place in `rows/`, in the module of its subject; a field at the same place in `model.Settings`;
and a test. Then type `make format`.
"""

from __future__ import annotations

from safeharbor_backup.settings.rows import archive, monitoring, places, restore, schedule

SETTINGS = (
    *places.ROWS,  # the database, the uploads, the directory of the archives
    *schedule.ROWS,  # schedules and retention
    *archive.ROWS,  # what an archive has, and how it is written
    *monitoring.ROWS,  # age, status, alerts, and limits of time
    *restore.ROWS,  # restores and drills
)
