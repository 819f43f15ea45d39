"""`python -m imagegen_server.probe [PATH]`: whether the server beside it answers; for containers without curl.

It reads the server's environment, so it asks the port that the server listens on, and exits with 0 when PATH (/healthz
unless given) answers 200 within 4 seconds, else with 1 and the cause in words.
"""

import http.client
import os
import sys
from collections.abc import Mapping, Sequence

from imagegen_contract.server_settings import read_server_settings
from imagegen_contract.settings import SettingsError

_SECONDS = 4.0
"""Less than the five seconds of the image's HEALTHCHECK: the cause is told before the time is up."""

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what is asked, not listened on


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Ask once; return the exit code."""
    path = arguments[0] if arguments else "/healthz"
    try:
        settings = read_server_settings(environment, {}, _leave_to_the_server)
    except SettingsError as error:
        return _failed(str(error))
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    port = settings.port if settings.management_port is None else settings.management_port
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return _failed(f"no answer from {host} port {port}: {error}")
    finally:
        connection.close()
    return 0 if answer.status == http.HTTPStatus.OK else _failed(f"{path} answered {answer.status}: {body}")


def _leave_to_the_server(words: str) -> None:
    """Say nothing of a setting that is left out: the server has said it in its log."""


def _failed(words: str) -> int:
    print(f"imagegen-server probe: {words}", file=sys.stderr)  # noqa: T201 - the health log shows it
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))  # noqa: TID251 - the composition root
