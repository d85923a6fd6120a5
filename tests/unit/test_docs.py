"""The documentation is complete and true as far as a program can tell."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from safeharbor_backup.actions.catalog.retention import Candidate, Tiers, judge_archives
from safeharbor_backup.actions.doctor.findings import Level
from safeharbor_backup.actions.doctor.run import CHECKS
from safeharbor_backup.archive.layout import archive_name
from safeharbor_backup.cli.lazy import COMMANDS
from safeharbor_backup.cli.main import cli
from safeharbor_backup.errors import ExitStatus
from safeharbor_backup.settings.table import SETTINGS
from support.postgres import MAJORS

if TYPE_CHECKING:
    pass

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("README.md")])
MORE_SCHEMAS = {
    "extract-table": "extract", "restore-plan": "restore", "restore-recovery": "restore", "restore-discard": "restore",
}  # fmt: skip
READ_AT_NIGHT = [page for page in PAGES if page.name != "CHANGELOG.md"]
DECISION_PAGES = [page for page in sorted((DOCS / "decisions").glob("*.md")) if page.name != "README.md"]


def command_named(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


JSON_OF = {name for name in COMMANDS if any(each.name == "as_json" for each in command_named(name).params)}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_is_documented(name: str) -> None:
    section = section_of(name)

    assert COMMANDS[name] in section
    assert (DOCS / f"{name}.md").exists()
    for parameter in command_named(name).params:
        shown = parameter.opts[0] if parameter.param_type_name == "option" else str(parameter.name).upper()
        assert f"`{shown}" in section, shown


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_option_is_documented_that_does_not_exist(name: str) -> None:
    known = {option for parameter in command_named(name).params for option in parameter.opts}

    assert set(re.findall(r"^\| `(--[a-z-]+)", section_of(name), re.MULTILINE)) <= known


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_exit_status_of_a_command_is_documented(name: str) -> None:
    epilog = command_named(name).epilog or ""
    stated = re.search(r"^Ends with ([0-9, or]+)", section_of(name), re.MULTILINE)
    row = re.search(rf"^\| `{name}` \|(.*)\|$", (DOCS / "reference" / "exit-statuses.md").read_text(), re.MULTILINE)

    assert stated is not None
    assert row is not None
    documented = set(map(int, re.findall(r"\d", stated[1])))
    assert set(map(int, re.findall(r"^(\d)  ", epilog, re.MULTILINE))) <= documented
    assert {status for status, mark in enumerate(row[1].split("|")) if mark.strip()} == documented


@pytest.mark.parametrize("schema", sorted({*JSON_OF, *MORE_SCHEMAS}))
def test_every_key_of_a_json_document_is_documented(schema: str) -> None:
    page = (DOCS / f"{MORE_SCHEMAS.get(schema, schema)}.md").read_text()

    for key in keys_of(schema):
        assert re.search(rf'`(?:[a-z_]+\.)*{key}`|"{key}": ', page), key


def test_every_command_that_prints_json_has_a_schema() -> None:
    schemas = {path.stem for path in (DOCS / "reference" / "schemas").glob("*.json")}

    assert {"backup", "status", "verify"} <= JSON_OF <= schemas


def test_the_tables_of_settings_and_checks_are_those_that_the_program_has() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "make-doc-tables.py", "--check"], check=False)

    assert done.returncode == 0
    assert first_column(DOCS / "reference" / "settings.md") == [each.name for each in SETTINGS]
    assert first_column(DOCS / "doctor.md") == [each.name for each in CHECKS]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("compose.yaml", "    BACKUP_MIN_FREE: "),
        (".env.example", "#BACKUP_LOCK_TIMEOUT="),
        (".env.example", "#BACKUP_MIN_FREE="),  # this one is written by hand
        ("mkdocs.yml", "      - idle: "),
        ("docs/index.md", "- [`idle`]"),
        ("docs/reference/commands.md", "## idle"),
        ("docs/reference/exit-statuses.md", "| `keep` | x "),
        ("docs/reference/schemas.md", "| [`keep.json`]"),
    ],
)
def test_a_line_about_a_setting_or_a_command_that_is_missing_is_reported_and_written(
    file: str, line: str, tmp_path: Path
) -> None:
    for name in ("docs", "man", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.png"))
    for name in ("compose.yaml", ".env.example", "mkdocs.yml"):
        shutil.copy(ROOT / name, tmp_path)
    make = [sys.executable, str(tmp_path / "scripts" / "make-doc-tables.py")]
    page = tmp_path / file
    page.write_text(re.sub(rf"^{re.escape(line)}.*\n", "", page.read_text(), count=1, flags=re.MULTILINE))
    assert f"\n{line}" not in page.read_text()

    checked = subprocess.run([*make, "--check"], check=False, capture_output=True, text=True)
    subprocess.run(make, check=True)

    assert checked.returncode == 1
    assert checked.stderr == f"{file} is not up to date: `make format` writes it anew\n"
    assert f"\n{line}" in page.read_text()


def test_the_page_of_platforms_has_the_service_that_init_prints() -> None:
    service = (ROOT / "deploy" / "docker" / "sidecar.yaml").read_text()

    assert f"```yaml\n{service}```" in (DOCS / "recipes" / "platforms.md").read_text()


def test_every_setting_that_the_program_reads_is_in_the_table() -> None:
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    read = set(re.findall(r'"(BACKUP_[A-Z_]+[A-Z])"', source))

    assert read <= {each.name for each in SETTINGS}


def test_every_finding_of_doctor_has_the_name_of_a_check() -> None:
    makers = "fine|remark|warning|problem|not_checked|failed|check_published"
    ours = ROOT / "src" / "safeharbor_backup"
    source = "".join(path.read_text() for path in [*ours.glob("actions/doctor/*.py"), ours / "cli/commands/doctor.py"])

    assert set(re.findall(rf'\b(?:{makers})\(\s*"([^"]+)"', source)) == {check.name for check in CHECKS}


@pytest.mark.parametrize("level", list(Level))
def test_every_level_of_doctor_is_documented(level: Level) -> None:
    assert f"\n| `{level.value}` |" in (DOCS / "doctor.md").read_text()


@pytest.mark.parametrize("status", list(ExitStatus), ids=lambda status: status.name)
def test_every_exit_status_is_documented(status: ExitStatus) -> None:
    page = (DOCS / "reference" / "exit-statuses.md").read_text()
    readme = (ROOT / "README.md").read_text().split("\n## Exit statuses\n", 1)[1].split("\n## ", 1)[0]

    assert f"| {status.value} | {status.name} |" in page
    assert re.search(rf"^\| [0-9, ]*\b{status.value}\b[0-9, ]* \|", readme, re.MULTILINE)


def test_every_key_of_the_manifest_is_specified() -> None:
    page = (DOCS / "archive-format.md").read_text().split("\n## manifest.json\n", 1)[1]

    for key in keys_of("manifest"):
        assert re.search(rf"`(?:[a-z_]+\.|\.)*{re.escape(key)}[`.]", page), key


def test_the_worked_example_of_retention_is_what_the_program_decides() -> None:
    page = (DOCS / "prune.md").read_text()
    nights = [datetime(2026, 5, 1, 3, tzinfo=UTC) + timedelta(days=day) for day in range(14)]
    candidates = [Candidate(archive_name(night), int(night.timestamp() + 4) * 10**9) for night in nights]

    for verdict in judge_archives(candidates, Tiers(7, 4)):
        decided = "keep" if verdict.keep else "would delete"
        assert f"\n{decided}  {verdict.name}  {', '.join(verdict.reasons)}\n" in page


@pytest.mark.parametrize(("weekday", "stay"), [("Saturday", 9), ("Sunday", 10), ("Monday", 9)])
def test_in_the_long_run_as_many_archives_stay_as_the_page_says(weekday: str, stay: int) -> None:
    last_night = datetime(2026, 5, 16 + ["Saturday", "Sunday", "Monday"].index(weekday), 3, tzinfo=UTC)
    nights = [last_night - timedelta(days=day) for day in range(60)]
    candidates = [Candidate(archive_name(night), int(night.timestamp()) * 10**9) for night in nights]

    assert sum(verdict.keep for verdict in judge_archives(candidates, Tiers(7, 4))) == stay


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        if "://" in target:
            continue
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors_of(linked), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_shows_exists_with_its_options(page: Path) -> None:
    text = page.read_text().replace("\\\n", " ")  # a command may go on in the next line
    typed = re.compile(r"\bsafeharbor(?: --django| --env-file \S+)? ([a-z]+)((?: [^`|#;&\n]*)?)")
    shown = [*re.findall(r"`[^`\n]+`", text), *re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    for name, rest in (found for part in shown for found in typed.findall(part)):
        if name in COMMANDS:
            known = {option for parameter in command_named(name).params for option in parameter.opts} | {"--help"}
            assert set(re.findall(r"(?<= )--[a-z-]+", rest)) <= known, f"{name}{rest}"


# what reads as translated; CONTRIBUTING.md has better words. Decisions are as they were written
AWKWARD = (
    r"archives? before(?= |\.|,)(?! TIME)",
    r"\b(?:is|are|be|were|was|and|always|problem|not) told\b(?! apart| to)",
    r"\btold (?:are|as|in|is|of)\b",
    r"\bnamed are\b",
    r"\bnone is named\b",
    r"\btells of\b",
    r"\bhow the backups are\b",
    r"\bretention gives up\b",
    r"\bbad night\b",
    r"\bare set, \S+ have their defaults\b",
    r"\bforesaw\b",
    r"\b(?:left|leave) away\b",
    r"\b(?:can|is|are) (?:to )?be had\b",
    r"\bbears? (?:an|the)\b",
    r"\bput (?:it|that|this|them) right\b",
    r"\bpass(?:ed|es)? over\b",
    r"\bfor want of\b",
    r"(?<!there )\bis no (?:setting|time|UTF-8)\b",
    r"\bstands? (?:where|in the place)\b",
    r"\b(?:made|written) anew\b",
    r"\beverybody here\b",
    r"\bspeaks? of\b",
    r"\bone command heals\b",
    r"\ball the same\b",
    r"\b(?:does|do|would) not tell\b",
    r"\btells (?:the|which|whether|how|what)\b",
    r"\bmay be \d+ hours old\b",
    r"\bat the price of\b",
    r"\btaken apart\b",
    r"\bis to be said\b",
    r"\bin vain\b",
    r"\bnone is due\b",
    r"\bfind out why; if it is right\b",
    r"\broom left\b",
    r"\bnot since it was\b",
    r"\btime was up\b",
    r"\banother one than\b",
    r"\bgive[ns]? things to\b",
    r"\bas it was left\b",
    r"\b(?:is|are) no (?:superuser|regular file|directory in)\b",
    r"(?<!there )\b(?:is|are|was|were) no (?:warnings?|numbers?|dump|duration|address)\b",
)
# what tests, measurements and the program itself write into a page
GENERATED = re.compile(
    r"<!-- (?:begin: .*?<!-- end|figures -->.*?<!-- end of figures|\S+ results -->.*?(?=\n## |\Z)) ?(?:-->)?", re.DOTALL
)
LONGEST_SENTENCE = 35


def test_no_page_and_no_message_has_a_phrase_that_reads_as_translated() -> None:
    as_they_were = ("CHANGELOG.md", "CONTRIBUTING.md")
    pages = [page for page in PAGES if page.name not in as_they_were]
    installed = [path for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.suffix != ".json"]
    stack = [ROOT / name for name in (".env.example", "compose.yaml", "Dockerfile")]
    texts = {str(page.relative_to(ROOT)): page.read_text() for page in [*pages, *installed, *stack]}
    for source in sorted((ROOT / "src").rglob("*.py")):
        texts[str(source.relative_to(ROOT))] = "\n".join(messages_of(source))
    for template in sorted((ROOT / "src").rglob("*.html")):
        texts[str(template.relative_to(ROOT))] = template.read_text()
    awkward = re.compile("|".join(AWKWARD), re.IGNORECASE)

    flowing = {name: " ".join(text.split()) for name, text in texts.items()}
    assert [(name, match[0]) for name, text in flowing.items() for match in awkward.finditer(text)] == []


@pytest.mark.parametrize("page", READ_AT_NIGHT, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_of_a_page_is_too_long_to_be_read_at_night(page: Path) -> None:
    text = GENERATED.sub("", page.read_text())

    long = [sentence for sentence in sentences_of(text) if len(WORD.findall(sentence)) > LONGEST_SENTENCE]
    assert long == []


def test_the_first_table_of_restore_has_the_same_command_in_each_column() -> None:
    table = (DOCS / "restore.md").read_text().split("\n| what happened |", 1)[1].split("\n\n", 1)[0].splitlines()
    unit = (ROOT / "deploy" / "systemd" / "safeharbor-backup@.service").read_text()
    by_systemd = re.search(r'BACKUP_COMMAND=(.*)"$', unit, re.MULTILINE)
    assert by_systemd is not None
    ways = (
        "flask --app yourapp safeharbor",
        "docker compose exec backups safeharbor",
        by_systemd[1].replace("%i", "reef"),
        "safeharbor",
    )

    assert table[0] == " Flask | Compose | systemd | command line |"
    assert len(table) > 9
    for row in table[2:]:
        typed = re.findall(r" `([^`]*)` \|", row)
        what = typed[-1].removeprefix("safeharbor ")
        assert typed == [f"{way} {what}" for way in ways]


WORD = re.compile(r"[\w'.,%/-]*\w")


def sentences_of(page: str) -> list[str]:
    """The sentences of a page, also between semicolons, in cells and in points of a list; code counts as one word."""
    blocks: list[list[str]] = [[]]
    for line in re.sub(r"^( *)```.*?^\1```", "", page, flags=re.MULTILINE | re.DOTALL).splitlines():
        text = line.strip()
        if text.startswith("|"):
            blocks += [[cell] for cell in re.split(r"(?<!\\)\|", text)]
        elif not text or text.startswith(("#", "<!--")) or line.startswith("    "):
            blocks.append([])
        else:
            item = re.match(r"(?:[-*]|\d+\.) +", text)
            blocks += [[text[item.end() :]]] if item else []
            blocks[-1] += [] if item else [text]
    flowing = [re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "code", " ".join(block))) for block in blocks]
    return [sentence for text in flowing for sentence in re.split(r"(?<=[.!?;])[)\"*_]*\s+", text)]


def messages_of(source: Path) -> list[str]:
    """The texts in a module that are no docstrings: what a user may meet."""
    tree = ast.parse(source.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def test_nothing_tells_people_to_install_a_program_of_our_name_that_is_not_ours() -> None:
    told = re.compile(r"pip install[^\n`]*")
    texts = [*PAGES, ROOT / "README.md", *(ROOT / "src").rglob("*.py"), *(ROOT / "deploy").rglob("*")]
    lines = [(path, match[0]) for path in texts if path.is_file() for match in told.finditer(path.read_text())]
    assert len(lines) > 6
    bare = re.compile(r"[\s\"']safeharbor(\[[^\]]*\])?([\s\"'=<>~]|$)")
    assert [(path.name, line) for path, line in lines if bare.search(line)] == []


def test_the_tutorial_teaches_no_restore_without_a_way_back() -> None:
    text = (DOCS / "tutorial.md").read_text()

    assert "safeharbor restore" in text
    assert "--no-keep-previous" not in text


def test_every_page_can_be_reached_from_the_index() -> None:
    index = (DOCS / "index.md").read_text()
    for page in DOCS.rglob("*.md"):
        if page.name != "index.md" and page.parent.name != "decisions":
            assert f"({page.relative_to(DOCS)})" in index, page


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = re.findall(r"[\w/-]+\.md$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)

    in_docs = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    assert sorted(page for page in menu if not page.startswith("project/")) == in_docs


def test_the_reference_has_what_each_help_prints() -> None:
    page = (DOCS / "reference" / "commands.md").read_text()

    for name in COMMANDS:
        assert f"\n$ safeharbor {name} --help\nUsage: safeharbor {name} " in page


def test_every_dependency_has_a_decision() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    decisions = "".join(path.read_text().lower() for path in (DOCS / "decisions").glob("*.md"))
    for requirement in (requirement for group in groups for requirement in group):
        name = re.split(r"[\[<>=; ]", requirement)[0]
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", decisions), name


def test_the_image_has_the_clients_of_all_majors_that_are_tested_wherever_that_is_said() -> None:
    majors = " ".join(map(str, MAJORS))

    assert f'ARG PG_MAJORS="{majors}"' in (ROOT / "Dockerfile").read_text()
    assert f"${{SAFEHARBOR_PG_MAJORS:-{majors}}}" in (ROOT / "compose.yaml").read_text()
    assert f'#SAFEHARBOR_PG_MAJORS="{majors}"' in (ROOT / ".env.example").read_text()


def test_decisions_are_numbered_without_gaps_in_the_order_of_each_page() -> None:
    numbers = {page.name: re.findall(r"^## (\d+)\. ", page.read_text(), re.MULTILINE) for page in DECISION_PAGES}
    on_pages = {name: list(map(int, found)) for name, found in numbers.items()}
    everything = sorted(number for found in on_pages.values() for number in found)

    assert everything == list(range(1, len(everything) + 1))
    assert {name: found for name, found in on_pages.items() if found != sorted(found)} == {}


@pytest.mark.parametrize("page", DECISION_PAGES, ids=lambda page: page.stem)
def test_every_decision_has_a_date_its_context_and_its_price(page: Path) -> None:
    introduction, *entries = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)

    assert re.fullmatch(r"# .+\n\n[^#]+", introduction)
    assert entries
    for entry in entries:
        heading, date = entry.split("\n\n", 2)[:2]
        assert re.match(r"\d+\. .", heading)
        assert re.match(r"\d{4}-\d{2}-\d{2}\b", date), heading
        assert re.findall(r"^#+ .*$", entry, re.MULTILINE) == ["### Context", "### Decision", "### Price"], heading


def test_every_decision_that_is_mentioned_exists() -> None:
    known = set(re.findall(r"^## (\d+)\. ", "".join(page.read_text() for page in DECISION_PAGES), re.MULTILINE))
    sources = sorted((ROOT / "src").rglob("*.py"))
    elsewhere = [
        *PAGES,
        ROOT / "Dockerfile",
        ROOT / "compose.yaml",
        *(ROOT / "scripts").rglob("*"),
        *(ROOT / "deploy").rglob("*"),
    ]
    mentioned = {
        path: set(re.findall(r"\bdecision (\d+)\b", path.read_text()))
        for path in (*sources, *elsewhere)
        if path.is_file() and path.suffix not in (".png", ".pyc")
    }

    assert {str(path): found - known for path, found in mentioned.items() if found - known} == {}
    assert len({path for path in sources if mentioned[path]}) > 20


def test_the_index_of_decisions_lists_every_one() -> None:
    script = ROOT / "scripts" / "make-decisions-index.py"
    done = subprocess.run([sys.executable, script, "--check"], check=False)
    index = (DOCS / "decisions" / "README.md").read_text()
    listed = re.findall(r"^\| (\d+) \| (\S+) \| \[(.*)\]\(([^)#]*)#", index, re.MULTILINE)
    entry = re.compile(r"^## (\d+)\. (.*)\n\n(\d{4}-\d{2}-\d{2})", re.MULTILINE)
    entries = {
        (number, date, title, page.name)
        for page in DECISION_PAGES
        for number, title, date in entry.findall(page.read_text())
    }

    assert done.returncode == 0
    assert set(listed) == entries
    assert len(listed) == len(entries)
    assert {page.name for page in DECISION_PAGES} == set(re.findall(r"^\| \[.*\]\(([^)#]*)\) \|", index, re.MULTILINE))


def section_of(name: str) -> str:
    """What the reference of commands says of one command."""
    page = (DOCS / "reference" / "commands.md").read_text()
    return page.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]


def first_column(page: Path) -> list[str]:
    """The names in the table that is made from the program."""
    table = page.read_text().split("\n<!-- begin: ", 1)[1].split("\n<!-- end -->\n", 1)[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def keys_of(schema: str) -> set[str]:
    """Every key, at any depth, of the document that has this schema."""
    kinds = json.loads((DOCS / "reference" / "schemas" / f"{schema}.json").read_text())["$defs"].values()
    return {key for kind in kinds for key in kind["properties"]}


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
