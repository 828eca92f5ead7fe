"""Real data: what ships with scikit-learn, and the files of the data home."""

from treeinf.datasets.home import data_home
from treeinf.datasets.label_noise import flip_labels
from treeinf.datasets.loading import available, load
from treeinf.datasets.tables import Dataset

__all__ = ["Dataset", "available", "data_home", "flip_labels", "load"]
