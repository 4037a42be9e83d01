"""labeling_job and annotations: reads `batches`, `approvals`, `items`; writes `jobs` and `annotation_events`.

The protocol's records are used by earlier stations too, so the station's own functions are imported when first named.
"""

import importlib
from typing import TYPE_CHECKING, Any

from flywheel.vendors.protocol import AnnotationVendor as AnnotationVendor
from flywheel.vendors.protocol import Answer as Answer
from flywheel.vendors.protocol import Answers as Answers
from flywheel.vendors.protocol import Capabilities as Capabilities
from flywheel.vendors.protocol import Job as Job
from flywheel.vendors.protocol import JobStatus as JobStatus
from flywheel.vendors.protocol import LabelSpec as LabelSpec
from flywheel.vendors.protocol import Refusal as Refusal
from flywheel.vendors.protocol import Task as Task

if TYPE_CHECKING:
    from flywheel.vendors.collect import CollectReport as CollectReport
    from flywheel.vendors.collect import collect_answers as collect_answers
    from flywheel.vendors.collect import job_status as job_status
    from flywheel.vendors.file import FileVendor as FileVendor
    from flywheel.vendors.jobs import JobReport as JobReport
    from flywheel.vendors.jobs import label_spec as label_spec
    from flywheel.vendors.jobs import submit_job as submit_job
    from flywheel.vendors.label_studio import LabelStudioVendor as LabelStudioVendor
    from flywheel.vendors.open import open_vendor as open_vendor
    from flywheel.vendors.simulated import SimulatedVendor as SimulatedVendor

_MODULES = {
    "CollectReport": "collect",
    "FileVendor": "file",
    "JobReport": "jobs",
    "LabelStudioVendor": "label_studio",
    "SimulatedVendor": "simulated",
    "collect_answers": "collect",
    "job_status": "collect",
    "label_spec": "jobs",
    "open_vendor": "open",
    "submit_job": "jobs",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'flywheel.vendors' has no attribute '{name}'")
    return getattr(importlib.import_module(f"flywheel.vendors.{_MODULES[name]}"), name)
