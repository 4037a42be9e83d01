"""The annotation vendor, as configured: simulated, files in a folder, or a Label Studio server."""

import dagster as dg

from flywheel.config import load_config
from flywheel.vendors import AnnotationVendor, open_vendor


class AnnotationVendorResource(dg.ConfigurableResource[AnnotationVendor]):
    """The vendor; it connects when it is first asked."""

    config_path: str

    def create_resource(self, context: dg.InitResourceContext) -> AnnotationVendor:
        return open_vendor(load_config(self.config_path))
