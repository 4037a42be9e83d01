"""Reason codes of the quarantine: what each means, what usually causes it, what to do; and the record of one refusal.

The catalogue is the one place where codes are explained. `flywheel quarantine explain` and the page
`docs/why-was-my-file-refused.md` show it; a decoder's own message adds what was found in this very object.
"""

import difflib
from dataclasses import dataclass

from flywheel.errors import DataError

# the object as a whole
EMPTY = "empty"
TRUNCATED = "truncated"
UNDECODABLE = "undecodable"
CONTENT_MISMATCH = "content_mismatch"
UNKNOWN_TYPE = "unknown_type"
UNSUPPORTED = "unsupported"
TOO_LARGE = "too_large"
DECOMPRESSION_BOMB = "decompression_bomb"
MISSING_OBJECT = "missing_object"
MISSING_COMPANION = "missing_companion"
ERASED = "erased"
# its key
BAD_KEY = "bad_key"
LINK_OUTSIDE = "link_outside"
# images and videos
TOO_MANY_PIXELS = "too_many_pixels"
TOO_FEW_PIXELS = "too_few_pixels"
NO_FRAMES = "no_frames"
TOO_LONG = "too_long"
# texts and tables
BAD_ENCODING = "bad_encoding"
MALFORMED_ROW = "malformed_row"
FIELD_TOO_LARGE = "field_too_large"
# values of records
BAD_VALUE = "bad_value"
NOT_FINITE = "not_finite"
IMPOSSIBLE_VALUE = "impossible_value"
DATE_IN_FUTURE = "date_in_future"
MISSING_SUBJECT = "missing_subject"
UNKNOWN_SUBJECT = "unknown_subject"
# signals
NO_SIGNAL = "no_signal"
WRONG_RATE = "wrong_rate"
TOO_SHORT = "too_short"
# what is said about items
DUPLICATE_ID = "duplicate_id"
UNKNOWN_LABEL = "unknown_label"
BAD_SPLIT = "bad_split"

SPLITS = ("train", "pool", "eval")


@dataclass(frozen=True, slots=True)
class Reason:
    """What one code means, for whoever made the data and whoever runs the wheel."""

    code: str
    meaning: str  # one line
    causes: tuple[str, ...]  # the usual ones, most frequent first
    next_step: str  # what clears the row
    keeps_item: bool = False  # whether the item is taken in and only what was said about it is left out


