"""The server's image: built for real, run as a restricted pod would run it, without a network.

Built once for all of these tests, from a copy of the checkout. IMAGEGEN_KEEP_TEST_IMAGES=true keeps the images, so that
the next run takes seconds instead of minutes; `rm -r` of the folder that containers.py names ends that.
"""

import base64
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from conftest import Show
from container_image import Built
from containers import Container, Store, layers
from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.names import MANAGEMENT_PORT, PUBLIC_PORT
from server_process import Server, wait_until
from shapes_oracle import classify, random_scenes

pytestmark = [pytest.mark.slow, pytest.mark.images, pytest.mark.timeout(1500)]

SCENES = random_scenes(77, 10)
ROOT = Path(__file__).parents[2]
SERVER = Server(f"http://127.0.0.1:{PUBLIC_PORT}")
"""As it is seen from inside the container's network."""

CLIENT_TESTS = [
    "tests/end_to_end/test_sdk.py",
    "tests/end_to_end/test_sdk_errors.py::test_a_refusal_names_field_and_rule",
    "tests/end_to_end/test_sdk_errors.py::test_a_deadline_that_is_no_time_is_refused",
    "--deselect=tests/end_to_end/test_sdk.py::test_a_success_is_asked_for_once",
]
"""Those of the official SDK that need neither a server of their own making nor its log."""

LOOK_AROUND = """
import json, os, pwd, socket
status = dict(line.split(":\\t") for line in open("/proc/1/status").read().splitlines() if ":\\t" in line)
def writes(folder):
    try:
        os.makedirs(folder, exist_ok=True)
        with open(folder + "/written", "w") as file: file.write("x")
    except OSError as error:
        return error.strerror
    os.unlink(folder + "/written")
    return "written"
folders = ["/", "/etc", "/etc/imagegen", "/opt/imagegen", "/usr/bin", "/var/cache", "/run", "/tmp"]
caches = [os.environ[name] for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME", "TORCHINDUCTOR_CACHE_DIR",
    "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")]
print(json.dumps({"status": status, "user": pwd.getpwuid(os.getuid()).pw_name,
    "networks": [name for _, name in socket.if_nameindex()], "folders": {folder: writes(folder) for folder in folders},
    "caches": {folder: writes(folder) for folder in caches}}))
"""


@pytest.fixture(scope="module")
def container(store: Store, built: Built) -> Iterator[Container]:
    """Return a container that is ready and that tests leave as it is."""
    with store.container(built.name) as running:
        running.wait_ready()
        yield running


@pytest.mark.acceptance
def test_the_image_says_how_it_is_to_be_run(store: Store, built: Built, show: Show) -> None:
    parts = [f"{megabytes:.0f} MB {_what_made(step)}" for megabytes, step in layers(store, built.name)]
    show("3 container: built; layers", f"{built.seconds:.0f} s, {built.facts['Size'] / 1e9:.2f} GB; {', '.join(parts)}")
    config, healthcheck = built.facts["Config"], built.facts["Healthcheck"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["imagegen-server"]
    assert list(config["Volumes"]) == ["/var/cache/imagegen"]
    assert sorted(config["ExposedPorts"]) == [f"{PUBLIC_PORT}/tcp", f"{MANAGEMENT_PORT}/tcp"]
    assert config["StopSignal"] == "SIGTERM"
    assert healthcheck["Test"] == ["CMD", "python", "-m", "imagegen_server.probe"]
    labels = {name.rpartition(".")[2]: text for name, text in built.facts["Labels"].items()}
    assert (labels["title"], labels["version"], labels["licenses"]) == ("imagegen-server", "1", "Apache-2.0")


def test_nothing_of_the_build_stays_in_the_image(container: Container, built: Built) -> None:
    look = "import glob, importlib.util as u, json; print(json.dumps([n for n in {} if u.find_spec(n)] + {}))"
    tools = ["pip", "hatchling", "openai", "pytest", "imagegen_shapes_training"]
    left = container.python(look.format(tools, "glob.glob('/run/secrets/*') + glob.glob('/src') + glob.glob('/code')"))
    assert json.loads(left) == []
    assert not re.search(r"https?://", json.dumps(built.facts["History"]))


@pytest.mark.acceptance
def test_it_runs_without_any_rights(container: Container, show: Show) -> None:
    seen = json.loads(container.python(LOOK_AROUND))
    status = seen["status"]
    assert set(status["Uid"].split()) == {"10001"}
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert seen["user"] == "imagegen"
    assert seen["networks"] == ["lo"]
    assert [folder for folder, result in seen["folders"].items() if result == "written"] == ["/tmp"]  # noqa: S108 - a tmpfs
    assert seen["folders"]["/"] == "Read-only file system"
    assert set(seen["caches"].values()) == {"written"}
    show("3 container: user 10001, no capabilities, root read-only", "writable: /tmp and the cache volume; network: lo")


@pytest.mark.acceptance
def test_the_client_tests_pass_against_it(container: Container, show: Show) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CLIENT_TESTS]
    environment = {**os.environ, "IMAGEGEN_TEST_URL": SERVER.url}  # noqa: TID251 - a child needs its parent's
    with container.network():
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    last = done.stdout.strip().splitlines()[-1]
    passed = re.search(r"(\d+) passed", last)
    assert passed
    assert int(passed[1]) > 50
    assert not re.search("skipped|failed|error", last)
    show("3 container: the SDK's tests against it, in its network", last.strip("= "))


