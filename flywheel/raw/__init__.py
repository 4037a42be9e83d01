"""raw_data: reads the sources, writes `objects`, `items`, `quarantine` and the labels among `annotation_events`.

What lands in a folder or an S3 prefix becomes arrivals (`arrivals`), is decoded (`decode`, `rows`, `manifest`),
registered (`register`) and checked (`expectations`); `current` shows what holds now. Bad input is data: it lands in
the quarantine with a reason, the rest goes on.
"""

from flywheel.raw.arrivals import arrival_name as arrival_name
from flywheel.raw.arrivals import arrival_number as arrival_number
from flywheel.raw.arrivals import inventory as inventory
from flywheel.raw.companions import holds_data as holds_data
from flywheel.raw.current import current_items as current_items
from flywheel.raw.current import current_quarantine as current_quarantine
from flywheel.raw.current import read_contents as read_contents
from flywheel.raw.decoders.images import canonical_image as canonical_image
from flywheel.raw.decoders.texts import canonical_text as canonical_text
from flywheel.raw.drift import DriftReport as DriftReport
from flywheel.raw.drift import compare_schemas as compare_schemas
from flywheel.raw.drift import report_drift as report_drift
from flywheel.raw.expectations import Expectation as Expectation
from flywheel.raw.expectations import ExpectationReport as ExpectationReport
from flywheel.raw.expectations import Validation as Validation
from flywheel.raw.expectations import check_arrival as check_arrival
from flywheel.raw.expectations import check_registered as check_registered
from flywheel.raw.expectations import load_suites as load_suites
from flywheel.raw.expectations import read_validations as read_validations
from flywheel.raw.expectations import validate_arrival as validate_arrival
from flywheel.raw.expectations import write_data_docs as write_data_docs
from flywheel.raw.patterns import is_manifest as is_manifest
from flywheel.raw.planning import plan_arrivals as plan_arrivals
from flywheel.raw.planning import sweeps_under_way as sweeps_under_way
from flywheel.raw.planning import waiting_since as waiting_since
from flywheel.raw.quarantine import Explanation as Explanation
from flywheel.raw.quarantine import count_reasons as count_reasons
from flywheel.raw.quarantine import explain_object as explain_object
from flywheel.raw.quarantine import of_targets as of_targets
from flywheel.raw.quarantine import plan_retry as plan_retry
from flywheel.raw.quarantine import standing_refusals as standing_refusals
from flywheel.raw.quarantine import unregistered as unregistered
from flywheel.raw.reasons import CATALOGUE as CATALOGUE
from flywheel.raw.reasons import REASONS as REASONS
from flywheel.raw.reasons import find_reason as find_reason
from flywheel.raw.register import ArrivalReport as ArrivalReport
from flywheel.raw.register import register_arrival as register_arrival
