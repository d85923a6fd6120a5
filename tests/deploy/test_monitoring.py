"""The alert rules: sound to Prometheus' own tool, each one proven to fire, and about metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from safeharbor_backup.actions.status.metrics import gather_metrics, render_metrics
from safeharbor_backup.state.history import Outcome, append_outcome
from safeharbor_backup.state.offsite import remember_copy
from support.archives import put_archive
from support.needs import need_program
from support.settings import settings_of

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
NOW = datetime.now(UTC)


def documents(name: str) -> Any:
    return yaml.safe_load((MONITORING / name).read_text())


RULES = {rule["alert"]: rule for group in documents("rules.yml")["groups"] for rule in group["rules"]}


def promtool(*arguments: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [need_program("promtool"), *arguments], input=text, cwd=MONITORING, capture_output=True, check=False, timeout=60
    )


@pytest.fixture
def metrics(tmp_path: Path) -> str:
    """Every metric there is."""
    settings = settings_of(backup_dir=tmp_path)
    put_archive(tmp_path, NOW - timedelta(hours=1))
    for command in ("backup", "verify"):
        append_outcome(tmp_path, Outcome(command, NOW, 1.0, 0, details={"seconds": {"dump": 1.0}}))
    remember_copy(tmp_path, "nas", NOW, None)
    return render_metrics(gather_metrics(settings, NOW), "reef").decode()


def test_the_rules_are_sound() -> None:
    done = promtool("check", "rules", "rules.yml")

    assert done.returncode == 0, done.stderr
    assert f"{len(RULES)} rules found".encode() in done.stdout


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    done = promtool("test", "rules", "rules.test.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_is_proven_to_fire_and_to_be_silent_in_a_good_night() -> None:
    cases = {test["name"]: test["alert_rule_test"] for test in documents("rules.test.yml")["tests"]}
    fired = {case["alertname"] for tests in cases.values() for case in tests if case["exp_alerts"]}

    assert fired == set(RULES)
    assert {case["alertname"] for case in cases["good"]} == set(RULES)


def test_the_rules_are_about_metrics_that_there_are(metrics: str) -> None:
    there = set(re.findall(r"^# TYPE (\S+) gauge$", metrics, re.MULTILINE))
    used = {name for rule in RULES.values() for name in re.findall(r"safeharbor_[a-z_]+", rule["expr"])}

    assert used
    assert used <= there


def test_the_dashboard_shows_metrics_that_there_are_by_sound_queries(metrics: str, tmp_path: Path) -> None:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = {name for query in queries for name in re.findall(r"safeharbor_[a-z_]+", query)}
    legends = {
        label
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"])
    }

    assert len(queries) >= len(dashboard["panels"]) >= 10
    assert shown <= set(re.findall(r"^# TYPE (\S+) gauge$", metrics, re.MULTILINE))
    assert {f"safeharbor_offsite_{what}_timestamp_seconds" for what in ("copy", "drill")} <= shown
    assert legends <= set(re.findall(r'(\w+)="', metrics))
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {"${datasource}"}
    corners = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]}
    assert len(corners) == len(dashboard["panels"])
    rules = [{"record": f"panel:number_{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", "--lint=none", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_metrics_keep_to_the_conventions(metrics: str) -> None:
    done = promtool("check", "metrics", text=metrics.encode())

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == b""


def test_every_metric_and_every_alert_is_documented(metrics: str) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()

    for name in re.findall(r"^# TYPE safeharbor_(\S+) gauge$", metrics, re.MULTILINE):
        assert f"`{name}" in page, name
    for name in RULES:
        assert f"| `{name}` |" in page, name
