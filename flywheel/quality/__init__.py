"""label_quality: reads `annotation_events`, `turns`, `jobs`; writes `labels`."""

from flywheel.quality.agreement import Votes as Votes
from flywheel.quality.agreement import alpha_interval as alpha_interval
from flywheel.quality.agreement import krippendorff_alpha as krippendorff_alpha
from flywheel.quality.agreement import pairwise_agreement as pairwise_agreement
from flywheel.quality.consensus import Consensus as Consensus
from flywheel.quality.consensus import dawid_skene as dawid_skene
from flywheel.quality.consensus import find_consensus as find_consensus
from flywheel.quality.consensus import majority as majority
from flywheel.quality.labels import derive_labels as derive_labels
from flywheel.quality.labels import labels_as_of as labels_as_of
from flywheel.quality.report import QualityReport as QualityReport
