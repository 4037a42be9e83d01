"""labeling_job and annotations: reads `batches` and `approvals`, writes `jobs` and `annotation_events`."""

from flywheel.vendors.protocol import AnnotationVendor as AnnotationVendor
from flywheel.vendors.protocol import Answer as Answer
from flywheel.vendors.protocol import Capabilities as Capabilities
from flywheel.vendors.protocol import Job as Job
from flywheel.vendors.protocol import JobStatus as JobStatus
from flywheel.vendors.protocol import LabelSpec as LabelSpec
from flywheel.vendors.protocol import Task as Task
