"""What can go wrong in a server besides what `imagegen_web.errors` has for every program.

ApiError                  (imagegen_web.errors)
    OutOfMemory           the device cannot hold it, even alone
    ContentPolicy         the model's safety checker flagged a picture
    NonFiniteOutput       the model computed NaN or infinity
DeviceLostError           the device is unusable: the process must end
BrokenImportError         the libraries are unusable: the process must end
LoadError                 a model cannot be loaded: kept as the model's state, shown to whoever asks for it
    ExceedsBudget         the weights are larger than all that models may take
    SourceError           (sources/) the weights cannot be had
    WeightsError          (pipelines/components.py) the weights cannot be used
    DeviceError           (pipelines/device.py) the device cannot be used
"""

from imagegen_contract.errors import ErrorCode
from imagegen_contract.load_failures import LoadFailure
from imagegen_web.errors import ApiError


class OutOfMemory(ApiError):
    """The device ran out of memory, also with the smallest batch."""

    def __init__(self, message: str = "the device has not enough memory for this request; ask for less") -> None:
        super().__init__(ErrorCode.OUT_OF_MEMORY, message)


class ContentPolicy(ApiError):
    """The model's safety checker flagged a picture."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.CONTENT_POLICY_VIOLATION,
            "The model's safety checker flagged a picture of this request; try another prompt or seed.",
            "prompt",
        )


class NonFiniteOutput(ApiError):
    """The latents hold NaN or infinity: no picture can be decoded from them."""

    def __init__(self) -> None:
        super().__init__(
            ErrorCode.NON_FINITE_OUTPUT,
            "The model computed values that are no numbers; try another scheduler, more steps or less guidance.",
        )


class DeviceLostError(RuntimeError):
    """The device answers every call with an error from now on; only a new process helps."""


class BrokenImportError(RuntimeError):
    """torch or diffusers failed in the middle of their import, which cannot be tried again: the process must end."""


class LoadError(RuntimeError):
    """A model cannot be loaded. The message is for people, ``reason`` for programs."""

    def __init__(self, message: str, reason: LoadFailure) -> None:
        super().__init__(message)
        self.reason = reason


class ExceedsBudget(LoadError):
    """The weights take more than the memory budget, whoever leaves."""

    def __init__(self, need: int, budget: int) -> None:
        super().__init__(
            f"the weights take {need / 2**20:.0f} MiB, and the memory budget is {budget / 2**20:.0f} MiB (setting "
            "memory_budget_mib); a larger budget, a larger device or a smaller number format is needed",
            LoadFailure.EXCEEDS_MEMORY_BUDGET,
        )
