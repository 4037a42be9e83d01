"""What makes a content the same, and what is refused before or while it is decoded."""

import io
import struct
import unicodedata
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from flywheel.raw import parquet as decoder
from flywheel.raw.datum import Datum
from flywheel.raw.reasons import REASONS, Refusal
from tests.raw_world import decode, image, jsonl, parquet

LIMITS: dict[str, Any] = {"max_bytes": 1_000_000, "max_pixels": 10_000}


def one(content: bytes, key: str, **limits: Any) -> Datum:
    [found] = decode(content, key, **{**LIMITS, **limits})
    assert isinstance(found, Datum), found
    return found


def refusal(content: bytes, key: str, **limits: Any) -> Refusal:
    [found] = decode(content, key, **{**LIMITS, **limits})
    assert isinstance(found, Refusal), found
    assert found.reason in REASONS and key.split("/")[-1] in found.message
    return found


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def noise(mode: str = "RGB") -> Image.Image:
    return Image.open(io.BytesIO(image(1))).convert(mode)


@pytest.mark.parametrize(("form", "key"), [("PNG", "a.png"), ("TIFF", "a.tif"), ("WEBP", "a.webp"), ("GIF", "a.gif")])
def test_the_same_pixels_should_be_the_same_content_in_every_lossless_format(form: str, key: str) -> None:
    picture = noise("L")
    options = {"lossless": True} if form == "WEBP" else {}
    assert one(saved(picture, form, **options), key).content_id == one(saved(picture, "PNG"), "b.png").content_id


def test_how_pixels_are_stored_should_not_matter() -> None:
    gray = noise("L")
    same = {
        one(saved(picture, "PNG", **options), "a.png").content_id
        for picture, options in [
            (gray, {}),
            (gray, {"compress_level": 1}),
            (gray.convert("RGB"), {}),
            (gray.convert("RGBA"), {}),
            (gray.convert("LA"), {}),
            (gray.convert("P"), {}),
        ]
    }
    assert len(same) == 1


def test_other_pixels_sizes_and_transparency_should_be_other_contents() -> None:
    base = noise()
    other = base.copy()
    other.putpixel((0, 0), tuple(255 - value for value in base.getpixel((0, 0))))
    clear = base.convert("RGBA")
    clear.putpixel((0, 0), (*base.getpixel((0, 0)), 0))
    flat = Image.frombytes("RGB", (base.height, base.width), base.tobytes())
    contents = [one(saved(picture, "PNG"), "a.png").content_id for picture in (base, other, clear, flat)]
    assert len(set(contents)) == 4


