"""embeddings: reads `items` and the bytes behind them, writes `embeddings`.

`open` gives the encoder that flywheel.yaml names: `text` (transformers, MiniLM), `conse` (EfficientNet-Lite0 with
words through ConSE) or `clip` (CLIP, SigLIP). `embed` gives each distinct content one vector, once. `checkpoints`,
`images` and `runtime` hold what they share; only `open` imports the model libraries.
"""

from flywheel.encoders.embed import EmbedReport as EmbedReport
from flywheel.encoders.embed import embed_arrival as embed_arrival
from flywheel.encoders.embed import load_vectors as load_vectors
from flywheel.encoders.embed import missing_contents as missing_contents
from flywheel.encoders.embed import scan_vectors as scan_vectors
from flywheel.encoders.embed import to_matrix as to_matrix
from flywheel.encoders.open import open_encoder as open_encoder
from flywheel.encoders.open import open_encoders as open_encoders
from flywheel.encoders.protocol import Content as Content
from flywheel.encoders.protocol import Encoder as Encoder
from flywheel.encoders.protocol import Vectors as Vectors
from flywheel.encoders.shown import Shown as Shown
from flywheel.encoders.shown import record_terms as record_terms
from flywheel.encoders.shown import show as show
from flywheel.encoders.shown import shown_as as shown_as
