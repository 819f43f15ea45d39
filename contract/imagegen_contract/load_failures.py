"""Why a model cannot be loaded, for programs: one CamelCase reason for each cause that people act on differently.

A server shows the reason beside the words in /v1/models and /status, and the operator puts it into conditions.
"""

from enum import StrEnum


class LoadFailure(StrEnum):
    """The cause of a failed load."""

    SOURCE_UNSUPPORTED = "SourceUnsupported"
    """The server has no such source, or no such model inside."""
    WEIGHTS_NOT_FOUND = "WeightsNotFound"
    """No such folder, file, repository or revision; or a repository without what a pipeline needs."""
    WEIGHTS_NOT_CACHED = "WeightsNotCached"
    """Offline, and the cache does not hold all of it."""
    ACCESS_DENIED = "AccessDenied"
    """Gated or private: terms to accept, a token to set, or a token that is wrong."""
    HUB_UNREACHABLE = "HubUnreachable"
    """No connection to the Hub, or one that broke."""
    HUB_ERROR = "HubError"
    """The Hub answers with errors of its own."""
    DISK_FULL = "DiskFull"
    """The cache has no room, or cannot be written to."""
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    """What arrived is not what the Hub announced."""
    UNSAFE_WEIGHTS = "UnsafeWeights"
    """Pickles or remote code: both can run code of others, and are never opened."""
    WEIGHTS_INVALID = "WeightsInvalid"
    """The files are broken, incomplete, or of a pipeline that is not supported."""
    EXCEEDS_MEMORY_BUDGET = "ExceedsMemoryBudget"
    """The model alone is larger than the server's memory budget."""
    OUT_OF_MEMORY = "OutOfMemory"
    """The device had no room although the budget allowed it."""
    GPU_UNUSABLE = "GPUUnusable"
    """The device that was asked for cannot be used."""
    LOAD_TIMEOUT = "LoadTimeout"
    """Loading took longer than the server's limit."""
    INTERNAL_ERROR = "InternalError"
    """Nobody foresaw it; the log has the traceback."""


TRANSIENT = frozenset(
    {
        LoadFailure.HUB_UNREACHABLE,
        LoadFailure.HUB_ERROR,
        LoadFailure.DISK_FULL,
        LoadFailure.CHECKSUM_MISMATCH,
        LoadFailure.OUT_OF_MEMORY,
        LoadFailure.LOAD_TIMEOUT,
    }
)
"""Failures that may be over in a while: a server tries these again by itself."""

MENDED_ELSEWHERE = frozenset({LoadFailure.ACCESS_DENIED, LoadFailure.WEIGHTS_NOT_FOUND, LoadFailure.WEIGHTS_NOT_CACHED})
"""Failures that end when somebody accepts terms, puts a token into a Secret, or files into a volume: a server in a pod,
which nobody asks to load again, looks from time to time."""
