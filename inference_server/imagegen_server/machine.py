"""What this process may use of the machine, where a container limits it too: memory and CPUs. Imports no torch."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOT = Path("/")
"""Where ``proc`` and ``sys`` are."""

_NUMBERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_WAITS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""How a thread waits for the others: what every OpenMP library knows, GNU's own variable, LLVM's and Intel's own."""


class Threads(NamedTuple):
    """How many threads of arithmetic there are and how they wait, in words for the log."""

    number: str
    because: str
    waiting: str


def host_memory(root: Path = ROOT) -> int:
    """Return the bytes of memory that this process may use: the machine's, or less where a container limits it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    texts = [_read(folder / name) for folder in _cgroups(root, "memory") for name in _MEMORY_FILES]
    return min([physical, *(int(text) for text in texts if text.isdecimal())])  # "max" is no limit


def cpu_quota(root: Path = ROOT) -> float:
    """Return how many CPUs' time the process may use on average; infinity where nothing limits it."""
    quotas = (_quota(folder) for folder in _cgroups(root, "cpu"))
    return min((int(quota) / int(period) for quota, period in quotas if quota.isdecimal()), default=math.inf)


def cpu_cores(root: Path = ROOT) -> int:
    """Return the cores that the process may run on, 0 where nothing tells.

    CPUs that share a core count once: arithmetic gains next to nothing from the second.
    """
    if not hasattr(os, "sched_getaffinity"):  # other systems than Linux
        return 0
    topology, cpus = root / "sys/devices/system/cpu", os.sched_getaffinity(0)
    return len({_read(topology / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in cpus})


def thread_environment(environment: Mapping[str, str], asked: int, root: Path = ROOT) -> tuple[dict[str, str], Threads]:
    """Return the environment variables to set before torch or numpy is imported, and what they come to.

    The libraries would start a thread for each core of the node, whatever the container's share of it, and a thread
    that waits for the others would keep its core busy for milliseconds. On a core that somebody else uses too, or that
    the kernel takes away when the share is used up, everybody then waits for a thread that waits for nothing: the same
    picture takes ten times as long. On an idle machine sleeping takes a little longer, for half of the CPU time.

    What the user has set is left alone. ``asked`` is the setting ``cpu_threads``, 0 when it says nothing.
    """
    number, because = _thread_number(environment, asked, root)
    waiting = _given(environment, _WAITS)
    wanted = {"OMP_NUM_THREADS": number} if number else {}
    if not waiting:
        wanted["OMP_WAIT_POLICY"] = "PASSIVE"
    return wanted, Threads(number, because, " ".join(waiting) or "asleep")


def _thread_number(environment: Mapping[str, str], asked: int, root: Path) -> tuple[str, str]:
    """Return how many threads there are to be, ``""`` where the libraries know best, and why."""
    given = _given(environment, _NUMBERS)
    if asked or given:
        because = f"cpu_threads={asked}" if asked else given[0]
        return because.partition("=")[2], because
    cores, quota = cpu_cores(root), cpu_quota(root)
    if quota < (cores or math.inf):
        return str(max(1, math.ceil(quota))), f"a quota of {quota:g} CPUs"
    return (str(cores), f"cores: {cores}") if cores else ("", "the default of torch")


def _given(environment: Mapping[str, str], names: Sequence[str]) -> list[str]:
    return [f"{name}={environment[name]}" for name in names if environment.get(name)]


_MEMORY_FILES = ("memory.max", "memory.limit_in_bytes")
"""Of version 2 and version 1."""


def _quota(cgroup: Path) -> tuple[str, str]:
    """Return the microseconds of CPU time of each period and the period, both ``""`` where there is no limit."""
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if not period:
        quota, period = _read(cgroup / "cpu.cfs_quota_us"), _read(cgroup / "cpu.cfs_period_us")
    return quota, period


def _cgroups(root: Path, controller: str) -> list[Path]:
    """Return the folders of the process's cgroup and of those above it, version 2 and version 1.

    In a container the path in ``/proc`` may be the host's, and of it only the root is there; so each is tried.
    """
    hierarchies, folders = root / "sys/fs/cgroup", dict[Path, None]()
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and controller not in kinds.split(","):
            continue
        inside = PurePosixPath(*(part for part in PurePosixPath(path).parts if part not in {"/", ".."}))
        # Version 1 mounts a hierarchy by the names of all its controllers, and links to it from each.
        for mount in (hierarchies / controller, hierarchies / kinds) if kinds else (hierarchies,):
            folders |= dict.fromkeys(mount / folder for folder in (inside, *inside.parents))
    return list(folders)


def _read(file: Path) -> str:
    """Return a file's text, or "" where there is none to read."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""
