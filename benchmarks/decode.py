"""JPEGs to 224 x 224 RGB tensors: our decoder beside Pillow, in CPU time and in the vectors that come out.

The pictures are the photographs that come with scikit-learn (two) and matplotlib (one), as JPEGs of quality 90 with
halved color (4:2:0). Small ones are these photographs, about 0.3 megapixels. Large ones are the same, scaled up
(Lanczos) to about 10 megapixels with some of a sensor's noise added (standard deviation 1 of 255, gray). How hard a
JPEG is to decode depends on its bits a pixel, so these stand in every row.

Every method makes the largest centered square of the picture, which is what the default encoder sees, except for
`pillow whole`, which squeezes the whole picture. Vectors are compared with those of Pillow's full decode.
"""

import io
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import simplejpeg
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks.registry import Benchmark, Rows
from flywheel.encoders import Content
from flywheel.encoders.conse import open_conse
from flywheel.encoders.images import decode_square
from flywheel.encoders.pixels import Pixels

NOISE = 1.0
SHAPES = {"baseline": {}, "progressive": {"progressive": True}}
Method = Callable[[bytes, int], Pixels]


def photographs(count: int) -> dict[str, Image.Image]:
    """Return real photographs of about 0.3 megapixels; at most three."""
    china, flower = load_sample_images().images
    hopper = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    with Image.open(hopper) as image:
        found = {
            "china": Image.fromarray(china),
            "flower": Image.fromarray(flower),
            "hopper": image.convert("RGB"),
        }
    return dict(list(found.items())[:count])


def enlarged(picture: Image.Image, pixels: int, seed: int) -> Image.Image:
    """Scale a picture up to so many pixels, with noise in its brightness."""
    factor = (pixels / (picture.width * picture.height)) ** 0.5
    size = (round(factor * picture.width), round(factor * picture.height))
    values = np.asarray(picture.resize(size, Image.Resampling.LANCZOS), np.float32)
    noise = np.random.default_rng(seed).normal(0, NOISE, values.shape[:2]).astype(np.float32)
    return Image.fromarray(np.clip(np.round(values + noise[..., None]), 0, 255).astype(np.uint8))


def encoded(picture: Image.Image, **options: Any) -> bytes:
    """Return the picture as a JPEG of quality 90 with halved color."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90, subsampling=2, **options)
    return file.getvalue()


def pillow(data: bytes, size: int) -> Pixels:
    """Open, convert, cut the square, resize bicubic: all of Pillow's own."""
    with Image.open(io.BytesIO(data)) as image:
        return _square(image.convert("RGB"), size)


def pillow_draft(data: bytes, size: int) -> Pixels:
    """The same after `draft`, which lets Pillow's decoder leave out what is not needed."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (size, size))
        return _square(image.convert("RGB"), size)


def pillow_whole(data: bytes, size: int) -> Pixels:
    """Open, convert, resize the whole picture."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))


def simplejpeg_full(data: bytes, size: int) -> Pixels:
    """All pixels through simplejpeg, the square through Pillow."""
    return _square(Image.fromarray(simplejpeg.decode_jpeg(data, "RGB")), size)


METHODS: dict[str, Method] = {
    "pillow": pillow,
    "pillow draft": pillow_draft,
    "pillow whole": pillow_whole,
    "simplejpeg full": simplejpeg_full,
    "ours": decode_square,
}


def run(large: int, pictures: int, size: int, repeats: int, seed: int) -> Rows:
    """Measure all methods in turns; one row per picture, method and repeat, and one per picture and vector.

    Times come first: a process that has run a network keeps more memory at hand than one that only decodes, which
    spares Pillow a third of its time on large pictures (`system_ms`).
    """
    torch.set_num_threads(1)
    files = list(_files(large, pictures, seed))
    timed = [{**about, **row} for about, data in files for row in _timed(data, size, repeats)]
    return timed + [{**about, **row} for about, data in files for row in _compared(data, size)]


