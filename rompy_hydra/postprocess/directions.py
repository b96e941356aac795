"""Which variables are directions, whose statistics are circular: the mean of 350° and 10° is 0°, not 180°.

Only angles on a full circle count: directions of waves, wind and currents, headings, tidal phases. A
directional spread is a width; latitude, longitude and slope are not directions, whatever their units.
"""

from __future__ import annotations

import math
import re

_DEGREES = {"°", "°t", "deg", "degs", "degree", "degrees", "nautical degrees", "cartesian degrees"}
_DEGREES |= {f"{word}{sep}true" for word in ("deg", "degree", "degrees") for sep in " _"} | {
    "degt",
    "deg t",
}
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
    words = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).split("_")
    unit = units.strip().lower()
    if not unit and words[-1] in _DEGREES | _RADIANS:
        unit = words.pop()
    if unit and unit not in _DEGREES | _RADIANS:
        return None
    described = f"{standard_name} {long_name}".lower()
    if _NEVER.search(described) or any(_NEVER.search(word) for word in words):
        return None
    found = bool(_IN_TEXT.search(standard_name.lower())) or any(map(_IN_NAME.fullmatch, words))
    if unit and not found:
        found = bool(_IN_TEXT.search(described)) or any(map(_IN_NAME_WITH_UNITS.fullmatch, words))
    return (math.tau if unit in _RADIANS else 360.0) if found else None
