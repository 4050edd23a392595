"""The files of cluster/, checked offline: by Ray's schema, by a strict schema of Kubernetes fields, and with each other."""

import copy
import json
import re
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from dmm.sweeps.profile import find_profile

ROOT = Path(__file__).parent.parent
CLUSTER = ROOT / "cluster"
KUBERNETES = ("raycluster.yaml", "rayjob.yaml", "mlflow.yaml")


def record(required: str = "", **fields) -> dict:
    """The schema of an object with these fields and no others. `required` names some of them."""
    return {"type": "object", "additionalProperties": False, "properties": fields, "required": required.split()}


def many(kind: dict) -> dict:
    return {"type": "array", "items": kind, "minItems": 1}


def one_of(*values) -> dict:
    return {"enum": list(values)}


TEXT, WHOLE, YES = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}  # RFC 1123
TEXTS = {"type": "object", "additionalProperties": TEXT}
AMOUNTS = record(**{"cpu": TEXT, "memory": TEXT, "nvidia.com/gpu": TEXT})
FROM_SECRET = record("secretKeyRef", secretKeyRef=record("name key", name=NAME, key=TEXT))
PORT = record("name containerPort", name=NAME, containerPort=WHOLE)
CONTAINER = record(
    "name image",
    name=NAME,
    image=TEXT,
    command=many(TEXT),
    args=many(TEXT),
    env=many(
        {
            "anyOf": [
                record("name value", name=TEXT, value=TEXT),
                record("name valueFrom", name=TEXT, valueFrom=FROM_SECRET),
            ]
        }
    ),
    ports=many(PORT),
    resources=record("limits requests", limits=AMOUNTS, requests=AMOUNTS),
    readinessProbe=record(
        "httpGet",
        httpGet=record(
            "path port", path=TEXT, port=TEXT, httpHeaders=many(record("name value", name=TEXT, value=TEXT))
        ),
    ),
    volumeMounts=many(record("name mountPath", name=NAME, mountPath=TEXT)),
)
VOLUME = {
    "anyOf": [
        record("name persistentVolumeClaim", name=NAME, persistentVolumeClaim=record("claimName", claimName=NAME)),
        record(
            "name emptyDir", name=NAME, emptyDir=record("medium sizeLimit", medium=one_of("Memory"), sizeLimit=TEXT)
        ),
    ]
}
POD = record(
    "containers",
    securityContext=record(runAsNonRoot=YES, runAsUser=WHOLE, fsGroup=WHOLE),
    containers=many(CONTAINER),
    volumes=many(VOLUME),
)
TEMPLATE = record("spec", metadata=record(labels=TEXTS), spec=POD)
RAY_CLUSTER = record(
    "rayVersion authOptions headGroupSpec workerGroupSpecs",
    rayVersion=TEXT,
    authOptions=record("mode", mode=one_of("token")),
    headGroupSpec=record("rayStartParams template", rayStartParams=TEXTS, template=TEMPLATE),
    workerGroupSpecs=many(
        record(
            "groupName replicas minReplicas maxReplicas rayStartParams template",
            groupName=NAME,
            replicas=WHOLE,
            minReplicas=WHOLE,
            maxReplicas=WHOLE,
            rayStartParams=TEXTS,
            template=TEMPLATE,
        )
    ),
)
SPECS = {
    ("ray.io/v1", "RayCluster"): RAY_CLUSTER,
    ("ray.io/v1", "RayJob"): record(
        "entrypoint rayClusterSpec",
        entrypoint=TEXT,
        submissionMode=one_of("K8sJobMode", "HTTPMode", "SidecarMode"),
        backoffLimit=WHOLE,
        shutdownAfterJobFinishes=YES,
        ttlSecondsAfterFinished=WHOLE,
        rayClusterSpec=RAY_CLUSTER,
    ),
    ("apps/v1", "Deployment"): record(
        "replicas selector template",
        replicas=WHOLE,
        strategy=record("type", type=one_of("Recreate")),
        selector=record("matchLabels", matchLabels=TEXTS),
        template=TEMPLATE,
    ),
    ("v1", "Service"): record(
        "selector ports",
        selector=TEXTS,
        ports=many(record("name port targetPort", name=NAME, port=WHOLE, targetPort=NAME)),
    ),
    ("v1", "PersistentVolumeClaim"): record(
        "accessModes resources",
        accessModes=many(one_of("ReadWriteOnce", "ReadWriteMany")),
        resources=record("requests", requests=record("storage", storage=TEXT)),
    ),
    ("networking.k8s.io/v1", "NetworkPolicy"): record(
        "podSelector policyTypes ingress",
        podSelector=record(),
        policyTypes=many(one_of("Ingress")),
        ingress=many(
            record("from", **{"from": many(record(podSelector=record(), namespaceSelector=record(matchLabels=TEXTS)))})
        ),
    ),
}