@pytest.mark.acceptance
def test_its_pictures_show_what_was_asked(container: Container, show: Show) -> None:
    with container.network(), SERVER.client() as client:
        right = sum(classify(_picture(client, scene.prompt, 40 + i)).matches(scene) for i, scene in enumerate(SCENES))
    show("3 container: pictures of the model inside, without a network", f"{right} of {len(SCENES)} right")
    assert right >= len(SCENES) - 2


@pytest.mark.parametrize(
    ("path", "holds"),
    [("/healthz", ""), ("/readyz", ""), ("/status", '"ready"'), ("/metrics", "imagegen_"), ("/docs", "swagger-ui")],
)
def test_its_routes_answer(container: Container, path: str, holds: str) -> None:
    with container.network():
        answer = SERVER.get(path)
    assert answer.status_code == 200
    assert holds in answer.text


def test_its_health_command_passes(container: Container, store: Store) -> None:
    store.podman("healthcheck", "run", container.name)


def test_a_probe_that_fails_says_why(container: Container) -> None:
    refused = container.probe("/v1/nothing")
    assert refused.returncode == 1
    assert "/v1/nothing answered 404" in refused.stderr


@pytest.mark.acceptance
def test_a_model_from_the_hub_fails_in_words_where_there_is_no_network(
    store: Store, built: Built, tmp_path: Path, show: Show
) -> None:
    wanted = "acme/sd"
    entry = {"publisher": "acme", "family": "sd", "version": "1", "id": wanted, "source": f"hf://{wanted}"}
    shapes = json.loads((ROOT / "models_info.json").read_text())[0]
    catalog = tmp_path / "models_info.json"
    catalog.write_text(json.dumps([shapes, entry]))
    flags = [f"--volume={catalog}:/etc/imagegen/models_info.json:ro", f"--env=IMAGEGEN_SERVER_LOAD={wanted}"]
    management = Server(f"http://127.0.0.1:{MANAGEMENT_PORT}")
    with store.container(built.name, *flags, f"--env=IMAGEGEN_SERVER_MANAGEMENT_PORT={MANAGEMENT_PORT}") as running:
        wait_until(lambda: running.probe().returncode == 0, 60, "the probe on the management port", every=0.2)
        with running.network():
            wait_until(lambda: _model(management, wanted).get("reason"), 120, "the load to fail", every=0.2)
            model = _model(management, wanted)
    show("3 container: hf:// without a network", f"{model['reason']}: {model['error']}")
    assert model["reason"] == LoadFailure.HUB_UNREACHABLE
    assert wanted in model["error"]


def test_it_runs_as_any_user_of_group_0(store: Store, built: Built) -> None:
    with store.container(built.name, "--user=1000680000:0") as running:
        running.wait_ready()
        with running.network():
            assert SERVER.post({"prompt": "a red circle", "size": "64x64"}).status_code == 200


@pytest.mark.acceptance
def test_sigterm_lets_accepted_work_finish(store: Store, built: Built, show: Show) -> None:
    answers: list[httpx.Response] = []
    work = {"prompt": "a red circle", "size": "512x512", "num_inference_steps": 6}
    with store.container(built.name) as running:
        running.wait_ready()
        with running.network():
            request = threading.Thread(target=lambda: answers.append(SERVER.post(work)))
            request.start()
            wait_until(lambda: SERVER.status()["capacity"]["running_requests"], 30, "the request to run")
            started = time.monotonic()
            running.send_stop()
            request.join(120)
        wait_until(lambda: not running.state["Running"], 60, "the container to end", every=0.1)
        seconds = time.monotonic() - started
        code = running.state["ExitCode"]
    assert [answer.status_code for answer in answers] == [200]
    assert code == 0
    show("3 container: SIGTERM in mid-request", f"answered 200, exit code {code} after {seconds:.1f} s")


@pytest.mark.acceptance
def test_a_change_of_code_does_not_install_torch_again(store: Store, built: Built, checkout: Path, show: Show) -> None:
    changed = checkout / "inference_server/imagegen_server/__init__.py"
    changed.write_text(f"{changed.read_text()}\nCHANGED = True\n")
    again = Built(store, checkout, "server", "2")
    before, after = (image.facts["RootFS"]["Layers"] for image in (built, again))
    assert "Collecting torch" not in again.printed
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]
    kept = f"{again.seconds:.0f} s, {len(before) - 1} of {len(before)} layers kept"
    show("3 container: rebuilt after a change of code", kept)


def _picture(client: openai.OpenAI, prompt: str, seed: int) -> Image.Image:
    reply = client.images.generate(model="imagegen/shapes", prompt=prompt, size="256x256", extra_body={"seed": seed})
    assert reply.data
    return Image.open(io.BytesIO(base64.b64decode(reply.data[0].b64_json or "")))


def _model(server: Server, model_id: str) -> dict[str, Any]:
    return next(model for model in server.status()["models"] if model["id"] == model_id)


def _what_made(step: str) -> str:
    """Return a few words for a step of the Dockerfile."""
    words = {"pip install": "dependencies", "/etc/passwd": "user", "COPY file": "lock", "COPY dir": "code"}
    return next((name for found, name in words.items() if found in step), "base")
