"""The simulated vendors of a bundle: how they are set up, and what the functions are told to reach them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.local.settings import (
    CALLERS,
    CAMPAIGN_ID,
    CANVAS_ID,
    EVENT,
    OTHER_SEGMENT_ID,
    PRODUCT,
    SEGMENT_ID,
    TEMPLATE_ID,
    BundleSettings,
)
from infra.local.simulators import BrazeSimulator, Member, SessionmSimulator, Simulator

BRAZE_KEY: Final = "local-braze-key"
LOG_KEY: Final = "key-of-the-hashes-in-local-logs"  # in the place of the one that Secrets Manager makes up


def simulators(settings: BundleSettings) -> tuple[SessionmSimulator, BrazeSimulator]:
    """SessionM and Braze, not started yet."""
    host, ports, scale = settings.host, settings.ports, settings.latency_scale
    sessionm = SessionmSimulator(host, ports.sessionm, latency_scale=scale)
    return sessionm, BrazeSimulator(host, ports.braze, api_key=BRAZE_KEY, latency_scale=scale)


def seed_braze(braze: BrazeSimulator, members: Sequence[Member]) -> None:
    """A workspace with everything that has a name in `infra.local.settings`: a campaign, a Canvas, segments and so on.

    An export of the segment holds the members, and an anonymous user.
    """
    braze.add_campaign(CAMPAIGN_ID)
    braze.add_canvas(CANVAS_ID)
    braze.add_segment(SEGMENT_ID)
    braze.add_segment(OTHER_SEGMENT_ID, "Silver members", 25_000)
    braze.add_event(EVENT)
    braze.add_product(PRODUCT)
    braze.add_email_template(TEMPLATE_ID)
    braze.set_segment_users(SEGMENT_ID, [*(member.user_id for member in members), None])


def local_url(simulator: Simulator) -> str:
    """A simulator's address as seen from this machine, whatever it is bound to."""
    return simulator.url.replace("0.0.0.0", "127.0.0.1")


def parameters(sessionm_url: str, braze_url: str) -> dict[str, str]:
    """The template parameters that point the functions at the simulators."""
    return {
        "SessionmCoreUrl": sessionm_url,
        "SessionmConnectUrl": sessionm_url,
        "BrazeRestUrl": braze_url,
        "SegmentIds": SEGMENT_ID,
        "BrazePathGroups": "triggers,messages,track,exports,reads,templates",
        "TrackedEvents": "offer_issued,offer_redeemed,offer_expiring,points_awarded,tier_changed",
        "TagRatePerSecond": "2000",  # what the simulators bear
    }


def secrets(callers: Mapping[str, str], sessionm: SessionmSimulator) -> dict[str, dict[str, Any]]:
    """The values of the template's secrets, by logical id; `callers` are the callers' keys by name."""
    pair = b64decode(sessionm.core_authorization.removeprefix("Basic ")).decode()
    core_api_key, _, core_api_secret = pair.partition(":")
    return {
        "CallersSecret": {"callers": {name: {"key": callers[name], "allows": list(CALLERS[name])} for name in callers}},
        "SessionmSecret": {
            "core_api_key": core_api_key,
            "core_api_secret": core_api_secret,
            "connect_authorization": sessionm.connect_authorization,
            "retailer_id": sessionm.retailer_id,
        },
        "BrazeSecret": {"rest_api_key": BRAZE_KEY},
        "LogKeySecret": {"key": LOG_KEY},
    }


def example_csv(members: Sequence[Member]) -> bytes:
    """A small file to import."""
    lines = ["user_id,tags,ttl", *(f"{member.user_id},example,2592000" for member in members[:3])]
    return "\n".join(lines).encode() + b"\n"
