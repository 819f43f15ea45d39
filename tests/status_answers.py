"""A server that answers /status as a model pod does, on an address of loopback that a test gives to a pod."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from imagegen_contract.names import MANAGEMENT_PORT
from imagegen_contract.server_status import Capacity, ModelStatus, ServerStatus, Work

_CAPACITY = Capacity(running_rows=0, queued_rows=0, free_rows=1, running_requests=0, queued_requests=0)
_WORK = Work(
    predicted_seconds=0.0, device_seconds_total=0.0, evaluations_total=0, images_total=0, last_step_age_seconds=None
)


def server_status(model: ModelStatus) -> ServerStatus:
    """Return the answer of a server that has one model."""
    state = "ready" if model.state == "ready" else "failed" if model.state == "failed" else "loading"
    return ServerStatus(
        version="1", state=state, uptime_seconds=1.0, device="cpu", models=(model,), capacity=_CAPACITY, work=_WORK
    )


@contextmanager
def answering(address: str, model: ModelStatus) -> Generator[None]:
    """Answer on the management port of ``address``, which is one of loopback's."""
    body = msgspec.json.encode(server_status(model))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/status" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - it is silent
            pass

    with ThreadingHTTPServer((address, MANAGEMENT_PORT), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(5)
