"""Keeping our host healthy in Braze's eyes, which come first: a host found unhealthy gets no calls at all for a minute.

Braze counts answers of 408, 429, 502, 503, 504 and 529 and stops calling at more than 3,000 in any sixty seconds of
which more than nine in ten calls are. The 503s that templates with `:retry` ask for are the only ones reads give. All
environments together give no more of them in a clock minute than half of what Braze bears, since sixty seconds touch
two such minutes; beyond that, an answer is data like everybody else's.
"""

from __future__ import annotations

from shared.deadline import Deadline, within
from shared.errors import DeadlineExceeded, StoreUnavailable
from shared.observability import count
from shared.tally import Tally

WINDOW_SECONDS = 60

# The question how an answer is to be given has the time that is left, and a little when there is none.
_LEAST_SECONDS = 0.15
_MOST_SECONDS = 0.5


def may_ask_for_retry(answers: Tally, deadline: Deadline) -> bool:
    """Whether one more 503 may be given; not when nobody can say how many there were."""
    try:
        seconds = min(_MOST_SECONDS, max(_LEAST_SECONDS, deadline.remaining_seconds()))
        allowed = within(Deadline(seconds), answers.add)
    except (StoreUnavailable, DeadlineExceeded):
        allowed = False
    if not allowed:
        count("RetryAnswersWithheld")
    return allowed
