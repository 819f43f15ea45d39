"""What the router costs between client and pod, against nginx: CPU seconds of one request.

    python benchmarks/router_hop.py [--quick] [--rounds N] [--peer NAME='COMMAND WITH {port} AND {upstream}']

POST of 1.9 KB, JSON replies of 1 KB, 400 KB and 2 MB, 1 and 16 clients. Both stand before the same native upstream
(native/upstream.c) and take turns within a round. nginx is tuned: one worker, kept connections to the upstream, buffers
that hold what is on the way. It fails when a reply is not what the upstream sends. Needs gcc and nginx on the machine.

The second table is memory: the router's peak while 16 clients that read slowly are sent 2 MB each.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import msgspec

from harness import Comparison, Machine, print_table, this_machine, write_json

MODEL = "bench/one"
SIZES = {"1 KB": 1_000, "400 KB": 400_000, "2 MB": 2_000_000}
TARGETS = {"1 KB": 6.0, "400 KB": 1.3, "2 MB": 1.0}
REQUESTS = {"1 KB": 3000, "400 KB": 600, "2 MB": 200}
QUICK_REQUESTS = {"1 KB": 1000, "400 KB": 100, "2 MB": 32}
PEER_TARGETS = {"production-stack": 0.25, "LiteLLM": 0.1}
MEMORY_TARGET_MIB = 32.0
START_SECONDS = 60.0

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "67108864", "MALLOC_TRIM_THRESHOLD_": "268435456"}
"""As the image sets them: large replies are not asked of the system anew each time."""

PROMPT = "a red circle on a blue background " * 54

NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/bodies; proxy_temp_path {folder}/replies;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_body_buffer_size 1m; client_max_body_size 8m; keepalive_requests 1000000;
  upstream pods {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://pods; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffers 64 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 1m; proxy_max_temp_file_size 0;
    }}
  }}
}}
"""


class Results(msgspec.Struct, frozen=True):
    """What is written as JSON."""

    machine: Machine
    rows: tuple[Comparison, ...]
    memory_growth_mib: float


class Proxy(msgspec.Struct, frozen=True):
    """One side: where it listens, and the process whose CPU (with its children's) counts."""

    name: str
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Return the CPU that it has used so far."""
        return sum(_thread_seconds(thread) for pid in _family(self.pid) for thread in _threads(pid))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _threads(pid: int) -> Iterator[Path]:
    return Path(f"/proc/{pid}/task").iterdir()


def _thread_seconds(thread: Path) -> float:
    try:
        return int((thread / "schedstat").read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return bound.getsockname()[1]


@contextmanager
def program(command: Sequence[str], port: int, **environment: str) -> Generator[int]:
    """Run a program until it listens; yield its process id; end it."""
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)  # noqa: TID251 - a child needs its parent's environment
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} does not listen on port {port}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start(stack: ExitStack, folder: Path, peers: Sequence[str]) -> list[Proxy]:
    """Start the upstream and all proxies before it; ours is the first."""
    binary, upstream = folder / "upstream", free_port()
    source = Path(__file__).parent / "native" / "upstream.c"
    subprocess.run([shutil.which("gcc") or "gcc", "-O2", "-o", str(binary), str(source)], check=True)
    stack.enter_context(program([str(binary), str(upstream)], upstream))
    port = free_port()
    ours = [sys.executable, "-m", "imagegen_router.main", "--port", str(port), "--log-level", "error"]
    ours += ["--endpoint", f"{MODEL}=http://127.0.0.1:{upstream}"]
    proxies = [Proxy("imagegen-router", port, stack.enter_context(program(ours, port, **MALLOC)))]
    proxies.append(_nginx(stack, folder, upstream))
    for peer in peers:
        name, _, command = peer.partition("=")
        port = free_port()
        words = [word.format(port=port, upstream=upstream) for word in command.split()]
        proxies.append(Proxy(name, port, stack.enter_context(program(words, port))))
    for proxy in proxies:
        _wait_served(proxy)
    return proxies


def _nginx(stack: ExitStack, folder: Path, upstream: int) -> Proxy:
    port = free_port()
    command = nginx_command(folder, NGINX.format(folder=folder, port=port, upstream=upstream))
    return Proxy("nginx", port, stack.enter_context(program(command, port)))


def nginx() -> str | None:
    """Return the program, None where there is none."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")  # noqa: TID251 - a program of its own


def nginx_command(folder: Path, configuration: str) -> list[str]:
    """Return what runs nginx with this configuration, which is written into the folder."""
    found = nginx()
    if found is None:
        raise SystemExit("nginx is missing; on Debian or Ubuntu: apt install nginx-light")
    file = folder / "nginx.conf"
    file.write_text(configuration)
    return [found, "-c", str(file), "-e", str(folder / "errors")]


def _wait_served(proxy: Proxy) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with Client(proxy.port, 1000) as client:
                client.ask()
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"{proxy.name} does not serve: {error}") from None
            time.sleep(0.1)
        else:
            return


