"""Start-up with 50 installed plugin distributions compared with none.

    python benchmarks/plugins.py [ROUNDS]

Prints medians of interleaved rounds, and how much rounds differ anyway. Each distribution provides four
plugins, whose modules exit the program if they are imported.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from contestants import environment

COUNT = 50
_GROUPS = ("rompy.run", "rompy.postprocess", "rompy.pipeline", "rompy.config")
_COMMANDS = {
    "default run, checked": ["check"],
    "--help": ["--help"],
    "--cfg job": ["--cfg", "job"],
}


def wheel(directory: Path, number: int) -> Path:
    """A distribution with a plugin of each kind."""
    stem = f"plugin_{number}-1.0"
    points = "".join(f"[{group}]\nplugin_{number} = plugin_{number}:Plugin\n\n" for group in _GROUPS)
    path = directory / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"plugin_{number}.py", "raise SystemExit('imported, though nobody chose it')\n")
        archive.writestr(
            f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: plugin-{number}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{stem}.dist-info/entry_points.txt", points)
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


def installed(directory: Path) -> Path:
    """Where pip has installed them all."""
    wheels = [str(wheel(directory, number)) for number in range(COUNT)]
    site = directory / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*command, str(site), *wheels], check=True)
    return site


def seconds(arguments: list[str], site: Path, cwd: Path) -> float:
    """Wall time of a command that must succeed."""
    variables = {**environment(), "PYTHONPATH": str(site)}
    begin = time.perf_counter()
    command = [sys.executable, "-m", "rompy_hydra", *arguments]
    subprocess.run(command, cwd=cwd, env=variables, check=True, capture_output=True)
    return time.perf_counter() - begin


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sites = {"none": directory / "empty", f"{COUNT}": installed(directory)}
        sites["none"].mkdir()
        print(f"{'command':<22} {'none':>8} {COUNT:>8} {'more':>8} {'noise':>8}   (medians of {rounds}, s)")
        for what, arguments in _COMMANDS.items():
            times: dict[str, list[float]] = {label: [] for label in sites}
            for number in range(rounds + 1):
                for label, site in sites.items():
                    measured = seconds(arguments, site, directory)
                    if number:  # the first round fills the caches
                        times[label].append(measured)
            none, many = (statistics.median(times[label]) for label in sites)
            noise = statistics.median(abs(each - none) for each in times["none"])
            print(f"{what:<22} {none:8.3f} {many:8.3f} {many - none:+8.3f} {noise:8.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
