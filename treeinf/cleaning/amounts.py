"""How many rows to clean: chosen by retraining, a share, a number or a threshold."""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from typing import Any, Self

__all__ = ["Amount"]

_AUTO_SHARES = (0.02, 0.05, 0.1, 0.2, 0.3)
_AUTO_DOUBTS = (0.8, 0.5)
_KINDS = ("auto", "share", "count", "threshold", "doubt")
_THRESHOLD = re.compile(r"(score|doubt)\s*>=\s*(\S+)")


@dataclasses.dataclass(frozen=True)
class Amount:
    """How many rows to clean.

    Make one with `auto`, `share`, `count`, `threshold`, `doubt`, `read` or `parse`.

    Parameters
    ----------
    kind : {"auto", "share", "count", "threshold", "doubt"}
        What `value` is.
    value : float, int or None, default=None
        Share of the rows, in (0, 1); number of rows; lowest score, or probability of
        being wrong, that is cleaned; None for "auto".

    Examples
    --------
    >>> from treeinf.cleaning import Amount
    >>> Amount.read(0.1) == Amount.share(0.1) == Amount.parse("10%")
    True
    >>> print(Amount.threshold(0.5))
    score>=0.5
    """

    kind: str
    value: float | int | None = None

    @classmethod
    def auto(cls) -> Self:
        """Choose by retraining among a few amounts."""
        return cls("auto")

    @classmethod
    def share(cls, value: float) -> Self:
        """Clean this share of the rows, in (0, 1)."""
        return cls("share", value)

    @classmethod
    def count(cls, value: int) -> Self:
        """Clean this many rows."""
        return cls("count", value)

    @classmethod
    def threshold(cls, value: float) -> Self:
        """Clean the rows whose score is at least this."""
        return cls("threshold", value)

    @classmethod
    def doubt(cls, value: float) -> Self:
        """Clean the rows that are wrong with at least this probability, in (0, 1)."""
        return cls("doubt", value)

    @classmethod
    def read(cls, amount: Any, name: str = "amount") -> Amount:
        """Convert an Amount, "auto", a float share or an int number of rows.

        Raises
        ------
        TypeError, ValueError
            If it is none of them.
        """
        if isinstance(amount, Amount):
            return amount
        if isinstance(amount, str):
            if amount == "auto":
                return cls.auto()
            raise ValueError(_expected(amount, name=name))
        if isinstance(amount, bool) or not isinstance(amount, numbers.Real):
            raise TypeError(_expected(amount, name=name))
        if isinstance(amount, numbers.Integral):
            return cls.count(int(amount))
        return cls.share(float(amount))

    @classmethod
    def parse(cls, text: str) -> Amount:
        """Read a text: "auto", "0.1", "10%", "200", "score>=0.5" or "doubt>=0.5".

        Raises
        ------
        ValueError
            If it is none of them.
        """
        text = text.strip()
        above = _THRESHOLD.fullmatch(text)
        try:
            if above:
                make = cls.threshold if above[1] == "score" else cls.doubt
                return make(float(above[2]))
            if text.endswith("%"):
                return cls.share(float(text[:-1]) / 100.0)
            if re.fullmatch(r"[+-]?\d+", text):
                return cls.count(int(text))
            return cls.auto() if text == "auto" else cls.share(float(text))
        except ValueError:
            raise ValueError(
                f"Got amount {text!r}; expected auto, a share such as 0.1 or 10%, a "
                "number of rows such as 200, score>=0.5 or doubt>=0.5."
            ) from None

    @property
    def is_auto(self) -> bool:
        """Whether the amount is yet to be chosen."""
        return self.kind == "auto"

    def check(self, n_rows: int, name: str = "amount") -> None:
        """Refuse an amount that is invalid for a number of rows.

        Raises
        ------
        TypeError, ValueError
            If the value has another type, or is out of range.
        """
        if self.kind not in _KINDS:
            raise ValueError(f"Got Amount of kind {self.kind!r}; expected {_KINDS}.")
        value = self.value
        if self.kind == "auto":
            if value is not None:
                raise ValueError(f"Got {self!r}; an automatic amount has no value.")
            return
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"Got {self!r}; expected a number.")
        if self.kind == "threshold":
            if not math.isfinite(value):
                raise ValueError(f"Got {self!r}; expected a finite score.")
            return
        if self.kind == "count" and not isinstance(value, numbers.Integral):
            raise TypeError(f"Got {self!r}; expected a whole number of rows.")
        highest = n_rows if self.kind == "count" else 1.0
        if not 0.0 < float(value) < highest:
            raise ValueError(_expected(value, n_rows, name))

    def candidates(
        self, n_scored: int, n_fewest: int, *, has_doubt: bool = False
    ) -> list[Amount]:
        """List the amounts to try, from the smallest up; numbers of rows as shares.

        Parameters
        ----------
        n_scored : int
            Rows that can be cleaned in the end.
        n_fewest : int
            The fewest that can be cleaned in a split.
        has_doubt : bool, default=False
            Whether probabilities of being wrong are known; "auto" then stands for the
            rows that are wrong with at least .8 and .5, else for some shares.
        """
        if self.kind == "count":
            assert self.value is not None
            return [Amount.share(self.value / n_scored)]
        if self.value is not None:
            return [self]
        if has_doubt:
            return [Amount.doubt(value) for value in _AUTO_DOUBTS]
        counts = [0, *(round(share * n_fewest) for share in _AUTO_SHARES)]
        return [
            Amount.share(share)
            for share, fewer, more in zip(
                _AUTO_SHARES, counts, counts[1:], strict=False
            )
            if more > fewer
        ]

    def __str__(self) -> str:
        if self.kind in ("threshold", "doubt"):
            name = "score" if self.kind == "threshold" else "doubt"
            return f"{name}>={self.value:g}"
        return "auto" if self.value is None else f"{self.value:g}"


def _expected(amount: Any, n_rows: int | None = None, name: str = "amount") -> str:
    most = "" if n_rows is None else f" to one less than there are ({n_rows:,})"
    return (
        f"Got {name}={amount!r}; expected 'auto', a share in (0, 1), a number of rows "
        f"from 1{most}, or Amount.threshold(score)."
    )
