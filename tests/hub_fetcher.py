"""A process that fetches one model as a server does, and prints a line for each progress: to be killed, or raced.

python hub_fetcher.py ENDPOINT CACHE REPOSITORY
"""

import sys

from imagegen_contract.server_status import DownloadProgress
from imagegen_server.sources import Wanted
from imagegen_server.sources.hub import HubSettings, HubSource


def show(progress: DownloadProgress) -> None:
    """Print how far it is."""
    print(progress.bytes_done, flush=True)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    endpoint, cache, repository = sys.argv[1:]
    source = HubSource(HubSettings(endpoint=endpoint, cache=cache))
    weights = source.fetch(Wanted(reference=repository), show)
    print(weights.path, flush=True)  # noqa: T201 - likewise
