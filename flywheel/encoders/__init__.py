"""embeddings: reads `items` and the bytes behind them, writes `embeddings`."""

from flywheel.encoders.protocol import Content as Content
from flywheel.encoders.protocol import Encoder as Encoder
from flywheel.encoders.protocol import Vectors as Vectors
