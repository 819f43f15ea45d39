"""Where models and pods are known from: one file a way, each calls back with all it knows whenever that changes."""

from collections.abc import Callable, Sequence

from imagegen_router.directory import Model
from imagegen_router.endpoints import Address

Found = Callable[[Sequence[Model], Sequence[Address]], None]
"""Called with all models and all pods that there are now."""