def test_sixteen_bit_gray_should_keep_its_depth() -> None:
    values = np.arange(100, dtype=np.uint16).reshape(10, 10) * 600
    first = one(saved(Image.fromarray(values), "PNG"), "a.png")
    assert first.content_id == one(saved(Image.fromarray(values), "TIFF"), "a.tiff").content_id
    values[0, 0] += 1
    assert first.content_id != one(saved(Image.fromarray(values), "PNG"), "a.png").content_id


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_should_be_turned_upright(orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = noise()
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert one(saved(stored, "PNG", exif=exif), "a.png").content_id == one(saved(upright, "PNG"), "b.png").content_id


def test_only_the_first_frame_should_count() -> None:
    first, second = noise("L"), Image.new("L", (12, 9), 7)
    moving = saved(first, "GIF", save_all=True, append_images=[second])
    assert one(moving, "a.gif").content_id == one(saved(first, "GIF"), "b.gif").content_id


def test_what_an_image_is_should_be_read_off_its_bytes() -> None:
    assert one(image(3, "PNG"), "a.jpg").content_id == one(image(3, "PNG"), "a.png").content_id
    assert one(image(3, "PNG"), "UPPER.PNG").size == len(image(3, "PNG"))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_damaged_images_should_be_undecodable_or_truncated(form: str) -> None:
    whole = image(1, form, size=(90, 80))
    assert one(whole, "a.png").modality == "image"
    for broken in (whole[: len(whole) // 2], whole[:20], b"\0" * 500, b"not an image"):
        assert refusal(broken, "a.png").reason in ("undecodable", "truncated")


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_an_image_that_breaks_off_should_be_called_so(form: str) -> None:
    whole = image(1, form, size=(90, 80))
    assert refusal(whole[: len(whole) // 2], "a.png").reason == "truncated"


@pytest.mark.parametrize(
    ("content", "key", "kind"),
    [
        (b"%PDF-1.7 ...", "a.png", "a PDF document"),
        (b"<!DOCTYPE html><p>404", "a.jpg", "an HTML page"),
        (b"PK\x03\x04zip", "a.jpg", "a ZIP archive"),
        (b"\x1f\x8bgzip", "a.txt", "gzip-compressed"),
        (image(1), "a.txt", "a PNG image"),
    ],
)
def test_what_is_of_another_kind_should_be_named(content: bytes, key: str, kind: str) -> None:
    found = refusal(content, key)
    assert found.reason == "content_mismatch" and kind in found.message


@pytest.mark.parametrize("text", [b"BMW and Audi", b"<html> is a tag", b"PAR1 is a word"])
def test_a_text_that_only_begins_like_another_kind_should_stay_a_text(text: bytes) -> None:
    assert one(text, "a.txt").modality == "text"


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB"])
def test_other_color_spaces_should_be_read_as_rgb(mode: str) -> None:
    form = "JPEG" if mode == "CMYK" else "TIFF"
    assert one(saved(noise(mode), form), "a.tif").modality == "image"


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_an_image_with_nothing_to_see_should_be_refused(size: tuple[int, int]) -> None:
    assert refusal(image(size=size), "a.png").reason == "too_few_pixels"


def test_a_color_profile_that_unpacks_without_end_should_be_refused() -> None:
    profile = b"profile\0\0" + zlib.compress(b"\0" * (200 << 20), 9)
    whole = image(1)
    chunk = struct.pack(">I", len(profile)) + b"iCCP" + profile
    chunk += struct.pack(">I", zlib.crc32(b"iCCP" + profile))
    assert decode(whole[:33] + chunk + whole[33:], "a.png", **LIMITS)[0] != one(whole, "a.png")


def test_the_reason_should_read_the_same_every_time() -> None:
    assert refusal(b"not an image", "a.png").message == refusal(b"not an image", "a.png").message
    assert "0x" not in refusal(b"not an image", "a.png").message


def test_formats_nobody_asked_for_should_not_be_parsed() -> None:
    for form in ("BMP", "PPM", "ICO", "PDF"):
        assert refusal(saved(noise(), form), "a.png").reason in ("undecodable", "content_mismatch")


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims any number of pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [101, 9_700, 20_000, 65_000])
def test_too_many_pixels_should_be_refused_before_decoding(side: int) -> None:
    found = refusal(bomb(side, side), "a.png")
    assert found.reason == "too_many_pixels"
    assert "10,000 pixels" in found.message
    assert one(image(size=(100, 100)), "a.png").modality == "image"


def test_sizes_should_be_limited() -> None:
    assert refusal(b"x" * 11, "a.txt", max_bytes=10).reason == "too_large"
    assert one(b"x" * 10, "a.txt", max_bytes=10).size == 10


@pytest.mark.parametrize("key", ["a.bin", "a", "a.png.exe", "a.svg", "README.md"])
def test_unknown_endings_should_be_refused(key: str) -> None:
    found = refusal(b"x", key)
    assert found.reason == "unknown_type"
    assert ".jsonl" in found.message


@pytest.mark.parametrize("key", ["a.png", "a.txt", "a.csv", "a.jsonl", "a.parquet"])
def test_nothing_should_be_empty(key: str) -> None:
    assert refusal(b"", key).reason == "empty"


def test_white_space_should_be_empty_too() -> None:
    assert refusal(" \n\t\u2003".encode(), "a.txt").reason == "empty"


@pytest.mark.parametrize("content", [b"caf\xe9", b"a\0b", "a".encode("utf-16"), b"\xed\xa0\x80"])
def test_texts_that_are_not_utf8_should_be_refused(content: bytes) -> None:
    assert refusal(content, "a.txt").reason == "bad_encoding"


def test_the_same_text_should_be_the_same_content() -> None:
    base = one("Café\nau lait\n".encode(), "a.txt")
    for other in ("Cafe\u0301\nau lait\n", "Café\r\nau lait\r\n", "Café\rau lait\r", "\ufeffCafé\nau lait\n"):
        assert one(other.encode(), "b.txt").content_id == base.content_id
    assert one("Café\nau lait".encode(), "a.txt").content_id != base.content_id
    assert (base.modality, base.size) == ("text", len("Café\nau lait\n".encode()))


@given(st.text(min_size=1, max_size=50))
def test_a_text_should_survive_as_its_canonical_form(text: str) -> None:
    content = text.encode()
    [found] = decode(content, "a.txt", **LIMITS, contents=True)
    if isinstance(found, Refusal):
        assert not text.strip("\ufeff").strip() or "\0" in text
        return
    assert found.data is not None
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert found.data.decode() == unicodedata.normalize("NFC", lines)
    assert one(found.data, "a.txt").content_id == found.content_id or text.startswith("\ufeff")


@example(b"\xef\xbb\xbf", "a.csv")
@example(b"\n", "a.csv")
@given(st.binary(max_size=300), st.sampled_from(["a.png", "a.txt", "a.csv", "a.jsonl"]))
def test_no_bytes_should_break_the_decoder(content: bytes, key: str) -> None:
    for found in decode(content, key, **LIMITS):
        assert isinstance(found, (Datum, Refusal))


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_no_flipped_byte_should_break_the_image_decoder(position: int, value: int) -> None:
    for form, key in [("JPEG", "a.jpg"), ("TIFF", "a.tif"), ("GIF", "a.gif"), ("WEBP", "a.webp"), ("PNG", "a.png")]:
        broken = bytearray(image(2, form))
        broken[position % len(broken)] = value
        assert len(decode(bytes(broken), key, **LIMITS)) == 1


@pytest.mark.parametrize("seed", range(6))
def test_no_flipped_bytes_should_break_the_parquet_decoder(seed: int) -> None:
    broken = bytearray(parquet([{"text": f"text {number}", "n": number} for number in range(50)]))
    random = np.random.default_rng(seed)
    for position in random.integers(4, len(broken), 3):
        broken[position] = random.integers(256)
    assert decode(bytes(broken), "a.parquet", **LIMITS)


def test_a_parquet_file_that_ends_its_decoder_should_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    good = parquet([{"text": "one"}])
    assert one(good, "a.parquet").part == "row-1"
    monkeypatch.setattr(decoder, "OUTPUT", 10)  # the child is killed when it writes more
    found = refusal(good, "a.parquet")
    assert (found.reason, "not readable Parquet" in found.message) == ("undecodable", True)


def test_a_parquet_file_that_takes_too_long_should_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "SECONDS", 0.01)
    assert refusal(parquet([{"text": "one"}]), "a.parquet").reason == "too_large"


def test_a_parquet_file_of_too_many_rows_should_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = parquet([{"text": "one"}] * 3)
    monkeypatch.setattr(decoder, "MAX_ROWS", 3)
    assert len(decode(rows, "a.parquet", **LIMITS)) == 3
    monkeypatch.setattr(decoder, "MAX_ROWS", 2)
    assert refusal(rows, "a.parquet").reason == "too_large"


TABLES = {
    "a.csv": b'id,text,label,score\nx,hello,cat,1.5\n,"two, words",,\n',
    "a.jsonl": jsonl({"id": "x", "text": "hello", "label": "cat", "score": 1.5}, {"text": "two, words", "score": None}),
    "a.parquet": parquet(
        [
            {"id": "x", "text": "hello", "label": "cat", "score": 1.5},
            {"id": None, "text": "two, words", "label": None, "score": float("nan")},
        ]
    ),
}


@pytest.mark.parametrize("key", TABLES)
def test_every_row_of_a_text_table_should_be_a_datum(key: str) -> None:
    first, second = decode(TABLES[key], key, **LIMITS, contents=True)
    assert isinstance(first, Datum) and isinstance(second, Datum)
    assert (first.part, first.data, second.part, second.data) == ("x", b"hello", "row-2", b"two, words")
    assert first.content_id == one(b"hello", "hello.txt").content_id
    assert first.said is not None and second.said is not None
    assert (first.said.label, first.said.attributes) == ("cat", {"score": 1.5})
    assert (second.said.label, second.said.attributes.get("score")) == (None, None)


def reasons(content: bytes, key: str) -> list[tuple[str, str]]:
    """Part, and "ok" or the reason, of each row."""
    return [
        (found.part, "ok" if isinstance(found, Datum) else found.reason) for found in decode(content, key, **LIMITS)
    ]


def test_a_broken_row_of_csv_should_not_stop_the_others() -> None:
    content = b'id,text\na,one\nb\nc,three,3\na,four\nd,\ne,"five\n5"\nf,"six" x\ng,seven\n\nh,eight\n'
    assert reasons(content, "a.csv") == [
        ("a", "ok"),
        ("row-2", "malformed_row"),
        ("row-3", "malformed_row"),
        ("row-4", "duplicate_id"),
        ("d", "empty"),
        ("e", "ok"),
        ("row-7", "malformed_row"),
        ("g", "ok"),
        ("h", "ok"),
    ]


def test_a_byte_order_mark_and_blank_lines_should_not_matter() -> None:
    assert refusal(b"\xef\xbb\xbf", "a.csv").reason == refusal(b"\xef\xbb\xbf\n", "a.jsonl").reason == "empty"
    assert one(b"\xef\xbb\xbf\n\ntext,id\n\none,x\n\n", "a.csv").part == "x"
    assert one(b'\xef\xbb\xbf\n{"text": "one", "id": "x"}\n\n', "a.jsonl").part == "x"


def test_an_open_quote_should_be_reported() -> None:
    assert reasons(b'text\none\n"two\nthree\n', "a.csv") == [("row-1", "ok"), ("row-2", "malformed_row")]


def test_a_broken_row_of_json_lines_should_not_stop_the_others() -> None:
    lines = [
        b'{"text": "one"}',
        b"{",
        b"[1]",
        b'{"other": 1}',
        b'{"text": "caf\xe9"}',
        b'{"text": "a\\u0000b"}',
        b'{"text": "\\ud800"}',
        b'{"text": " "}',
        b'{"text": null}',
        b'{"text": "ten", "n": NaN, "big": 1e999, "deep": {"b": [1], "a": 2}, "many": 100000000000000000000}',
        b"[" * 100_000,
        b'{"text": "last", "split": "test"}',
    ]
    found = reasons(b"\n".join(lines), "a.jsonl")
    assert [reason for _, reason in found] == [
        "ok",
        "malformed_row",
        "malformed_row",
        "malformed_row",
        "bad_encoding",
        "bad_encoding",
        "bad_encoding",
        "empty",
        "empty",
        "ok",
        "malformed_row",
        "ok",
        "bad_split",
    ]
    ten = next(row for row in decode(b"\n".join(lines), "a.jsonl", **LIMITS) if row.part == "row-10")
    assert isinstance(ten, Datum) and ten.said is not None
    assert ten.said.attributes == {"n": None, "big": None, "deep": '{"a": 2, "b": [1]}', "many": str(10**20)}


@pytest.mark.parametrize(
    ("content", "key", "reason"),
    [
        (b"id,words\na,b\n", "a.csv", "malformed_row"),
        (b"text,text\na,b\n", "a.csv", "malformed_row"),
        (b"text\n", "a.csv", "empty"),
        (b"text\ncaf\xe9\n", "a.csv", "bad_encoding"),
        (b"text\na\0b\n", "a.csv", "bad_encoding"),
        (b"PAR1 no parquet PAR1", "a.parquet", "undecodable"),
        (parquet([{"words": "a"}]), "a.parquet", "malformed_row"),
    ],
)
def test_a_broken_table_should_be_refused_whole(content: bytes, key: str, reason: str) -> None:
    assert refusal(content, key, modality="text").reason == reason


def test_columns_of_csv_should_be_numbers_only_where_all_values_are() -> None:
    content = b"text,zip,n,x,flag,none\na,01234,1,1,true,\nb,12345,,2.5,,NaN\nc,99999,-3,nan,false,\n"
    rows = [row.said.attributes for row in decode(content, "a.csv", **LIMITS) if isinstance(row, Datum) and row.said]
    assert rows == [
        {"zip": "01234", "n": 1, "x": 1.0, "flag": "true", "none": None},
        {"zip": "12345", "n": None, "x": 2.5, "flag": None, "none": None},
        {"zip": "99999", "n": -3, "x": None, "flag": "false", "none": None},
    ]
    assert [type(row["n"]) for row in rows] == [int, type(None), int]


def test_texts_and_names_that_look_like_numbers_should_stay_as_they_are() -> None:
    first, second = decode(b"text,id,label\n12,7,1.10\n0.50,8,nan\n", "a.csv", **LIMITS, contents=True)
    assert isinstance(first, Datum) and isinstance(second, Datum) and first.said and second.said
    assert (first.part, first.data, first.said.label) == ("7", b"12", "1.10")
    assert (second.part, second.data, second.said.label) == ("8", b"0.50", None)


def test_integers_that_a_gap_made_floats_should_name_the_same_label() -> None:
    rows = parquet([{"text": "a", "label": 3.0, "id": 7}, {"text": "b", "label": None, "id": 8}])
    first, second = decode(rows, "a.parquet", **LIMITS)
    assert isinstance(first, Datum) and isinstance(second, Datum) and first.said and second.said
    assert (first.part, first.said.label, second.said.label) == ("7", "3", None)


def test_a_huge_field_should_be_read() -> None:
    assert one(b"text\n" + b"x" * 500_000 + b"\n", "a.csv").size == 500_000


def test_parquet_should_be_read_slice_by_slice_in_order() -> None:
    rows = [{"text": f"text {number}"} for number in range(25_000)]
    found = decode(parquet(rows), "a.parquet", max_bytes=10**7, max_pixels=1)
    assert [datum.part for datum in found] == [f"row-{number}" for number in range(1, 25_001)]


def test_an_attribute_without_end_should_be_left_out_and_the_item_kept() -> None:
    rows = b'text,note\nhello,"' + b"x" * 20_000 + b'"\n'
    item, refused = decode(rows, "a.csv", **LIMITS)
    assert isinstance(item, Datum) and item.said is not None and item.said.attributes == {"note": None}
    assert isinstance(refused, Refusal) and (refused.reason, refused.part) == ("field_too_large", "row-1")
