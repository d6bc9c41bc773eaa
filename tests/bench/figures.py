"""A measured figure, what it is compared with, and whether it keeps its target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["pass", "FAIL", "info", "unjudged"]


class NotMeasured(Exception):
    """An area that cannot be measured here. The message says why, for the person who ran the bench."""


@dataclass(frozen=True)
class Figure:
    """`compared_with` names the other side of the comparison, measured in the same run, with its own value.

    At most one of `at_most` and `at_least` is the target, in the figure's unit; without one the figure informs.
    `remark` says why a target is not applied, because something else than the deployed artefact was measured.
    """

    name: str
    value: float
    unit: str
    compared_with: str
    at_most: float | None = None
    at_least: float | None = None
    remark: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.at_most is None and self.at_least is None:
            return "info"
        if self.remark:
            return "unjudged"
        kept = (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )
        return "pass" if kept else "FAIL"

    @property
    def target(self) -> str:
        """The target in words, empty when there is none."""
        if self.at_most is not None:
            return f"at most {self.at_most:g} {self.unit}"
        return f"at least {self.at_least:g} {self.unit}" if self.at_least is not None else ""

    def line(self) -> str:
        """The figure as one line of text."""
        value = f"{self.value:.2f} {self.unit}"
        remark = f" ({self.remark})" if self.remark else ""
        return f"{self.verdict:8} {self.name:47} {value:>9}  {self.target or '-':14}  {self.compared_with}{remark}"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": round(self.value, 4),
            "unit": self.unit,
            "compared_with": self.compared_with,
            "at_most": self.at_most,
            "at_least": self.at_least,
            "verdict": self.verdict.lower(),
            "remark": self.remark,
        }


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` (0 to 1) of the samples do not exceed; a sample, never in between."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
