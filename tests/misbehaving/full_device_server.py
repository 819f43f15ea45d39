"""A server whose device has no memory left when weights come; all else is the real server."""

from collections.abc import Callable
from typing import Any

from imagegen_server import main
from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.pipelines import loading


class FullDevice(loading.PipelineLoader):
    """Has no room."""

    def placing(self, pipe: Any) -> list[Callable[[], None]]:
        """Return one piece of work, which fails."""
        del pipe

        def place() -> None:
            raise DeviceOutOfMemoryError("out of device memory")

        return [place]


if __name__ == "__main__":
    loading.PipelineLoader = FullDevice
    main.run()
