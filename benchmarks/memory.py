"""Peak memory of a server: against its weights and its imports, neither of which it can do without.

    python benchmarks/memory.py

For the embedded model and for a random one of 150 million parameters (0.6 GB in float32): the peak resident set of a
server process that loaded the model and made pictures, against a process that only imports the same libraries, plus
the size of the weights. Fails when a picture does not come back.
"""

import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness import Comparison, Machine, exact, print_table, this_machine, write_json
from imagegen_shapes import WEIGHTS

TARGET = 1.2
PICTURES = 8
TIMEOUT_SECONDS = 300
MIB = 2**20

IMPORTS = "import litestar, uvicorn, torch, transformers, diffusers; from diffusers import StableDiffusionPipeline"
"""With the class: diffusers imports a pipeline's modules only when its name is used."""

MAKE_LARGE_MODEL = """
import sys, torch, transformers, diffusers
transformers.logging.disable_progress_bar()
pipe = diffusers.StableDiffusionPipeline.from_pretrained(sys.argv[1], dtype=torch.float32)
config = dict(pipe.unet.config) | {"block_out_channels": (192, 384, 768), "layers_per_block": 2}
pipe.unet = diffusers.UNet2DConditionModel.from_config(config)
pipe.save_pretrained(sys.argv[2])
"""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """Both rows, and where they were taken."""

    machine: Machine
    comparisons: tuple[Comparison, ...]


def measure() -> Results:
    """Measure both models."""
    imports = _peak_mib([sys.executable, "-c", f"{IMPORTS}\n{_TELL_PEAK}"])
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder, "large")
        command = [sys.executable, "-c", MAKE_LARGE_MODEL, str(WEIGHTS), str(large)]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_SECONDS)
        rows = (
            _row("embedded model, fp16 files of 7 MB", imports, WEIGHTS, Path(folder)),
            _row("150 M parameters, fp32 files", imports, large, Path(folder)),
        )
    return Results(machine=this_machine("torch", "diffusers", "transformers"), comparisons=rows)


def server_peak_mib(weights: Path, folder: Path) -> float:
    """Return the peak resident MiB of a server that loaded ``weights`` and made some pictures."""
    entry = {"publisher": "bench", "family": "sd", "version": "1", "id": "bench/model", "source": f"file://{weights}"}
    catalog = folder / "models_info.json"
    catalog.write_text(json.dumps([entry]), encoding="utf-8")
    command = [sys.executable, "-m", "imagegen_server.main", "--port", "0", "--log-format", "json"]
    command += ["--catalog", str(catalog), "--load", "bench/model"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        url = ""
        for line in process.stderr or ():
            event = json.loads(line)
            url = event.get("url", url)
            if event["message"] == "model ready":
                break
        for seed in range(PICTURES):
            _picture(url, seed)
        peak = _peak_of(process.pid)
        process.terminate()
        process.communicate(timeout=TIMEOUT_SECONDS)
    return peak


def _row(what: str, imports: float, weights: Path, folder: Path) -> Comparison:
    stored = sum(file.stat().st_size for file in weights.rglob("*.safetensors")) / MIB
    return exact(what, "imports + weights", "MiB", (server_peak_mib(weights, folder), imports + stored), TARGET)


_TELL_PEAK = "print(*(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"


def _peak_mib(command: Sequence[str]) -> float:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    return _kilobytes(done.stdout) / 1024


def _peak_of(pid: int) -> float:
    return _kilobytes(Path(f"/proc/{pid}/status").read_text(encoding="utf-8")) / 1024


def _kilobytes(status: str) -> int:
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def _picture(url: str, seed: int) -> None:
    body = {"model": "bench/model", "prompt": "a red circle", "size": "256x256", "num_inference_steps": 2, "seed": seed}
    request = urllib.request.Request(  # noqa: S310 - our own server on loopback
        f"{url}/v1/images/generations", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:  # noqa: S310 - likewise
        assert json.load(reply)["data"][0]["b64_json"]


def main() -> None:
    """Measure, print, write."""
    results = measure()
    print_table(results.comparisons)
    print(f"written to {write_json('memory', results)}")


if __name__ == "__main__":
    main()
