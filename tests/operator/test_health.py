"""/healthz, /readyz and /metrics of the operator."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from imagegen_operator.errors import ConfigurationError
from imagegen_operator.health import Health
from imagegen_operator.metrics import Metrics


def answers(*paths: str, trouble: Callable[[], str] = str, host: str = "127.0.0.1") -> list[tuple[int, str, str]]:
    """Return status, content type and body of each path."""

    async def ask() -> list[tuple[int, str, str]]:
        async with Health(host, 0, trouble, Metrics()) as health, aiohttp.ClientSession(health.url) as client:
            replies = [await client.get(path) for path in paths]
            return [(reply.status, reply.headers["content-type"], await reply.text()) for reply in replies]

    return asyncio.run(ask())


def test_an_operator_that_is_well_is_alive_and_ready() -> None:
    assert [(status, body) for status, _, body in answers("/healthz", "/readyz")] == [(200, "alive"), (200, "ready")]


def test_healthz_says_why_the_process_should_be_started_anew() -> None:
    words = "no sign of life from the watch of Pod"
    (alive, ready) = answers("/healthz", "/readyz", trouble=lambda: words)
    assert (alive[0], alive[2]) == (503, words)
    assert ready[0] == 200, "it must not lose its Service for what a new start mends"


def test_healthz_is_asked_each_time() -> None:
    words = iter(["", "the watch ended", ""])
    assert [status for status, _, _ in answers(*["/healthz"] * 3, trouble=lambda: next(words))] == [200, 503, 200]


def test_metrics_are_in_the_exposition_format() -> None:
    ((status, kind, body),) = answers("/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "# HELP imagegen_operator_leader 1 on the operator that has the lease" in body


def test_there_is_nothing_else() -> None:
    assert [status for status, _, _ in answers("/", "/status")] == [404, 404]


def test_an_address_with_colons_makes_a_url() -> None:
    async def url() -> str:
        async with Health("::1", 0, str, Metrics()) as health:
            return health.url

    try:
        assert asyncio.run(url()).startswith("http://[::1]:")
    except ConfigurationError as error:
        pytest.skip(f"this machine has no IPv6: {error}")


@pytest.mark.parametrize(
    ("host", "words"),
    [(None, "cannot listen on 127.0.0.1 port {port}: "), ("192.0.2.1", "cannot listen on 192.0.2.1 port {port}: ")],
)
def test_an_address_that_is_taken_or_foreign_is_said_in_words(host: str | None, words: str) -> None:
    async def twice() -> Any:
        async with Health("127.0.0.1", 0, str, Metrics()) as first:
            port = int(first.url.rpartition(":")[2])
            with pytest.raises(ConfigurationError) as caught:
                async with Health(host or "127.0.0.1", port, str, Metrics()):
                    pass
            return str(caught.value), port

    message, port = asyncio.run(twice())
    assert message.startswith(words.format(port=port))
    assert len(message) > len(words.format(port=port)), "with the system's own words"
