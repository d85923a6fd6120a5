"""Status documents of invented harbours, the same at every call: what the page is tested and shown with."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from safeharbor_backup.actions.catalog.retention import Candidate, Tiers, judge_archives
from safeharbor_backup.web.evidence import EvidenceReport, ShownDrill

NOW = datetime(2026, 11, 25, 16, 30, tzinfo=UTC)
LAST_NIGHT = datetime(2026, 11, 25, 3, 0, 4, tzinfo=UTC)
TABLES = (
    "photo",
    "entry",
    "voyage",
    "berth_booking",
    "tide_reading",
    "crew_member",
    "invoice",
    "harbour",
    "alembic_version",
)
MEBIBYTE = 1 << 20

Document = dict[str, Any]


def coded(document: Document, *codes: str, command: str | None = None) -> Document:
    """The document with the codes of its reasons."""
    document["findings"] = [
        {"code": code, "health": document["health"], "text": text, "command": command if code == "run failed" else None}
        for code, text in zip(codes, document["reasons"], strict=True)
    ]
    return document


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def empty() -> Document:
    """The first day: nothing has run yet."""
    return {
        **_frame(),
        "drill_max_seconds": None,
        "told": [],
        "offsite": [],
        "health": "waiting",
        "reasons": ["no backup yet; the first one is not due yet"],
        "newest": None,
        "age_seconds": None,
        "archives": 0,
        "last_backup": None,
        "last_verify": None,
        "last_drill": None,
        "storage": {"free_bytes": 73_139_666_944, "next_archive_bytes": None, "fits": None},
        "history": [],
        "contents": [],
    }


def good(nights: int = 120, *, keep_all: bool = False) -> Document:
    """Backups each night for some months, as retention has left them, a verify each week and a drill each month."""
    random = Random(7)
    moments = [LAST_NIGHT - timedelta(days=day) for day in range(nights)]
    names = {moment: f"safeharbor-backup-{moment:%Y-%m-%dT%H-%M-%SZ}.tar" for moment in moments}
    sizes = {moment: int((1180 - 2.1 * day + random.uniform(-9, 9)) * MEBIBYTE) for day, moment in enumerate(moments)}
    candidates = [Candidate(names[moment], int(moment.timestamp() * 10**9)) for moment in moments]
    daily, weekly = (nights, 4) if keep_all else (7, 4)
    verdicts = {verdict.name: verdict for verdict in judge_archives(candidates, Tiers(daily, weekly))}
    contents = [
        _archive(day, moment, names[moment], sizes[moment], verdicts[names[moment]].reasons)
        for day, moment in enumerate(moments)
        if verdicts[names[moment]].keep
    ]
    history = [
        _outcome(
            "backup", moment, random.gauss(96, 5) - day * 0.11, names[moment],
            size=sizes[moment], rows=sum(_rows(day)), files=_files(day),
        )
        for day, moment in enumerate(moments)
    ]  # fmt: skip
    history += [_outcome("verify", moment + timedelta(hours=2), 41.0, names[moment]) for moment in moments[3::7]]
    history += [
        _outcome("drill", moment + timedelta(hours=1), 188.4, names[moment]) | {"restore_seconds": 120.0 - number}
        for number, moment in enumerate(moments[3::28])
    ]
    history.sort(key=lambda run: str(run["started_at"]))
    contents[-1]["goes_next"] = not keep_all
    return {
        **_frame(),
        "newest": _newest(contents[0]),
        "age_seconds": (NOW - LAST_NIGHT).total_seconds(),
        "archives": len(contents),
        "retention": {
            "daily": daily,
            "weekly": weekly,
            "next_deleted": [] if keep_all else [contents[-1]["name"]],
            "warnings": [],
        },
        "last_backup": _newest_of("backup", history),
        "last_verify": _newest_of("verify", history),
        "last_drill": _newest_of("drill", history),
        "history": history[-400:],
        "contents": contents,
    }


def with_warnings() -> Document:
    """A backup that is there, but could not take everything."""
    reasons = [
        "2 uploads cannot be archived: photos/away: a symlink that can leave the tree, pipe: a FIFO",
        "table voyage has 1,204 rows, 3,377 in the previous archive",
    ]
    document = good()
    document |= {"health": "warning", "reasons": reasons}
    document["contents"][0]["warnings"] = reasons
    return coded(document, "backup warned", "backup warned")


def long_names() -> Document:
    """Names and numbers that nobody would give, and somebody did."""
    document = with_warnings()
    archive = document["contents"][0]
    archive["largest_tables"] = [["public." + "a_table_with_a_long_name_" * 8, 10**12]] * 3
    archive["folders"] = [["\u30d5\u30a9\u30eb\u30c0\u30fc/very-long-name-" * 8, 10**9, 10**15]]
    archive["kept_as"] = ["x" * 300]
    archive["database"] = "d" * 63
    document["newest"]["path"] = "/mnt/" + "deep/" * 40 + archive["name"]
    document |= {"reasons": ["x" * 900, "\u00e4 \u00f6"], "schedule": "0,1,2,3 " * 30, "next_backup": None}
    return coded(document, "setting", "setting")


def stale() -> Document:
    """Nothing has run for three days."""
    document = good()
    for key in ("contents", "history"):
        recent = "taken_at" if key == "contents" else "started_at"
        document[key] = [each for each in document[key] if each[recent] < iso(NOW - timedelta(days=3))]
    document["newest"] = _newest(document["contents"][0])
    document["last_backup"] = _newest_of("backup", document["history"])
    document |= {
        "health": "stale",
        "healthy": False,
        "reasons": ["the newest complete archive is older than the limit"],
        "next_backup": iso(NOW + timedelta(hours=10, minutes=30)),
    }
    return coded(document, "too old")


def failing() -> Document:
    """The disk was full last night."""
    document = good()
    document["contents"].pop(0)
    document["newest"] = _newest(document["contents"][0])
    document["history"].pop()
    reason = (
        "no space left in /backups: 311,422,976 bytes are free, the next archive needs about 1,237,000,000. No archive "
        "was written; the 10 existing ones are untouched."
    )
    failure = _outcome("backup", LAST_NIGHT, 0.4, None, status=7, reason=reason)
    failure["advice"] = "Free some space, or point BACKUP_DIR at a larger filesystem."
    document["history"].append(failure)
    document["storage"] = {"free_bytes": 311_422_976, "next_archive_bytes": 1_237_000_000, "fits": 0}
    document |= {
        "health": "failed",
        "healthy": False,
        "max_age_seconds": 48 * 3600.0,
        "reasons": [
            f"the last backup failed on 2026-11-25 03:00:04 UTC, status 7: {reason}",
            "there is no disk space for another archive: 311,422,976 bytes are free, and the next one takes "
            "1,237,000,000",
        ],
        "last_backup": failure,
        "last_failure": failure,
    }
    return coded(document, "run failed", "room", command="backup")


def interrupted() -> Document:
    """A restore was killed half-way; another one keeps what it replaced."""
    document = good()
    archive = document["contents"][1]["name"]
    kept = {
        "id": "6b04d99cab1e",
        "restored_at": iso(NOW - timedelta(days=9)),
        "archive": document["contents"][3]["name"],
        "undone": False,
        "size_bytes": 1_310_000_000,
        "logical_slots": 1,
    }
    document |= {
        "health": "interrupted",
        "healthy": False,
        "reasons": [f"the restore 6b04d9abd2e2 of {archive} was interrupted; no backup is taken until it is settled"],
        "interrupted": {"id": "6b04d9abd2e2", "archive": archive, "started_at": iso(NOW - timedelta(minutes=42))},
        "kept": [kept],
    }
    return coded(document, "interrupted")


def many() -> Document:
    """Five hundred archives that all stay."""
    return good(500, keep_all=True)


EVERY = {
    "empty": empty,
    "good": good,
    "warning": with_warnings,
    "stale": stale,
    "failing": failing,
    "interrupted": interrupted,
    "many": many,
}


def _frame() -> Document:
    return {
        "schema": 1,
        "safeharbor_version": "0.1.0",
        "health": "good",
        "healthy": True,
        "reasons": [],
        "findings": [],
        "max_age_seconds": 26 * 3600.0,
        "damaged": 0,
        "kept": [],
        "interrupted": None,
        "next_backup": iso(LAST_NIGHT + timedelta(days=1, seconds=-4)),
        "schedule": "0 0 3 * * *",
        "timezone": "UTC",
        "last_failure": None,
        "storage": {"free_bytes": 73_139_666_944, "next_archive_bytes": 1_243_000_000, "fits": 58},
        "retention": {"daily": 7, "weekly": 4, "next_deleted": [], "warnings": []},
        "published_at": iso(NOW - timedelta(seconds=20)),
        "drill_max_seconds": 900.0,
        "told": ["2 receivers of messages", "a check that expects a ping"],
        "offsite": [
            {
                "name": "restic",
                "copied_at": iso(LAST_NIGHT + timedelta(minutes=97)),
                "archive": f"safeharbor-backup-{LAST_NIGHT:%Y-%m-%dT%H-%M-%SZ}.tar",
                "drilled_at": iso(LAST_NIGHT - timedelta(days=3)),
            }
        ],
    }


def _archive(day: int, moment: datetime, name: str, size: int, reasons: tuple[str, ...]) -> Document:
    rows, files = _rows(day), _files(day)
    shares = {"2026": 0.44, "2025": 0.31, "2024": 0.17, "avatars": 0.06, "harbour-maps": 0.02}
    upload_bytes = int(size * 0.93)
    return {
        "name": name,
        "taken_at": iso(moment),
        "size_bytes": size,
        "new_bytes": size if day % 7 == 3 else int(size * 0.021),
        "state": "complete",
        "problem": "",
        "kept_as": list(reasons),
        "is_daily": any("daily" in reason for reason in reasons),
        "is_weekly": any("week" in reason for reason in reasons),
        "goes_next": False,
        "server_version": "18.4",
        "database": "logbook",
        "tables": len(TABLES),
        "rows": sum(rows),
        "upload_files": files,
        "upload_bytes": upload_bytes,
        "largest_tables": [[f"public.{table}", count] for table, count in zip(TABLES, rows, strict=True)],
        "folders": [[folder, int(files * part), int(upload_bytes * part)] for folder, part in shares.items()],
        "warnings": [],
        "verified_at": iso(moment + timedelta(hours=2)) if day % 7 == 3 else None,
        "drilled_at": iso(moment + timedelta(hours=1)) if day % 28 == 3 else None,
    }


def _rows(day: int) -> list[int]:
    return [int((84_211 - 61 * day) / (1 + 2.1 * index) ** 1.7) for index in range(len(TABLES) - 1)] + [1]


def _files(day: int) -> int:
    return 12_480 - 13 * day


def _outcome(
    command: str, moment: datetime, seconds: float, archive: str | None, *,
    size: int | None = None, rows: int | None = None, files: int | None = None, status: int = 0, reason: str = "",
) -> Document:  # fmt: skip
    return {
        "command": command,
        "started_at": iso(moment),
        "seconds": round(seconds, 3),
        "exit_status": status,
        "archive": archive,
        "reason": reason,
        "warnings": [],
        "size_bytes": size,
        "rows": rows,
        "upload_files": files,
        "phases": {},
    }


def _newest(archive: Document) -> Document:
    keys = ("name", "taken_at", "size_bytes", "tables", "rows", "upload_files", "upload_bytes")
    return {"path": f"/backups/{archive['name']}", **{key: archive[key] for key in keys}}


def _newest_of(command: str, history: list[Document]) -> Document:
    return next(run for run in reversed(history) if run["command"] == command)


def evidence_report() -> EvidenceReport:
    """Four weeks of drills, each with another result and another kind of signature."""
    kinds = zip(
        ("passed", "warnings", "failed", "impossible"), ("signed", "unsigned", "rejected", "not checked"), strict=True
    )
    drills = tuple(
        ShownDrill(
            evidence=f"safeharbor-drill-2026-11-{22 - 7 * week:02}T06-00-00Z.json",
            drilled_at=NOW - timedelta(days=3 + 7 * week),
            result=result,
            exit_status=0,
            archive="safeharbor-backup-2026-11-22T03-00-04Z.tar",
            taken_at=NOW - timedelta(days=3 + 7 * week, hours=13),
            archive_bytes=1400 * MEBIBYTE,
            sha256_of_members="0123456789abcdef" * 4,
            offsite=None if week else "nas",
            server="the server that restores go to, db:5432, PostgreSQL 18.4",
            safeharbor_version="0.2.0",
            tables=9,
            rows=None if result == "impossible" else 482_113,
            upload_files=2914,
            upload_bytes=1300 * MEBIBYTE,
            rows_compared=482_113,
            files_compared=2914,
            as_recorded=("rows of 9 tables", "SHA-256 of 2,914 uploads"),
            not_compared=("content of public.tide_reading: the time limit was reached",),
            restore_seconds=None if result == "impossible" else 600.0 + 200 * week,
            max_restore_seconds=900.0,
            signature=signature,
            signer="reef@harbour" if signature == "signed" else None,
            key="ED25519 key SHA256:fY4vW+RVmcmG72JqVKwXcBQWvvVIWdxSoAekcjewKIA" if signature == "signed" else None,
            signature_problem="",
            problems=("public.photo has 9 rows instead of 10",) if result == "failed" else (),
            warnings=("the restore took longer",) if result == "warnings" else (),
        )
        for week, (result, signature) in enumerate(kinds)
    )
    return EvidenceReport(
        made_at=NOW,
        since=NOW - timedelta(days=365),
        until=NOW,
        databases=("reef",),
        signers="/etc/safeharbor/signers",
        drills=drills,
        unreadable=("safeharbor-drill-2026-11-01T06-00-00Z.json: it is not JSON",),
    )


def archive_list(*, files: list[list[Any]] | None = None, **changed: Any) -> bytes:
    """The list of what is in last night's archive, as it is published; a file is a path, a size and a checksum."""
    random = Random(9)
    if files is None:
        files = [
            [
                f"2026/{number % 12 + 1:02}/dive-{number:05}.jpg",
                random.randrange(8 << 20),
                f"{random.getrandbits(48):012x}",
            ]
            for number in sorted(range(1240), key=lambda number: (number % 12, number))
        ]
    rows = dict(zip(TABLES, (84211, 12304, 3377, 2210, 910_455, 412, 1033, 12, 1), strict=True))
    head = {
        "schema": 1,
        "archive": f"safeharbor-backup-{LAST_NIGHT:%Y-%m-%dT%H-%M-%SZ}.tar",
        "taken_at": iso(LAST_NIGHT),
        "size_bytes": 1180 * MEBIBYTE,
        "database": "logbook",
        "rows": sum(rows.values()),
        "table_count": len(rows),
        "tables": sorted([f"public.{name}", count] for name, count in rows.items()),
        "upload_files": len(files),
        "upload_bytes": sum(size or 0 for _, size, _ in files),
        "files": len(files),
        "cut": False,
        "problem": "",
        **changed,
    }
    lines = [head, *({"path": path, "size_bytes": size, "sha256": digest} for path, size, digest in files)]
    return gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines), mtime=0)
