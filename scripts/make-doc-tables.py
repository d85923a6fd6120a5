"""Writes the tables of settings and of doctor's checks and the schemas in docs/, and man/, from the program's own.

`--check` only compares.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from safeharbor_backup import __version__
from safeharbor_backup.actions.doctor.run import CHECKS
from safeharbor_backup.actions.status.list_schema import ArchiveList, ListedFile
from safeharbor_backup.actions.status.schema import StatusDocument
from safeharbor_backup.archive.index import IndexFront
from safeharbor_backup.archive.manifest import Manifest
from safeharbor_backup.cli import diff_documents, documents
from safeharbor_backup.cli.failure import Failure
from safeharbor_backup.cli.lazy import COMMANDS, HELP_OPTIONS
from safeharbor_backup.cli.main import cli
from safeharbor_backup.cli.restore_documents import (
    DiscardDocument,
    RecoveryDocument,
    RestoreDocument,
    RestorePlanDocument,
)
from safeharbor_backup.settings.table import SETTINGS
from safeharbor_backup.state.adopted import Adopted
from safeharbor_backup.state.evidence import Evidence
from safeharbor_backup.state.history import Outcome
from safeharbor_backup.state.journal import JournalDocument
from safeharbor_backup.state.marks import Mark
from safeharbor_backup.state.offsite import OffsiteCopies
from safeharbor_backup.web.evidence import EvidenceReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DOCS = Path(__file__).resolve().parent.parent / "docs"
END = "<!-- end -->\n"
# name of the schema, the class, and what it is the schema of
DOCUMENTS: tuple[tuple[str, type, str], ...] = (
    ("manifest", Manifest, "`manifest.json` in an archive: [the format](../archive-format.md#manifestjson)"),
    ("history", Outcome, "each line of `.safeharbor/history.jsonl`: how a run ended"),
    ("journal", JournalDocument, "`.safeharbor-restore.json`: what restores have done and left behind"),
    ("status", StatusDocument, "`status --json` and `BACKUP_STATUS_FILE`: [the state of the backups](../status.md)"),
    (
        "archive-list",
        ArchiveList,
        "the first line of a list beside the status file: [what an archive has](../status.md#what-is-in-each-archive)",
    ),
    ("archive-list-file", ListedFile, "each further line of such a list: a file"),
    ("failure", Failure, "what `--json` prints of a command that failed before it had a document of its own"),
    ("mark", Mark, "`NAME.keep` beside an archive that is to stay: [why](../prune.md)"),
    ("evidence", Evidence, "`safeharbor-drill-<time>.json`: [what a drill found](../drill.md)"),
    ("adopted", Adopted, "`.safeharbor/adopted.json`: what `prune --adopt` accepted"),
    ("offsite", OffsiteCopies, "`.safeharbor/offsite.json`: [copies elsewhere](../offsite-done.md)"),
    ("index", IndexFront, "the first 4,096 bytes of `.safeharbor/index`, after their digest"),
    ("backup", documents.BackupDocument, "`backup --json`: [a backup](../backup.md)"),
    ("copy", documents.CopyDocument, "`copy --json`: [a copy](../copy.md)"),
    ("diff", diff_documents.DiffDocument, "`diff --json`: [what changed](../diff.md)"),
    ("doctor", documents.DoctorDocument, "`doctor --json`: [the checks](../doctor.md)"),
    ("drill", documents.DrillDocument, "`drill --json`: the evidence, and where it is"),
    ("extract", documents.ExtractDocument, "`extract --json`: [files](../extract.md)"),
    ("extract-table", documents.ExtractTableDocument, "`extract --table --json`: [a table](../extract.md)"),
    ("find", documents.FindDocument, "`find --json`: [files in archives](../find.md)"),
    ("keep", documents.KeepDocument, "`keep --json`: [an archive that stays](../keep.md)"),
    ("list", documents.ListDocument, "`list --json`: [the archives](../list.md)"),
    ("notify", documents.NotifyDocument, "`notify --test --json`: [test messages](../notify.md)"),
    ("offsite-done", documents.OffsiteDoneDocument, "`offsite-done --json`: [a copy elsewhere](../off-site.md)"),
    ("prune", documents.PruneDocument, "`prune --json`: [what retention deletes](../prune.md)"),
    ("report", documents.ReportDocument, "`report --json`: [the page that was written](../report.md)"),
    ("report-evidence", EvidenceReport, "`report --evidence --json`: [what drills have proven](../report.md)"),
    ("restore", RestoreDocument, "`restore --from … --json`: [a restore](../restore.md)"),
    ("restore-plan", RestorePlanDocument, "`restore --dry-run --json`: what it would do"),
    ("restore-recovery", RecoveryDocument, "`restore --undo --json` and `--resume`"),
    ("restore-discard", DiscardDocument, "`restore --discard-previous --json`"),
    ("unkeep", documents.UnkeepDocument, "`unkeep --json`: [an archive that comes and goes again](../unkeep.md)"),
    ("verify", documents.VerifyDocument, "`verify --json`: [whether archives are whole](../verify.md)"),
)


def main() -> None:
    settings = ((f"`{each.name}`", shown(each.shown_default), each.meaning) for each in SETTINGS)
    checks = ((f"`{each.name}`", each.meaning) for each in CHECKS)
    renew("reference/settings.md", "settings/table.py", table(("setting", "default", "meaning"), settings))
    renew("doctor.md", "actions/doctor/", table(("line", "checks"), checks))
    renew("reference/commands.md", "cli/commands/", "\n".join(map(help_text, ["", *sorted(COMMANDS)])))
    schemas = ((f"[`{name}.json`](schemas/{name}.json)", meaning) for name, _, meaning in DOCUMENTS)
    renew("reference/schemas.md", "", table(("schema", "of"), schemas))
    for name, kind, _ in DOCUMENTS:
        write(DOCS / "reference" / "schemas" / f"{name}.json", schema_of(kind))
    for file, page in man_pages(cli, COMMANDS).items():
        write(DOCS.parent / "man" / file, page)


def schema_of(kind: type) -> str:
    """The JSON Schema of a document, as a file."""
    made = msgspec.json.schema(kind, schema_hook=lambda _: {"description": "anything"})
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
    return json.dumps(schema, indent=1).replace("\\n    ", "\\n") + "\n"  # docstrings are indented


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    first, *others = (f"| {' | '.join(cells)} |\n" for cells in (head, *rows))
    return f"{first}{'|---' * len(head)}|\n{''.join(others)}"


def help_text(name: str) -> str:
    """What `--help` of a command prints, at 80 columns."""
    context = click.Context(
        cli, info_name="safeharbor", terminal_width=80, help_option_names=HELP_OPTIONS["help_option_names"]
    )
    if name:
        command = cli.get_command(context, name)
        assert command is not None
        context = click.Context(command, parent=context, info_name=name, terminal_width=80)
    return f"```\n$ {context.command_path} --help\n{context.get_help().rstrip()}\n```\n"


def renew(name: str, source: str, made: str) -> None:
    """What stands between the lines that say where it comes from."""
    begin = (
        "<!-- begin: made by scripts/make-doc-tables.py from "
        f"src/safeharbor_backup/{source}; `make format` renews it -->\n"
    )
    page = (DOCS / name).read_text()
    before, found, rest = page.partition(begin)
    _, end, after = rest.partition(END)
    if not (found and end):
        sys.exit(f"docs/{name} lacks the lines between which its table stands: {begin.strip()} {END}")
    renewed = f"{before}{begin}\n{made}\n{END}{after}"
    write(DOCS / name, renewed)


def write(path: Path, text: str) -> None:
    """Write the file, or fail if it is another with `--check`."""
    if "--check" not in sys.argv[1:]:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    elif not path.exists() or path.read_text() != text:
        sys.exit(f"{path.relative_to(DOCS.parent)} is not up to date: `make format` writes it anew")


def shown(default: str) -> str:
    """Values in code, explanations as they are."""
    if not default:
        return "none"
    if " " in default and not default[0].isdigit():
        return default.replace("<", "&lt;")  # in Markdown a bare <major> is a tag, and does not show
    return f"`{default}`"


def man_pages(cli: click.Group, commands: Mapping[str, str]) -> dict[str, str]:
    """Each page by the name of its file."""
    context = click.Context(cli, info_name="safeharbor", help_option_names=HELP_OPTIONS["help_option_names"])
    pages = {"safeharbor.1": _page("safeharbor", "proven backups of PostgreSQL and uploads", context, commands)}
    for name, summary in commands.items():
        command = cli.get_command(context, name)
        assert command is not None
        inside = click.Context(command, parent=context, info_name=name)
        pages[f"safeharbor-{name}.1"] = _page(f"safeharbor-{name}", summary.rstrip("."), inside, {})
    return pages


def _page(name: str, summary: str, context: click.Context, commands: Mapping[str, str]) -> str:
    command = context.command
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [
        f'.TH "{_text(name.upper())}" "1" "" "Safe Harbor {_text(__version__)}" "Safe Harbor"',
        f".SH NAME\n{_text(name)} \\- {_text(summary)}",
        f".SH SYNOPSIS\n.B {_text(context.command_path)}\n{_text(usage)}",
        ".SH DESCRIPTION\n" + "\n.PP\n".join(map(_text, (command.help or "").split("\n\n"))),
        ".SH OPTIONS\n"
        + _list(record for each in command.get_params(context) if (record := each.get_help_record(context))),
    ]
    if commands:
        parts.append(".SH COMMANDS\n" + _list((f"safeharbor-{each}(1)", text) for each, text in commands.items()))
    if statuses := re.findall(r"^(\S+)  (.+)$", command.epilog or "", re.MULTILINE):
        parts.append(".SH EXIT STATUS\n" + _list(statuses))
    see = "each command has a page of its own" if commands else "safeharbor(1)"
    parts.append(f".SH SEE ALSO\n{_text(see)}; \\fBsafeharbor help\\fR prints the pages of the documentation.")
    return "\n".join(parts) + "\n"


def _list(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f".TP\n.B {_text(term)}\n{_text(' '.join(text.split()))}" for term, text in pairs)


def _text(text: str) -> str:
    """As troff takes it: nothing at the beginning of a line is a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("—", "\\(em")
    return re.sub(r"^(?=[.'])", "\\\\&", escaped, flags=re.MULTILINE)


if __name__ == "__main__":
    main()
