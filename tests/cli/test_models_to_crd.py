"""`imagegen models to-crd`: a catalog as ImageModels, for `kubectl apply`."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.api import Api
from cluster.control_plane import ControlPlane
from command_line import assert_failed, imagegen, imagegen_here

MODELS_INFO = Path(__file__).parents[2] / "models_info.json"
CRD_FILE = Path(__file__).parents[2] / "deploy/crd.yaml"


def entry(model_id: str, **fields: Any) -> dict[str, Any]:
    return {"publisher": "acme", "family": "sd", "version": "1", "id": model_id, **fields}


def test_each_entry_is_printed_as_one_document(tmp_path: Path) -> None:
    done = imagegen(tmp_path, "models", "to-crd", str(MODELS_INFO))
    assert (done.returncode, done.stderr) == (0, "")
    documents = list(yaml.safe_load_all(done.stdout))
    assert [each["spec"] for each in documents] == json.loads(MODELS_INFO.read_text())
    assert documents[0]["metadata"] == {"name": "imagegen-shapes"}


def test_the_namespace_is_written_when_given(capsys: pytest.CaptureFixture[str]) -> None:
    done = imagegen_here(capsys, "models", "to-crd", str(MODELS_INFO), "--namespace", "there")
    assert {each["metadata"]["namespace"] for each in yaml.safe_load_all(done.stdout)} == {"there"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "models.json: cannot be read: No such file or directory", id="missing"),
        pytest.param([entry("a/b-c"), entry("a-b/c")], "a-b/c: left out, since its object name", id="one name twice"),
    ],
)
def test_a_catalog_that_cannot_be_used_prints_nothing(
    content: list[dict[str, Any]] | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "models.json"
    if content is not None:
        file.write_text(json.dumps(content))
    done = imagegen_here(capsys, "models", "to-crd", str(file))
    assert done.stdout == ""
    assert_failed(done, said)


def test_every_problem_of_a_wrong_catalog_is_told_beside_the_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "models.json"
    file.write_text(json.dumps([entry("a/b", stpes=4), entry("a/c", replicas=-1)]))
    done = imagegen_here(capsys, "models", "to-crd", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    first, second, last = done.stderr.splitlines()
    assert "entry 1 (a/b): field stpes: unknown field" in first
    assert "entry 2 (a/c): field replicas: found -1" in second
    assert last == f"imagegen: {file} is wrong, so nothing is printed"


@pytest.mark.slow
def test_kubectl_applies_what_is_printed(control_plane: ControlPlane, kubernetes: Api, tmp_path: Path) -> None:
    control_plane.kubectl("apply", "--server-side", "-f", str(CRD_FILE))
    control_plane.kubectl("wait", "--for=condition=Established", "crd/imagemodels.imagegen.dev", "--timeout=30s")
    file = tmp_path / "models.json"
    odd = entry("acme/odd", description='"quoted": #no\nß \u2028\U0001f600', inference={"guidanceScale": 1e-7})
    file.write_text(json.dumps([*json.loads(MODELS_INFO.read_text()), odd]))
    printed = imagegen(tmp_path, "models", "to-crd", str(file), "--namespace", kubernetes.namespace).stdout
    for way in ((), ("--server-side",)):
        told = control_plane.kubectl("apply", *way, "--validate=strict", "-f", "-", stdin=printed)
        assert len(told.splitlines()) == len(json.loads(file.read_text())), told
    for written in json.loads(file.read_text()):
        (applied,) = [model["spec"] for model in kubernetes.list("im") if model["spec"]["id"] == written["id"]]
        assert holds(applied, written)


def holds(applied: Any, written: Any) -> bool:
    """Return whether everything that was written is there, defaults aside."""
    if isinstance(written, dict):
        return all(name in applied and holds(applied[name], value) for name, value in written.items())
    return applied == written
