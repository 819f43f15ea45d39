"""The pod of a model: what its server is told, and what a spec may override."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import golden_models
from image_model_corpus import GOOD, Json, pod, spec
from imagegen_contract.image_model import Gpu, ImageModelSpec
from imagegen_contract.server_settings import ServerSettings, read_server_settings
from imagegen_contract.settings import SettingsError, read_settings
from imagegen_contract.workload import Pod, Rollout
from imagegen_operator.resources.deployment import deployment
from imagegen_operator.settings import ENVIRONMENT_PREFIX, OperatorSettings

IMAGE = "registry.example/imagegen-server:1.0.0"
REFERENCE = re.compile(r"\$(\$|\((?P<name>[^)]*)\))")


def pod_of(document: Json, settings: OperatorSettings = golden_models.SETTINGS) -> Json:
    """Return the spec of a model's pods."""
    return deployment(golden_models.model("one", document), IMAGE, settings)["spec"]["template"]["spec"]


def server_of(document: Json, settings: OperatorSettings = golden_models.SETTINGS) -> Json:
    """Return the one container."""
    (server,) = pod_of(document, settings)["containers"]
    return server


def environment_of(server: Json) -> dict[str, str]:
    """Return the environment of a container as its process finds it: $(NAME) replaced, $$ a plain $."""
    environment: dict[str, str] = {}

    def value(reference: re.Match[str]) -> str:
        name = reference.group("name")
        return "$" if name is None else environment.get(name, reference.group())

    for variable in server["env"]:
        environment[variable["name"]] = REFERENCE.sub(value, variable["value"])
    return environment


def read(server: Json) -> ServerSettings:
    """Return the settings that a server reads in its pod; it has nothing to warn of."""
    warnings: list[str] = []
    settings = read_server_settings(environment_of(server), {}, warnings.append)
    assert warnings == []
    return settings


def mount_of(pod_spec: Json, kind: str, name: str) -> str:
    """Return where the container has the volume whose source ``kind`` names ``name``."""
    (volume,) = [each["name"] for each in pod_spec["volumes"] if name in (each.get(kind) or {}).values()]
    (path,) = [each["mountPath"] for each in pod_spec["containers"][0]["volumeMounts"] if each["name"] == volume]
    return path


TEXT = st.text(max_size=20) | st.sampled_from(["$(IMAGEGEN_SERVER_HOST)", "$$", "$", "$$(A)", "100 $(", "a=b,c\n'\"\\"])
STEPS = st.integers(1, 100)
SOURCES = st.sampled_from(["hf://acme/one", "file:///models/one", "builtin://shapes", "pvc://w", "pvc://w/$(HOME)/a b"])
OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "aliases": st.lists(st.sampled_from(["a", "b/c"]), unique=True),
    "description": TEXT,
    "source": SOURCES,
    "revision": TEXT,
    "config": st.sampled_from(["hf://acme/base", "file:///base"]),
    "inference": st.fixed_dictionaries(
        {},
        optional={
            "steps": STEPS,
            "guidanceScale": st.floats(0, 30) | st.integers(0, 30),
            "size": st.sampled_from(["512x512", "64x1024"]),
            "sizes": st.lists(st.sampled_from(["512x512", "768x512"])),
            "scheduler": st.sampled_from(["euler", "ddim"]),
            "quality": st.fixed_dictionaries({"low": STEPS, "medium": STEPS, "high": STEPS}),
            "negativePrompt": TEXT,
            "promptSuffix": TEXT,
            "safetyChecker": st.booleans(),
        },
    ),
    "replicas": st.integers(0, 3),
    "gpu": st.fixed_dictionaries({"count": st.integers(0, 2)}),
    "cache": st.just({"claimName": "downloads"}),
    "rollout": st.fixed_dictionaries(
        {}, optional={"drainSeconds": st.integers(1, 3600), "loadTimeoutSeconds": st.integers(60, 86400)}
    ),
    "hubTokenSecretRef": st.just({"name": "hub"}),
    "pod": st.just({"env": [{"name": "A", "value": "b"}]}),
}
SPECS = st.fixed_dictionaries({}, optional=OPTIONAL).map(lambda fields: spec(**fields))


@pytest.mark.parametrize("endpoint", ["hub.example", "https://user:word@hub.example"])
def test_an_address_that_servers_refuse_reaches_none_of_them(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="HUB_ENDPOINT"):
        read_settings(OperatorSettings, ENVIRONMENT_PREFIX, {f"{ENVIRONMENT_PREFIX}HUB_ENDPOINT": endpoint}, {})


