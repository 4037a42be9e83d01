"""structure: reads `items` and `embeddings`, writes `neighbors`, `duplicates`, `clusters`, `cluster_names`,
`map_points`.

What lies in the data, for one modality at a time: which contents are alike, which are the same, which groups they
form and what those are called, and a map to look at.
"""

from flywheel.structure.clusters import build_clusters as build_clusters
from flywheel.structure.clusters import match_centers as match_centers
from flywheel.structure.duplicates import find_duplicates as find_duplicates
from flywheel.structure.duplicates import group_duplicates as group_duplicates
from flywheel.structure.kmeans import cluster_vectors as cluster_vectors
from flywheel.structure.layout import lay_out as lay_out
from flywheel.structure.layout import lay_out_map as lay_out_map
from flywheel.structure.naming import default_vocabulary as default_vocabulary
from flywheel.structure.neighbors import build_neighbors as build_neighbors
from flywheel.structure.neighbors import measure_recall as measure_recall
from flywheel.structure.neighbors import nearest_neighbors as nearest_neighbors
from flywheel.structure.neighbors import read_neighbors as read_neighbors
from flywheel.structure.plots import draw_map as draw_map
from flywheel.structure.space import ContentSpace as ContentSpace
from flywheel.structure.space import StructureReport as StructureReport
from flywheel.structure.space import load_space as load_space