def figures(rows: Rows) -> dict[str, Any]:
    """Medians over pictures and repeats, baseline JPEGs: CPU time of Pillow to ours; the least cosine of all."""
    found: dict[str, Any] = {}
    for scale in ("small", "large"):
        mine = [row for row in rows if row["scale"] == scale and row["shape"] == "baseline"]
        for other, name in (("pillow", "ratio"), ("pillow whole", "whole"), ("pillow draft", "draft")):
            found[f"{name}_{scale}"] = round(_ratio(mine, other), 2)
        found[f"without_system_{scale}"] = round(_ratio(mine, "pillow", ("user_ms",)), 2)
    found["min_cosine"] = min(row["cosine"] for row in rows if row.get("method") == "ours" and "cosine" in row)
    found["upside_down_cosine"] = max(row["cosine"] for row in rows if row.get("method") == "upside down")
    return found


def _files(large: int, pictures: int, seed: int) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield every file with what it is."""
    for name, picture in photographs(pictures).items():
        for scale, shown in (("small", picture), ("large", enlarged(picture, large, seed))):
            for shape, options in SHAPES.items():
                data = encoded(shown, **options)
                bits = round(8 * len(data) / (shown.width * shown.height), 2)
                sides = {"width": shown.width, "height": shown.height, "bits_per_pixel": bits}
                yield {"picture": name, "scale": scale, "shape": shape, **sides}, data


def _ratio(rows: Rows, other: str, parts: tuple[str, ...] = ("user_ms", "system_ms")) -> float:
    """Median over pictures of the median over repeats of the ratio of CPU times."""
    timed = [row for row in rows if "user_ms" in row]
    times = {(row["picture"], row["repeat"], row["method"]): sum(row[part] for part in parts) for row in timed}
    names = {picture for picture, _, _ in times}
    ratios = {
        name: [
            times[name, repeat, other] / spent
            for (p, repeat, method), spent in times.items()
            if (p, method) == (name, "ours")
        ]
        for name in names
    }
    return float(np.median([np.median(found) for found in ratios.values()]))


def _timed(data: bytes, size: int, repeats: int) -> Rows:
    """CPU milliseconds of one picture by each method, in turns; the first turn is not counted."""
    times = max(2, 4_000_000 // len(data))
    rows: Rows = []
    for repeat in range(-1, repeats):
        for name, method in METHODS.items():
            before = resource.getrusage(resource.RUSAGE_SELF)
            for _ in range(times):
                torch.from_numpy(np.ascontiguousarray(method(data, size).transpose(2, 0, 1)))
            after = resource.getrusage(resource.RUSAGE_SELF)
            spent = {"user_ms": after.ru_utime - before.ru_utime, "system_ms": after.ru_stime - before.ru_stime}
            rows.append({"method": name, "repeat": repeat, **{k: 1e3 * v / times for k, v in spent.items()}})
    return [row for row in rows if row["repeat"] >= 0]


def _compared(data: bytes, size: int) -> Rows:
    """Cosines of the vectors to that of Pillow's full decode; the picture upside down as a control."""
    encoder = open_conse(image_size=size)
    shown = {name: METHODS[name](data, size) for name in ("pillow", "pillow draft")}
    contents = {name: _png(pixels) for name, pixels in shown.items()}  # of the very size: it is not resized again
    contents |= {"ours": data, "upside down": _png(shown["pillow"][::-1])}
    vectors = encoder.encode([Content(name, "image", content) for name, content in contents.items()])
    return [
        {"method": name, "cosine": round(float(vector @ vectors[0]), 5)}
        for name, vector in zip(contents, vectors, strict=True)
        if name != "pillow"
    ]


def _square(image: Image.Image, size: int) -> Pixels:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image.crop((left, top, left + side, top + side))
    return np.array(middle.resize((size, size), Image.Resampling.BICUBIC))


def _png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


BENCHMARK = Benchmark(
    name="decode",
    summary="JPEGs to the pixels an encoder sees: reduced decoding beside Pillow",
    run=run,
    sizes={"large": 10_000_000, "pictures": 3, "size": 224, "repeats": 7, "seed": 0},
    figures=figures,
    quick={"repeats": 3},
)
