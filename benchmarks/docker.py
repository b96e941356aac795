"""Containers: runs through the Docker backend against plain `docker run` of the same script.

    python benchmarks/docker.py [ROUNDS] [IMAGE]

Both kinds alternate, in one process, with the same image, mount, user and network. Prints medians and
their ratio; budget: at most 1.15. Needs an engine and the image (tests/services/docker.sh start).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from loguru import logger

from rompy_hydra import BaseConfig, DockerRunBackend, ModelRun

BUDGET = 1.15


def plain(directory: Path, image: str) -> None:
    """What a user would type."""
    mount = f"type=bind,source={directory},target={directory}"
    command = ["docker", "run", "--rm", "--network", "none", "--user", f"{os.getuid()}:{os.getgid()}"]
    command += ["--mount", mount, image, "/bin/sh", f"{directory}/run.sh"]
    with (directory / "run.log").open("wb") as log:
        subprocess.run(command, stdout=log, stderr=log, check=True)


def main(rounds: int, image: str) -> int:
    logger.remove()
    config = BaseConfig(commands=("echo computing; echo result > result",), image=image)
    times: dict[str, list[float]] = {"docker run": [], "backend": []}
    with tempfile.TemporaryDirectory() as name:
        run = ModelRun(run_id="bench", output_dir=Path(name), config=config)
        run.generate()
        backend = DockerRunBackend()

        def through_backend() -> None:
            outcome = backend.execute(backend.job(run, run.workspace))
            assert outcome.exit_code == 0

        ways = {"docker run": lambda: plain(run.workspace.path, image), "backend": through_backend}
        for number in range(rounds + 1):
            for way, start in ways.items():
                begin = time.perf_counter()
                start()
                if number:  # the first round warms up
                    times[way].append(time.perf_counter() - begin)
    medians = {way: statistics.median(found) for way, found in times.items()}
    for way, median in medians.items():
        print(f"{way:<12} {median:.3f} s   ({min(times[way]):.3f} to {max(times[way]):.3f}, {rounds} runs)")
    ratio = medians["backend"] / medians["docker run"]
    print(f"ratio        {ratio:.3f}     (budget {BUDGET})")
    return 0 if ratio <= BUDGET else 1


if __name__ == "__main__":
    # Else this file would be what `import docker` finds.
    sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    sys.exit(main(int((sys.argv[1:] or ["20"])[0]), (sys.argv[2:] or ["rompy-hydra-test/busybox:1"])[0]))
