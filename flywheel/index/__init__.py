"""vector_index: reads `items`, `embeddings` and clusters, brings Qdrant up to the tables."""

from flywheel.index.protocol import Condition as Condition
from flywheel.index.protocol import Hit as Hit
from flywheel.index.protocol import Points as Points
from flywheel.index.protocol import Space as Space
from flywheel.index.protocol import VectorIndex as VectorIndex
