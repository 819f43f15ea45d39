"""The GPU check: pictures, speed, host work, memory and the server itself on a GPU, in one command.

    make gpu-check [DEVICE=cuda] [WRITE=1]

With DEVICE=cpu the same code runs at tiny sizes, which is what CI does: its speeds mean nothing. Prints a line for
everything it looks at, writes JSON to benchmarks/out, and with --write the table of docs/gpu.md. Fails when a picture
is wrong, memory is kept or the server does not serve; never on a time. Ends with 2 when the device cannot be used.
"""

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

import gpu_environment
import gpu_host
import gpu_memory
import gpu_pictures
import gpu_server
import gpu_speed
from gpu_profile import PROFILES, Profile
from gpu_report import Line, PageError, Results, place, text, write_into
from harness import this_machine, write_json
from imagegen_server.pipelines.device import DeviceError
from stock_pipelines import quiet_and_small

PAGE = Path(__file__).parent.parent / "docs" / "gpu.md"

Check = Callable[[Profile], Iterator[Line]]

CHECKS: dict[str, Check] = {
    module.SECTION: module.check
    for module in (gpu_environment, gpu_pictures, gpu_speed, gpu_host, gpu_memory, gpu_server)
}


def run(profile: Profile, checks: Mapping[str, Check]) -> Iterator[Line]:
    """Run the checks one after another; one that breaks is a wrong line, and the others still run."""
    for section, check in checks.items():
        try:
            yield from check(profile)
        except Exception as error:  # noqa: BLE001 - whoever has the GPU for an hour wants the rest of the table
            traceback.print_exc()
            words = next(iter(str(error).splitlines()), "")
            figure = f"{type(error).__name__}: {words}"
            yield Line(section=section, what="the check ended early", figure=figure, verdict="WRONG")


def results(profile: Profile, checks: Mapping[str, Check]) -> Results:
    """Run the checks and print each line as it comes; raise DeviceError when the device cannot be used."""
    device = gpu_environment.device_name(profile)
    lines: list[Line] = []
    with quiet_and_small(torch.get_num_threads()):
        for line in run(profile, checks):
            print(text(line), flush=True)
            lines.append(line)
    machine = this_machine("torch", "diffusers", "transformers")
    return Results(device=device, machine=machine, lines=tuple(lines))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print, write; return the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.write is not None:
            place(chosen.write)  # now, and not after the long run
        found = results(PROFILES[chosen.device], {name: CHECKS[name] for name in chosen.only or CHECKS})
        print(f"written to {write_json(f'gpu_check_{chosen.device}', found)}")
        if chosen.write is not None:
            write_into(chosen.write, found)
            print(f"written to {chosen.write}")
    except (DeviceError, PageError) as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    print(f"{len(found.wrong)} of {len(found.lines)} lines are wrong")
    return 1 if found.wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu-check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=list(PROFILES), default="cuda", help="what to check; cpu is tiny")
    parser.add_argument("--only", choices=list(CHECKS), nargs="+", help="the parts to run; all when left out")
    parser.add_argument(
        "--write", type=Path, nargs="?", const=PAGE, metavar="PAGE", help="write the table into docs/gpu.md"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
