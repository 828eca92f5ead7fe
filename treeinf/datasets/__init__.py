"""Real data sets by name, and synthetic ones with known influence."""

from treeinf.datasets.fetch import Fetched, fetch
from treeinf.datasets.label_noise import flip_labels, shift_targets
from treeinf.datasets.loading import SetState, available, check, load
from treeinf.datasets.manifest import (
    DataFile,
    Entry,
    data_home,
    describe,
    read_manifest,
)
from treeinf.datasets.synthetic import (
    make_additive_game,
    make_duplicated_rows,
    make_flipped_labels,
    make_group_means,
)
from treeinf.datasets.tables import Dataset, Split

__all__ = [
    "DataFile",
    "Dataset",
    "Entry",
    "Fetched",
    "SetState",
    "Split",
    "available",
    "check",
    "data_home",
    "describe",
    "fetch",
    "flip_labels",
    "load",
    "make_additive_game",
    "make_duplicated_rows",
    "make_flipped_labels",
    "make_group_means",
    "read_manifest",
    "shift_targets",
]
