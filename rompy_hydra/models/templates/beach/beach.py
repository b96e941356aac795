"""Random waves across a barred beach: wave height, breaking and set-up.

A stationary one-dimensional model for waves at normal incidence. It balances the energy flux of linear
waves against breaking and bottom friction, and the slope of the mean water level against the radiation
stress. It requires only Python 3.8 or later and runs in a fraction of a second, which makes it a good
model for first experiments.

Reads `parameters.json` and writes `profile.csv`, both in the current directory. Exits with 0 after
writing the profile, and with 1 and one line on stderr if the parameters are invalid.

Symbols: Hrms root-mean-square wave height (m), Hs = sqrt(2) Hrms significant wave height of
Rayleigh-distributed waves, h depth of the mean water (m), k wave number (rad/m), f = 1/Tp (Hz).

Sources
-------
- Breaking: Janssen, T. T., and J. A. Battjes (2007), A note on wave energy dissipation over steep
  beaches, Coastal Engineering 54(9), 711-716; the same result is in Alsina, J. M., and T. E.
  Baldock (2007), Coastal Engineering 54(9), 765-769. The dissipation coefficient is 1.
- Breaking height and upper limit of Hrms: Battjes, J. A., and J. P. F. M. Janssen
  (1978), Energy loss and set-up due to breaking of random waves, Proc. 16th Int. Conf. Coastal
  Engineering, 569-587.
- Friction: Thornton, E. B., and R. T. Guza (1983), Transformation of wave height distribution,
  Journal of Geophysical Research 88(C10), 5925-5938, with Jonsson's wave friction factor.
- Set-up: Longuet-Higgins, M. S., and R. W. Stewart (1962), Radiation stress and mass transport in
  gravity waves, Journal of Fluid Mechanics 13, 481-504.
- Bed: the analytic profile of Slinn, D. N., J. S. Allen, P. A. Newberger and R. A. Holman (1998),
  Nonlinear shear instabilities of alongshore currents over barred beaches, Journal of Geophysical
  Research 103(C9), 18357-18379, fitted to the beach at Duck, North Carolina, in October 1990.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path
from typing import NamedTuple, Sequence  # noqa: UP035

GRAVITY = 9.81  # m s^-2
WATER_DENSITY = 1025.0  # kg m^-3, sea water

OFFSHORE_DISTANCE = 2500.0  # m from the shoreline at datum, in 18.7 m of water
BEACH_TOP = 8.0  # m above datum, above any set-up that valid parameters can cause
SHALLOWEST = 0.1  # m; in shallower water, swash dominates and wave-averaged quantities are meaningless

# Valid ranges: wider than in nature, limited to where the model was found to be sound.
LIMITS = {
    "wave_height": (0.01, 15.0, "m"),
    "wave_period": (2.0, 25.0, "s"),
    "breaker_index": (0.2, 1.5, "-"),
    "friction": (0.0, 1.0, "-"),
    "water_level": (-1.0, 3.0, "m"),
}


class Parameters(NamedTuple):
    """Parameters of a run."""

    wave_height: float = 2.0  # significant, at the seaward end of the profile, m
    wave_period: float = 8.0  # peak period, s
    breaker_index: float = 0.65  # wave height over depth at breaking in shallow water, -
    friction: float = 0.01  # wave friction factor f_w, -
    water_level: float = 0.0  # tide and surge, m above datum


class LinearWave(NamedTuple):
    """A wave of small amplitude on water of constant depth."""

    wave_number: float  # rad/m
    group_ratio: float  # group speed over phase speed, 1/2 in deep and 1 in shallow water
    group_speed: float  # m/s


class Station(NamedTuple):
    """One row of `profile.csv`.

    Both dissipations are means over the step from the next station seaward, so they add up to the
    lost energy flux. At the first station, which has no step, they are local values.
    """

    distance_m: float  # from the shoreline at datum, positive seaward
    bed_elevation_m: float  # above datum
    depth_m: float  # of the mean water, including set-up
    significant_wave_height_m: float
    setup_m: float  # mean water above the water level of the run
    wavelength_m: float
    energy_flux_w_m: float  # per metre of crest, towards the shore
    breaking_fraction: float  # of the waves, 0 to 1
    breaking_dissipation_w_m2: float
    friction_dissipation_w_m2: float


def barred_bed(distance: float) -> float:
    """Bed elevation (m above datum) at a distance (m) seaward of the shoreline at datum.

    The profile of Slinn et al. (1998): a steep beach that flattens seaward, and a bar with its crest
    about 80 m offshore, 1.6 m below datum. Above datum, the beach is a plane.
    """
    beach_slope, offshore_slope = 0.075, 0.0064
    bar_distance, bar_height, terrace_depth = 80.0, 1.5, 2.97  # m
    slopes = offshore_slope / beach_slope
    bar = bar_height * math.exp(-5.0 * ((distance - bar_distance) / bar_distance) ** 2)
    if distance < 0.0:
        return bar - beach_slope * distance
    terrace = terrace_depth * (1.0 - slopes) * math.tanh(beach_slope * distance / terrace_depth)
    return bar - terrace - offshore_slope * distance


def cross_shore_stations() -> list[float]:
    """Distances (m) from the seaward end to the top of the beach, with smaller steps near the shore.

    A step is a hundredth of the distance to the shore, but at least 0.5 m and at most 5 m.
    """
    distances = [OFFSHORE_DISTANCE]
    while barred_bed(distances[-1]) < BEACH_TOP:
        distances.append(distances[-1] - min(5.0, max(0.5, distances[-1] / 100.0)))
    return distances


def linear_wave(period: float, depth: float) -> LinearWave:
    """Solve the dispersion relation omega^2 = g k tanh(kh) for a period (s) and a depth (m)."""
    omega = 2.0 * math.pi / period
    target = omega * omega * depth / GRAVITY
    # Newton's method on kh tanh(kh) = target. The initial value is within a few per cent of the root,
    # and the function is convex, so a few steps converge to machine precision.
    kh = target / math.sqrt(math.tanh(target))
    for _ in range(20):
        tanh = math.tanh(kh)
        step = (kh * tanh - target) / (tanh + kh * (1.0 - tanh * tanh))
        kh -= step
        if abs(step) < 1e-12 * kh:
            break
    group_ratio = 0.5 + kh / math.sinh(2.0 * kh) if kh < 100.0 else 0.5  # sinh would overflow
    return LinearWave(kh / depth, group_ratio, group_ratio * omega * depth / kh)


def wave_energy(height: float) -> float:
    """Energy per area (J/m^2) of waves with a root-mean-square height (m)."""
    return WATER_DENSITY * GRAVITY * height * height / 8.0


def height_from_flux(flux: float, group_speed: float) -> float:
    """Root-mean-square height (m) of waves with an energy flux (W/m) and a group speed (m/s)."""
    return math.sqrt(8.0 * flux / (WATER_DENSITY * GRAVITY * group_speed))


def breaker_height(wave_number: float, depth: float, breaker_index: float) -> float:
    """Height (m) at which a wave breaks: limited by steepness in deep water, `breaker_index` h in shallow.

    Miche's criterion in the form of Battjes and Janssen (1978).
    """
    return 0.88 / wave_number * math.tanh(breaker_index * wave_number * depth / 0.88)


def breaking_fraction(height: float, breaking_height: float) -> float:
    """Fraction of Rayleigh-distributed waves with a root-mean-square height (m) that break."""
    return math.exp(-((breaking_height / height) ** 2))


def breaking_dissipation(height: float, breaking_height: float, depth: float, period: float) -> float:
    """Power per area (W/m^2) dissipated by breaking, for a root-mean-square height (m).

    Each breaking wave of height H dissipates energy like a bore, f rho g H^3 / (4 h). The sum over all
    waves above the breaking height has a closed form (Janssen and Battjes 2007).
    """
    ratio = breaking_height / height
    cubes = (ratio**3 + 1.5 * ratio) * math.exp(-ratio * ratio)
    share = math.erfc(ratio) + 4.0 / (3.0 * math.sqrt(math.pi)) * cubes
    bore = WATER_DENSITY * GRAVITY * height**3 / (period * depth)
    return 3.0 * math.sqrt(math.pi) / 16.0 * bore * share


def friction_dissipation(
    height: float, wave_number: float, depth: float, period: float, friction: float
) -> float:
    """Power per area (W/m^2) dissipated at the bed, for a root-mean-square height (m).

    The stress is rho f_w u|u| / 2. Its power, averaged over a sinusoidal orbit and the Rayleigh
    distribution, is rho f_w u^3 / (2 sqrt(pi)), with u (m/s) the maximum orbital speed at the bed
    under a wave of that height.
    """
    kh = wave_number * depth
    if kh > 100.0:
        return 0.0  # no wave motion at the bed, and sinh would overflow
    speed = math.pi * height / (period * math.sinh(kh))
    return WATER_DENSITY * friction * speed**3 / (2.0 * math.sqrt(math.pi))


def radiation_stress(height: float, group_ratio: float) -> float:
    """Onshore flux of onshore momentum (N/m) of waves with a root-mean-square height (m)."""
    return wave_energy(height) * (2.0 * group_ratio - 0.5)


def set_down(height: float, wave_number: float, depth: float) -> float:
    """Mean water level (m, never positive) under non-breaking waves."""
    double_kh = 2.0 * wave_number * depth
    return -height * height * wave_number / (8.0 * math.sinh(double_kh)) if double_kh < 200 else 0.0


def losses(height: float, depth: float, wave: LinearWave, given: Parameters) -> tuple[float, float]:
    """Power per area (W/m^2) dissipated by breaking and by friction, for a root-mean-square height (m)."""
    limit = breaker_height(wave.wave_number, depth, given.breaker_index)
    return (
        breaking_dissipation(height, limit, depth, given.wave_period),
        friction_dissipation(height, wave.wave_number, depth, given.wave_period, given.friction),
    )


def seaward_station(given: Parameters, distance: float, bed: float) -> Station:
    """The seaward end: the waves of the run, limited to the breaking height at that depth."""
    depth = given.water_level - bed
    wave = linear_wave(given.wave_period, depth)
    limit = breaker_height(wave.wave_number, depth, given.breaker_index)
    height = min(given.wave_height / math.sqrt(2.0), limit)
    breaking, friction = losses(height, depth, wave, given)
    setup = set_down(height, wave.wave_number, depth)
    return Station(
        distance_m=distance,
        bed_elevation_m=bed,
        depth_m=depth + setup,
        significant_wave_height_m=math.sqrt(2.0) * height,
        setup_m=setup,
        wavelength_m=2.0 * math.pi / wave.wave_number,
        energy_flux_w_m=wave_energy(height) * wave.group_speed,
        breaking_fraction=breaking_fraction(height, limit),
        breaking_dissipation_w_m2=breaking,
        friction_dissipation_w_m2=friction,
    )


def step_losses(last: Station, bed: float, step: float, given: Parameters) -> tuple[float, float]:
    """Energy flux (W/m) lost to breaking and to friction over a step (m) from the last station.

    A midpoint rule for the logarithm of the flux. It is of second order, and the flux stays positive for
    any step, even if waves much too high for the depth lose most of their energy in one step.
    """
    rate = (last.breaking_dissipation_w_m2 + last.friction_dissipation_w_m2) / last.energy_flux_w_m
    depth = given.water_level + last.setup_m - 0.5 * (bed + last.bed_elevation_m)
    wave = linear_wave(given.wave_period, depth)
    flux = last.energy_flux_w_m * math.exp(-0.5 * rate * step)
    breaking, friction = losses(height_from_flux(flux, wave.group_speed), depth, wave, given)
    total = breaking + friction
    if total <= 0.0:
        return 0.0, 0.0
    lost = last.energy_flux_w_m * -math.expm1(-total / flux * step)
    return lost * breaking / total, lost * friction / total


def next_station(last: Station, distance: float, bed: float, given: Parameters) -> Station | None:
    """The next station shoreward, or None if the water is too shallow.

    Hrms is limited to the breaking height (the saturation of Battjes and Janssen 1978), which it would
    exceed close to the shore on a steep slope. The excess counts as breaking, so energy is conserved.
    """
    step = last.distance_m - distance
    still_depth = given.water_level - bed
    if min(still_depth, given.water_level - last.bed_elevation_m) + last.setup_m < SHALLOWEST:
        return None
    breaking_loss, friction_loss = step_losses(last, bed, step, given)
    flux_left = last.energy_flux_w_m - breaking_loss - friction_loss
    last_height = last.significant_wave_height_m / math.sqrt(2.0)
    last_wave = linear_wave(given.wave_period, last.depth_m)
    last_stress = radiation_stress(last_height, last_wave.group_ratio)

    # Iterate, because the mean level and the wave height depend on each other through the depth.
    setup = last.setup_m
    for _ in range(50):
        depth = still_depth + setup
        if depth < SHALLOWEST:
            return None
        wave = linear_wave(given.wave_period, depth)
        limit = breaker_height(wave.wave_number, depth, given.breaker_index)
        height = min(height_from_flux(flux_left, wave.group_speed), limit)
        push = last_stress - radiation_stress(height, wave.group_ratio)
        weight = WATER_DENSITY * GRAVITY * 0.5 * (depth + last.depth_m)
        error = last.setup_m + push / weight - setup
        setup += error
        if abs(error) < 1e-9:
            break

    flux = wave_energy(height) * wave.group_speed
    return Station(
        distance_m=distance,
        bed_elevation_m=bed,
        depth_m=depth,
        significant_wave_height_m=math.sqrt(2.0) * height,
        setup_m=setup,
        wavelength_m=2.0 * math.pi / wave.wave_number,
        energy_flux_w_m=flux,
        breaking_fraction=breaking_fraction(height, limit),
        breaking_dissipation_w_m2=(last.energy_flux_w_m - flux - friction_loss) / step,
        friction_dissipation_w_m2=friction_loss / step,
    )


def transform_waves(given: Parameters, distances: Sequence[float], beds: Sequence[float]) -> list[Station]:
    """Propagate the waves shoreward over a bed until the water is too shallow.

    `distances` (m, decreasing) and `beds` (m above datum) start at the seaward end, below water.
    """
    stations = [seaward_station(given, distances[0], beds[0])]
    for distance, bed in zip(distances[1:], beds[1:]):  # noqa: B905 - strict= requires Python 3.10
        station = next_station(stations[-1], distance, bed, given)
        if station is None:
            break
        stations.append(station)
    return stations


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
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name} must be a number between {low} and {high} {unit}: {value!r}")
        if not low <= value <= high:  # also false for NaN
            raise ValueError(f"{name} must be between {low} and {high} {unit}, but is {value}")
        checked[name] = float(value)
    return Parameters(**checked)


def write_profile(path: Path, stations: Sequence[Station]) -> None:
    """Write the stations as a CSV file that is either complete or absent."""
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Station._fields)
        writer.writerows([f"{value:.6g}" for value in station] for station in stations)
    unfinished.replace(path)


def report(given: Parameters, stations: Sequence[Station]) -> list[str]:
    """A short report on the transformation of the waves."""
    first, last = stations[0], stations[-1]
    lines = [
        f"beach: waves of {given.wave_height:g} m and {given.wave_period:g} s come in over "
        f"{first.depth_m:.1f} m of water, breaker index {given.breaker_index:g}, "
        f"friction factor {given.friction:g}, water level {given.water_level:g} m"
    ]
    if first.significant_wave_height_m < 0.999 * given.wave_height:
        lines.append(
            f"beach: waves of that height are too high for this depth; they start with "
            f"{first.significant_wave_height_m:.2f} m"
        )
    for distance in (2500.0, 1000.0, 500.0, 250.0, 150.0, 80.0, 40.0, 20.0, 10.0):
        here = min(stations, key=lambda station: abs(station.distance_m - distance))
        lines.append(
            f"beach: {here.distance_m:6.0f} m from the shore  depth {here.depth_m:5.2f} m  "
            f"height {here.significant_wave_height_m:5.2f} m  set-up {here.setup_m:+.3f} m  "
            f"breaking {here.breaking_fraction:4.0%}"
        )
    lines.append(
        f"beach: the model ends {last.distance_m:.1f} m from the shoreline at datum, "
        f"with a set-up of {last.setup_m:.3f} m"
    )
    return lines


def main() -> int:
    """Run the model in the current directory and return the exit code."""
    try:
        given = read_parameters(Path("parameters.json"))
    except ValueError as error:
        print(f"beach: {error}", file=sys.stderr)
        return 1
    distances = cross_shore_stations()
    stations = transform_waves(given, distances, [barred_bed(distance) for distance in distances])
    for line in report(given, stations):
        print(line)
    write_profile(Path("profile.csv"), stations)
    print("beach completed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
