"""The postprocessor that computes statistics of the outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from pydantic import Field as Setting
from pydantic import FiniteFloat

from rompy_hydra.errors import PostprocessError, closest
from rompy_hydra.postprocess.base import BasePostprocessor, HasOutputs, Results, outputs_of
from rompy_hydra.postprocess.outputs import find_outputs, is_netcdf, is_table, requirement, shorten
from rompy_hydra.postprocess.statistics import RunningStatistics, table_statistics
from rompy_hydra.workspace import Glob, Workspace

Statistic = Literal["min", "mean", "max", "missing_share"]


class SummaryPostprocessor(BasePostprocessor):
    """Minimum, mean, maximum and missing share of each variable of the netCDF and CSV outputs.

    Their names in the record's metrics are `FILE.VARIABLE.STATISTIC`, such as `profile.setup_m.max`. FILE
    is the file name without its suffix, or the path if two files have the same name. A variable without
    values only has a `missing_share` of 1. Coordinates, times and mesh connectivity are left out unless
    `variables` names them; text always is. A run without netCDF and CSV outputs is not a failure, unless
    `files` or `variables` request some.

    If a netCDF file also contains the bed level, water levels at depths below `dry_depth` are missing,
    because models store the height of dry land there. ANUGA's quantities are read at the centroids of
    its triangles, where they are computed, and have their plain names (`stage`, not `stage_c`).
    """

    name: ClassVar[str] = "summary"

    # Paths or globs inside the run directory; empty: all outputs.
    files: tuple[Glob, ...] = ()
    # Names of variables and columns; empty: all.
    variables: tuple[str, ...] = ()
    statistics: tuple[Statistic, ...] = Setting(
        default=("min", "mean", "max", "missing_share"), min_length=1
    )
    # Shallower water counts as dry, m; None: use the values as stored.
    dry_depth: FiniteFloat | None = Setting(default=0.01, ge=0)

    def process(self, model_run: HasOutputs, **settings: object) -> Results:
        """See the class; the statistics are under `metrics`.

        Raises PostprocessError if an output cannot be read, or if a requested one does not exist.
        """
        return self.with_settings(settings)._summarise(outputs_of(model_run), model_run.run_id)

    def _summarise(self, workspace: Workspace, run_id: str) -> Results:
        if not workspace.path.is_dir():
            message = f"Output directory not found: {workspace.path}"
            return {"success": False, "message": message, "run_id": run_id}
        names = find_outputs(workspace, self.files)
        files = [name for name in names if is_netcdf(name) or is_table(name)]
        if self.files and not files:
            raise PostprocessError(
                f"nothing to summarise in {workspace.path}: {shorten(names)} is neither netCDF nor CSV "
                "(processor.files)"
            )
        metrics: dict[str, float] = {}
        found: set[str] = set()
        for file, prefix in metric_prefixes(files).items():
            for name, statistics in self._statistics(workspace.path / file):
                found.add(name)
                values = statistics.results() if statistics else {}
                metrics |= {
                    f"{prefix}.{name}.{key}": values[key] for key in self.statistics if key in values
                }
        for name in self.variables:
            if name not in found:
                raise PostprocessError(
                    f"no output in {workspace.path} ({shorten(files)}) has a numeric variable '{name}' "
                    f"(processor.variables). {closest(name, found)}".rstrip()
                )
        message = f"{len(metrics)} numbers from {len(files)} file{'s' * (len(files) != 1)}"
        if not metrics:
            message = f"nothing to summarise: the outputs contain no netCDF or CSV data ({shorten(names)})"
        return {"success": True, "message": message, "run_id": run_id, "metrics": metrics}

    def _statistics(self, path: Path) -> Iterator[tuple[str, RunningStatistics | None]]:
        """Each variable of a file by name, with its statistics if it is selected."""
        if is_table(path.name):
            for name, statistics in table_statistics(path).items():
                yield name, statistics if not self.variables or name in self.variables else None
            return
        # The default run has no netCDF outputs, and starts faster without this import.
        with requirement(f"reading {path} requires xarray and netCDF4"):
            from rompy_hydra.postprocess.netcdf.reading import netcdf_statistics
        yield from netcdf_statistics(path, self.variables, self.dry_depth)


def metric_prefixes(files: Sequence[str]) -> dict[str, str]:
    """A unique name of each file: its stem, else its path without suffix, else its path."""
    stem = {file: PurePosixPath(file).stem for file in files}
    bare = {file: str(PurePosixPath(file).with_suffix("")) for file in files}
    stems, bares = Counter(stem.values()), Counter(bare.values())
    return {
        file: stem[file] if stems[stem[file]] == 1 else bare[file] if bares[bare[file]] == 1 else file
        for file in files
    }
