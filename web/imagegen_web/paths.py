"""Which paths are the same to every program: a slash too many, as of a base URL that ends with one, does not matter."""

import re

METHODS = "GET, HEAD, OPTIONS, POST"
"""All that any route takes, for who asks of none in particular."""

_SLASHES = re.compile("//+")


def canonical(path: str) -> str:
    """Return a decoded ``path`` with single slashes and without one at its end.

    Dot segments stay: clients resolve them before they send a path, and no route has any.
    """
    if "//" not in path and not path.endswith("/"):
        return path
    return _SLASHES.sub("/", path).rstrip("/") or "/"
