"""Writes what other files repeat of settings, checks, commands and documents, from the program's own.

That is man/, tables, lists and schemas in docs/, and lines of mkdocs.yml, compose.yaml and .env.example. Where people
write such a list by hand, this adds only what they have not written. `--check` only compares.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from importlib import import_module
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
from safeharbor_backup.cli.documents import NotifyDocument
from safeharbor_backup.cli.extract_documents import ExtractTableDocument
from safeharbor_backup.cli.failure import Failure
from safeharbor_backup.cli.lazy import COMMANDS, HELP_OPTIONS
from safeharbor_backup.cli.main import cli
from safeharbor_backup.cli.restore_documents import (
    DiscardDocument,
    RecoveryDocument,
    RestoreDocument,
    RestorePlanDocument,
)
from safeharbor_backup.errors import ExitStatus
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

    from safeharbor_backup.settings.setting import Setting

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = ROOT / "docs" / "reference" / "schemas"
MADE = re.compile(r"^ *(?:# |<!-- )begin: made by.*?^ *(?:# |<!-- )end(?: -->)?$", re.MULTILINE | re.DOTALL)
# name of the schema, the class, and what it is the schema of. The only document of a command is found by itself
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
    ("extract-table", ExtractTableDocument, "`extract --table --json`: [a table](../extract.md)"),
    ("notify", NotifyDocument, "`notify --test --json`: [test messages](../notify.md)"),
    ("report-evidence", EvidenceReport, "`report --evidence --json`: [what drills have proven](../report.md)"),
    ("restore", RestoreDocument, "`restore --from … --json`: [a restore](../restore.md)"),
    ("restore-plan", RestorePlanDocument, "`restore --dry-run --json`: what it would do"),
    ("restore-recovery", RecoveryDocument, "`restore --undo --json` and `--resume`"),
    ("restore-discard", DiscardDocument, "`restore --discard-previous --json`"),
)


def main() -> None:
    settings = ((f"`{each.name}`", shown(each.shown_default), each.meaning) for each in SETTINGS)
    checks = ((f"`{each.name}`", each.meaning) for each in CHECKS)
    renew("docs/reference/settings.md", "settings/table.py", table(("setting", "default", "meaning"), settings))
    renew("docs/doctor.md", "actions/doctor/", table(("line", "checks"), checks))
    renew_stack()
    renew_commands()
    documents = (*DOCUMENTS, *command_documents())
    schemas = ((f"[`{name}.json`](schemas/{name}.json)", meaning) for name, _, meaning in documents)
    renew("docs/reference/schemas.md", "", table(("schema", "of"), schemas))
    for name, kind, _ in documents:
        write(SCHEMAS / f"{name}.json", schema_of(kind))
    for file, page in man_pages(cli, COMMANDS).items():
        write(ROOT / "man" / file, page)


def renew_stack() -> None:
    """compose.yaml hands each setting on that it does not mention itself; .env.example shows them all."""
    in_compose = re.findall(r"^    (?:# )?([A-Z_]+): ", by_hand("compose.yaml"), re.MULTILINE)
    passed = [each for each in SETTINGS if each.name not in in_compose]
    renew("compose.yaml", "settings/table.py", "".join(f"    {each.name}: ${{{each.name}:-}}\n" for each in passed), 4)
    in_example = re.findall(r"^#?([A-Z_]+)=", by_hand(".env.example"), re.MULTILINE)
    examples = (example(each) for each in passed if each.name not in in_example)
    renew(".env.example", "settings/table.py", "\n".join(examples), 0)


def example(setting: Setting) -> str:
    """A setting as .env.example shows it."""
    meaning = f"{setting.meaning} Default: {setting.rule}." if setting.rule else setting.meaning
    value = f'"{setting.default}"' if " " in setting.default else setting.default
    return textwrap.fill(meaning, 118, initial_indent="# ", subsequent_indent="# ") + f"\n#{setting.name}={value}\n"


def renew_commands() -> None:
    """The reference, the table of exit statuses and the lists of pages have every command."""
    in_reference = re.findall(r"^## (.*)$", by_hand("docs/reference/commands.md"), re.MULTILINE)
    sections = [section(name) for name in sorted(COMMANDS) if name not in in_reference]
    helps = map(help_text, ["", *sorted(COMMANDS)])
    texts = "\n".join([*sections, "## What --help prints\n", *helps])
    renew("docs/reference/commands.md", "cli/commands/", texts)
    columns = range(10)
    marks = ((f"`{each}`", *("x" if status in statuses_of(each) else "" for status in columns)) for each in COMMANDS)
    ends = table(("", *map(str, columns)), marks, ":-:")
    renew("docs/reference/exit-statuses.md", "cli/commands/", ends)
    lists = (("docs/index.md", "- [`{0}`]({0}.md): {1}\n", None), ("mkdocs.yml", "      - {0}: {0}.md\n", 6))
    for file, line, indent in lists:
        listed = re.findall(r"([\w/-]+)\.md", by_hand(file))
        missing = (line.format(*each) for each in COMMANDS.items() if each[0] not in listed)
        renew(file, "cli/lazy.py", "".join(missing), indent)


def section(name: str) -> str:
    """What the reference says of a command about which nobody has written more there."""
    context = context_of(name)
    parameters = context.command.params
    rows = [each.get_help_record(context) or (each.human_readable_name, "") for each in parameters]
    cells = ((f"`{shown}`".replace("|", "\\|"), text.replace("|", "\\|")) for shown, text in rows)
    options = table(("argument or option", "meaning"), cells) if rows else "It has no options.\n"
    *statuses, last = statuses_of(name)
    ends = f"Ends with {', '.join(map(str, statuses))} or {last} ([exit statuses](exit-statuses.md))."
    return f"## {name}\n\n{COMMANDS[name]} [How to](../{name}.md)\n\n{options}\n{ends}\n"


def statuses_of(name: str) -> list[int]:
    """The exit statuses of a command, without those of signals."""
    command = context_of(name).command
    stated = {int(each) for each in re.findall(r"^(\d)  ", command.epilog or "", re.MULTILINE)}
    prints = {ExitStatus.STORAGE.value} if getattr(command, "only_prints", None) else set()
    return sorted(stated | prints)


def command_documents() -> list[tuple[str, type, str]]:
    """What `--json` prints of commands, from their modules: the documents that are not in `DOCUMENTS`."""
    known = {kind for _, kind, _ in DOCUMENTS}
    found = []
    for name in sorted(COMMANDS):
        for kind in vars(import_module(f"safeharbor_backup.cli.commands.{name.replace('-', '_')}")).values():
            is_document = getattr(kind, "__name__", "").endswith("Document") and "schema" in kind.__struct_fields__
            if is_document and kind not in known:
                what = re.split(r"[;.]\s|\.$", kind.__doc__)[0]
                found.append((name, kind, f"`{name} --json`: [{what[0].lower()}{what[1:]}](../{name}.md)"))
    return found


def schema_of(kind: type) -> str:
    """The JSON Schema of a document, as a file."""
    made = msgspec.json.schema(kind, schema_hook=lambda _: {"description": "anything"})
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
    return json.dumps(schema, indent=1).replace("\\n    ", "\\n") + "\n"  # docstrings are indented


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], rule: str = "---") -> str:
    """A table in Markdown; `rule` says how the columns behind the first are aligned."""
    first, *others = ("".join(f"| {cell} " if cell else "| " for cell in cells) + "|\n" for cells in (head, *rows))
    return f"{first}|---{f'|{rule}' * (len(head) - 1)}|\n{''.join(others)}"


def context_of(name: str) -> click.Context:
    """A command, or with "" the group, as it is called."""
    context = click.Context(
        cli, info_name="safeharbor", terminal_width=80, help_option_names=HELP_OPTIONS["help_option_names"]
    )
    if not name:
        return context
    command = cli.get_command(context, name)
    assert command is not None
    return click.Context(command, parent=context, info_name=name, terminal_width=80)


def help_text(name: str) -> str:
    """What `--help` of a command prints, at 80 columns."""
    context = context_of(name)
    return f"```\n$ {context.command_path} --help\n{context.get_help().rstrip()}\n```\n"


def by_hand(name: str) -> str:
    """What nothing here has written into the file."""
    return MADE.sub("", (ROOT / name).read_text())


def renew(name: str, source: str, made: str, indent: int | None = None) -> None:
    """What stands between the lines that say where it comes from: comments of Markdown, or indented ones of YAML."""
    begin = f"begin: made by scripts/make-doc-tables.py from src/safeharbor_backup/{source}; `make format` renews it"
    if indent is None:
        first, made, last = f"<!-- {begin} -->\n", f"\n{made}\n", "<!-- end -->\n"
    else:
        first, last = f"{' ' * indent}# {begin}\n", f"{' ' * indent}# end\n"
    before, found, rest = (ROOT / name).read_text().partition(first)
    _, end, after = rest.partition(last)
    if not (found and end):
        sys.exit(f"{name} lacks the lines between which this is written: {first.strip()} {last.strip()}")
    write(ROOT / name, f"{before}{first}{made}{last}{after}")


def write(path: Path, text: str) -> None:
    """Write the file, or fail if it is another with `--check`."""
    if "--check" not in sys.argv[1:]:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    elif not path.exists() or path.read_text() != text:
        sys.exit(f"{path.relative_to(ROOT)} is not up to date: `make format` writes it anew")


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
