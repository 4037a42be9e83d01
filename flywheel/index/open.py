"""From configuration to an index."""

import os

from flywheel.config import WheelConfig, secret
from flywheel.index.edge import EdgeIndex
from flywheel.index.protocol import VectorIndex


def open_index(config: WheelConfig) -> VectorIndex:
    """Return the wheel's index, to be used as a context manager; nothing is opened or connected before that.

    Raises:
        ConfigError: a server is configured and the environment variable with its address is not set.
    """
    if config.index.kind == "edge":
        return EdgeIndex(config.cache / "index")
    from flywheel.index.server import ServerIndex, connect  # its client takes a second to import
    from flywheel.index.snapshots import ServerAddress

    address = ServerAddress(secret(config.index.url_env), os.environ.get(config.index.api_key_env) or None)
    return ServerIndex(lambda: connect(address), config.index.collection, address=address)
