"""nginx in the place of an ingress controller: configured from the Ingress object alone, inside a node's network.

It reads what ingress-nginx reads of it: rules, the Service behind them, and the annotations for body size, time-outs
and buffering. What it does not know it refuses, so that no test passes by what a real controller would do differently.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.api import Api
from cluster.control_plane import NODE_ADDRESS
from cluster.node import NodeCluster
from server_process import wait_until

PORT = 8081
_SECONDS = 20.0

_ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM")
"""When this process is killed it is told to end, with its worker. A mark, as others carry it, nginx overwrites."""

_CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/pid;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {servers}
  server {{ listen {address}:{port} default_server; return 404; }}
}}
"""

_SERVER = """
server {{
  listen {address}:{port};
  server_name {host};
  client_max_body_size {body_size};
  location {path} {{
    proxy_pass http://{backend};
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_read_timeout {read}s;
    proxy_send_timeout {send}s;
    proxy_buffering {buffering};
  }}
}}
"""

_ANNOTATIONS = {
    "body_size": "nginx.ingress.kubernetes.io/proxy-body-size",
    "read": "nginx.ingress.kubernetes.io/proxy-read-timeout",
    "send": "nginx.ingress.kubernetes.io/proxy-send-timeout",
    "buffering": "nginx.ingress.kubernetes.io/proxy-buffering",
}


@contextmanager
def ingress(node: NodeCluster, api: Api, name: str) -> Generator[str]:
    """Run nginx for an Ingress; give the URL of the controller, which answers to the Ingress's host alone."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")  # noqa: TID251 - a program of its own
    if program is None:
        pytest.skip("needs nginx: Debian's package nginx-light")
    servers = "".join(_servers(api, api.get("Ingress", name)))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nginx.conf"
        text = _CONFIGURATION.format(folder=folder, servers=servers, address=NODE_ADDRESS, port=PORT)
        file.write_text(text)
        Path(folder).chmod(0o755)  # its worker is nobody
        errors = Path(folder) / "errors"
        command = [*node.inside_network, *_ENDS_WITH_US, program, "-c", str(file), "-e", str(errors)]
        process = subprocess.Popen(command)
        try:
            url = node.url(NODE_ADDRESS, PORT)
            wait_until(lambda: _answers(node, process, errors), _SECONDS, "nginx to answer", every=0.05)
            yield url
        finally:
            process.terminate()
            process.wait(_SECONDS)


def _answers(node: NodeCluster, process: "subprocess.Popen[bytes]", errors: Path) -> bool:
    assert process.poll() is None, errors.read_text()
    return (Path(errors).parent / "pid").exists() and node.get(NODE_ADDRESS, PORT).status_code == 404


def _servers(api: Api, found: Mapping[str, Any]) -> Generator[str]:
    annotations = found["metadata"]["annotations"]
    unknown = [name for name in annotations if "nginx" in name and name not in _ANNOTATIONS.values()]
    assert not unknown, f"annotations that this controller does not know: {unknown}"
    options = {field: annotations[name] for field, name in _ANNOTATIONS.items()}
    for rule in found["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            assert path["pathType"] == "Prefix", path
            backend = _backend(api, path["backend"]["service"])
            where = {"address": NODE_ADDRESS, "port": PORT, "host": rule.get("host", "_"), "path": path["path"]}
            yield _SERVER.format(**where, backend=backend, **options)


def _backend(api: Api, service: Mapping[str, Any]) -> str:
    found = api.get("Service", service["name"])["spec"]
    (port,) = (each["port"] for each in found["ports"] if each["name"] == service["port"]["name"])
    return f"{found['clusterIP']}:{port}"
