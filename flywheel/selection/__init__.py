"""labeling_batch: reads the turn's corpus, `neighbors`, `gaps`; writes `batches` and `approvals`."""

from flywheel.selection.approvals import approve_batch as approve_batch
from flywheel.selection.approvals import batch_cost as batch_cost
from flywheel.selection.approvals import batch_id as batch_id
from flywheel.selection.approvals import is_approved as is_approved
from flywheel.selection.batch import choose_batch as choose_batch
