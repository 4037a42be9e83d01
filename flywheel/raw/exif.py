"""What a camera wrote into an image: when, with what and where."""

import io
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from PIL import ExifTags, Image

from flywheel.raw.places import nearest_town
from flywheel.raw.rows import Scalar

MAX_WORDS = 100  # characters of a maker's or model's name


def read_exif(content: bytes) -> dict[str, Scalar]:
    """Return what an image's EXIF data tell: taken_at, camera, latitude, longitude, place, country; whatever is there.

    Coordinates are degrees, north and east positive; the place is the nearest town. What is malformed is left out:
    cameras write all sorts of things.
    """
    if b"Exif" not in content[:65_536] and b"eXIf" not in content[:65_536] and content[:2] not in (b"II", b"MM"):
        return {}
    try:
        with Image.open(io.BytesIO(content)) as image:
            exif = image.getexif()
            details, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    except Exception:  # the pixels are judged elsewhere; parsers raise whatever they stumble over
        return {}
    found = {"taken_at": _time(exif, details), "camera": _camera(exif), **_place(gps)}
    return {name: value for name, value in found.items() if value is not None}


def _time(exif: Mapping[int, Any], details: Mapping[int, Any]) -> str | None:
    told = details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
    try:
        return datetime.strptime(_words(told), "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        return None


def _camera(exif: Mapping[int, Any]) -> str | None:
    maker, model = _words(exif.get(ExifTags.Base.Make)), _words(exif.get(ExifTags.Base.Model))
    return model if model.startswith(maker) else f"{maker} {model}".strip() or None


def _words(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(sign for sign in text if sign.isprintable()).strip()[:MAX_WORDS]


def _place(gps: Mapping[int, Any]) -> dict[str, Scalar]:
    latitude = _degrees(gps.get(ExifTags.GPS.GPSLatitude), gps.get(ExifTags.GPS.GPSLatitudeRef), "S", 90)
    longitude = _degrees(gps.get(ExifTags.GPS.GPSLongitude), gps.get(ExifTags.GPS.GPSLongitudeRef), "W", 180)
    if latitude is None or longitude is None:
        return {}
    town = nearest_town(latitude, longitude)
    return {"latitude": latitude, "longitude": longitude, "place": town.name, "country": town.country}


def _degrees(parts: Any, side: Any, negative: str, most: float) -> float | None:
    try:
        degrees, minutes, seconds = (float(part) for part in cast(tuple[Any, ...], parts))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not 0 <= value <= most:  # not a number fails here too
        return None
    return round(-value if side == negative else value, 6)
