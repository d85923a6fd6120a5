"""The settings of what is reported of runs, to whom, and of how long runs may wait and take."""

from __future__ import annotations

from safeharbor_backup.settings import parsing
from safeharbor_backup.settings.model import Concern
from safeharbor_backup.settings.setting import Setting

ROWS = (
    Setting(
        "BACKUP_MAX_AGE",
        "max_age_seconds",
        parsing.parse_seconds,
        Concern.MONITORING,
        "26h",
        "How old the newest archive may be before `status` calls it stale.",
    ),
    Setting(
        "BACKUP_OFFSITE",
        "offsite",
        parsing.parse_offsite,
        Concern.MONITORING,
        "",
        "`none`: you want no off-site copy, and nothing warns about it.",
    ),
    Setting(
        "BACKUP_STATUS_FILE",
        "status_file",
        parsing.parse_json_file,
        Concern.MONITORING,
        "",
        "A file, named ….json, into which each run writes what `status --json` prints, for a page or a monitor. A "
        "directory beside it lists what is in each archive.",
    ),
    Setting(
        "BACKUP_METRICS_FILE",
        "metrics_file",
        parsing.parse_prom_file,
        Concern.MONITORING,
        "",
        "A file, named ….prom, into which each run writes metrics, for the textfile collector of node_exporter. Its "
        "name distinguishes several backups of one host.",
    ),
    Setting(
        "BACKUP_NOTIFY_URLS",
        "notify_urls",
        parsing.parse_notify_urls,
        Concern.MONITORING,
        "",
        "Where to send a message when a run fails: addresses for Apprise, such as mailto://… and slack://…, separated "
        "by spaces or line breaks. They contain tokens, and are never shown.",
        is_secret=True,
    ),
    Setting(
        "BACKUP_NOTIFY_ON",
        "notify_on",
        parsing.parse_notify_on,
        Concern.MONITORING,
        "failure",
        "Which runs to report: `failure`, `warning` (failures too) or `always`.",
    ),
    Setting(
        "BACKUP_PING_URL",
        "ping_url",
        parsing.parse_ping_url,
        Concern.MONITORING,
        "",
        "A check that gets a ping at each backup's start and end, as healthchecks.io and the like expect it.",
        is_secret=True,
    ),
    Setting(
        "BACKUP_LOG_FORMAT",
        "log_format",
        parsing.one_of("human", "json"),
        Concern.MONITORING,
        "human",
        "`json`: commands that do the work, and the scheduler, write one JSON object per line. Like `--log-format`.",
    ),
    Setting(
        "BACKUP_COMMAND",
        "command",
        parsing.parse_command_line,
        Concern.MONITORING,
        "",
        "How you type commands here, such as `docker compose exec backups safeharbor`. Errors, alerts and the "
        "page then show commands in this form.",
        rule="as this run was started",
    ),
    *(
        Setting(
            f"BACKUP_{what}_TIMEOUT",
            f"{what.lower()}_timeout_seconds",
            parsing.parse_seconds,
            Concern.DATABASE,
            default,
            meaning,
        )
        for what, default, meaning in (
            ("CONNECT", "10s", "How long a connection to the database may take."),
            ("LOCK", "60s", "How long to wait for a table that somebody has locked."),
            ("NETWORK", "30s", "How long a silent network may last before the database counts as lost."),
        )
    ),
    Setting(
        "BACKUP_MAX_RUNTIME",
        "max_runtime_seconds",
        parsing.parse_seconds_or_none,
        Concern.MONITORING,
        "none",
        "How long a backup, verify, prune or drill may take. A run that takes longer is ended and counts as "
        "failed. `none`: no limit. Connecting, waiting for locks and a silent network have the limits above.",
    ),
)