@given(SPECS, st.sampled_from(["", "https://hub.example/mirror?$(A)"]))
def test_a_server_reads_what_the_operator_means(document: Json, endpoint: str) -> None:
    settings = msgspec.structs.replace(golden_models.SETTINGS, hub_endpoint=endpoint)
    wanted, running = msgspec.convert(document, ImageModelSpec), pod_of(document, settings)
    source, on_volume = wanted.source, (wanted.source or "").removeprefix("pvc://w").strip("/")
    if (wanted.source or "").startswith("pvc://"):
        source = f"file://{mount_of(running, 'persistentVolumeClaim', 'w')}/{on_volume}".rstrip("/")
    assert read(running["containers"][0]) == ServerSettings(
        host="0.0.0.0",  # noqa: S104 - of a pod
        management_port=9090,
        device="cuda" if wanted.gpu.count else "cpu",
        load_timeout=wanted.rollout.load_timeout_seconds,
        drain_seconds=wanted.rollout.drain_seconds,
        hub_endpoint=endpoint or None,
        hub_token_file=f"{mount_of(running, 'secret', 'hub')}/token" if wanted.hub_token_secret_ref else None,
        # All but what no server needs: editing that restarts no pod.
        model=msgspec.structs.replace(
            wanted,
            source=source,
            aliases=(),
            description="",
            license="",
            replicas=1,
            gpu=Gpu(),
            cache=None,
            rollout=Rollout(),
            hub_token_secret_ref=None,
            pod=Pod(),
        ),
    )


@pytest.mark.parametrize("document", GOOD.values(), ids=GOOD.keys())
def test_each_spec_that_is_taken_makes_a_pod_whose_server_starts(document: Json) -> None:
    assert read(server_of(document)).model is not None


def test_a_prompt_is_no_reference_to_a_variable() -> None:
    """Kubernetes would put the address there."""
    suffix = "costs $(IMAGEGEN_SERVER_HOST) or $$5"
    model = read(server_of(spec(inference={"promptSuffix": suffix}))).model
    assert model is not None
    assert model.inference.prompt_suffix == suffix


def test_a_persons_own_variable_may_refer_to_others() -> None:
    server = server_of(pod(env=[{"name": "WHERE", "value": "$(IMAGEGEN_SERVER_HOST):8000"}]))
    assert environment_of(server)["WHERE"] == "0.0.0.0:8000"


def test_a_persons_own_variable_wins() -> None:
    server = server_of(pod(env=[{"name": "IMAGEGEN_SERVER_DEVICE", "value": "auto"}]))
    assert read(server).device == "auto"
    assert [each["name"] for each in server["env"]].count("IMAGEGEN_SERVER_DEVICE") == 1


def test_a_model_without_gpu_sees_none() -> None:
    """An image with CUDA inside would be given all of its node by NVIDIA's runtime."""
    server = server_of(spec(gpu={"count": 0}))
    assert environment_of(server)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "limits" not in server["resources"]


def test_gpus_are_asked_for_beside_resources_of_ones_own() -> None:
    server = server_of(spec(gpu={"count": 2}, pod={"resources": {"limits": {"memory": "1024Mi"}}}))
    assert server["resources"] == {"limits": {"memory": "1Gi", "nvidia.com/gpu": "2"}}


def test_a_pod_has_time_to_drain() -> None:
    """The pause before SIGTERM and the end of the process are on top."""
    running = pod_of(spec(rollout={"drainSeconds": 300}))
    pause = running["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert running["terminationGracePeriodSeconds"] == pause + 300 + 5


def test_a_missing_token_leaves_a_server_that_says_so() -> None:
    """Else the pod would wait in ContainerCreating, without a word from the server."""
    secrets = [
        each["secret"] for each in pod_of(spec(hubTokenSecretRef={"name": "hub"}))["volumes"] if "secret" in each
    ]
    assert [each["optional"] for each in secrets] == [True]


@pytest.mark.parametrize(
    ("document", "secrets"),
    [
        pytest.param(spec(), ["everybodys"], id="a model of the Hub gets the installation's token"),
        pytest.param(spec(hubTokenSecretRef={"name": "own"}), ["own"], id="its own token goes first"),
        pytest.param(spec(source="builtin://shapes"), [], id="weights that need no token get none"),
    ],
)
def test_whose_hub_token_a_pod_gets(document: Json, secrets: list[str]) -> None:
    settings = msgspec.structs.replace(golden_models.SETTINGS, hub_token_secret="everybodys")  # noqa: S106 - a name
    running = pod_of(document, settings)
    assert [each["secret"]["secretName"] for each in running["volumes"] if "secret" in each] == secrets
    assert bool(read(running["containers"][0]).hub_token_file) == bool(secrets)


@pytest.mark.parametrize("surge", [0, 1, 3])
def test_a_rollout_never_waits_for_a_gpu_that_is_not_there_unless_told_so(surge: int) -> None:
    """Without surge a pod goes first; with it none goes before its successor is ready."""
    manifest = deployment(golden_models.model("one", spec(rollout={"maxSurge": surge})), IMAGE, golden_models.SETTINGS)
    pace = manifest["spec"]["strategy"]["rollingUpdate"]
    assert pace == {"maxSurge": surge, "maxUnavailable": 0 if surge else 1}


def test_a_rollout_has_longer_than_one_try_to_load() -> None:
    manifest = deployment(
        golden_models.model("one", spec(rollout={"loadTimeoutSeconds": 7200})), IMAGE, golden_models.SETTINGS
    )
    assert manifest["spec"]["progressDeadlineSeconds"] > 7200
