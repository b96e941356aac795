"""The postprocessor that computes statistics of the outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field as Setting
from pydantic import FiniteFloat

from rompy_hydra.errors import PostprocessError, closest
from rompy_hydra.postprocess.base import BasePostprocessor, HasOutputs, Results, outputs_of
from rompy_hydra.postprocess.outputs import (
    find_outputs,
    is_netcdf,
    is_table,
    metric_prefixes,
    requirement,
    shorten,
)
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
        prefixes = metric_prefixes(files)
        selected: dict[str, dict[str, RunningStatistics]] = {prefix: {} for prefix in prefixes.values()}
        found: set[str] = set()
        for file, prefix in prefixes.items():
            for name, statistics in self._statistics(workspace.path / file):
                found.add(name)
                if statistics is not None:
                    selected[prefix][name] = statistics
        joined, described = _join(workspace, prefixes, selected)
        metrics = {
            f"{prefix}.{name}.{key}": values[key]
            for prefix, variables in (joined | selected).items()
            for name, statistics in variables.items()
            for values in [statistics.results()]
            for key in self.statistics
            if key in values
        }
        for name in self.variables:
            if name not in found:
                raise PostprocessError(
                    f"no output in {workspace.path} ({shorten(files)}) has a numeric variable '{name}' "
                    f"(processor.variables). {closest(name, found)}".rstrip()
                )
        message = f"{len(metrics)} numbers from {len(files)} file{'s' * (len(files) != 1)}"
        notes = dict.fromkeys(each.note for parts in selected.values() for each in parts.values())
        message = "; ".join([message, *described, *filter(None, notes)])
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


def _join(
    workspace: Workspace, prefixes: Mapping[str, str], selected: Mapping[str, dict[str, RunningStatistics]]
) -> tuple[dict[str, dict[str, RunningStatistics]], list[str]]:
    """The statistics of files that are parts of one output together, and descriptions of these.

    Their name is that of the files without numbers. Cells that several processes store count several times.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for file in filter(is_netcdf, prefixes):
        alike.setdefault(tuple(selected[prefixes[file]]), []).append(file)
    joined: dict[str, dict[str, RunningStatistics]] = {}
    described = []
    for variables, files in alike.items():
        if len(files) < 2 or not variables:
            continue
        from rompy_hydra.postprocess.netcdf.parts import find_part, group_parts

        parts = [part for file in files if (part := find_part(workspace.path / file, file))]
        for output in group_parts(parts) if parts else []:
            if not output.joined:
                continue
            prefix = prefixes[output.parts[0].file]
            name = re.sub(r"[-_.]?\d+", "", prefix) or "joined"
            while name in selected or name in joined:
                name += "_joined"
            joined[name] = _merge([selected[prefixes[part.file]] for part in output.parts])
            described.append(f"{name}: {output.names}")
    return joined, described


def _merge(parts: Sequence[Mapping[str, RunningStatistics]]) -> dict[str, RunningStatistics]:
    merged = {name: each.empty() for name, each in parts[0].items()}
    for part in parts:
        for name, statistics in merged.items():
            statistics.merge(part[name])
    return merged
