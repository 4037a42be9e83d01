"""modeling: reads `labels`, `items`, `batches`, `embeddings`, `clusters`, `gaps`; writes `training_sets`, `models`,
`predictions`, `evaluations`, and a file per model under `models/`.

A linear head on frozen vectors, with calibrated probabilities, judged on evaluation labels only: overall and per
slice, against the previous turn, and against the same number of randomly chosen labels.
"""

from flywheel.intervals import Interval as Interval
from flywheel.intervals import paired_difference as paired_difference
from flywheel.intervals import wilson as wilson
from flywheel.modeling.calibration import fit_temperature as fit_temperature
from flywheel.modeling.evaluation import evaluate_models as evaluate_models
from flywheel.modeling.head import HeadOptions as HeadOptions
from flywheel.modeling.head import LinearHead as LinearHead
from flywheel.modeling.head import Model as Model
from flywheel.modeling.training import TrainReport as TrainReport
from flywheel.modeling.training import read_model as read_model
from flywheel.modeling.training import train_models as train_models
from flywheel.modeling.training_set import build_training_set as build_training_set
from flywheel.modeling.training_set import equal_budget as equal_budget
