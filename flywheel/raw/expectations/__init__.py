"""What should be true of every arrival, and whether it is.

`accounting` judges that everything that landed has its row; `suites` reads what should be true of the data (built-in
and the wheel's own), `columns` and `measures` make the columns it speaks of, `judge` asks Great Expectations, `arrival`
brings it together, and `page` keeps the result among the wheel's files.
"""

from flywheel.raw.expectations.accounting import Expectation as Expectation
from flywheel.raw.expectations.accounting import ExpectationReport as ExpectationReport
from flywheel.raw.expectations.accounting import check_arrival as check_arrival
from flywheel.raw.expectations.accounting import check_registered as check_registered
from flywheel.raw.expectations.arrival import Validation as Validation
from flywheel.raw.expectations.arrival import validate_arrival as validate_arrival
from flywheel.raw.expectations.judge import Verdict as Verdict
from flywheel.raw.expectations.page import read_validations as read_validations
from flywheel.raw.expectations.page import write_data_docs as write_data_docs
from flywheel.raw.expectations.suites import Suite as Suite
from flywheel.raw.expectations.suites import load_suites as load_suites
