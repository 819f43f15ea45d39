"""What the process may use of the machine, as Linux tells it: memory and CPUs."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest

from imagegen_server.machine import cpu_cores, cpu_quota, host_memory, thread_environment

GIB = 2**30
PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
CGROUPS = Path("/sys/fs/cgroup")


def machine(root: Path, cgroup: str, files: Mapping[str, str]) -> Path:
    """Make the files by which Linux tells a process's limits; names are those below ``/sys/fs/cgroup``."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return root


def share_cores(root: Path, siblings: str) -> None:
    """Make the files that say which CPUs share a core: all that the test may use."""
    for cpu in os.sched_getaffinity(0):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")


# Memory

V1 = "12:cpuset:/\n4:memory:/kubepods/pod1/c1\n3:cpu,cpuacct:/kubepods/pod1/c1\n1:name=systemd:/x\n"
"""Of version 1, as a container sees it that has no namespace of its own for cgroups."""

MEMORY: dict[str, tuple[str, dict[str, str], int]] = {
    "no limit anywhere": ("0::/\n", {"memory.max": "max"}, PHYSICAL),
    "version 2, in a container": ("0::/\n", {"memory.max": str(GIB)}, GIB),
    "version 2, of a service": ("0::/a/b\n", {"a/b/memory.max": str(GIB), "a/memory.max": "max"}, GIB),
    "version 2, of a parent": ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": str(GIB)}, GIB),
    "version 2, the smallest counts": ("0::/a\n", {"a/memory.max": str(GIB // 2), "memory.max": str(GIB)}, GIB // 2),
    "version 2, from outside its namespace": ("0::/../../c1\n", {"memory.max": str(GIB)}, GIB),
    "version 1, the path of the host": (V1, {"memory/memory.limit_in_bytes": str(GIB)}, GIB),
    "version 1, the whole path": (V1, {"memory/kubepods/pod1/c1/memory.limit_in_bytes": str(GIB)}, GIB),
    "version 1, no limit": (V1, {"memory/memory.limit_in_bytes": "9223372036854771712"}, PHYSICAL),
}


@pytest.mark.parametrize("case", list(MEMORY))
def test_a_containers_limit_is_the_machines_memory(tmp_path: Path, case: str) -> None:
    cgroup, files, expected = MEMORY[case]
    assert host_memory(machine(tmp_path, cgroup, files)) == expected


def test_a_machine_without_cgroups_has_its_memory(tmp_path: Path) -> None:
    assert host_memory(tmp_path) == PHYSICAL


# CPUs


def of_version_1(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": str(quota), f"{folder}/cpu.cfs_period_us": str(period)}


QUOTAS: dict[str, tuple[str, dict[str, str], float]] = {
    "no limit anywhere": ("0::/\n", {"cpu.max": "max 100000"}, math.inf),
    "version 2, in a container": ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
    "version 2, of a service": ("0::/a/b\n", {"a/b/cpu.max": "50000 50000", "a/cpu.max": "max 100000"}, 1.0),
    "version 2, of a parent": ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3.0),
    "version 2, the smallest counts": ("0::/a\n", {"a/cpu.max": "400000 100000", "cpu.max": "50000 100000"}, 0.5),
    "version 2, from outside its namespace": ("0::/../../c1\n", {"cpu.max": "50000 100000"}, 0.5),
    "version 2, below a cgroup that cannot be read": ("0::/a/b\n", {"cpu.max": "50000 100000"}, 0.5),
    "version 1, the path of the host": (V1, of_version_1("cpu", 250_000), 2.5),
    "version 1, the whole path": (V1, of_version_1("cpu/kubepods/pod1/c1", 50_000, 20_000), 2.5),
    "version 1, of the pod": (V1, of_version_1("cpu,cpuacct/kubepods/pod1", 100_000), 1.0),
    "version 1, no limit": (V1, of_version_1("cpu", -1), math.inf),
    "version 1, CPU time is only counted": ("2:cpuacct:/\n", of_version_1("cpu", 100_000), math.inf),
    "both versions": (f"{V1}0::/\n", of_version_1("cpu/kubepods", 100_000) | {"unified/cpu.max": "1 1"}, 1.0),
}


@pytest.mark.parametrize("case", list(QUOTAS))
def test_the_smallest_cpu_limit_counts(tmp_path: Path, case: str) -> None:
    cgroup, files, expected = QUOTAS[case]
    assert cpu_quota(machine(tmp_path, cgroup, files)) == expected


def test_a_machine_without_cgroups_has_no_cpu_limit(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) == math.inf


@pytest.fixture
def small_share() -> Iterator[Path]:
    """Return a real cgroup that may use one and a half CPUs."""
    name = f"imagegen-test-{uuid4().hex[:12]}"
    unified = (CGROUPS / "cgroup.controllers").exists()
    group = CGROUPS / name if unified else CGROUPS / "cpu" / name
    if os.geteuid() != 0:
        pytest.skip("needs to be root to make a cgroup")
    group.mkdir()
    limit = {"cpu.max": "150000 100000"} if unified else {"cpu.cfs_quota_us": "150000"}
    try:
        for file, text in limit.items():
            (group / file).write_text(text)
        yield group
    finally:
        group.rmdir()


def test_a_real_cgroup_is_found(small_share: Path) -> None:
    ask = "from imagegen_server.machine import cpu_quota; print(cpu_quota())"
    join = f'echo $$ >{small_share}/cgroup.procs; exec "$0" -c "$1"'
    printed = subprocess.check_output(["sh", "-ec", join, sys.executable, ask], text=True, timeout=60)
    assert float(printed) == 1.5


def test_a_core_that_two_cpus_share_counts_once(tmp_path: Path) -> None:
    share_cores(tmp_path, "0-255")
    assert cpu_cores(tmp_path) == 1


def test_a_cpu_of_which_nothing_is_known_is_a_core(tmp_path: Path) -> None:
    assert cpu_cores(tmp_path) == len(os.sched_getaffinity(0))


def test_a_cpu_that_the_process_may_not_use_is_no_core(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cpu_cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


# Threads

ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}

THREADS: dict[str, tuple[str, int, dict[str, str], dict[str, str], tuple[str, str, str]]] = {
    "a limit, rounded up": (
        "20000 100000",
        0,
        {},
        {"OMP_NUM_THREADS": "1", **ASLEEP},
        ("1", "a quota of 0.2 CPUs", "asleep"),
    ),
    "a limit above the cores": (
        "99900000 100000",
        0,
        {},
        {"OMP_NUM_THREADS": "1", **ASLEEP},
        ("1", "cores: 1", "asleep"),
    ),
    "the setting, whatever the limit and the environment": (
        "20000 100000",
        5,
        {"OMP_NUM_THREADS": "3"},
        {"OMP_NUM_THREADS": "5", **ASLEEP},
        ("5", "cpu_threads=5", "asleep"),
    ),
    "the user's number, whatever the limit": (
        "20000 100000",
        0,
        {"OMP_NUM_THREADS": "3"},
        {"OMP_NUM_THREADS": "3", **ASLEEP},
        ("3", "OMP_NUM_THREADS=3", "asleep"),
    ),
    "the user's number for MKL": (
        "max 100000",
        0,
        {"MKL_NUM_THREADS": "7"},
        {"OMP_NUM_THREADS": "7", **ASLEEP},
        ("7", "MKL_NUM_THREADS=7", "asleep"),
    ),
    "a variable that is empty": (
        "max 100000",
        0,
        {"OMP_NUM_THREADS": "", "OMP_WAIT_POLICY": ""},
        {"OMP_NUM_THREADS": "1", **ASLEEP},
        ("1", "cores: 1", "asleep"),
    ),
    "the user's way to wait": (
        "max 100000",
        0,
        {"OMP_WAIT_POLICY": "ACTIVE"},
        {"OMP_NUM_THREADS": "1"},
        ("1", "cores: 1", "OMP_WAIT_POLICY=ACTIVE"),
    ),
    "the user's way to wait, by the library's own name": (
        "max 100000",
        0,
        {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"},
        {"OMP_NUM_THREADS": "1"},
        ("1", "cores: 1", "GOMP_SPINCOUNT=1000 KMP_BLOCKTIME=1"),
    ),
}
"""Limit, setting, environment; what is set, and the words of the log. All on a machine of one core."""


@pytest.mark.parametrize("case", list(THREADS))
def test_threads_fit_what_the_process_may_use(tmp_path: Path, case: str) -> None:
    limit, asked, environment, wanted, words = THREADS[case]
    root = machine(tmp_path, "0::/\n", {"cpu.max": limit})
    share_cores(root, "0-255")
    assert thread_environment(environment, asked, root) == (wanted, words)


def test_a_limit_of_a_part_of_a_cpu_is_a_whole_thread(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", {"cpu.max": "150000 100000"})
    wanted, _ = thread_environment({}, 0, root)
    assert wanted["OMP_NUM_THREADS"] == str(min(2, cpu_cores()))
