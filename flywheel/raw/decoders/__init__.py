"""Turns objects into data: one module a modality, chosen by the ending of the key.

`content_id` is a digest of the *canonical* content, so that it does not depend on the file around it. Whatever an
encoder may see is in it. A change of what is canonical must change the decoder's name, and with it every id.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flywheel.config import SourceConfig
from flywheel.objects import key_problem
from flywheel.raw.datum import Datum
from flywheel.raw.decoders.images import IMAGE_ENDINGS, decode_image
from flywheel.raw.decoders.signals import DECLARED_ENDINGS, SIGNAL_ENDINGS, decode_signal
from flywheel.raw.decoders.tables import decode_table
from flywheel.raw.decoders.texts import TEXT_ENDINGS, decode_text
from flywheel.raw.decoders.video import VIDEO_ENDINGS, decode_video
from flywheel.raw.opened import Opened
from flywheel.raw.reasons import BAD_KEY, UNKNOWN_TYPE, Refusal, Refused, shown
from flywheel.raw.rows import TABLE_ENDINGS


@dataclass(frozen=True)
class Decoder:
    """How the objects of some endings are read.

    `decode(opened, contents)` yields the object's data in a fixed order, and refusals of parts of it; it raises
    `Refused` where the object as a whole cannot be used, before or between data (what was yielded counts). With
    `contents` the data carry the bytes that an encoder gets.
    """

    modalities: tuple[str, ...]
    endings: tuple[str, ...]
    decode: Callable[[Opened, bool], Iterator[Datum | Refusal]]
    many: bool  # an object may hold several data, told apart by their part
    declared: bool = False  # these endings mean it only where the source says that it holds this modality


DECODERS = (
    Decoder(("image",), IMAGE_ENDINGS, decode_image, many=False),
    Decoder(("text",), TEXT_ENDINGS, decode_text, many=False),
    Decoder(("text", "record"), TABLE_ENDINGS, decode_table, many=True),
    Decoder(("signal",), SIGNAL_ENDINGS, decode_signal, many=True),
    Decoder(("video", "image"), VIDEO_ENDINGS, decode_video, many=True),
    Decoder(("signal",), DECLARED_ENDINGS, decode_signal, many=True, declared=True),
)
ENDINGS = tuple(dict.fromkeys(ending for decoder in DECODERS for ending in decoder.endings))


def decoder_of(key: str, modality: str = "auto") -> Decoder | None:
    """Return what reads objects of this key's ending where a source holds `modality`, or None."""
    reading = [decoder for decoder in DECODERS if key.lower().endswith(decoder.endings)]
    fitting = (decoder for decoder in reading if modality in decoder.modalities)
    return next(fitting, None) or next((decoder for decoder in reading if not decoder.declared), None)


def holds_many(key: str, modality: str = "auto") -> bool:
    """Whether the object may hold several data, so that decoding it is worth doing once for all of them."""
    decoder = decoder_of(key, modality)
    return decoder is not None and decoder.many


def decode(opened: Opened, *, contents: bool = False) -> Iterator[Datum | Refusal]:
    """Decode one object into its data; what cannot be used becomes refusals. What is not read is not fetched.

    Raises:
        StoreUnavailable: the store cannot be reached; nothing is known about the object.
    """
    try:
        decoder = _fitting(opened.key, opened.config)
        yield from decoder.decode(opened, contents)
    except Refused as refused:
        yield refused.refusal


def _fitting(key: str, config: SourceConfig) -> Decoder:
    if problem := key_problem(key):
        raise Refused(BAD_KEY, f"the key {shown(key)} is refused: {problem}; rename the object")
    decoder = decoder_of(key, config.modality)
    if decoder is None:
        raise Refused(UNKNOWN_TYPE, f"{key} has an ending the flywheel does not read; expected {', '.join(ENDINGS)}")
    if config.modality != "auto" and config.modality not in decoder.modalities:
        holds = " or ".join(decoder.modalities)
        raise Refused(UNKNOWN_TYPE, f"{key} holds {holds}, but its source is declared to hold {config.modality}")
    return decoder
