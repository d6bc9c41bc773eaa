"""What a refusal of Braze's is about, which decides what becomes of the call.

| answer | about | the call |
|---|---|---|
| 400, 422, a 2xx that says why nothing was done | what was sent | is halved until the culprit is alone, which fails |
| the same, in words about the campaign or Canvas | the target | fails as a whole: halving it would find nobody |
| 413 | what was sent: too much of it | is halved; what is too large alone fails |
| 404, 405, 415, every other 4xx | whoever calls | waits: a wrong address or header is ours to mend, and loses nothing |

401 and 403 are `UpstreamUnauthorized` and wait as well, 408 is `UpstreamUnknown`, 429 `UpstreamThrottled`.

Source: Braze's page on errors and responses. It has no 422; wherever there is one, it is about the body.
"""

from __future__ import annotations

from enum import StrEnum

from shared.errors import UpstreamRefused


class About(StrEnum):
    CONTENT = "content"
    TARGET = "target"
    CALLER = "caller"


# As `clients.braze` names them.
_TOO_LARGE = "status_413"
_ABOUT_WHAT_WAS_SENT = frozenset({"status_400", "status_422", "no_success", _TOO_LARGE})

# Words with which Braze refuses the campaign or Canvas and not somebody in the call.
_ABOUT_THE_TARGET = (
    "invalid campaign id",
    "invalid canvas id",
    "message variant",
    "mismatched message type",
    "no message to send",
    "campaign_id",
    "canvas_id",
    "is archived",
    "is paused",
    "is stopped",
)
# A SessionM campaign id is one of a member's properties, and may be what Braze complains of.
_ABOUT_A_RECIPIENT = ("recipient", "trigger_properties", "context")


def about(refused: UpstreamRefused) -> About:
    """What is to be mended for the call to be taken."""
    if refused.vendor_code not in _ABOUT_WHAT_WAS_SENT:
        return About.CALLER
    words = refused.vendor_message.lower()
    if refused.vendor_code == _TOO_LARGE or any(known in words for known in _ABOUT_A_RECIPIENT):
        return About.CONTENT
    return About.TARGET if any(known in words for known in _ABOUT_THE_TARGET) else About.CONTENT
