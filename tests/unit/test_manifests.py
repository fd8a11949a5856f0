"""The manifests for KubeRay have the form that Kubernetes and KubeRay expect. They were not run on one."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from api.settings import Settings
from tests.documents import Command
from tests.unit.test_docs_commands import complaint

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kuberay"
FILES = sorted(FOLDER.glob("*.yaml"))
RAY_CLUSTER = {"rayVersion", "authOptions", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"}
GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", "serviceType"}
"""Fields of ray.io/v1 that are used here, by the reference of KubeRay."""


def objects() -> dict[tuple[str, str], Any]:
    """By kind and name."""
    yaml = YAML(typ="safe")
    found = [one for path in FILES for one in yaml.load_all(path.read_text())]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def pods() -> dict[str, Any]:
    """Specs of all pods, by what they are for."""
    known = objects()
    cluster = known["RayCluster", "tumbler"]["spec"]
    groups = [("head", cluster["headGroupSpec"])]
    groups += [(group["groupName"], group) for group in cluster["workerGroupSpecs"]]
    found = {name: group["template"]["spec"] for name, group in groups}
    return found | {"service": known["Deployment", "tumbler-service"]["spec"]["template"]["spec"]}


def test_every_object_says_what_it_is() -> None:
    assert {(one["apiVersion"], one["kind"]) for one in objects().values()} == {
        ("v1", "PersistentVolumeClaim"),
        ("ray.io/v1", "RayCluster"),
        ("apps/v1", "Deployment"),
    }


def test_the_ray_cluster_uses_fields_that_there_are() -> None:
    spec = objects()["RayCluster", "tumbler"]["spec"]
    assert spec.keys() <= RAY_CLUSTER
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert group.keys() <= GROUP
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["rayVersion"].startswith("2.60.")


@pytest.mark.parametrize("pod", ["head", "spot", "service"])
def test_every_mount_has_its_volume_and_every_claim_is_made(pod: str) -> None:
    spec = pods()[pod]
    volumes = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in spec["volumes"]}
    mounts = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
    assert mounts == volumes.keys()
    assert {("PersistentVolumeClaim", claim) for claim in volumes.values()} <= objects().keys()
    assert volumes["runs"] == "tumbler-runs"


def test_all_pods_see_the_runs_under_one_path() -> None:
    places = {
        mount["mountPath"]
        for spec in pods().values()
        for container in spec["containers"]
        for mount in container["volumeMounts"]
        if mount["name"] == "runs"
    }
    service = pods()["service"]["containers"][0]
    settings = {one["name"]: one.get("value") for one in service["env"]}
    assert places == {settings["TUMBLER_STORAGE"]}


def test_the_service_is_started_as_the_command_line_takes_it_and_probed_from_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment = objects()["Deployment", "tumbler-service"]["spec"]
    service = pods()["service"]["containers"][0]
    assert complaint(Command(FILES[0], 1, " ".join(service["command"]))) == ""
    assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
    assert deployment["replicas"] == 1
    for one in service["env"]:
        if "value" in one:
            monkeypatch.setenv(one["name"], one["value"])
    settings = Settings.load(ray_address=service["command"][-1])
    for probe in ("readinessProbe", "livenessProbe"):
        code = service[probe]["exec"]["command"][-1]
        assert f"http://{settings.host}:{settings.port}/" in code
        compile(code, probe, "exec")


def test_the_token_is_the_one_that_kuberay_makes_for_the_cluster() -> None:
    env = {one["name"]: one for one in pods()["service"]["containers"][0]["env"]}
    assert env["RAY_AUTH_MODE"]["value"] == "token"
    assert env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "tumbler", "key": "auth_token"}
    assert "tumbler-head-svc" in pods()["service"]["containers"][0]["command"][-1]
