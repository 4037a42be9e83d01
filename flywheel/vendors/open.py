"""From configuration to vendor."""

from flywheel.config import FileVendorConfig, SimulatedVendorConfig, WheelConfig, secret
from flywheel.vendors.file import FileVendor
from flywheel.vendors.label_studio import LabelStudioVendor
from flywheel.vendors.protocol import AnnotationVendor
from flywheel.vendors.simulated import SimulatedVendor


def open_vendor(config: WheelConfig) -> AnnotationVendor:
    """Return the wheel's annotation vendor.

    Raises:
        ConfigError: its access token is not in the environment.
    """
    vendor = config.vendor
    if isinstance(vendor, SimulatedVendorConfig):
        return SimulatedVendor(
            vendor.truth,
            config.cache / "simulated-vendor",
            annotators=vendor.annotators,
            error_rate=vendor.error_rate,
            seed=vendor.seed,
        )
    if isinstance(vendor, FileVendorConfig):
        return FileVendor(vendor.folder)
    return LabelStudioVendor(vendor.url, secret(vendor.token_env))
