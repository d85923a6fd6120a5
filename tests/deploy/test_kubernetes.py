"""The Kubernetes manifests: valid to the API's own schemas, locked down, and what their pods run really works."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from safeharbor_backup.cli.main import cli
from safeharbor_backup.settings.load import load_settings
from safeharbor_backup.settings.table import SETTINGS
from support.needs import need_program, need_root
from support.runs import Outcome, Site

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
BY_HAND_SCRIPT = KUBERNETES / "by-hand"
PAGE = ROOT / "docs" / "kubernetes.md"
# timeZone of a CronJob, the youngest field here, is stable since 1.27
VERSIONS = ("1.27", "1.37")
BY_HAND = ("secret.example.yaml", "claim.yaml")
CRON_JOBS = ("backup", "verify", "drill", "restore")


def documents() -> dict[tuple[str, str], Any]:
    """What `kubectl apply` would send, by kind and name: the rendered kustomization, and the files made by hand."""
    kubectl = need_program("kubectl")
    rendered = subprocess.run([kubectl, "kustomize", KUBERNETES], capture_output=True, check=True).stdout.decode()
    texts = [rendered, *((KUBERNETES / name).read_text() for name in BY_HAND)]
    found = [document for text in texts for document in yaml.safe_load_all(text)]
    return {(document["kind"], document["metadata"]["name"]): document for document in found}


# kubectl of a cluster that has the manifests: a Job is recorded, and what is executed in its pod runs here
FAKE_KUBECTL = """#!/bin/sh
echo "$*" | tr '\\n' ' ' >> {calls}; echo >> {calls}
case "$1 $2" in
"create job") cat {given} ;;
"create "*) cat > {created} ;;
"patch "*) exec {kubectl} "$@" ;;
"exec "*) while [ "$1" != -- ]; do shift; done; shift 2; exec {argv} "$@" ;;
esac
"""


@pytest.fixture(scope="module")
def manifests() -> dict[tuple[str, str], Any]:
    return documents()


def pod_of(manifests: dict[tuple[str, str], Any], name: str) -> Any:
    return manifests["CronJob", f"safeharbor-{name}"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def environment_of(manifests: dict[tuple[str, str], Any], name: str) -> dict[str, str]:
    """The variables of a pod's container, as the kubelet makes them."""
    container = pod_of(manifests, name)["containers"][0]
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            found |= manifests["ConfigMap", source["configMapRef"]["name"]]["data"]
        else:
            found |= manifests["Secret", source["secretRef"]["name"]]["stringData"]
    return found | {each["name"]: each["value"] for each in container.get("env", [])}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_what_the_api_takes(manifests: dict[tuple[str, str], Any], version: str) -> None:
    for document in manifests.values():
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("option", ["openshift", "registry", "cloudnative-pg"])
def test_every_option_makes_manifests_that_the_api_takes(option: str) -> None:
    kubectl = need_program("kubectl")
    patch = (KUBERNETES / "options" / f"{option}.yaml").read_text()
    given = yaml.safe_load(patch)["spec"]["jobTemplate"]["spec"]["template"]["spec"]

    for name in CRON_JOBS:
        argv = [str(kubectl), "patch", "--local", "--type=strategic", "--output=yaml", f"--filename={name}.yaml"]
        spec = yaml.safe_dump({"spec": yaml.safe_load(patch)["spec"]})  # kustomize leaves the name as it is
        done = subprocess.run([*argv, f"--patch={spec}"], cwd=KUBERNETES, capture_output=True, check=True)
        document = yaml.safe_load(done.stdout)
        pod = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]

        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
        assert len(pod["containers"]) == 1
        assert ("runAsUser" in pod["securityContext"]) == (option != "openshift")
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod.get("imagePullSecrets") == given.get("imagePullSecrets")
        assert len(pod["containers"][0].get("env", [])) == (option == "cloudnative-pg")


def test_the_network_policy_is_for_our_pods_and_lets_the_database_and_alerts_through(
    manifests: dict[tuple[str, str], Any],
) -> None:
    policy = yaml.safe_load((KUBERNETES / "options" / "network-policy.yaml").read_text())

    kubernetes_validate.validate(policy, VERSIONS[-1], strict=True)
    chosen = policy["spec"]["podSelector"]["matchLabels"].items()
    for name in CRON_JOBS:
        template = manifests["CronJob", f"safeharbor-{name}"]["spec"]["jobTemplate"]["spec"]["template"]
        assert chosen <= template["metadata"]["labels"].items()
    ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    assert ports == {53, 5432, 443, 587}


