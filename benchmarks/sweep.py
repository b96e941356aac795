"""Sweeps side by side: this engine, Hydra's launchers, Snakemake, a loop over rompy, xargs.

    python benchmarks/sweep.py [--rounds 5] [--quick]

Each in its own virtual environment, the same models, interleaved rounds, medians. Prints the tables
and writes them to docs/benchmarks.md (not with --quick).
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from contestants import CONTESTANTS, ROOT, Contestant, environment

OURS = CONTESTANTS[0]
# Short sweeps are mostly start-up, of which the noise is as large as all the rest.
_SMALL_ROUNDS = 12


@dataclass(frozen=True)
class Measured:
    """One measurement: wall seconds and the driver's peak memory in bytes."""

    seconds: float
    memory: int


def workplace(root: Path, contestant: Contestant, command: str) -> Path:
    """A fresh directory, prepared for a contestant.

    All are deleted together at the end: a file system may create files more slowly after others were
    deleted, which would slow down the next contestant.
    """
    directory = Path(tempfile.mkdtemp(dir=root))
    contestant.prepare(directory, command)
    return directory


def measured(contestant: Contestant, directory: Path, count: int, command: str) -> Measured:
    """Run a contestant to its end; it must succeed."""
    argv = contestant.command(contestant.python, count, command)
    begin = time.perf_counter()
    with open(directory / "out.txt", "wb") as output:
        process = subprocess.Popen(
            argv, cwd=directory, env=environment(), stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begin
    if process.returncode:
        sys.exit(f"{contestant.name} failed:\n{(directory / 'out.txt').read_text()[-3000:]}")
    return Measured(seconds, usage.ru_maxrss * 1024)


def compared(root: Path, command: str, rounds: int, runs: dict[str, int]) -> dict[str, float]:
    """Median seconds of a run for each contestant, rounds interleaved."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for contestant in CONTESTANTS:
            count = runs[contestant.name]
            found = measured(contestant, workplace(root, contestant, command), count, command)
            times.setdefault(contestant.name, []).append(found.seconds / count)
            print(f"  {contestant.name:<14} {found.seconds / count * 1000:8.1f} ms per run", flush=True)
    return {name: statistics.median(values) for name, values in times.items()}


def scaling(root: Path, rounds: int, large: int) -> list[tuple[str, float, str]]:
    """The cost of a run in small and large sweeps, memory, and the time to find a sweep complete."""
    start, small_cost, large_cost, memory, again = [], [], [], [], []
    for _ in range(rounds):
        for _ in range(_SMALL_ROUNDS):
            start.append(measured(OURS, workplace(root, OURS, "true"), 1, "true").seconds)
            found = measured(OURS, workplace(root, OURS, "true"), 100, "true")
            small_cost.append((found.seconds - start[-1]) / 99)
        directory = workplace(root, OURS, "true")
        measured(OURS, directory, 1000, "true")
        again.append(measured(OURS, directory, 1000, "true").seconds)
        found = measured(OURS, workplace(root, OURS, "true"), large, "true")
        large_cost.append((found.seconds - statistics.median(start)) / (large - 1))
        memory.append(found.memory)
    small, much = statistics.median(small_cost), statistics.median(large_cost)
    return [
        ("one run, start to end", statistics.median(start), "s"),
        ("an additional run, in a sweep of 100", small * 1000, "ms"),
        (f"an additional run, in a sweep of {large}", much * 1000, "ms"),
        ("the second over the first", much / small, ""),
        (f"the driver's peak memory at {large} runs", max(memory) / 1e6, "MB"),
        ("finding 1,000 completed runs complete", statistics.median(again), "s"),
    ]


def machine() -> str:
    """What the figures were measured on."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model}, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()}"
    )


def page(
    rounds: int, trivial: dict[str, float], second: dict[str, float], scale: list[tuple[str, float, str]]
) -> str:
    """The page of the documentation."""
    ours, best = trivial[OURS.name], second["xargs -P2"]
    lines = [
        "# Benchmarks",
        "",
        f"Measured on {date.today().isoformat()} with `benchmarks/sweep.py --rounds {rounds}`:",
        f"{machine()}. Each program in its own",
        "virtual environment, two runs in parallel if it can, medians of the interleaved rounds.",
        "A run makes its directory, writes an input file and starts the model; this engine also",
        "checks the result and keeps a record. The time is that of the whole command, its start",
        "included, divided by the runs.",
        "",
        "| program | trivial model, ms per run | times this engine | one-second model, s per run "
        "| share of xargs' throughput |",
        "|---|---|---|---|---|",
    ]
    for contestant in CONTESTANTS:
        name = contestant.name
        lines.append(
            f"| {name} | {trivial[name] * 1000:.1f} | {trivial[name] / ours:.1f} "
            f"| {second[name]:.3f} | {best / second[name]:.0%} |"
        )
    counts = ", ".join(f"{c.name} {c.trivial_runs} and {c.one_second_runs}" for c in CONTESTANTS)
    lines += [
        "",
        f"Runs of the trivial and of the one-second model: {counts}.",
        "Hydra's basic launcher and the loop over rompy's Python API run one model at a time.",
        "",
        "| this engine | |",
        "|---|---|",
        *(f"| {what} | {value:.3g} {unit} |" for what, value, unit in scale),
        "",
        "`benchmarks/startup.py` compares the start of one run with a bare Hydra program, and",
        "`benchmarks/docker.py` a run in a container with `docker run`.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--quick", action="store_true", help="few runs, nothing written")
    options = arguments.parse_args()
    rounds, shrink = (1, 10) if options.quick else (options.rounds, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for contestant in CONTESTANTS:
        print(f"environment of {contestant.name}: {contestant.python}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        # The slow model first: meanwhile the file system forgets what was deleted before, see README.md.
        print("one-second model", flush=True)
        runs = {c.name: c.one_second_runs // shrink for c in CONTESTANTS}
        second = compared(root, "sleep 1", rounds, runs)
        print("trivial model", flush=True)
        trivial = compared(root, "true", rounds, {c.name: c.trivial_runs // shrink for c in CONTESTANTS})
        print("scaling", flush=True)
        scale = scaling(root, rounds, 10_000 // shrink)
    text = page(rounds, trivial, second, scale)
    print(text)
    if not options.quick:
        (ROOT / "docs" / "benchmarks.md").write_text(text)


if __name__ == "__main__":
    main()
