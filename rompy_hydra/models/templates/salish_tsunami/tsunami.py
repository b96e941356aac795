"""A train of long waves that enters the Salish Sea from the Pacific, simulated with ANUGA.

Solves the shallow-water equations on real topography, between Vancouver Island and the Olympic
Peninsula, and records the water level at Port Renfrew, Victoria and Port Angeles. It demonstrates how
to run and sweep such a model. It is not a forecast: the topography is coarse, tide and Earth rotation
are neglected, and the waves are idealised.

Reads `parameters.json` in the current directory and writes there:

- `salish_tsunami.sww`: netCDF by ANUGA, every 300 s of simulated time;
- `gauges.csv`: the water level at the gauges, every 60 s;
- `gauges_places.csv`: the positions of the gauges in the mesh;
- `grid.json`: the mapping from mesh coordinates in metres to longitude and latitude;
- `anuga.log`: the output of ANUGA itself.

Exits with 0 if the run is complete and its result is plausible; otherwise with 1 and one line on
stderr.

Topography: `topobathy.npz` from matplotlib's sample data, 91 by 120 points, 126 W to 122 W and 48 N
to 50 N, in metres, negative below sea level. The file states neither source nor datum nor licence. Its
spacing (two minutes of longitude, rows spaced as in a Mercator map, so about 2.4 km) is that of the
global grid of Smith and Sandwell (1997, Science 277, 1956-1962), which refers to mean sea level; here,
zero is the still water level. The domain begins at 125.6 W, on the shelf: the deep water further west
would only shorten the time step, and the depth along this edge is nearly constant, so one incoming wave
fits its entire length.

Projection: equirectangular on a sphere, true to scale along 49 N. East-west lengths are 2 % too short
at the southern edge and 2 % too long at the northern edge, which is accurate enough for travel times.

Mesh: squares of `mesh_size` divided into four triangles, wherever the water is at least 2 m deep and
connected to the sea. Its boundary is a reflecting wall, so no land is flooded: the topography marks much
of the coast with a depth of 1 m, which is not a measurement. The same wall closes the sea at the southern
edge. The waves travel along that edge, so the wall acts as a mirror and does not weaken them, whereas
an open edge would let them leak out sideways.

Friction: Manning's formula. Its effect is small in water this deep: from n = 0.02 to 0.04, on the
default mesh, the highest water level at the inner gauges decreases by less than 1 % for waves of 1 m,
and by 1 to 2 % for waves of 3 m.

Waves: three waves enter through the western edge where it is deeper than 20 m, by ANUGA's non-linear
characteristic boundary condition, which lets reflected waves leave.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

try:
    import numpy as np
except ImportError:
    sys.exit("salish_tsunami: numpy is missing; install rompy-hydra[anuga]")

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import anuga
    from numpy.typing import NDArray

EARTH_RADIUS = 6371008.8  # m, mean of the WGS 84 ellipsoid
TRUE_LATITUDE = 49.0  # degrees north, where the projection preserves lengths
WESTERN_EDGE = -125.6  # degrees east

SHALLOWEST_WATER = 2.0  # m; the mesh ends at this depth
SHALLOWEST_ENTRANCE = 20.0  # m of water at the western edge where waves enter
SHALLOWEST_GAUGE = 20.0  # m of water; in shallower water, one cell does not represent a harbour
WAVES_IN_THE_TRAIN = 3
GAUGE_STEP = 60.0  # s
STORED_STEPS = 5  # every fifth gauge step is written to the .sww file
# Shoaling and reflection amplify the waves at most about five times. A much larger factor means that the
# computation is unstable.
MOST_AMPLIFIED = 30.0

# Valid ranges.
LIMITS = {
    "friction": (0.0, 0.2, "s m^-1/3"),
    "source_amplitude": (0.0, 5.0, "m"),
    "source_period": (300.0, 7200.0, "s"),
    "mesh_size": (1000.0, 8000.0, "m"),
    "duration": (60.0, 172800.0, "s"),
}

# Tide gauges, degrees east and north: stations 08525 and 07120 of the Canadian Hydrographic
# Service, and 9444090 of NOAA.
PLACES = {
    "port_renfrew": (-124.421, 48.555),
    "victoria": (-123.371, 48.424),
    "port_angeles": (-123.440, 48.125),
}


class UnsoundRun(Exception):
    """The computation continued, but its result is physically impossible."""


class Parameters(NamedTuple):
    """Parameters of a run."""

    friction: float = 0.025  # Manning's n, s m^-1/3
    source_amplitude: float = 1.0  # of the incoming waves at the western edge, m
    source_period: float = 1800.0  # s
    mesh_size: float = 3500.0  # side of the squares that are divided into four triangles, m
    duration: float = 10800.0  # simulated, s


class Topography(NamedTuple):
    """Elevation (m above sea level) on a grid of longitudes and latitudes (degrees, increasing)."""

    longitudes: NDArray[np.float64]  # shape (columns,), negative in the west
    latitudes: NDArray[np.float64]  # shape (rows,)
    elevations: NDArray[np.float64]  # shape (rows, columns)

    @property
    def metres_per_degree(self) -> tuple[float, float]:
        """Length (m) of a degree of longitude and of latitude in the projection."""
        north = math.radians(1.0) * EARTH_RADIUS
        return north * math.cos(math.radians(TRUE_LATITUDE)), north

    @property
    def size(self) -> tuple[float, float]:
        """Extent (m) to the east and to the north."""
        east, north = self.metres_per_degree
        longitudes, latitudes = self.longitudes, self.latitudes
        return (
            float(longitudes[-1] - longitudes[0]) * east,
            float(latitudes[-1] - latitudes[0]) * north,
        )

    def to_metres(self, longitude: float, latitude: float) -> tuple[float, float]:
        """Metres east and north of the south-western corner."""
        east, north = self.metres_per_degree
        return (
            (longitude - float(self.longitudes[0])) * east,
            (latitude - float(self.latitudes[0])) * north,
        )

    def to_degrees(self, x: float, y: float) -> tuple[float, float]:
        """Longitude and latitude of a point in metres."""
        east, north = self.metres_per_degree
        return float(self.longitudes[0]) + x / east, float(self.latitudes[0]) + y / north

    def elevation(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Elevation at points in metres, by bilinear interpolation."""
        east, north = self.metres_per_degree
        columns = np.interp(self.longitudes[0] + x / east, self.longitudes, np.arange(len(self.longitudes)))
        rows = np.interp(self.latitudes[0] + y / north, self.latitudes, np.arange(len(self.latitudes)))
        column = np.minimum(columns.astype(int), len(self.longitudes) - 2)
        row = np.minimum(rows.astype(int), len(self.latitudes) - 2)
        right, up = columns - column, rows - row
        values = self.elevations
        south = (1 - right) * values[row, column] + right * values[row, column + 1]
        northern = (1 - right) * values[row + 1, column] + right * values[row + 1, column + 1]
        interpolated: NDArray[np.float64] = (1 - up) * south + up * northern
        return interpolated


