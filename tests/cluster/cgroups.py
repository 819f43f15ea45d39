"""A control group of its own for each node, so that two kubelets do not end each other's pods."""

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def make_cgroups(name: str) -> None:
    """Make the group in every hierarchy, with what a group must have before it can hold processes.

    guard.py removes it.
    """
    unified = (_ROOT / "cgroup.controllers").exists()
    for hierarchy in [_ROOT] if unified else _ROOT.iterdir():
        group = hierarchy / name
        group.mkdir()
        if unified:
            _hand_down(hierarchy, group)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # version 1 starts them empty
            if not unified and (group / setting).exists():
                (group / setting).write_text((hierarchy / setting).read_text())


def _hand_down(parent: Path, group: Path) -> None:
    """Give the group's children the controllers that its parent hands down (version 2)."""
    controllers = (parent / "cgroup.subtree_control").read_text().split()
    (group / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in controllers))
