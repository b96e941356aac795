"""Start-up: one default run against a bare Hydra program with the same groups, side by side.

    python benchmarks/startup.py [ROUNDS]

Prints medians of interleaved rounds. Budgets: a default run takes at most 0.25 s more than the bare
program, and `import rompy_hydra` takes under 0.1 s.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from contestants import environment

from rompy_hydra.compose.composer import config_dir

_BARE = """
import hydra

@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(config):
    pass

main()
"""
_IMPORT = "import time; t = time.perf_counter(); import rompy_hydra; print(time.perf_counter() - t)"


def bare_program(directory: Path) -> Path:
    """A Hydra program with this package's groups and keys, and Hydra's own everything else."""
    conf = directory / "conf"
    shutil.copytree(config_dir(), conf, ignore=shutil.ignore_patterns("hydra"))
    text = (conf / "config.yaml").read_text()
    text = re.sub(r"(?m)^  - override hydra/.*\n", "", text).split("\nhydra:")[0]
    (conf / "config.yaml").write_text(text.replace("${run_label:}", "beach") + "\n")
    sweep = conf / "sweep" / "standard.yaml"
    sweep.write_text(sweep.read_text().replace("${sweep_name:}", "beach"))
    program = directory / "bare.py"
    program.write_text(_BARE)
    return program


def seconds(command: list[str], cwd: Path) -> float:
    """Wall time of a command that must succeed."""
    begin = time.perf_counter()
    subprocess.run(command, cwd=cwd, env=environment(), check=True, capture_output=True)
    return time.perf_counter() - begin


def main(rounds: int) -> None:
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        program = bare_program(directory)
        for number in range(rounds + 1):
            measured = {
                "bare Hydra program": seconds([sys.executable, str(program)], directory),
                "default run": seconds(
                    [sys.executable, "-m", "rompy_hydra", f"run_id=run{number}"], directory
                ),
                "the model alone": seconds(
                    ["sh", str(directory / "runs" / f"run{number}" / "run.sh")], directory
                ),
                "import rompy_hydra": float(
                    subprocess.run(
                        [sys.executable, "-c", _IMPORT],
                        env=environment(),
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout
                ),
            }
            if number:  # the first round fills the caches
                for what, value in measured.items():
                    times.setdefault(what, []).append(value)
    medians = {what: statistics.median(values) for what, values in times.items()}
    for what, value in medians.items():
        print(f"{what:<22} {value:6.3f} s   (best {min(times[what]):.3f}, of {rounds})")
    more = medians["default run"] - medians["bare Hydra program"]
    print(f"{'default run - bare':<22} {more:6.3f} s   (budget 0.250)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
