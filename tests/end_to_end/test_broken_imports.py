"""Imports that fail: what passes is tried again, what does not ends the process with its first cause."""

from pathlib import Path

import pytest

from conftest import Show
from server_process import ServerProcess, start_server, wait_until

pytestmark = pytest.mark.slow

HERE = {"PYTHONPATH": str(Path(__file__).parent.parent)}
MODULE = "misbehaving.breaking_imports_server"


def why(server: ServerProcess) -> str:
    (info,) = [model for model in server.status()["models"] if model["id"] == "imagegen/shapes"]
    return info.get("error", "")


@pytest.mark.acceptance
def test_fault_no_temporary_folder_at_the_first_load(tmp_path: Path, show: Show) -> None:
    mended = tmp_path / "mended"
    with start_server(module=MODULE, environment=HERE | {"BREAKS": "folder", "MENDED": str(mended)}) as server:
        wait_until(lambda: why(server), 30, "the load to fail")
        assert "no folder for temporary files can be written to" in why(server)
        assert server.get("/healthz").status_code == 200
        mended.touch()
        server.wait_ready()
        assert server.post({"prompt": "a red circle", "size": "64x64", "num_inference_steps": 1}).status_code == 200
    show("14.1 fault 6: a failed import", "no temporary folder: loads once there is one")


@pytest.mark.acceptance
def test_fault_an_import_that_breaks_half_way(show: Show) -> None:
    """A second try would only say that something is already registered."""
    with start_server(module=MODULE, environment=HERE | {"BREAKS": "diffusers"}) as server:
        assert server.wait(60) == 1
    (line,) = [line for line in server.log if line["level"] == "CRITICAL"]
    assert line["cause"] == (
        "torch and diffusers cannot be imported: AssertionError: Artifact of type=precompile already registered"
    )
    show("14.1 fault 6: a failed import", "broken import: exit code 1, the first cause logged")
