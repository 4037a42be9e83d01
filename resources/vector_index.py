"""The vector index: embedded Qdrant Edge or a Qdrant server, as configured."""

import dagster as dg

from flywheel.config import load_config
from flywheel.index import VectorIndex, open_index


class VectorIndexResource(dg.ConfigurableResource[VectorIndex]):
    """The index, not yet entered.

    The step that uses it says `with vector_index:`. An in-process run opens the resources of all its steps
    at its start, and the embedded index belongs to one process at a time: it would be locked for the whole run.
    """

    config_path: str

    def create_resource(self, context: dg.InitResourceContext) -> VectorIndex:
        return open_index(load_config(self.config_path))