class Gauge(NamedTuple):
    """A place, and the triangle that represents it."""

    place: str
    longitude: float  # of the place, degrees east
    latitude: float  # degrees north
    triangle: int  # index in the mesh
    x: float  # of the triangle's centroid, m
    y: float  # m
    used_longitude: float  # the same in degrees
    used_latitude: float
    distance: float  # from the place to the centroid, m
    depth: float  # of the still water in the triangle, m


def load_topography() -> Topography:
    """Read matplotlib's sample topography, east of the western edge."""
    from matplotlib import cbook

    with np.load(cbook.get_sample_data("topobathy.npz", asfileobj=False)) as file:
        longitudes = file["longitude"].astype(float) - 360.0
        inside = longitudes >= WESTERN_EDGE
        return Topography(
            longitudes=longitudes[inside],
            latitudes=file["latitude"].astype(float),
            elevations=file["topo"].astype(float)[:, inside],
        )


def incoming_wave(time: float, amplitude: float, period: float) -> float:
    """Water level (m) of the incoming waves alone at the western edge.

    A sine whose first wave grows and whose last wave decays as sin^2 over one period. The net volume of
    the train is zero, and it starts and ends smoothly.
    """
    phase = time / period
    if not 0.0 < phase < WAVES_IN_THE_TRAIN:
        return 0.0
    ramp = min(1.0, phase, WAVES_IN_THE_TRAIN - phase)
    return amplitude * math.sin(0.5 * math.pi * ramp) ** 2 * math.sin(2.0 * math.pi * phase)


def connected_sea(triangles: NDArray[np.int64], deep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the deep triangles belong to the largest body of water, connected by shared edges."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(triangles)
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, ::2]]))
    owners = np.tile(np.arange(count), 3)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    shared = np.flatnonzero((edges[order[1:]] == edges[order[:-1]]).all(axis=1))
    one, other = owners[order[shared]], owners[order[shared + 1]]
    joined = deep[one] & deep[other]
    links = coo_array((np.ones(joined.sum()), (one[joined], other[joined])), shape=(count, count))
    labels = connected_components(links, directed=False)[1]
    sea: NDArray[np.bool_] = deep & (labels == np.bincount(labels[deep]).argmax())
    return sea


