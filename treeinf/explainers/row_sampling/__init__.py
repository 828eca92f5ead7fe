"""Which rows each tree was fitted on, and what the other trees say of them."""

from treeinf.explainers.row_sampling.seen_rows import in_bag
from treeinf.explainers.row_sampling.unseen_trees import OutOfBagScores, out_of_bag

__all__ = ["OutOfBagScores", "in_bag", "out_of_bag"]