class Client:
    """One connection that asks for replies of one size. Raises ValueError for any other reply."""

    def __init__(self, port: int, size: int, receive_buffer: int = 0) -> None:
        self._size = size
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(START_SECONDS)
        self._socket.connect(("127.0.0.1", port))
        self._buffer = bytearray(1 << 20)
        body = json.dumps({"model": MODEL, "prompt": PROMPT, "n": 1, "user": f"bytes-{size}"}).encode()
        head = f"host: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self._request = f"POST /v1/images/generations HTTP/1.1\r\n{head}".encode() + body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self) -> None:
        """Send a request."""
        self._socket.sendall(self._request)

    def ask(self) -> None:
        """Send a request and read its reply."""
        self.send()
        self.read()

    def read(self) -> None:
        """Read a reply to its end."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._some()
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        if not lines[0].startswith(b"http/1.1 200"):
            raise ValueError(f"found {lines[0]!r}")
        if b"transfer-encoding: chunked" in lines:
            self._chunks(body)
            return
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        # A proxy that writes the JSON anew has other spaces and fields in it; ours and nginx have not.
        if length != self._size and not (self._size < length < self._size + 1000):
            raise ValueError(f"a reply of {length} bytes instead of {self._size}")
        left = length - len(body)
        while left:
            left -= len(self._some())

    def _chunks(self, body: bytes) -> None:
        """Read a reply in chunks; its end is told from its last bytes, its size from what came."""
        total = bytearray(body)
        while not total.endswith(b"\r\n0\r\n\r\n"):
            total += self._some()
        if len(total) < self._size:
            raise ValueError(f"a reply of less than {self._size} bytes")

    def _some(self) -> memoryview | bytes:
        received = self._socket.recv_into(self._buffer)
        if not received:
            raise ValueError("the connection ended")
        return bytes(self._buffer[:received]) if received < 65536 else memoryview(self._buffer)[:received]


def load(port: int, size: int, clients: int, requests: int) -> None:
    """Have some clients ask as fast as they can; raise what one of them raised."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with Client(port, size) as client:
                for _ in range(requests // clients):
                    client.ask()
        except (OSError, ValueError) as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"a client failed: {failures[0]}")


def cell(proxies: Sequence[Proxy], name: str, clients: int, requests: int, rounds: int) -> list[Comparison]:
    """Measure one size of reply and one number of clients; the first proxy is ours."""
    requests -= requests % clients
    seconds: dict[str, list[float]] = {proxy.name: [] for proxy in proxies}
    for number in range(rounds + 1):
        order = [*proxies[number % len(proxies) :], *proxies[: number % len(proxies)]]
        for proxy in order:
            before = proxy.cpu_seconds()
            load(proxy.port, SIZES[name], clients, requests)
            if number:  # the first round warms both
                seconds[proxy.name].append((proxy.cpu_seconds() - before) / requests)
    ours = seconds[proxies[0].name]
    return [
        _row(f"hop, {name}, {clients} clients", proxy.name, (ours, seconds[proxy.name]), TARGETS[name])
        for proxy in proxies[1:]
    ]


def _row(what: str, against: str, seconds: tuple[list[float], list[float]], target: float) -> Comparison:
    ours, theirs = seconds
    ratios = tuple(a / b for a, b in zip(ours, theirs, strict=True))
    return Comparison(
        what=what,
        against=against,
        unit="ms",
        ours=statistics.median(ours) * 1e3,
        theirs=statistics.median(theirs) * 1e3,
        ratio=statistics.median(ratios),
        target=target if against == "nginx" else PEER_TARGETS.get(against, 1.0),
        rounds=ratios,
    )


def memory_growth(proxy: Proxy, clients: int = 16) -> float:
    """Return by how many MiB the peak of a proxy grows while it has many large replies that are read slowly."""
    load(proxy.port, 1000, 16, 160)
    Path(f"/proc/{proxy.pid}/clear_refs").write_text("5")  # the peak starts anew
    before = _status_kib(proxy.pid, "VmRSS")
    with ExitStack() as stack:
        slow = [stack.enter_context(Client(proxy.port, SIZES["2 MB"], 16384)) for _ in range(clients)]
        for client in slow:
            client.send()
        _settle(lambda: _status_kib(proxy.pid, "VmHWM"))
        for client in slow:
            client.read()
    return (_status_kib(proxy.pid, "VmHWM") - before) / 1024


def _settle(figure: Callable[[], float]) -> None:
    last, since = figure(), time.monotonic()
    while time.monotonic() - since < 1.0:
        time.sleep(0.05)
        if (now := figure()) != last:
            last, since = now, time.monotonic()


def _status_kib(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field))


def measure(*, quick: bool, rounds: int, peers: Sequence[str] = ()) -> Results:
    """Return CPU seconds and memory; ``peers`` are further proxies, as NAME=COMMAND."""
    requests = QUICK_REQUESTS if quick else REQUESTS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        proxies = start(stack, folder, peers)
        rows = [
            row for name in SIZES for clients in (1, 16) for row in cell(proxies, name, clients, requests[name], rounds)
        ]
        growth = memory_growth(proxies[0])
    return Results(this_machine("uvicorn", "uvloop", "httptools", "litestar"), tuple(rows), growth)


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="fewer requests")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--peer", action="append", default=[], help="another proxy to compare with")
    given = arguments.parse_args()
    results = measure(quick=given.quick, rounds=given.rounds, peers=given.peer)
    print_table(results.rows)
    growth = results.memory_growth_mib
    print(f"peak memory of the router, 16 replies of 2 MB that are read slowly: +{growth:.1f} MiB (target 32)")
    print(write_json("router_hop", results))


if __name__ == "__main__":
    main()