def build_domain(given: Parameters, topography: Topography) -> anuga.Domain:
    """Create the mesh of the sea, fill it with still water and open its western edge."""
    import anuga

    width, height = topography.size
    points, triangles, sides = anuga.rectangular_cross(
        round(width / given.mesh_size), round(height / given.mesh_size), len1=width, len2=height
    )
    points, triangles = np.asarray(points, dtype=float), np.asarray(triangles, dtype=np.int64)
    centres = points[triangles].mean(axis=1)
    kept = connected_sea(triangles, topography.elevation(centres[:, 0], centres[:, 1]) <= -SHALLOWEST_WATER)

    renumbered = np.cumsum(kept) - 1
    boundary = {}
    for (triangle, edge), side in sides.items():
        if side != "left" or not kept[triangle]:
            continue
        middle = np.delete(points[triangles[triangle]], edge, axis=0).mean(axis=0)
        if topography.elevation(middle[:1], middle[1:])[0] < -SHALLOWEST_ENTRANCE:
            boundary[int(renumbered[triangle]), edge] = "entrance"
    used, corners = np.unique(triangles[kept], return_inverse=True)
    # Edges that are not in `boundary` get ANUGA's default tag, `exterior`.
    domain = anuga.Domain(points[used], corners.reshape(-1, 3), boundary)

    # Of ANUGA's schemes, this one damps long waves least for its cost.
    domain.set_flow_algorithm("DE_ader2")
    domain.set_quantity("elevation", topography.elevation, location="centroids")
    domain.set_quantity("friction", given.friction)
    domain.set_quantity("stage", 0.0)

    def waves(time: float) -> float:
        return incoming_wave(time, given.source_amplitude, given.source_period)

    domain.set_boundary(
        {
            "entrance": anuga.Characteristic_wave_boundary(domain, waves),
            "exterior": anuga.Reflective_boundary(domain),
        }
    )
    return domain


def place_gauges(domain: anuga.Domain, topography: Topography) -> list[Gauge]:
    """The nearest sufficiently deep triangle of each place."""
    centres = domain.get_centroid_coordinates()
    depths = -domain.quantities["elevation"].centroid_values
    gauges = []
    for place, (longitude, latitude) in PLACES.items():
        distances = np.hypot(*(centres - topography.to_metres(longitude, latitude)).T)
        triangle = int(np.where(depths >= SHALLOWEST_GAUGE, distances, np.inf).argmin())
        x, y = (float(metres) for metres in centres[triangle])
        used_longitude, used_latitude = topography.to_degrees(x, y)
        gauges.append(
            Gauge(
                place=place,
                longitude=longitude,
                latitude=latitude,
                triangle=triangle,
                x=x,
                y=y,
                used_longitude=used_longitude,
                used_latitude=used_latitude,
                distance=float(distances[triangle]),
                depth=float(depths[triangle]),
            )
        )
    return gauges


def check_water(domain: anuga.Domain, given: Parameters, first_volume: float) -> None:
    """Raise UnsoundRun unless water levels are finite and plausible, and the volume is conserved."""
    stage = domain.quantities["stage"].centroid_values
    hours = domain.get_time() / 3600.0
    if not np.isfinite(stage).all():
        raise UnsoundRun(f"the water level is not a number after {hours:.2f} h")
    highest = float(np.abs(stage).max())
    if highest > MOST_AMPLIFIED * given.source_amplitude + 0.001:
        raise UnsoundRun(f"the water level reaches {highest:.1f} m above or below rest after {hours:.2f} h")
    gain = domain.get_water_volume() - first_volume
    missing = gain - domain.get_boundary_flux_integral()
    if abs(missing) > 1e-9 * first_volume:
        raise UnsoundRun(f"the volume of water is not conserved: {missing:+.3g} m3 after {hours:.2f} h")


