"""Open the encoder that `flywheel.yaml` names. Model libraries are imported here, not when `flywheel` is."""

from flywheel.config import MODALITIES, EncoderConfig, EncodersConfig
from flywheel.encoders.protocol import Encoder
from flywheel.errors import ConfigError

KINDS = {
    "minilm": ("text",),
    "transformers-text": ("text",),
    "efficientnet-conse": ("image",),
    "transformers-clip": ("image", "text"),
    "record-words": ("record",),
    "signal-spectrum": ("signal",),
    "video-frames": ("video",),
}


def open_encoders(config: EncodersConfig) -> dict[str, Encoder]:
    """Return the encoder of every modality, by modality."""
    return {modality: open_encoder(modality, getattr(config, modality), config) for modality in MODALITIES}


def open_encoder(modality: str, config: EncoderConfig, others: EncodersConfig | None = None) -> Encoder:
    """Return the encoder of `modality`; its weights are loaded when the first content is encoded.

    Args:
        others: the encoders of the other modalities, where one looks through another's eyes: clips are seen as the
            image encoder sees their frames.

    Raises:
        ConfigError: the kind does not encode this modality, its package is missing, or its model is not found.
    """
    if modality not in KINDS[config.kind]:
        fitting = [kind for kind, known in KINDS.items() if modality in known]
        raise ConfigError(
            f"encoders.{modality}: kind '{config.kind}' does not encode the modality '{modality}'; "
            f"expected one of {fitting or sorted(KINDS)}"
        )
    if config.kind == "minilm":
        from flywheel.encoders.text import open_minilm

        return open_minilm(max_tokens=config.max_tokens, precision=config.precision)
    if config.kind == "record-words":
        from flywheel.encoders.records import RecordEncoder
        from flywheel.encoders.text import open_minilm

        return RecordEncoder(open_minilm(max_tokens=config.max_tokens, precision=config.precision))
    if config.kind == "video-frames":
        from flywheel.encoders.video import VideoEncoder

        return VideoEncoder(open_encoder("image", (others or EncodersConfig()).image))
    if config.kind == "signal-spectrum":
        from flywheel.encoders.signals import SignalEncoder

        return SignalEncoder()
    if config.kind == "efficientnet-conse":
        from flywheel.encoders.conse import open_conse

        return open_conse(image_size=config.image_size, max_tokens=config.max_tokens, precision=config.precision)
    return _open_transformers(modality, config)


def _open_transformers(modality: str, config: EncoderConfig) -> Encoder:
    from flywheel.encoders.checkpoints import find_checkpoint
    from flywheel.encoders.clip import ClipEncoder
    from flywheel.encoders.text import TextEncoder

    if not config.model:
        raise ConfigError(f"encoders.{modality}: 'model' (a local path or a hub id) is needed for '{config.kind}'")
    checkpoint = find_checkpoint(config.model, config.revision)
    if config.kind == "transformers-text":
        return TextEncoder(checkpoint, max_tokens=config.max_tokens, precision=config.precision)
    return ClipEncoder(checkpoint, modality, max_tokens=config.max_tokens, precision=config.precision)
