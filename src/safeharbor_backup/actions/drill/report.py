"""What a drill finds, gathered on its way, until its evidence and its result are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, to_builtins

import safeharbor_backup
from safeharbor_backup.actions.drill.result import DrillResult, status_of, verdict_of
from safeharbor_backup.actions.drill.server import Kind
from safeharbor_backup.actions.references import recorded_columns, recorded_missing
from safeharbor_backup.state.evidence import AppChecked, DrilledArchive, DrilledDatabase, DrillPlace, Evidence, Versions
from safeharbor_backup.text import iso_time, plural

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from safeharbor_backup.actions.drill.app_check import AppCheck
    from safeharbor_backup.actions.drill.compare import Comparison
    from safeharbor_backup.actions.drill.server import DrillServer
    from safeharbor_backup.actions.drill.uploads_check import ReadBack
    from safeharbor_backup.actions.restore.database_plan import DatabasePlan
    from safeharbor_backup.actions.restore.request import OpenArchive
    from safeharbor_backup.actions.restore.stage import Staged
    from safeharbor_backup.archive.manifest import Manifest
    from safeharbor_backup.errors import ExitStatus, SafeHarborError
    from safeharbor_backup.uploads.reference_paths import References

_MOST = 100  # warnings and problems in the evidence, each


@dataclass(slots=True)
class Report:
    """A drill under way. Sizes in bytes."""

    archive: Path
    begun_at: datetime
    offsite: str | None = None
    max_restore_seconds: float | None = None
    evidence: Path | None = None
    signature: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    app_check: AppCheck | None = None
    _given_up: ExitStatus | None = None
    _archive: dict[str, Any] = field(default_factory=dict)
    _server: DrillPlace | None = None
    _versions: dict[str, Any] = field(default_factory=dict)
    _compared: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _not_recorded: list[str] = field(default_factory=list)
    _tables: int = 0
    _rows: int | None = None
    _upload_files: int = 0
    _upload_bytes: int = 0
    _databases: dict[str, DrilledDatabase] = field(default_factory=dict)

    def describe_archive(self, archive: OpenArchive) -> None:
        """It could be opened."""
        self._archive = {
            "taken_at": iso_time(archive.taken_at) if archive.taken_at is not None else None,
            "size_bytes": archive.source.size,
        }
        manifest = archive.manifest
        if manifest is not None:
            self._archive["database"] = manifest.database
            self._archive["sha256_of_members"] = manifest.list_sha256
            self._versions["taken_by"] = manifest.safeharbor_version
            self._tables = len(manifest.tables)

    def describe_server(self, server: DrillServer) -> None:
        """It is drilled there."""
        self._server = DrillPlace(kind=server.kind.value, address=_place_of(server))
        self._versions["server"] = server.target.version

    def describe_plan(self, plan: DatabasePlan) -> None:
        """The dump was looked into."""
        self._versions["dumped_from"] = plan.contents.server_version
        self._versions["pg_restore"] = plan.contents.tools.version
        self._tables = self._tables or plan.contents.tables

    def describe_staged(self, staged: Staged) -> None:
        """The copy is there."""
        self._rows = staged.rows
        self._upload_files, self._upload_bytes = staged.upload_files, staged.upload_bytes

    def describe_comparison(
        self, comparison: Comparison, archive: OpenArchive, other_rows: Mapping[str, int | None]
    ) -> None:
        """A database of the archive was compared; `other_rows` are those of the ones beside the main one."""
        if archive.name and archive.manifest is not None:
            self._databases[archive.name] = DrilledDatabase(
                database=archive.manifest.database,
                tables=len(archive.manifest.tables),
                rows=other_rows.get(archive.name),
                compared={subject: dict(found) for subject, found in comparison.compared.items()},
                not_recorded=tuple(comparison.not_recorded),
            )
            self.problems += [f"{archive.name}: {each}" for each in comparison.differences]
            self.warnings += [f"{archive.name}: {each}" for each in comparison.cautions]
            return
        self._compared = {**comparison.compared, **self._compared}
        self._not_recorded = comparison.not_recorded
        self.problems += comparison.differences
        self.warnings += comparison.cautions

    def describe_uploads(self, found: ReadBack, recorded: int) -> None:
        """The uploads were read back."""
        self._compared["uploads"] = {
            "recorded": recorded,
            "equal": found.files - found.different.count,
            "size_bytes": found.size_bytes,
            "different": found.different.names[:_MOST],
        }
        if found.different.count:
            first = ", ".join(found.different.names[:3])
            differ = "differs" if found.different.count == 1 else "differ"
            self.problems.append(f"{plural(found.different.count, 'upload')} {differ} from the backup: {first}")
        if found.unreadable.count:
            first = ", ".join(found.unreadable.names[:3])
            self.warnings.append(
                f"{plural(found.unreadable.count, 'upload')} cannot be read by their own owner. They were compared "
                f"while they were written, and not read back: {first}"
            )

    def describe_references(self, found: References, manifest: Manifest | None) -> None:
        """What columns name as uploads was looked for in the copy."""
        self._compared["references"] = to_builtins(found.recorded())
        self.warnings += found.warnings("the copy")
        lost, before = found.missing.count + found.outside.count, recorded_missing(manifest)
        if set(found.columns) <= set(recorded_columns(manifest)) and lost > before:
            have = "reference to uploads has" if lost == 1 else "references to uploads have"
            self.problems.append(f"{lost:,} {have} no file; when the archive was taken, {before:,} had none")

    def judge_time(self) -> None:
        """Whether the restore kept to the objective."""
        took, most = self.seconds.get("restore", 0.0), self.max_restore_seconds
        if most is not None and took > most:
            text = f"the restore took {took:.1f} s, and the objective is {most:g} s (BACKUP_DRILL_MAX_SECONDS)"
            self.warnings.append(text)

    def give_up(self, error: SafeHarborError) -> None:
        """The drill cannot be done here, which says nothing of the archive."""
        self._given_up = error.exit_status
        self.problems.append(error.message)

    def document(self) -> Evidence:
        """The evidence. No secret is in it."""
        check = self.app_check
        status = status_of(self.problems, self.warnings) if self._given_up is None else self._given_up
        return Evidence(
            drilled_at=iso_time(self.begun_at),
            result=verdict_of(status, given_up=self._given_up is not None),
            exit_status=int(status),
            archive=DrilledArchive(
                name=self.archive.name, path=str(self.archive), offsite=self.offsite or UNSET, **self._archive
            ),
            server=self._server,
            versions=Versions(safeharbor=safeharbor_backup.__version__, **self._versions),
            tables=self._tables,
            rows=self._rows,
            upload_files=self._upload_files,
            upload_bytes=self._upload_bytes,
            restore_seconds=self.seconds.get("restore"),
            max_restore_seconds=self.max_restore_seconds,
            seconds=dict(self.seconds),
            compared={name: dict(found) for name, found in self._compared.items()},
            not_recorded=tuple(self._not_recorded),
            databases=dict(self._databases) or UNSET,
            app_check=None
            if check is None
            else AppChecked(
                program=check.program,
                exit_status=check.exit_status,
                seconds=check.seconds,
                output=tuple(check.output),
            ),
            problems=tuple(self.problems[:_MOST]),
            warnings=tuple(self.warnings[:_MOST]),
        )

    def result(self) -> DrillResult:
        """What it came to."""
        return DrillResult(
            archive=self.archive,
            evidence=self.evidence,
            signature=self.signature,
            server=self._place_in_words(),
            tables=self._tables,
            rows=self._rows,
            upload_files=self._upload_files,
            upload_bytes=self._upload_bytes,
            restore_seconds=self.seconds.get("restore", 0.0),
            seconds=round(sum(self.seconds.values()), 3),
            app_check=self.app_check,
            compared=self._compared,
            not_recorded=tuple(self._not_recorded),
            problems=tuple(self.problems),
            warnings=tuple(self.warnings),
            document=self.document(),
            databases=dict(self._databases),
        )

    def _place_in_words(self) -> str:
        if self._server is None:
            return ""
        where = self._server.kind if self._server.kind == Kind.PRIVATE else self._server.address
        return f"{where}, PostgreSQL {self._versions.get('server', '')}"


def _place_of(server: DrillServer) -> str:
    """The server without the database's name, as an operator would name it."""
    return server.target.url.describe().rpartition('" on ')[2]