def simulate(
    given: Parameters,
    directory: Path,
    say: Callable[[str], object] = print,
) -> tuple[list[Gauge], NDArray[np.float64]]:
    """Run the model, and write `salish_tsunami.sww` to the directory.

    Returns the gauges, and an array of shape (times, 1 + gauges): time (s), then the water level (m) at
    each gauge. Raises UnsoundRun if the result is physically impossible.
    """
    topography = load_topography()
    domain = build_domain(given, topography)
    domain.set_name("salish_tsunami")
    domain.set_datadir(str(directory))
    gauges = place_gauges(domain, topography)
    triangles = [gauge.triangle for gauge in gauges]
    stage = domain.quantities["stage"].centroid_values
    first_volume = domain.get_water_volume()
    say(
        f"salish_tsunami: {domain.number_of_elements} triangles, waves of "
        f"{given.source_amplitude:g} m and {given.source_period:g} s, Manning's n {given.friction:g}"
    )
    rows = []
    for time in domain.evolve(
        yieldstep=GAUGE_STEP, outputstep=STORED_STEPS * GAUGE_STEP, duration=given.duration
    ):
        levels = stage[triangles]
        rows.append([float(time), *(float(level) for level in levels)])
        if time % 1800.0 == 0.0 or time >= given.duration:
            check_water(domain, given, first_volume)
            named = zip(gauges, levels, strict=True)
            places = ", ".join(f"{gauge.place} {level:+.2f} m" for gauge, level in named)
            say(f"salish_tsunami: {time / 3600.0:5.2f} h  {places}")
    return gauges, np.array(rows)


def read_parameters(path: Path) -> Parameters:
    """Read and validate the parameters; ValueError names the invalid one in one line."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} must contain an object with {', '.join(LIMITS)}")
    checked = {}
    for name, (low, high, unit) in LIMITS.items():
        value = values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number between {low} and {high} {unit}: {value!r}")
        if not low <= value <= high:  # also false for NaN
            raise ValueError(f"{name} must be between {low} and {high} {unit}, but is {value}")
        checked[name] = float(value)
    return Parameters(**checked)


def write_rows(path: Path, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV file that is either complete or absent."""
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow([f"{v:.7g}" if isinstance(v, float) else v for v in row])
    unfinished.replace(path)


def write_places(path: Path, gauges: Sequence[Gauge]) -> None:
    """Write the positions of the gauges, with units in the column names."""
    units = {
        "longitude": "degrees_east",
        "latitude": "degrees_north",
        "used_longitude": "degrees_east",
        "used_latitude": "degrees_north",
        **dict.fromkeys(("x", "y", "distance", "depth"), "m"),
    }
    names = [f"{name}_{units[name]}" if name in units else name for name in Gauge._fields]
    write_rows(path, names, gauges)


def write_grid(path: Path, topography: Topography) -> None:
    """Write the mapping from metres in the mesh to degrees, for the labels of a map."""
    east, north = topography.metres_per_degree
    grid = {
        "projection": "equirectangular on a sphere: longitude = origin + x / metres per degree",
        "origin_longitude_degrees_east": float(topography.longitudes[0]),
        "origin_latitude_degrees_north": float(topography.latitudes[0]),
        "metres_per_degree_longitude": east,
        "metres_per_degree_latitude": north,
        "true_latitude_degrees_north": TRUE_LATITUDE,
        "earth_radius_m": EARTH_RADIUS,
    }
    path.write_text(json.dumps(grid, indent=2) + "\n", encoding="utf-8")


def redirect_library_output(log: Path) -> TextIO:
    """Send everything that libraries print, including C code, to a log; returns the original stdout."""
    sys.stdout.flush()
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
    return output


def main() -> int:
    """Run the model in the current directory and return the exit code."""
    here = Path()
    try:
        given = read_parameters(here / "parameters.json")
    except ValueError as error:
        print(f"salish_tsunami: {error}", file=sys.stderr)
        return 1
    output = redirect_library_output(here / "anuga.log")

    def say(line: str) -> None:
        print(line, file=output, flush=True)

    try:
        write_grid(here / "grid.json", load_topography())
        gauges, levels = simulate(given, here, say)
    except ImportError as error:
        print(f"salish_tsunami: {error.name} is missing; install rompy-hydra[anuga]", file=sys.stderr)
        return 1
    except UnsoundRun as error:
        print(f"salish_tsunami: {error}; try a smaller source_amplitude", file=sys.stderr)
        return 1
    write_places(here / "gauges_places.csv", gauges)
    names = ["time_s", *(f"{gauge.place}_stage_m" for gauge in gauges)]
    write_rows(here / "gauges.csv", names, levels.tolist())
    for gauge, series in zip(gauges, levels[:, 1:].T, strict=True):
        crest = int(series.argmax())
        say(
            f"salish_tsunami: highest water at {gauge.place} {series[crest]:.2f} m "
            f"after {levels[crest, 0] / 3600.0:.2f} h"
        )
    say("salish_tsunami completed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
