"""Dagster resources by role: each opens one thing the engine works with, from the same `flywheel.yaml`.

An asset names the role it needs and receives the engine's own object (`tables: dg.ResourceParam[Tables]`);
it never sees these classes, so a test may hand it any implementation of the protocol.
"""

import dagster as dg

from resources.annotation_vendor import AnnotationVendorResource
from resources.encoders import EncodersResource
from resources.stores import FilesResource, SourcesResource, TablesResource, WheelResource
from resources.vector_index import VectorIndexResource


def build_resources(config_path: str) -> dict[str, dg.ConfigurableResource]:
    """Return every resource under the name of its role."""
    return {
        "wheel": WheelResource(config_path=config_path),
        "tables": TablesResource(config_path=config_path),
        "files": FilesResource(config_path=config_path),
        "sources": SourcesResource(config_path=config_path),
        "encoders": EncodersResource(config_path=config_path),
        "vector_index": VectorIndexResource(config_path=config_path),
        "annotation_vendor": AnnotationVendorResource(config_path=config_path),
    }
