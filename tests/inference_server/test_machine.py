"""What the process may use of the machine, as Linux tells it."""

import os
from pathlib import Path

import pytest

from imagegen_server.machine import host_memory

GIB = 2**30
PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def machine(root: Path, cgroup: str, **limits: str) -> Path:
    """Make the files by which Linux tells a process's limits; ``__`` in a name stands for a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, limit in limits.items():
        file = root / "sys/fs/cgroup" / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / file.name.replace("_dot_", ".")).write_text(f"{limit}\n")
    return root


V1 = "12:cpuset:/\n4:memory:/kubepods/pod1/c1\n1:name=systemd:/x\n"

MACHINES: dict[str, tuple[str, dict[str, str], int]] = {
    "no limit anywhere": ("0::/\n", {"memory_dot_max": "max"}, PHYSICAL),
    "version 2, in a container": ("0::/\n", {"memory_dot_max": str(GIB)}, GIB),
    "version 2, of a service": ("0::/a/b\n", {"a__b__memory_dot_max": str(GIB), "a__memory_dot_max": "max"}, GIB),
    "version 2, of a parent": ("0::/a/b\n", {"a__b__memory_dot_max": "max", "a__memory_dot_max": str(GIB)}, GIB),
    "version 2, the smallest counts": (
        "0::/a\n",
        {"a__memory_dot_max": str(GIB // 2), "memory_dot_max": str(GIB)},
        GIB // 2,
    ),
    "version 1, the path of the host": (V1, {"memory__memory_dot_limit_in_bytes": str(GIB)}, GIB),
    "version 1, the whole path": (V1, {"memory__kubepods__pod1__c1__memory_dot_limit_in_bytes": str(GIB)}, GIB),
    "version 1, no limit": (V1, {"memory__memory_dot_limit_in_bytes": "9223372036854771712"}, PHYSICAL),
}


@pytest.mark.parametrize("case", list(MACHINES))
def test_a_containers_limit_is_the_machines_memory(tmp_path: Path, case: str) -> None:
    cgroup, limits, expected = MACHINES[case]
    assert host_memory(machine(tmp_path, cgroup, **limits)) == expected


def test_a_machine_without_cgroups_has_its_memory(tmp_path: Path) -> None:
    assert host_memory(tmp_path) == PHYSICAL
