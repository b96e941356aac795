"""The postprocessor that turns outputs into numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from pydantic import Field as Setting
from pydantic import FiniteFloat

from rompy_hydra.errors import PostprocessError, closest
from rompy_hydra.postprocess.base import BasePostprocessor, HasOutputs, Results, outputs_of
from rompy_hydra.postprocess.outputs import NETCDF, TABLES, Glob, output_names, some, suffix
from rompy_hydra.postprocess.statistics import Tally, table_tallies
from rompy_hydra.workspace import Workspace

Number = Literal["min", "mean", "max", "missing_share"]


class SummaryPostprocessor(BasePostprocessor):
    """Minimum, mean, maximum and missing share of each variable of the netCDF and CSV outputs.

    They go into the record's metrics as `FILE.VARIABLE.STATISTIC`, FILE being the name without its
    suffix, or the path where two have that name: `profile.setup_m.max`. A variable without any value
    has its `missing_share` of 1 only. Coordinates, times, text and the corners of meshes are left out
    unless `variables` names them (text always). A run without netCDF and CSV outputs is no failure,
    but one without those that `files` or `variables` ask for is.

    Where a netCDF file tells the bed too, the level of water shallower than `dry_depth` is missing:
    models store the height of dry land there. Of ANUGA's quantities those in the triangles are taken,
    as computed, under the plain name (`stage`, not `stage_c`).
    """

    name: ClassVar[str] = "summary"

    # Which outputs: paths or globs inside the run directory; none: all.
    files: tuple[Glob, ...] = ()
    # Names of variables and columns; none: all.
    variables: tuple[str, ...] = ()
    statistics: tuple[Number, ...] = Setting(default=("min", "mean", "max", "missing_share"), min_length=1)
    # Water shallower than this is no water, m; None: take the values as they are stored.
    dry_depth: FiniteFloat | None = Setting(default=0.01, ge=0)

    def process(self, model_run: HasOutputs, **settings: object) -> Results:
        """See the class; the numbers are under `metrics`.

        Raises PostprocessError if an output cannot be read, or if what was asked for does not exist.
        """
        workspace = outputs_of(model_run)
        return self.with_settings(settings)._summarise(model_run.run_id, workspace)

    def _summarise(self, run_id: str, workspace: Workspace) -> Results:
        if not workspace.path.is_dir():
            message = f"Output directory not found: {workspace.path}"
            return {"success": False, "message": message, "run_id": run_id}
        names = output_names(workspace, self.files)
        files = [name for name in names if suffix(name) in NETCDF | TABLES]
        if self.files and not files:
            raise PostprocessError(
                f"nothing to summarise in {workspace.path}: {some(names)} is neither netCDF nor CSV "
                "(processor.files)"
            )
        metrics: dict[str, float] = {}
        found: set[str] = set()
        for file, title in titles(files).items():
            for name, tally in self._tallies(workspace.path / file):
                found.add(name)
                if tally is not None:
                    numbers = tally.numbers()
                    kept = [key for key in self.statistics if key in numbers]
                    metrics |= {f"{title}.{name}.{key}": numbers[key] for key in kept}
        for name in self.variables:
            if name not in found:
                raise PostprocessError(
                    f"no output of {workspace.path} ({some(files)}) has a numeric variable '{name}' "
                    f"(processor.variables). {closest(name, found)}".rstrip()
                )
        message = f"{len(metrics)} numbers from {len(files)} file{'s' * (len(files) != 1)}"
        if not metrics:
            message = f"nothing to summarise: no numbers in netCDF or CSV among the outputs ({some(names)})"
        return {"success": True, "message": message, "run_id": run_id, "metrics": metrics}

    def _tallies(self, path: Path) -> Iterator[tuple[str, Tally | None]]:
        """Every variable of a file by name, with its tally if it is wanted."""
        if suffix(path.name) in TABLES:
            for name, tally in table_tallies(path).items():
                yield name, tally if not self.variables or name in self.variables else None
            return
        # The default run has no netCDF, and starts without what reads it.
        from rompy_hydra.postprocess.netcdf.statistics import netcdf_tallies

        yield from netcdf_tallies(path, self.variables, self.dry_depth)


def titles(files: Sequence[str]) -> dict[str, str]:
    """What each file is called in the metrics: its name without suffix, or as much as tells it apart."""
    paths = {file: PurePosixPath(file) for file in files}
    stems = Counter(path.stem for path in paths.values())
    longer = Counter(str(path.with_suffix("")) for path in paths.values())
    named = {}
    for file, path in paths.items():
        bare = str(path.with_suffix(""))
        named[file] = path.stem if stems[path.stem] == 1 else bare if longer[bare] == 1 else file
    return named
