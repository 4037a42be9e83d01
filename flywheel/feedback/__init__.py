"""feedback: what closes the wheel. Reads `turns`, `jobs`, `items` and `evaluations`; writes outside `evaluations`.

It decides when a turn is due and says why, takes in metrics that others report, and writes alerts.
"""

from flywheel.feedback.alerts import alerts_path as alerts_path
from flywheel.feedback.alerts import write_alert as write_alert
from flywheel.feedback.metrics import Taken as Taken
from flywheel.feedback.metrics import take_metrics as take_metrics
from flywheel.feedback.metrics import waiting_metrics as waiting_metrics
from flywheel.feedback.triggers import Decision as Decision
from flywheel.feedback.triggers import open_money as open_money
from flywheel.feedback.triggers import planned_money as planned_money
from flywheel.feedback.triggers import turn_due as turn_due
from flywheel.feedback.waiting import Waiting as Waiting
from flywheel.feedback.waiting import open_turns as open_turns
from flywheel.feedback.waiting import waiting_for as waiting_for
