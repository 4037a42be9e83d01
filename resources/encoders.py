"""One encoder per modality. Loading a model costs seconds, so a process keeps those it has opened."""

import threading

import dagster as dg

from flywheel.config import MODALITIES, EncoderConfig, EncodersConfig, load_config
from flywheel.encoders import Encoder, open_encoder

_opened: dict[tuple[str, str], Encoder] = {}
_lock = threading.Lock()


class EncodersResource(dg.ConfigurableResource[dict[str, Encoder]]):
    """The encoders by modality; a model is loaded when something is first encoded with it."""

    config_path: str

    def create_resource(self, context: dg.InitResourceContext) -> dict[str, Encoder]:
        configured = load_config(self.config_path).encoders
        return {modality: _open(modality, getattr(configured, modality), configured) for modality in MODALITIES}


def _open(modality: str, config: EncoderConfig, others: EncodersConfig) -> Encoder:
    seen_through = others.image.model_dump_json() if modality == "video" else ""
    key = (modality, config.model_dump_json() + seen_through)
    with _lock:
        if key not in _opened:
            _opened[key] = open_encoder(modality, config, others)
        return _opened[key]