CATALOGUE: dict[str, Reason] = {
    reason.code: reason
    for reason in (
        Reason(
            EMPTY,
            "There are no bytes, no rows, or nothing but white space.",
            ("an upload that broke off before its first byte", "a table with a header and no rows", "a blank text"),
            "Upload it again with its content, or delete it.",
        ),
        Reason(
            TRUNCATED,
            "The file ends before its content does.",
            ("an upload or a copy that broke off", "a recorder that lost power", "a full disk"),
            "Upload the whole file again; compare its size with the original's.",
        ),
        Reason(
            UNDECODABLE,
            "It is damaged, or not what its name says.",
            ("bits that flipped on a disk or on the way", "a file that was encrypted", "a broken export"),
            "Open it in another program; if that fails too, upload it again or export it anew.",
        ),
        Reason(
            CONTENT_MISMATCH,
            "The ending names one kind of file and the bytes are of another.",
            ("a file that was renamed instead of converted", "an error page saved under the name of a picture"),
            "Give it the ending of what it is, or convert it.",
        ),
        Reason(
            UNKNOWN_TYPE,
            "The flywheel does not read files with this ending.",
            ("notes and scripts that lie among the data", "a format that has to be converted first"),
            "Convert it to a kind that is read (the message lists them), or move it out of the source.",
        ),
        Reason(
            UNSUPPORTED,
            "The kind of file is read, but not this variant of it.",
            ("a rare codec or sample format", "a protected or encrypted file", "a newer version of the format"),
            "Convert it to a common variant; the message says what was found.",
        ),
        Reason(
            TOO_LARGE,
            "It has more bytes than the source allows.",
            ("a raw or uncompressed export", "many recordings in one file"),
            "Split or compress it, or raise `max_bytes` of the source and retry.",
        ),
        Reason(
            DECOMPRESSION_BOMB,
            "Unpacked it would be far larger than the source allows; nothing was unpacked.",
            ("a file made to exhaust memory", "an archive of almost empty arrays"),
            "Ask where it comes from. If it is real data, store it in smaller pieces.",
        ),
        Reason(
            MISSING_OBJECT,
            "A manifest names a key that is not there, or an object went before it was read.",
            ("data that is still being uploaded", "a key written in another spelling", "a file that was moved"),
            "Upload the object under exactly this key, or drop the manifest's row.",
        ),
        Reason(
            MISSING_COMPANION,
            "A file that belongs to this one is not there, and neither is whole without the other.",
            ("a header uploaded without its data file", "a pair of files in two folders"),
            "Upload the file that the message names beside this one.",
        ),
        Reason(
            ERASED,
            "All that the object holds belongs to somebody whose data were erased from this wheel for good.",
            ("an upload after the erasure", "a source that was not cleaned when the data were erased"),
            "Remove the object from the source; it is not taken in again.",
        ),
        Reason(
            BAD_KEY,
            "The key is one that no store can hold safely.",
            ("'..' or an absolute path", "control characters or bytes that are not UTF-8", "more than 1,024 bytes"),
            "Rename the object, or correct the key in the manifest.",
        ),
        Reason(
            LINK_OUTSIDE,
            "It is a symbolic link that leads out of the source's folder.",
            ("a link to another disk or to a home folder", "a relative link that was moved"),
            "Copy the file itself into the folder, or make its folder a source of its own.",
        ),
        Reason(
            TOO_MANY_PIXELS,
            "It has more pixels than the source allows; this was seen before decoding.",
            ("a scan or a panorama at full size", "a header that claims an absurd size"),
            "Scale it down, cut it into tiles, or raise `max_pixels` of the source and retry.",
        ),
        Reason(
            TOO_FEW_PIXELS,
            "It is too small to show anything.",
            ("a tracking pixel or a placeholder", "a thumbnail that failed"),
            "Upload the real picture, or delete the placeholder.",
        ),
        Reason(
            NO_FRAMES,
            "The video has no picture that can be decoded.",
            ("a sound file in a video container", "a recording that was stopped before its first frame"),
            "Play it in a player; if that shows nothing, record or export it again.",
        ),
        Reason(
            TOO_LONG,
            "It lasts longer than the source allows.",
            ("a camera that was never stopped", "a wrong time base in the header"),
            "Cut it into shorter files, or raise the limit that the message names and retry.",
        ),
        Reason(
            BAD_ENCODING,
            "It is not UTF-8 text, or holds NUL characters.",
            ("a file saved as UTF-16 or Latin-1 by a spreadsheet", "binary data under the name of a text"),
            "Save it as UTF-8 (in a spreadsheet: 'CSV UTF-8') and upload it again.",
        ),
        Reason(
            MALFORMED_ROW,
            "A row, or a whole table, does not have the promised form.",
            ("a comma within a field that is not quoted", "a column that is missing or named otherwise", "broken JSON"),
            "Correct the row that the message names and upload the file again; its other rows are already in.",
        ),
        Reason(
            FIELD_TOO_LARGE,
            "One field of a row is larger than the source allows.",
            ("a quote that is never closed and swallows the rest of the file", "a document pasted into a cell"),
            "Close the quote or shorten the field; for real texts raise `max_bytes` of the source and retry.",
        ),
        Reason(
            BAD_VALUE,
            "A value is not of the kind its column holds.",
            ("a date in another notation", "words in a column of numbers", "a unit written behind a number"),
            "Write the value the way the message asks for and upload the file again.",
        ),
        Reason(
            NOT_FINITE,
            "A number that is needed is NaN or infinite.",
            ("a division by zero before the export", "a sensor that was disconnected"),
            "Leave unknown values empty; cut gaps out of a signal or fill them on purpose.",
        ),
        Reason(
            IMPOSSIBLE_VALUE,
            "A value lies outside what is possible, like an age of 400 or below 0.",
            ("a code for 'unknown' like 999", "a birth year in place of an age", "a wrong unit"),
            "Correct the value, or leave it empty where it is not known.",
        ),
        Reason(
            DATE_IN_FUTURE,
            "A date lies after the moment the data arrived.",
            ("day and month exchanged", "a clock that was set wrong", "planned events among those that happened"),
            "Correct the date, or leave out what has not happened yet.",
        ),
        Reason(
            MISSING_SUBJECT,
            "A row does not say whom or what it is about.",
            ("an empty id", "an export without its key column"),
            "Fill in the subject's id and upload the file again.",
        ),
        Reason(
            UNKNOWN_SUBJECT,
            "A row is about a subject that the subject table does not have.",
            ("two exports of different days", "ids written in two ways, like 7 and 007"),
            "Add the subject to the subject table, or correct the id; the row joins it by itself.",
        ),
        Reason(
            NO_SIGNAL,
            "There is no channel with samples in the file.",
            ("a header without data", "an array of another shape or name than is read"),
            "Export it with its samples; the message says what was looked for.",
        ),
        Reason(
            WRONG_RATE,
            "The sampling rate is missing, impossible, or another than the source promises.",
            ("a file of another device", "a rate given in kHz or as a period", "a header that was never filled in"),
            "Correct the rate in the file, resample it, or put such files into a source of their own.",
        ),
        Reason(
            TOO_SHORT,
            "It is shorter than the shortest piece that can be used.",
            ("a recording that was started and stopped at once", "the remainder of a file that was cut"),
            "Record it again, or lower the length that the message names and retry.",
        ),
        Reason(
            DUPLICATE_ID,
            "The same key or id stands there twice, or gets two different labels.",
            ("two exports pasted together", "two manifests about the same objects"),
            "Keep one row for each id. The first row counts; of two different labels none is taken.",
        ),
        Reason(
            UNKNOWN_LABEL,
            "The label is not among the classes of the label spec; the item is kept without it.",
            ("another spelling or language", "a class that was added without a new version of the spec"),
            "Correct the label, or add the class to `label_spec.classes` and raise its version.",
            keeps_item=True,
        ),
        Reason(
            BAD_SPLIT,
            "The split is none of train, pool, eval; the item is kept and the usual rule decides.",
            ("other words for it, like 'test' or 'validation'", "a column shifted by one"),
            "Write train, pool or eval, or leave it empty.",
            keeps_item=True,
        ),
    )
}

REASONS = tuple(CATALOGUE)


def find_reason(code: str) -> Reason:
    """Return what a code means.

    Raises:
        DataError: there is no such code; the message names the nearest one.
    """
    if code in CATALOGUE:
        return CATALOGUE[code]
    near = difflib.get_close_matches(code, CATALOGUE, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"the codes are: {', '.join(CATALOGUE)}"
    raise DataError(f"'{code}' is no reason code; {hint}", (code,))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one object or row was refused: what was found, what was expected, what to do next."""

    reason: str  # one of REASONS
    message: str
    part: str = ""  # the row; "" for the whole object
    content_id: str = ""  # "" when nothing could be decoded


class Refused(Exception):
    """Carries a refusal of a whole object out of a decoder; callers turn it into a quarantine row."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.refusal = Refusal(reason, message)


def shown(value: object, limit: int = 60) -> str:
    """Show a value found in data within a message, shortened."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
