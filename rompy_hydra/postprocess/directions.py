"""Which variables are directions, whose statistics are circular: the mean of 350° and 10° is 0°, not 180°.

Only angles on a full circle count: directions of waves, wind and currents, headings, tidal phases. A
directional spread is a width; latitude, longitude and slope are not directions, whatever their units.
"""

from __future__ import annotations

import math
import re

_DEGREES = {"°", "°t", "deg", "degr", "degs", "degt", "degree", "degrees"}
# Words beside these, such as in "deg N", "degrees_true" and "degrees clockwise from north".
_ZERO_AND_SENSE = {"t", "true", "n", "north", "e", "east", "nautical", "cartesian", "compass", "azimuth"}
_ZERO_AND_SENSE |= {
    "from",
    "to",
    "the",
    "of",
    "rel",
    "relative",
    "cw",
    "ccw",
    "clockwise",
    "anti",
    "counter",
}
_ZERO_AND_SENSE |= {"anticlockwise", "counterclockwise"}
_NO_UNITS = {"", "1", "-", "none", "dimensionless"}
_RADIANS = {"rad", "rads", "radian", "radians"}
_IN_TEXT = re.compile(r"direction|azimuth|heading|bearing|(^|[_ ])phase($|[_ ])(?!speed|velocity)")
# Parts of names that need no units: dir, pdir0, wavedir, mean_direction.
_IN_NAME = re.compile(r"[a-z]{0,6}dir(n|m|p|s|ection|ections)?\d*|vmdr|mwd|azimuth|heading|bearing")
# Parts of names that are directions if the units say so: those of WW3, SWAN, XBeach, ERA5, ADCIRC.
_IN_NAME_WITH_UNITS = re.compile(
    r"dp|dm|dwi|md(ts|ww|wi)|vped|th|th\d?[mp]|th[mpqsw]|theta(m|p|w|mean|peak)?\d*|pdi\d*|pha(se|s)?|phs\d*"
)
_NEVER = re.compile(r"spr|spread|width|sigma|std|deviation|variance|slope|latitude|longitude|incidence")


def full_circle(name: str, units: str = "", standard_name: str = "", long_name: str = "") -> float | None:
    """The value of a full circle in the units of a direction, 360 or 2π; None for any other variable.

    The units may be the end of the name, as in `dp_deg`. Without units, a direction is in degrees.

    >>> full_circle("dir"), full_circle("wave_direction_rad"), full_circle("dspr", "degrees")
    (360.0, 6.283185307179586, None)
    """
    words = _words(name)
    unit = units.strip().lower()
    unit = "" if unit in _NO_UNITS else unit
    if not unit and words[-1] in _DEGREES | _RADIANS:
        unit = words.pop()
    if unit and unit not in _RADIANS and not _is_degrees(unit):
        return None
    if not _may_be_direction(words, f"{standard_name} {long_name}"):
        return None
    found = _is_direction(words, standard_name)
    if unit and not found:
        described = f"{standard_name} {long_name}".lower()
        found = bool(_IN_TEXT.search(described)) or any(map(_IN_NAME_WITH_UNITS.fullmatch, words))
    return (math.tau if unit in _RADIANS else 360.0) if found else None


def has_unknown_units(name: str, units: str, standard_name: str = "") -> bool:
    """Whether a variable is a direction by its name, but its units are none of those known for directions.

    >>> has_unknown_units("wave_dir", "gon"), has_unknown_units("wave_dir", "degr")
    (True, False)
    """
    unit, words = units.strip().lower(), _words(name)
    if unit in _NO_UNITS | _RADIANS or _is_degrees(unit):
        return False
    return _may_be_direction(words, standard_name) and _is_direction(words, standard_name)


def _words(name: str) -> list[str]:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).split("_")


def _is_degrees(unit: str) -> bool:
    words = [word for word in re.split(r"[\s_.,()-]+", unit) if word]
    return sum(word in _DEGREES for word in words) == 1 and set(words) <= _DEGREES | _ZERO_AND_SENSE


def _may_be_direction(words: list[str], described: str) -> bool:
    return not any(map(_NEVER.search, [described.lower(), *words]))


def _is_direction(words: list[str], standard_name: str) -> bool:
    return bool(_IN_TEXT.search(standard_name.lower())) or any(map(_IN_NAME.fullmatch, words))