@pytest.mark.parametrize("name", CRON_JOBS)
def test_every_job_can_alert_by_an_address_of_the_secret(manifests: dict[tuple[str, str], Any], name: str) -> None:
    assert {"BACKUP_NOTIFY_URLS", "BACKUP_PING_URL"} <= set(environment_of(manifests, name))


def test_the_validator_notices_a_misspelt_field(manifests: dict[tuple[str, str], Any]) -> None:
    text = yaml.safe_dump(manifests["CronJob", "safeharbor-backup"]).replace("concurrencyPolicy", "concurencyPolicy")

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(yaml.safe_load(text), VERSIONS[-1], strict=True)


def test_every_file_is_applied_by_the_kustomization_or_by_hand(manifests: dict[tuple[str, str], Any]) -> None:
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml", "secret.yaml"}

    assert {*kustomization["resources"], *BY_HAND} == files
    # `kubectl delete --kustomize` takes what is in it: never the archives, never a real password
    assert not set(kustomization["resources"]) & set(BY_HAND)


@pytest.mark.parametrize("name", CRON_JOBS)
def test_every_pod_runs_the_image_that_the_kustomization_names(
    manifests: dict[tuple[str, str], Any], name: str
) -> None:
    image = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["images"][0]

    assert pod_of(manifests, name)["containers"][0]["image"] == f"{image['newName']}:{image['newTag']}"


@pytest.mark.parametrize("name", CRON_JOBS)
def test_every_pod_has_the_least_rights(manifests: dict[tuple[str, str], Any], name: str) -> None:
    pod = pod_of(manifests, name)
    container = pod["containers"][0]

    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", CRON_JOBS)
def test_no_job_is_repeated_or_doubled(manifests: dict[tuple[str, str], Any], name: str) -> None:
    spec = manifests["CronJob", f"safeharbor-{name}"]["spec"]

    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["timeZone"] == "Etc/UTC"
    assert len(spec["schedule"].split()) == 5
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert pod_of(manifests, name)["restartPolicy"] == "Never"


def test_a_restore_never_starts_by_the_clock(manifests: dict[tuple[str, str], Any]) -> None:
    spec = manifests["CronJob", "safeharbor-restore"]["spec"]

    assert spec["suspend"] is True
    assert spec["schedule"] == "0 0 31 2 *"  # a day that no year has


def test_only_a_restore_may_write_to_the_uploads(manifests: dict[tuple[str, str], Any]) -> None:
    claims = {
        name: {
            volume["name"]: volume["persistentVolumeClaim"].get("readOnly", False)
            for volume in pod_of(manifests, name)["volumes"]
            if "persistentVolumeClaim" in volume
        }
        for name in CRON_JOBS
    }

    assert claims["backup"] == {"backups": False, "uploads": True}
    assert claims["restore"] == {"backups": False, "uploads": False}
    assert set(claims["verify"]) == {"backups"}
    assert claims["drill"] == {"backups": False}


@pytest.mark.parametrize("name", CRON_JOBS)
def test_every_variable_is_a_setting_and_every_value_can_be_used(
    manifests: dict[tuple[str, str], Any], name: str
) -> None:
    environment = environment_of(manifests, name)

    assert set(environment) <= {each.name for each in SETTINGS}
    assert "BACKUP_SCHEDULE" not in environment  # five fields there would be wrong, and nothing here reads six
    assert load_settings({"BACKUP_DATABASE_URL": "postgresql:///reef", **environment}).problems == ()


@pytest.mark.parametrize("name", CRON_JOBS)
def test_every_pod_runs_a_command_that_exists(manifests: dict[tuple[str, str], Any], name: str) -> None:
    container = pod_of(manifests, name)["containers"][0]
    command = cli.get_command(click.Context(cli), container["args"][0])

    assert container["command"] == ["safeharbor"]
    assert command is not None
    command.make_context(name, list(container["args"][1:]))  # raises for an option that is not there


