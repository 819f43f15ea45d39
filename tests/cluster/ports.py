"""Free ports of loopback."""

import random
import socket

_RANGE = range(20000, 30000)
"""Below the range from which Linux takes the near ends of connections: a server that is down keeps its port."""


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on, picked at random so that two runs do not meet."""
    for port in random.sample(_RANGE, 100):
        if _is_free(port):
            return port
    raise OSError(f"no free port of 127.0.0.1 found in {_RANGE.start}-{_RANGE.stop - 1}")


def _is_free(port: int) -> bool:
    """Return whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