def check(document: dict) -> None:
    spec = SPECS[document.get("apiVersion"), document.get("kind")]
    whole = record(
        "apiVersion kind metadata spec", apiVersion=TEXT, kind=TEXT, metadata=record("name", name=NAME), spec=spec
    )
    jsonschema.Draft202012Validator(whole).validate(document)


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((CLUSTER / name).read_text()))


def containers(value) -> list[dict]:
    """All containers of a document, at any depth."""
    if isinstance(value, dict):
        found = value.get("containers", [])
        return found + [one for inner in value.values() for one in containers(inner)]
    return [one for inner in value for one in containers(inner)] if isinstance(value, list) else []


@pytest.mark.parametrize("name", KUBERNETES)
def test_kubernetes_files_have_known_fields_only(name):
    for document in documents(name):
        check(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "entryPoint"), "python"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "resources", "limit"), {}),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "replicas"), "4"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("metadata", "name"), "Dmm_Zoo"),
    ],
)
def test_the_schema_refuses_unknown_fields_and_wrong_values(path, value):
    (document,) = documents("rayjob.yaml")
    place = broken = copy.deepcopy(document)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check(broken)


def test_kubernetes_files_agree_with_each_other():
    every = [document for name in KUBERNETES for document in documents(name)]
    claims = {document["metadata"]["name"] for document in every if document["kind"] == "PersistentVolumeClaim"}
    used = re.findall(r"claimName: ([\w-]+)", "".join((CLUSTER / name).read_text() for name in KUBERNETES))
    assert set(used) == claims
    for document in every:
        if document["kind"] == "Deployment":
            spec = document["spec"]
            assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
            names = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
        for container in containers(document):
            assert container.get("resources", {"limits": 0, "requests": 0})["limits"] == container.get(
                "resources", {"requests": 0}
            ).get("requests"), container["name"]
            if document["kind"] == "Deployment":
                assert {mount["name"] for mount in container["volumeMounts"]} <= names
    (job,) = documents("rayjob.yaml")
    (cluster,) = [document for document in documents("raycluster.yaml") if document["kind"] == "RayCluster"]
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]
    words = job["spec"]["entrypoint"].split()
    assert find_profile(words[words.index("--profile") + 1]) and (ROOT / f"tune_spaces/{words[4]}.py").exists()


def test_versions_and_server_options_are_the_same_everywhere():
    (pinned,) = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    for name in ("raycluster.yaml", "rayjob.yaml"):
        assert f"rayVersion: {pinned}\n" in (CLUSTER / name).read_text()
    (server,) = [one for one in containers(documents("mlflow.yaml")) if one["name"] == "mlflow"]
    options = {argument.split("=")[0] for argument in server["args"]}
    script = (CLUSTER / "mlflow.sh").read_text()
    assert options == set(re.findall(r" (--[a-z-]+) ", script)) - {"--"}
    assert "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false" in script and "${HOST:-127.0.0.1}" in script
    clients = {
        e["value"] for one in containers(documents("raycluster.yaml")) for e in one["env"] if "MLFLOW" in e["name"]
    }
    assert clients == {"http://mlflow:5000"} and "--allowed-hosts=mlflow:*,localhost:*,127.0.0.1:*" in server["args"]


def test_the_launcher_file_is_what_ray_takes():
    import ray
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((CLUSTER / "ray-cluster.yaml").read_text())
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    whole = prepare_config(config)
    validate_config(whole)
    assert whole["available_node_types"]["local.cluster.node"]["min_workers"] == len(config["provider"]["worker_ips"])
    with pytest.raises(jsonschema.ValidationError, match="setup_comands"):
        jsonschema.validate({**config, "setup_comands": []}, schema)


def instructions(text: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions. A line that ends in a backslash is joined with the next."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def test_the_dockerfile():
    found = instructions((CLUSTER / "Dockerfile").read_text())
    words = {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "USER", "CMD"}
    assert {word for word, _ in found} == words and found[0][0] == "FROM"
    stages = [rest.split(" AS ")[-1] for word, rest in found if word == "FROM"]
    for word, rest in found:
        if word == "RUN":
            subprocess.run(["bash", "-n", "-c", rest], check=True)
        elif word == "CMD":
            assert json.loads(rest)[:3] == ["python", "-m", "dmm"]
        elif word == "COPY" and rest.startswith("--from="):
            assert rest.split()[0].removeprefix("--from=") in stages
        elif word == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1])
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["gpu"]
    build = " ".join(rest for word, rest in found if word == "RUN")
    assert all(entry.split(">")[0] + "==" in build for entry in extra)  # what the extra names is what is built
    assert [rest for word, rest in found if word == "USER"] == ["ray"]


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("*.sh")), ids=lambda path: path.name)
def test_shell_scripts_parse(path):
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert path.stat().st_mode & 0o111 and path.read_text().startswith("#!/usr/bin/env bash\n")
