"""From configuration to an index."""

import os

from qdrant_client import QdrantClient

from flywheel.config import WheelConfig, secret
from flywheel.index.edge import EdgeIndex
from flywheel.index.protocol import VectorIndex
from flywheel.index.server import ServerIndex
from flywheel.index.snapshots import ServerAddress


def open_index(config: WheelConfig) -> VectorIndex:
    """Return the wheel's index, to be used as a context manager; nothing is opened or connected before that.

    Raises:
        ConfigError: a server is configured and the environment variable with its address is not set.
    """
    if config.index.kind == "edge":
        return EdgeIndex(config.cache / "index")
    address = ServerAddress(secret(config.index.url_env), _optional(config.index.api_key_env))
    return ServerIndex(lambda: connect(address), config.index.collection, address=address)


def connect(address: ServerAddress) -> QdrantClient:
    """Return a client for a server; it connects with the first request."""
    return QdrantClient(url=address.url, api_key=address.api_key, timeout=60, check_compatibility=False)


def _optional(name: str) -> str | None:
    return os.environ.get(name) or None
