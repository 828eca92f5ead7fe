"""Find explained rows among the train rows, on which a model is no judge."""

from __future__ import annotations

import dataclasses
import functools
import warnings

import numpy as np
from numpy.typing import NDArray

from treeinf.errors import SelfExplanationWarning
from treeinf.explainers.queries import Queries
from treeinf.pickling import DropsCached

__all__ = ["SelfExplanation"]

_SAME_ROWS = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class SelfExplanation(DropsCached):
    """The train rows, to be found among queries.

    Parameters
    ----------
    fingerprint : ndarray of uint64, shape (n_train,)
        Of the train rows; equal for rows of equal values.
    """

    fingerprint: NDArray[np.uint64]

    def check(self, queries: Queries, *, exclude_self: bool, stacklevel: int) -> None:
        """Warn if most queries are train rows, and check that all are if they must be.

        Parameters
        ----------
        queries : Queries
            Rows to explain.
        exclude_self : bool
            They must be the train rows, in order.
        stacklevel : int
            See `warnings.warn`.

        Raises
        ------
        ValueError
            If `exclude_self` and they are other rows.
        """
        is_train = np.array_equal(queries.fingerprint, self.fingerprint)
        if exclude_self:
            if not is_train:
                raise ValueError(
                    "exclude_self=True needs the train rows themselves, in order; got "
                    f"{queries.n_rows:,} other rows for {len(self.fingerprint):,} "
                    "train rows."
                )
        elif is_train:
            warnings.warn(
                "The explained rows are the train rows: each is scored by a model that "
                "has seen it, mislabelled rows too. Pass exclude_self=True to leave "
                "out each row's influence on itself, or explain rows that the model "
                "has not seen.",
                SelfExplanationWarning,
                stacklevel=stacklevel,
            )
        else:
            share = self._share(queries.fingerprint)
            if share > _SAME_ROWS and queries.n_rows > 1:
                warnings.warn(
                    f"{share:.0%} of the explained rows are among the train rows: they "
                    "are scored by a model that has seen them, mislabelled rows too. "
                    "Explain rows that the model has not seen.",
                    SelfExplanationWarning,
                    stacklevel=stacklevel,
                )

    @functools.cached_property
    def _sorted(self) -> NDArray[np.uint64]:
        return np.sort(self.fingerprint)

    def _share(self, fingerprint: NDArray[np.uint64]) -> float:
        """Return the share of rows that are among the train rows."""
        index = np.searchsorted(self._sorted, fingerprint)
        index = np.minimum(index, len(self._sorted) - 1)
        return float((self._sorted[index] == fingerprint).mean())