def test_what_the_pods_run_backs_up_verifies_drills_and_restores(
    manifests: dict[tuple[str, str], Any], site: Site
) -> None:
    (site.uploads / "away").symlink_to("/outside")  # a warning, which must not make the Job a failed one
    photo = site.uploads / "2026" / "1.jpg"
    before = photo.read_bytes()
    address, tools = site.environment["BACKUP_DATABASE_URL"], site.environment["BACKUP_PG_BIN"]
    places = {"/backups": str(site.backups), "/data/uploads": str(site.uploads)}

    def run(name: str) -> Outcome:
        """The pod's process: its arguments and variables; only the address and what the volumes mount are ours."""
        given = environment_of(manifests, name)
        site.environment = {"BACKUP_PG_BIN": tools} | {key: places.get(value, value) for key, value in given.items()}
        if "BACKUP_DATABASE_URL" in given:
            site.environment["BACKUP_DATABASE_URL"] = address
        return site.run(*pod_of(manifests, name)["containers"][0]["args"])

    backup = run("backup")
    assert backup.status == 0, backup.output
    assert "Warning: 1 upload cannot be archived" in backup.stderr
    verify = run("verify")
    assert verify.status == 0, verify.output
    drill = run("drill")
    assert drill.status == 0, drill.output
    assert "restores: 2 tables" in drill.stdout
    shutil.rmtree(site.uploads / "2026")
    restore = run("restore")
    assert restore.status == 0, restore.output
    assert "restored 2 tables and 10 upload files" in restore.stdout
    assert photo.read_bytes() == before

    # what it says to type is pasted, where the repository is
    [line] = re.findall(r"^To go back: (deploy/kubernetes/.*)$", restore.output, re.MULTILINE)
    spec = manifests["CronJob", "safeharbor-restore"]["spec"]["jobTemplate"]["spec"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "by-hand"}, "spec": spec}
    calls, given, created = (site.root / name for name in ("calls", "given.json", "created.json"))
    given.write_text(json.dumps(job))
    names = {"kubectl": need_program("kubectl"), "argv": shlex.join(site.argv()), "calls": calls}
    (site.root / "kubectl").write_text(FAKE_KUBECTL.format(given=given, created=created, **names))
    (site.root / "kubectl").chmod(0o755)
    path = f"{site.root}:{os.environ['PATH']}"
    argv = ["sh", "-c", line]
    environment = site.full_environment() | {"PATH": path}
    undo = subprocess.run(argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)

    assert undo.returncode == 0, undo.stderr.decode()
    assert not photo.exists()
    kubernetes_validate.validate(yaml.safe_load(created.read_text()), VERSIONS[-1], strict=True)
    assert yaml.safe_load(created.read_text())["spec"]["template"]["spec"]["containers"][0]["args"] == ["idle"]
    said = calls.read_text()
    assert "--from=cronjob/safeharbor-restore --dry-run=client" in said
    assert re.search(r"delete job safeharbor-by-hand-\d+ --namespace reef", said.splitlines()[-1])


def test_verify_needs_no_right_to_write(manifests: dict[tuple[str, str], Any], site: Site) -> None:
    need_root()
    assert site.run("backup").status == 0
    arguments = pod_of(manifests, "verify")["containers"][0]["args"]
    read_only = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && ! touch "$0/x" 2>&1 && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", read_only, str(site.backups), *site.argv(*arguments)]

    done = subprocess.run(argv, env=site.full_environment(), capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()


def commands_of_page() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"^(?:trap ')?( *kubectl [^|>\n]*)", BY_HAND_SCRIPT.read_text(), re.MULTILINE)
    return [line.split("  #")[0].strip() for line in "\n".join(blocks).splitlines() if line and line[0] != "#"]


def test_every_command_of_the_page_and_the_script_speaks_of_what_is_there(
    manifests: dict[tuple[str, str], Any],
) -> None:
    """There is no cluster to run them in: kubectl takes every option, and what they name exists."""
    kubectl = need_program("kubectl")
    commands = [command for command in commands_of_page() if command.startswith("kubectl ")]
    assert len(commands) > 10
    lint = subprocess.run([need_program("shellcheck"), BY_HAND_SCRIPT], capture_output=True, check=False)
    assert lint.returncode == 0, lint.stdout.decode()
    general = subprocess.run([kubectl, "options"], capture_output=True, check=True).stdout.decode()

    for command in commands:
        words = command.split(" > ")[0].split()
        for name in re.findall(r"cronjob/([\w-]+)", command):
            assert ("CronJob", name) in manifests, command
        for path in re.findall(r"deploy/kubernetes\S*", command):
            known = path.replace("/secret.yaml", "/secret.example.yaml")
            assert (ROOT / known).exists(), command
        options = {word.split("=")[0] for word in words if word.startswith("--") and word != "--"}
        verb = words[1:3] if words[1:3] == ["create", "job"] else words[1:2]
        help_text = subprocess.run([kubectl, *verb, "--help"], capture_output=True, check=True).stdout.decode()
        for option in options:
            assert f"{option}=" in help_text + general, f"{command}: {option}"
