"""The settings of when the jobs run, and of which archives stay."""

from __future__ import annotations

from safeharbor_backup.settings import parsing
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.schedule import parse_schedule
from safeharbor_backup.settings.setting import Setting

ROWS = (
    Setting(
        "BACKUP_SCHEDULE",
        "schedule",
        parse_schedule,
        Concern.SCHEDULE,
        "0 0 3 * * *",
        "When to take a backup: second minute hour day-of-month month day-of-week, or @daily and the like.",
    ),
    *(
        Setting(
            f"BACKUP_{what.upper()}_SCHEDULE",
            f"{what}_schedule",
            parsing.parse_schedule_or_none,
            Concern.SCHEDULE,
            default,
            f"When `scheduler` runs `{command}`, written in the same way. `none` turns it off.",
        )
        for what, default, command in (("verify", "0 0 5 * * 0", "verify --latest"), ("drill", "0 0 6 * * 0", "drill"))
    ),
    Setting(
        "BACKUP_TIMEZONE",
        "timezone",
        parsing.parse_zone,
        Concern.SCHEDULE,
        "UTC",
        "The time zone in which `scheduler` reads the schedules: an IANA name such as Europe/Berlin.",
    ),
    Setting(
        "BACKUP_RETENTION_DAILY",
        "retention_daily",
        parsing.parse_count,
        Concern.RETENTION,
        "7",
        "How many of the newest archives to keep; if one of the last three is set, for how many days the day's newest.",
    ),
    Setting(
        "BACKUP_RETENTION_WEEKLY",
        "retention_weekly",
        parsing.parse_count,
        Concern.RETENTION,
        "4",
        "For how many ISO weeks to keep the newest archive of the week.",
    ),
    *(
        Setting(
            f"BACKUP_RETENTION_{tier.upper()}",
            f"retention_{tier}",
            parsing.parse_count,
            Concern.RETENTION,
            "0",
            f"For how many {period}s to keep the newest archive of the {period}.",
        )
        for tier, period in (("hourly", "hour"), ("monthly", "month"), ("yearly", "year"))
    ),
)
