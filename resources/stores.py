"""The wheel's configuration, its tables, its files and its sources. Nothing here has to be closed."""

import dagster as dg

from flywheel.config import WheelConfig, load_config
from flywheel.objects import ObjectStore, Source, open_files, open_sources, open_tables
from flywheel.tables import Tables


class WheelResource(dg.ConfigurableResource[WheelConfig]):
    """The checked `flywheel.yaml`."""

    config_path: str

    def create_resource(self, context: dg.InitResourceContext) -> WheelConfig:
        return load_config(self.config_path)


class TablesResource(dg.ConfigurableResource[Tables]):
    """The wheel's Delta tables: a folder, or an S3 prefix."""

    config_path: str

    def create_resource(self, context: dg.InitResourceContext) -> Tables:
        return open_tables(load_config(self.config_path))


class FilesResource(dg.ConfigurableResource[ObjectStore]):
    """Where the wheel keeps models and exports."""

    config_path: str

    def create_resource(self, context: dg.InitResourceContext) -> ObjectStore:
        return open_files(load_config(self.config_path))


class SourcesResource(dg.ConfigurableResource[dict[str, Source]]):
    """The places data comes from, by source id."""

    config_path: str

    def create_resource(self, context: dg.InitResourceContext) -> dict[str, Source]:
        return open_sources(load_config(self.config_path))
