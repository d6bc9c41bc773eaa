"""What a batch came to, and how it is told: the same for whatever is sent, under the metrics of its capability."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.observability import count, flush, logger
from shared.outcomes import State


@dataclass
class Figures:
    """Rows by verdict, postponed by reason, not reached in time; calls, and those throttled."""

    verdicts: Counter[State] = field(default_factory=Counter)
    postponed: Counter[str] = field(default_factory=Counter)
    not_reached: int = 0
    calls: int = 0
    throttled: int = 0

    def report(self, message: str, counted_as: Mapping[str, str], limit: int) -> None:
        """Writes one line of the log, and the metrics that `counted_as` names by figure: a verdict, "postponed",
        "throttled" or "limit". `limit` is how many calls may be under way now."""
        sums = {"postponed": self.postponed.total(), "throttled": self.throttled, "limit": limit}
        for figure, metric in counted_as.items():
            count(metric, sums[figure] if figure in sums else self.verdicts[State(figure)])
        logger.info(
            message,
            verdicts=dict(self.verdicts),
            postponed=dict(self.postponed),
            not_reached=self.not_reached,
            calls=self.calls,
            throttled=self.throttled,
            limit=limit,
        )
        flush()
