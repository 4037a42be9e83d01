"""What happens outside the graph: one module per happening.

Every sensor returns one `SensorResult`: a cursor, run keys made from content (a repeated tick asks for nothing new),
and a reason where it asks for nothing. They look at tables and listings, not at Dagster's history, so a tick that
was killed anywhere is simply repeated.
"""

from sensors.batch_approved import batch_approved
from sensors.labels_returned import labels_returned
from sensors.metrics_reported import metrics_reported
from sensors.objects_arrived import objects_arrived
from sensors.run_failed import build_run_failed
from sensors.turn_due import turn_due

HAPPENINGS = [objects_arrived, turn_due, batch_approved, labels_returned, metrics_reported]

__all__ = [
    "HAPPENINGS",
    "batch_approved",
    "build_run_failed",
    "labels_returned",
    "metrics_reported",
    "objects_arrived",
    "turn_due",
]
