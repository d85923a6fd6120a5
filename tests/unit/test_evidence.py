"""Evidence of drills that is signed and checked, by the real ssh-keygen. Real drills: tests/postgres/test_drill.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import html5lib
import pytest
from msgspec import structs

from safeharbor_backup.actions.doctor.findings import Level
from safeharbor_backup.actions.doctor.restore_checks import check_evidence_key
from safeharbor_backup.actions.evidence import check_evidence
from safeharbor_backup.cli.main import cli
from safeharbor_backup.errors import SafeHarborError, ToolFailed
from safeharbor_backup.state.evidence import (
    KEPT,
    DrilledArchive,
    Evidence,
    Versions,
    list_evidence,
    publish_evidence,
    signature_of,
    write_evidence,
)
from safeharbor_backup.system.signature import sign
from support.commands import cli_runner
from support.json_schemas import complaints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

DRILLED_AT = "2026-11-29T00:51:33Z"


def make_key(path: Path, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path], check=True)
    return path


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys") / "evidence key")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys") / "other")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("BACKUP_") or name in ("DATABASE_URL", "SSH_AUTH_SOCK"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path))


def evidence_at(moment: str = DRILLED_AT) -> Evidence:
    return Evidence(
        drilled_at=moment,
        result="passed",
        exit_status=0,
        archive=DrilledArchive(name="safeharbor-backup-2026-11-28T03-00-04Z.tar", path="/b/x.tar"),
        server=None,
        versions=Versions(safeharbor="0.2.0"),
        tables=3,
        rows=511,
        upload_files=10,
        upload_bytes=60_000,
        restore_seconds=0.4,
        seconds={"restore": 0.4},
        compared={},
        not_recorded=(),
        app_check=None,
        problems=(),
        warnings=(),
    )


def put_evidence(directory: Path, key: Path | None, moment: str = DRILLED_AT) -> Path:
    path = directory / f"safeharbor-drill-{moment.replace(':', '-')}.json"
    data = write_evidence(evidence_at(moment))
    publish_evidence(path, data, sign(data, key) if key is not None else None)
    return path


def verify(*arguments: str | Path) -> Result:
    return cli_runner().invoke(cli, ["verify", *map(str, arguments)], prog_name="safeharbor")


def test_who_has_the_public_key_can_check_what_a_drill_has_signed(tmp_path: Path, key: Path, other: Path) -> None:
    path = put_evidence(tmp_path, key)
    signers = tmp_path / "signers"
    public = key.with_name("evidence key.pub").read_text()
    signers.write_text(
        f"# who may\nwrong@x {other.with_suffix('.pub').read_text()}"
        f'reef@x valid-after="20261101",valid-before="20261130" {public}'
    )

    by_key = verify("--signed-by", key.with_name("evidence key.pub"), path)
    by_list = verify("--signed-by", signers, path, "--json")

    assert by_key.exit_code == 0, by_key.output
    assert f"{path}: signed with ED25519 key SHA256:" in by_key.output
    assert "drill of safeharbor-backup-2026-11-28T03-00-04Z.tar at 2026-11-29T00:51:33Z: passed" in by_key.output
    [found] = json.loads(by_list.stdout)["evidence"]
    assert (found["signed"], found["signer"], found["problem"], found["result"]) == (True, "reef@x", "", "passed")
    assert verify(path, "--quiet", "--signed-by", signers).output == ""
    assert signature_of(path).stat().st_mode & 0o777 == 0o600


def test_the_public_key_beside_the_one_that_signs_is_the_default(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_evidence(tmp_path, key)

    without = verify(path)
    monkeypatch.setenv("BACKUP_EVIDENCE_KEY", str(key))

    assert without.exit_code == 2
    assert "--signed-by FILE" in without.stderr
    archive = tmp_path / "pre-upgrade.tar"
    archive.touch()
    mistaken = verify("--signed-by", key.with_name("evidence key.pub"), archive)
    assert (mistaken.exit_code, "REJECTED" in mistaken.output) == (2, False)  # of a sound archive
    assert verify(path).exit_code == 0


@pytest.fixture
def east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clock that is ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


FAULTS = ["changed", "another key", "unsigned", "renamed", "no evidence", "too late", "no signature", "large"]


@pytest.mark.parametrize("fault", [*FAULTS, "signature is a directory"])
def test_evidence_that_is_not_what_was_signed_is_rejected(tmp_path: Path, key: Path, other: Path, fault: str) -> None:
    path = put_evidence(tmp_path, {"another key": other, "unsigned": None}.get(fault, key))
    signers = tmp_path / "signers"
    signers.write_bytes(b"reef " + key.with_name("evidence key.pub").read_bytes())
    if fault == "changed":
        path.write_bytes(path.read_bytes().replace(b"passed", b"PASSED"))
    elif fault == "renamed":
        path = path.rename(tmp_path / "safeharbor-drill-2026-12-29T00-51-33Z.json")
    elif fault == "no evidence":
        path.write_text("[1]")
    elif fault == "too late":
        signers.write_text(signers.read_text().replace("reef ", 'reef valid-before="20261101" '))
    elif fault == "no signature":
        signature_of(path).write_text("junk")
    elif fault == "signature is a directory":
        signature_of(path).unlink()
        signature_of(path).mkdir()
    elif fault == "large":
        os.truncate(path, 9 << 20)
    none = f"it is signed by none of the keys in {signers}"
    expected = {
        "changed": "it is not what was signed: Signature verification failed: incorrect signature",
        "another key": none,
        "unsigned": f"it is not signed: there is no {path.name}.sig beside it",
        "renamed": f"it is the evidence of the drill at {DRILLED_AT}, under the name of another",
        "no evidence": "it is not the evidence of a drill: it is not an object",
        "too late": f"{none}: signers:1: key has expired: ",
        "no signature": f"{none}: sig_find_principals: ",
        "signature is a directory": "its signature cannot be read: Is a directory",
        "large": "it cannot be read: it is larger than 8 MiB",
    }[fault]

    result = verify("--signed-by", signers, path)

    assert result.exit_code == 5
    said = f"{path}: REJECTED\n  {expected}"
    assert result.stdout.startswith(said) if expected.endswith(": ") else result.stdout == f"{said}\n"


def test_the_private_key_is_no_list_of_who_may_sign(tmp_path: Path, key: Path) -> None:
    result = verify("--signed-by", key, put_evidence(tmp_path, key))

    assert result.exit_code == 5
    assert re.search(rf"none of the keys in {key}: {key.name}:\d: invalid key$", result.stdout), result.stdout


@pytest.mark.usefixtures("east")
def test_a_time_that_no_clock_shows_is_rejected(tmp_path: Path, key: Path) -> None:
    last = put_evidence(tmp_path, key, "9999-12-31T23:59:59Z")

    result = verify("--signed-by", key.with_name("evidence key.pub"), last)

    assert result.exit_code == 5
    assert "its time cannot be: 9999-12-31T23:59:59Z" in result.stdout


def test_a_file_of_keys_that_cannot_be_read_is_an_error_and_no_verdict(tmp_path: Path, key: Path) -> None:
    path, large = put_evidence(tmp_path, key), tmp_path / "large"
    large.touch()
    os.truncate(large, 2 << 20)

    result = verify("--signed-by", large, path)

    assert (result.exit_code, result.stdout) == (7, "")
    assert f"checking a signature failed ({large}): it is larger than 1 MiB" in result.stderr


def test_evidence_that_is_not_there_is_no_verdict(tmp_path: Path, key: Path) -> None:
    with pytest.raises(SafeHarborError, match=r"reading evidence failed \(.*/gone\.json\): No such file"):
        check_evidence(tmp_path / "gone.json", key.with_name("evidence key.pub"))


@pytest.mark.parametrize("fault", ["missing", "passphrase", "open to others", "no key", "directory", "no ssh-keygen"])
def test_a_key_that_cannot_sign_is_named_by_doctor_with_what_to_type(
    tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    if fault == "directory":
        key.mkdir()
    elif fault == "no key":
        key.write_text("hush")
        key.chmod(0o600)
    elif fault != "missing":
        make_key(key, "a passphrase" if fault == "passphrase" else "")
    if fault == "open to others":
        key.chmod(0o644)
    if fault == "no ssh-keygen":
        monkeypatch.setenv("PATH", str(tmp_path))
    why, hint = {
        "missing": ("No such file or directory", f"ssh-keygen -t ed25519 -N '' -f {key}"),
        "passphrase": ("incorrect passphrase", "without a passphrase"),
        "open to others": ("others may read it (mode 0644)", f"chmod 600 {key}"),
        "no key": ("load public key", "must be a private key of OpenSSH"),
        "directory": ("it is not a regular file", "ssh-keygen -t ed25519"),
        "no ssh-keygen": ("There is no ssh-keygen here", "apt-get install openssh-client"),
    }[fault]

    [found] = check_evidence_key(key)

    assert (found.level, found.name) == (Level.WARNING, "evidence key")
    assert why in found.text
    assert hint in found.remedy
    with pytest.raises(ToolFailed):
        sign(b"x", key)


def test_a_key_that_can_sign_is_fine_and_none_is_no_finding(key: Path) -> None:
    assert [found.level for found in check_evidence_key(key)] == [Level.OK]
    assert check_evidence_key(None) == []


def test_the_oldest_evidence_goes_with_its_signature(tmp_path: Path) -> None:
    for day in range(KEPT + 2):
        moment = f"2026-{1 + day // 28:02}-{1 + day % 28:02}T03:00:00Z"
        publish_evidence(tmp_path / f"safeharbor-drill-{moment.replace(':', '-')}.json", b"{}", b"signature")

    assert len(list_evidence(tmp_path)) == KEPT == len(list(tmp_path.glob("*.sig")))
    assert cli_runner().invoke(cli, ["list"]).output.count("safeharbor-drill") == 0  # they are no foreign files


class TestReport:
    """The page for an auditor."""

    @pytest.fixture
    def drilled(self, tmp_path: Path, key: Path, other: Path) -> Path:
        """Six drills, one of them before the period, of which the newest is good."""
        directory = tmp_path / "backups"
        directory.mkdir()
        hostile = "<script>alert(1)</script>\u202e"
        many = {
            "content": {
                "recorded": 2,
                "equal": 1,
                "different": [],
                "not_hashed": ["public.big: the time limit was reached"],
            }
        }
        for day, signer, changed in (
            (28, key, {"compared": many, "max_restore_seconds": 0.5}),
            (21, key, {"result": "failed", "exit_status": 5, "problems": (hostile,)}),
            (14, None, {"restore_seconds": 3.0, "max_restore_seconds": 0.5}),
            (7, other, {}),
            (1, None, {"compared": {"tables": {"recorded": 1}}}),
        ):
            moment = f"2026-11-{day:02}T06:00:00Z"
            data = write_evidence(structs.replace(evidence_at(moment), **changed))
            name = f"safeharbor-drill-{moment.replace(':', '-')}.json"
            publish_evidence(directory / name, data, sign(data, signer) if signer is not None else None)
        put_evidence(directory, key, "2025-01-01T06:00:00Z")
        (directory / "safeharbor-drill-2026-11-02T00-00-00Z.json").write_text("{")
        return directory

    def report(self, drilled: Path, *arguments: str | Path) -> Result:
        period = ("--since", "2026-11-01", "--until", "2026-11-28")
        given = ["report", "--evidence", *period, *map(str, arguments)]
        return cli_runner().invoke(cli, given, prog_name="safeharbor", env={"BACKUP_DIR": str(drilled)})

    def test_the_data_has_each_drill_of_the_period_and_what_it_proves(self, drilled: Path, key: Path) -> None:
        done = self.report(drilled, "--json", "--signed-by", key.with_name("evidence key.pub"))

        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert complaints("report-evidence", found) == []
        assert (found["since"], found["until"]) == ("2026-11-01T00:00:00Z", "2026-11-28T23:59:59Z")
        assert [(each["drilled_at"][8:10], each["result"], each["signature"]) for each in found["drills"]] == [
            ("28", "passed", "signed"),
            ("21", "failed", "signed"),
            ("14", "passed", "unsigned"),
            ("07", "passed", "rejected"),
        ]
        assert found["drills"][0]["not_compared"] == [
            "content of public.big: the time limit was reached",
            "no check by the app (BACKUP_DRILL_COMMAND)",
        ]
        assert found["unreadable"] == [
            "safeharbor-drill-2026-11-02T00-00-00Z.json: it is not the evidence of a drill: it is not JSON",
            "safeharbor-drill-2026-11-01T06-00-00Z.json: its list of what was compared is malformed",
        ]

    def test_the_page_says_what_an_auditor_must_not_overlook(self, drilled: Path, tmp_path: Path, key: Path) -> None:
        path = tmp_path / "evidence.html"

        done = self.report(drilled, "--html", path, "--signed-by", key.with_name("evidence key.pub"))

        assert done.exit_code == 0, done.output
        page = path.read_text()
        html5lib.HTMLParser(strict=True).parse(page)
        for sentence in (
            # neither a signature that does not hold nor none where one must be proves anything
            "1 of 4 drills proved that their archive restores.",
            "1 restored, 3 not proven",
            "counted from 7 Nov 2026, the first on this page",
            "1 drill failed: the archive did not restore, or differed",
            "1 drill took longer than the objective",
            "1 drill with an invalid signature: do not rely on it",
            "1 drill not signed",
            "content of public.big: the time limit was reached",
            "2 of 4 valid",
        ):
            assert sentence in page, sentence
        assert "<script" not in page
        assert "\u202e" not in page

    @pytest.mark.parametrize("fault", ["no signature", "another's signature"])
    def test_the_last_drill_proves_nothing_without_a_signature_that_holds(
        self, drilled: Path, key: Path, other: Path, fault: str
    ) -> None:
        last = drilled / "safeharbor-drill-2026-11-28T06-00-00Z.json"
        if fault == "no signature":
            signature_of(last).unlink()
        else:
            signature_of(last).write_bytes(sign(last.read_bytes(), other))
        sentence = {
            "no signature": "The last drill proves nothing: it is not signed.",
            "another's signature": "The last drill proves nothing: its signature is not valid.",
        }[fault]

        page = self.report(drilled, "--html", "-", "--signed-by", key.with_name("evidence key.pub")).stdout

        assert sentence in page
        assert "0 restored, 4 not proven" in page

    def test_files_that_are_no_evidence_do_not_stop_it(self, drilled: Path, key: Path) -> None:
        for day in (3, 4, 5, 6):
            put_evidence(drilled, key, f"2026-11-0{day}T06:00:00Z")
        large, directory, signature, loop = (drilled / f"safeharbor-drill-2026-11-0{n}T06-00-00Z.json" for n in "3456")
        os.truncate(large, 9 << 20)
        directory.unlink()
        directory.mkdir()
        signature_of(signature).unlink()
        signature_of(signature).mkdir()
        loop.unlink()
        loop.symlink_to(loop)

        done = self.report(drilled, "--json", "--signed-by", key.with_name("evidence key.pub"))

        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert found["drills"][-1]["signature_problem"] == "its signature cannot be read: Is a directory"
        assert [each for each in found["unreadable"] if "cannot be read" in each] == [
            f"{loop.name}: it cannot be read: Too many levels of symbolic links",
            f"{directory.name}: it cannot be read: Is a directory",
            f"{large.name}: it cannot be read: it is larger than 8 MiB",
        ]

    @pytest.mark.usefixtures("east")
    def test_what_its_name_puts_outside_the_period_is_not_read(self, drilled: Path, key: Path) -> None:
        put_evidence(drilled, key, "9999-12-31T23:59:59Z")
        (drilled / "safeharbor-drill-2026-12-24T06-00-00Z.json").write_text("{")

        done = self.report(drilled, "--json", "--signed-by", key.with_name("evidence key.pub"))

        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert (len(found["drills"]), len(found["unreadable"])) == (4, 2)

    def test_a_drill_that_the_page_cannot_show_is_missed_aloud(self, tmp_path: Path) -> None:
        archive = DrilledArchive(name="x.tar", path="/b/x.tar", taken_at="1970-01-01T00:00:00Z")
        data = write_evidence(structs.replace(evidence_at(), archive=archive))
        publish_evidence(tmp_path / "safeharbor-drill-2026-11-29T00-51-33Z.json", data, None)
        ask = ["report", "--evidence", "--since", "2026-11-01", "--html", "-"]

        alone = cli_runner().invoke(cli, ask).stdout
        put_evidence(tmp_path, None, "2026-11-22T06:00:00Z")
        beside = cli_runner().invoke(cli, ask).stdout

        assert "No drill of this period can be shown." in alone
        assert "The drill restored its archive." in beside
        for page in (alone, beside):
            assert "1 drill could not be shown: look at --json" in page

    def test_without_a_key_signatures_are_not_called_good(self, drilled: Path) -> None:
        found = json.loads(self.report(drilled, "--json").stdout)

        assert [each["signature"] for each in found["drills"]] == ["not checked"] * 2 + ["unsigned", "not checked"]

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (("--evidence",), "'--html'"),
            (("--html", "-", "--since", "2026-01-01"), "go with --evidence"),
            (("--evidence", "--json", "--since", "2025-12-01", "--until", "2025-01-01"), "--since is after --until"),
            (("--evidence", "--json", "--since", "9999-12-31"), "--since is after --until, or after today."),
            (("--evidence", "--html", "-", "--since", "1970-01-01"), "'--since': 1970-01-01 is before 2000"),
            (("--evidence", "--json", "--until", "0001-01-01"), "'--until': 0001-01-01 is before 2000"),
        ],
    )
    def test_options_that_do_not_fit_are_refused(self, arguments: tuple[str, ...], sentence: str) -> None:
        result = cli_runner().invoke(cli, ["report", *arguments])

        assert result.exit_code == 2
        assert sentence in result.stderr

    def test_no_drill_is_no_proof(self, tmp_path: Path) -> None:
        result = cli_runner().invoke(cli, ["report", "--evidence", "--html", "-"])

        assert result.exit_code == 0
        assert "No drill in this period." in result.stdout
