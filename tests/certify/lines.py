"""A line of the report: what was measured, over how many points, the largest error, the limit it must keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

MEASURES = {
    "ulp": "of the result: the error over the result and over 2^-23 (bfloat16: 2^-7, float64: 2^-52)",
    "ulp of terms": "of the sum of the sizes of the terms that the result is made of, a term counted by what one "
    "rounding of its inputs moves it",
    "absolute": "the difference itself, of numbers without a unit or in nats",
    "count": "wrong answers",
    "standard errors": "of a mean over independent draws",
}


@dataclass(frozen=True)
class Line:
    """One quantity against its reference. A control is wrong on purpose and must not keep the limit."""

    name: str
    points: int
    measure: str  # of `MEASURES`
    error: float  # the largest; NaN and infinity keep no limit
    limit: float
    why: str  # the limit is what it is
    control: bool = False

    @property
    def good(self) -> bool:
        """Whether the limit is kept, or a control found by it."""
        return bool(self.error <= self.limit) != self.control

    @property
    def verdict(self) -> str:
        """In a word; capitals are faults."""
        if self.control:
            return "found" if self.good else "MISSED"
        return "within" if self.good else "OUT"


def ulps(found, expected, scale=None, *, kind: Any = np.float32, floor: Any = 0.0) -> float:
    """The largest error of `found`, in roundings of `kind` of `scale`, or of the expected results.

    A unit is never less than the smallest normal number, as those below may be flushed to 0, nor than `floor`, what is
    left of that where it is multiplied afterwards.
    """
    found, expected = (np.asarray(x).astype(np.float64) for x in (found, expected))
    info = jnp.finfo(kind)
    unit = float(info.eps) * np.abs(expected if scale is None else scale) + np.maximum(float(info.tiny), floor)
    return largest((found - expected) / unit)


def largest(errors) -> float:
    """The largest absolute value; infinite where there is a NaN."""
    errors = np.abs(np.asarray(errors, np.float64))
    return float(np.max(np.where(np.isnan(errors), np.inf, errors)))


def table(lines: Sequence[Line]) -> str:
    """The report as Markdown."""
    rows = [
        f"| {x.name} | {x.points:,} | {x.measure} | {number(x.error)} | {number(x.limit)} | {x.why} | {x.verdict} |"
        for x in lines
    ]
    header = ["| quantity | points | measure | largest error | limit | why this limit | verdict |", "|" + " --- |" * 7]
    return "\n".join([*header, *rows])


def number(x: float) -> str:
    """A number for the table."""
    return f"{x:.3g}"
