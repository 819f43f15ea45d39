"""What the operator writes, byte by byte: nothing but a spec or somebody's decision changes a pod template."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

import golden_models
from conftest import Show
from golden_models import SPECS, Json
from imagegen_contract.conditions import ImageModelStatus
from imagegen_operator.objects import Observed
from imagegen_operator.plan import plan

SECONDS = 60.0
PRINT_ALL = """
from importlib.metadata import version
import golden_models
print(version("imagegen"))
for name in golden_models.SPECS:
    print(golden_models.text(name), end="")
"""


def kept(name: str) -> list[Json]:
    """Return the objects of a golden file."""
    return list(yaml.safe_load_all(golden_models.path(name).read_text(encoding="utf-8")))


def deployed(name: str, pinned: str) -> Observed:
    """Return a golden model with everything there as its file says."""
    children = {each["kind"]: each for each in kept(name)}
    return Observed(
        model=golden_models.model(name, SPECS[name], status=ImageModelStatus(server_image=pinned)),
        deployment=children["Deployment"],
        service=children["Service"],
        claim=children.get("PersistentVolumeClaim"),
    )


@pytest.mark.parametrize("name", SPECS)
def test_the_operator_writes_what_the_golden_file_holds(name: str) -> None:
    """If this fails, pods of that kind restart when the operator is upgraded."""
    assert golden_models.manifests(name) == kept(name)


def test_each_golden_file_has_its_model() -> None:
    assert {path.stem for path in golden_models.FOLDER.iterdir()} == set(SPECS)


@pytest.mark.acceptance
def test_an_operator_of_another_version_writes_the_same(tmp_path: Path, repository: Path, show: Show) -> None:
    """The process also has another seed of its hashes, so nothing hangs on the order of a set."""
    installed = tmp_path / "imagegen-99.0.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: imagegen\nVersion: 99.0.0\n")
    done = subprocess.run(
        [sys.executable, "-c", PRINT_ALL],
        env={"PYTHONPATH": f"{tmp_path}:{repository / 'tests'}", "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    version, _, written = done.stdout.partition("\n")
    assert version == "99.0.0"
    assert written == "".join(golden_models.path(name).read_text(encoding="utf-8") for name in SPECS)
    show("5.4 golden pod templates", f"{len(SPECS)} models; version 99.0.0 of the operator changes none")


@pytest.mark.acceptance
@pytest.mark.parametrize("pinned", [True, False], ids=["by its status", "by its Deployment, the status lost"])
def test_a_new_default_server_image_writes_nothing(pinned: bool, show: Show) -> None:
    newer = "registry.example/imagegen-server:2.0.0"
    for name in SPECS:
        settings = golden_models.settings_of(name)
        observed = deployed(name, settings.server_image if pinned else "")
        assert plan(observed, msgspec.structs.replace(settings, server_image=newer)).apply == ()
    show("5.4 a new default image of the server", "0 writes for all golden models")


def test_a_rolling_policy_writes_the_new_image_and_nothing_else() -> None:
    newer = "registry.example/imagegen-server:2.0.0"
    name = "sdxl-turbo-on-a-gpu"
    rolling = msgspec.structs.replace(golden_models.SETTINGS, server_image=newer, upgrade_policy="Rolling")
    (written,) = plan(deployed(name, golden_models.SETTINGS.server_image), rolling).apply
    before = deployed(name, "").deployment
    assert before is not None
    template = msgspec.to_builtins(written)["spec"]["template"]
    (server,) = template["spec"]["containers"]
    assert server["image"] == newer
    server["image"] = golden_models.SETTINGS.server_image
    assert template == before["spec"]["template"]
