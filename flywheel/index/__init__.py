"""vector_index: reads `items`, `embeddings` and clusters, brings Qdrant up to the tables.

The server's side (`flywheel.index.server`) is imported when it is configured: its client costs a second.
"""

from flywheel.index.edge import EdgeIndex as EdgeIndex
from flywheel.index.open import open_index as open_index
from flywheel.index.protocol import Condition as Condition
from flywheel.index.protocol import Hit as Hit
from flywheel.index.protocol import Points as Points
from flywheel.index.protocol import Scalar as Scalar
from flywheel.index.protocol import Space as Space
from flywheel.index.protocol import VectorIndex as VectorIndex
from flywheel.index.refresh import IndexReport as IndexReport
from flywheel.index.refresh import refresh_index as refresh_index
