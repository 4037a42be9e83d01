"""The flywheel as Dagster assets: one module per station, in the order data flows.

`definitions.py` is the only place that wires assets, checks, sensors and resources together; `turning.py` turns the
wheel in this process (`python -m assets run`). Assets are thin: they call one engine function and show what came out.
"""

import warnings

# A blocking check on a partitioned asset has to be partitioned itself, or the next good arrival lets a failed one
# through. Dagster 1.13 warns at each such check that this may change; the version is pinned and tests hold it.
warnings.filterwarnings("ignore", message="Specifying a partitions_def on an AssetCheckSpec")
