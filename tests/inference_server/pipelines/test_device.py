"""Which device and number format is used, and what the device's errors become."""

import gc
import weakref

import pytest
import torch

from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.errors import DeviceLostError
from imagegen_server.pipelines.device import DeviceError, choose_device, choose_dtype, device_errors, dtype_name
from server_process import ServerProcess, start_server, wait_until

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
without_any_gpu = pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="this machine has a GPU"
)


@without_any_gpu
def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    assert choose_device("auto").type == "cpu"


@without_any_gpu
@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_a_gpu_that_is_not_there_is_refused_in_words(wanted: str) -> None:
    with pytest.raises(DeviceError, match=f"^GPUUnusable: device {wanted} was asked for, and .*"):
        choose_device(wanted)


@pytest.mark.parametrize(
    ("wanted", "device", "expected"),
    [
        ("auto", "cpu", "float32"),
        ("auto", "cuda", "float16"),
        ("auto", "mps", "float16"),
        ("float32", "cuda", "float32"),
        ("bfloat16", "cpu", "bfloat16"),
        ("float16", "cpu", "float16"),
    ],
)
def test_the_number_format_follows_the_device_unless_it_is_named(wanted: str, device: str, expected: str) -> None:
    assert dtype_name(choose_dtype(wanted, torch.device(device))) == expected


def test_memory_that_the_cpu_does_not_have_is_out_of_memory() -> None:
    with pytest.raises(DeviceOutOfMemoryError), device_errors():
        torch.empty(2**58, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(torch.OutOfMemoryError("CUDA out of memory"), DeviceOutOfMemoryError, id="a GPU's memory"),
        pytest.param(RuntimeError("CUDA error: an illegal memory access"), DeviceLostError, id="a GPU that is lost"),
        pytest.param(RuntimeError("shapes do not match"), RuntimeError, id="a mistake stays what it is"),
        pytest.param(ValueError("no such step"), ValueError, id="other errors stay what they are"),
    ],
)
def test_a_device_s_errors_become_ours(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected) as caught, device_errors():
        raise error
    assert type(caught.value) is expected


def test_the_tensors_of_a_call_that_ran_out_of_memory_are_free_when_it_is_handled() -> None:
    """Otherwise there would be no room to try again with fewer rows."""
    tensors: list[weakref.ref[torch.Tensor]] = []

    def call() -> None:
        large = torch.zeros(1000)
        tensors.append(weakref.ref(large))
        raise torch.OutOfMemoryError

    gc.disable()
    try:
        try:
            with device_errors():
                call()
        except DeviceOutOfMemoryError:
            pass
        assert tensors[0]() is None
    finally:
        gc.enable()


@without_gpu
def test_a_server_that_was_promised_a_gpu_says_in_words_that_there_is_none() -> None:
    with start_server("--device", "cuda") as server:
        wait_until(lambda: server.status()["state"] == "failed", 60, "the server to give up", every=0.1)
        ready, reply, status = server.get("/readyz"), server.post({"prompt": "a red circle"}), server.status()
        assert server.get("/healthz").status_code == 200, "restarting it would not help"
        model = server.get("/v1/models/imagegen/shapes").json()
    refusals = (ready, reply)
    assert [refusal.status_code for refusal in refusals] == [503, 503]
    assert [refusal.json()["error"]["code"] for refusal in refusals] == ["model_failed", "model_failed"]
    assert reply.headers["x-should-retry"] == "false"
    words = [*(refusal.json()["error"]["message"] for refusal in refusals), model["error"]]
    words += [status["models"][0]["error"]] + [line["cause"] for line in server.log if "cause" in line]
    assert len(words) == 5
    assert all("GPUUnusable: device cuda was asked for" in text for text in words)
    assert (model["state"], model["device"], status["device"]) == ("failed", None, "")


@without_any_gpu
def test_a_server_left_to_choose_says_what_it_chose(server: ServerProcess) -> None:
    assert server.status()["device"] == "cpu"
    model = server.get("/v1/models/imagegen/shapes").json()
    assert (model["device"], model["dtype"]) == ("cpu", "float32")
    assert [line["device"] for line in server.log if line["message"] == "model ready"] == ["cpu"]
