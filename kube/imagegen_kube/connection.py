"""How to reach the API server: address, TLS, credentials of the moment, proxy.

They are `kubernetes.aio`'s to find, and its aiohttp is the transport. Its requests are not used: it walks every body,
and asks the environment for a proxy and a password each time, in threads. Nor are its typed models, which cost memory
and drop fields that they do not know.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME, InClusterConfigLoader

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds the token of its service account, the authority to trust, and its namespace."""

_AUTH = ["BearerToken"]


class NoConnectionError(RuntimeError):
    """Nothing says how to reach an API server, or what says so cannot be used; the message says why."""


class CredentialsError(RuntimeError):
    """The credentials cannot be had now."""


class Connection:
    """One API server."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self.namespace = namespace
        """The namespace of the credentials: the pod's own, or the kubeconfig's."""
        self._client = client
        self._proxy = client.configuration.proxy or _environment_proxy(self.server)

    @property
    def server(self) -> str:
        """Its address."""
        return self._client.configuration.host

    def session(self, *, middlewares: Sequence[aiohttp.ClientMiddlewareType] = ()) -> aiohttp.ClientSession:
        """Return a session of the running loop. Its requests raise CredentialsError when there are none."""

        async def authorize(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            request.headers.update(await self._authorization())
            request.server_hostname = self._client.configuration.tls_server_name
            return await handler(request)

        connector = aiohttp.TCPConnector(ssl=self._client.rest_client.ssl_context, limit=0)
        return aiohttp.ClientSession(connector=connector, middlewares=(authorize, *middlewares), proxy=self._proxy)

    async def _authorization(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        try:
            await self._client.update_params_for_auth(headers, [], _AUTH, "", "GET", None)
        except kube_config.ConfigException as error:
            raise CredentialsError(str(error)) from None
        return headers


@contextlib.asynccontextmanager
async def connect(environment: Mapping[str, str], *, account: Path = ACCOUNT) -> AsyncGenerator[Connection]:
    """Connect with KUBECONFIG, else with the pod's service account. Raise NoConnectionError when there is neither."""
    configuration = Configuration()
    try:
        namespace = await _configure(configuration, environment, account)
    except (kube_config.ConfigException, OSError, ValueError) as error:
        raise NoConnectionError(f"no way to a cluster: {error}") from None
    async with ApiClient(configuration) as client:
        yield Connection(client, namespace)


async def _configure(configuration: Configuration, environment: Mapping[str, str], account: Path) -> str:
    path = environment.get("KUBECONFIG", "")
    if not path and SERVICE_HOST_ENV_NAME in environment:
        return await asyncio.to_thread(_configure_in_pod, configuration, environment, account)
    loader = await kube_config.load_kube_config(
        config_file=path or None, client_configuration=configuration, persist_config=False
    )
    context = loader.current_context["context"]
    return context.get("namespace") or "default"


def _configure_in_pod(configuration: Configuration, environment: Mapping[str, str], account: Path) -> str:
    # The loader reads the token anew every minute: Kubernetes changes it every hour.
    InClusterConfigLoader(
        token_filename=str(account / "token"), cert_filename=str(account / "ca.crt"), environ=environment
    ).load_and_set(configuration)
    return (account / "namespace").read_text(encoding="utf-8").strip()


def _environment_proxy(server: str) -> str | None:
    """Return what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say of an address, as kubectl takes them."""
    address = urlsplit(server)
    return None if proxy_bypass(address.netloc) else getproxies().get(address.scheme)
