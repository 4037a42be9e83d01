"""COCO's JSON as a manifest: its images, with what their annotations say of the image as a whole.

Source: the COCO data format (images, annotations, categories). Boxes and masks are not read.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from flywheel.raw.reasons import EMPTY, MALFORMED_ROW, Refusal, Refused, shown
from flywheel.raw.rows import Row, Scalar, decode_utf8, row_name, typed_row

ENDING = ".json"
# what an image's entry says besides its name, its id and where it once was on the web
LEFT_OUT = frozenset({"id", "file_name", "coco_url", "flickr_url"})


def coco_rows(content: bytes, key: str) -> Iterator[Row | Refusal]:
    """Yield one manifest row for each image: key, label, objects, categories, and what else its entry says.

    An image all of whose annotations are of one category has that as its label, any other none. `categories` are
    their names, sorted, with commas between. Keys are taken as they stand, from the source's root.

    Raises:
        Refused: it is no JSON, or has no images.
    """
    whole = _read(content, key)
    names = {entry.get("id"): str(entry.get("name")) for entry in _entries(whole, "categories")}
    found = _categories(whole, names)
    images = list(_entries(whole, "images"))
    if not images:
        raise Refused(EMPTY, f"{key} lists no images; expected COCO's list 'images'")
    for number, image in enumerate(images, start=1):
        try:
            yield _row(number, image, found.get(image.get("id"), []), key)
        except Refused as refused:
            yield Refusal(refused.refusal.reason, refused.refusal.message, row_name(number))


def _row(number: int, image: Mapping[str, Any], categories: list[str], key: str) -> Row:
    where = f"image {number} of {key}"
    if not isinstance(image.get("file_name"), str):
        raise Refused(MALFORMED_ROW, f"{where} has no 'file_name'; expected a path relative to the source's root")
    kinds = sorted(set(categories))
    told: dict[str, Scalar] = {"key": image["file_name"], "label": kinds[0] if len(kinds) == 1 else None}
    counted: dict[str, Scalar] = {"objects": len(categories), "categories": ", ".join(kinds)}
    said = {name: value for name, value in image.items() if name not in LEFT_OUT}
    return typed_row(number, {**said, **counted, **told}, where)


def _categories(whole: Mapping[str, Any], names: Mapping[Any, str]) -> dict[Any, list[str]]:
    """Return the category of each annotation, by image; one that no category names is called by its id."""
    found: dict[Any, list[str]] = {}
    for annotation in _entries(whole, "annotations"):
        category = annotation.get("category_id")
        name = names.get(category) if isinstance(category, str | int) else None
        if isinstance(annotation.get("image_id"), str | int):
            found.setdefault(annotation["image_id"], []).append(name or f"category {shown(category)}")
    return found


def _read(content: bytes, key: str) -> Mapping[str, Any]:
    try:
        whole = json.loads(decode_utf8(content, key), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise Refused(MALFORMED_ROW, f"{key} is not JSON: {error}; write it again") from None
    if not isinstance(whole, dict):
        raise Refused(MALFORMED_ROW, f"{key} is a JSON {type(whole).__name__}; expected COCO's object with 'images'")
    return cast(dict[str, Any], whole)


def _entries(whole: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of one of COCO's lists; what is none is left out."""
    entries = whole.get(name)
    for entry in cast(list[Any], entries) if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            values = cast(dict[str, Any], entry)
            if values.get("id") is None or isinstance(values["id"], str | int):
                yield values
