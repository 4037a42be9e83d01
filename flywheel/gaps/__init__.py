"""gap_report: reads the turn's corpus (labels and predictions of the turns before), writes `gaps`."""

from flywheel.corpus import members as members
from flywheel.gaps.report import report_gaps as report_gaps
