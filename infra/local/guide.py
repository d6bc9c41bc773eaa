"""What `run` prints: addresses, commands to paste, and the snippets a marketer puts into Braze."""

from __future__ import annotations

import json
from collections.abc import Iterator

from infra.local.bundle import LocalBundle
from infra.local.settings import CAMPAIGN_ID, ROOT, SEGMENT_ID

_TAG_BODY = {"tags": ["braze_test"], "ttl": 2592000}

_SNIPPETS = {
    "Wallet by POST, which keeps member ids out of URLs": "wallet.liquid",
    "Wallet by GET": "wallet-by-url.liquid",
    "Segment size": "segment-size.liquid",
    "Webhook campaign that tags its audience at SessionM": "webhook-tags.liquid",
}


def guide(bundle: LocalBundle) -> str:
    """The whole text, ready to print."""
    return "\n".join(["", *_addresses(bundle), *_commands(bundle), *snippets()])


def _addresses(bundle: LocalBundle) -> Iterator[str]:
    yield "The bundle runs on this machine. Ctrl-C stops it."
    yield ""
    yield f"  Content API   {bundle.content_url}   (Braze Connected Content)"
    yield f"  Intake API    {bundle.intake_url}   (Braze webhooks, SessionM templates, operators)"
    yield f"  SessionM      {bundle.sessionm_url}   simulated; see /_control/state and /_control/faults"
    yield f"  Braze         {bundle.braze_url}   simulated; likewise"
    yield f"  AWS           {bundle.aws_url}   emulated; bucket {bundle.bucket}"
    yield f"  Logs          {bundle.settings.state_dir / 'logs'}"
    yield ""
    yield "Callers (Basic user and password, or the password as a Bearer token):"
    yield ""
    yield from (f"  {name:<24} {key}" for name, key in bundle.callers.items())
    yield ""
    yield "For the commands of README and docs/, in another terminal:"
    yield ""
    yield f"  CONTENT_API={bundle.content_url} INTAKE_API={bundle.intake_url}"
    yield f"  SESSIONM={bundle.sessionm_url} BRAZE={bundle.braze_url}"
    yield f"  echo 'user = \"operator:{bundle.callers['operator']}\"' > caller.conf"
    yield ""


def _commands(bundle: LocalBundle) -> Iterator[str]:
    user_id, other_id = bundle.members[0].user_id, bundle.members[1].user_id
    content, intake, state = bundle.content_url, bundle.intake_url, f"{bundle.sessionm_url}/_control/state"
    yield "Tags, as a Braze webhook campaign sends them, and what SessionM then knows:"
    yield ""
    yield from _curl(
        bundle,
        "braze-webhook",
        f"{intake}/priv/v1/apps/{bundle.sessionm.core_api_key}/users/{user_id}/tags",
        json.dumps(_TAG_BODY),
    )
    yield f'  sleep 2; curl -s {state} | grep -o \'"name": *"braze_test"\''
    yield ""
    yield "A member's wallet, flat for Liquid, and in SessionM's own words:"
    yield ""
    yield from _curl(bundle, "braze-connected-content", f"{content}/wallet", json.dumps({"user_id": user_id}))
    yield from _curl(bundle, "braze-connected-content", f"{content}/wallet/{user_id}?limit=3")
    offers = {"retailer_id": bundle.sessionm.retailer_id, "user_id": user_id, "skip": 0, "take": 1000}
    offers |= {"include_pending_extended_data": False, "culture": "en-US"}
    path = "/offers/api/2.0/offers/get_user_offers"
    yield from _curl(bundle, "braze-connected-content", f"{content}{path}", json.dumps(offers))
    yield ""
    yield "A message triggered by SessionM, and what Braze was asked to send:"
    yield ""
    trigger = {"braze_campaign_id": CAMPAIGN_ID, "customer identifier": other_id, "offer title": "Free coffee"}
    yield from _curl(bundle, "sessionm", f"{intake}/triggers", json.dumps(trigger))
    yield f"  sleep 2; curl -s {bundle.braze_url}/_control/state"
    yield ""
    yield "How many people are in a segment:"
    yield ""
    yield from _curl(bundle, "braze-connected-content", f"{content}/segments/{SEGMENT_ID}/size")
    yield ""
    yield "A CSV by a command, or into the import bucket with any S3 client:"
    yield ""
    yield f"  printf 'user_id,tags,ttl\\n{user_id},gold|spring,2592000\\n' > /tmp/tags.csv"
    yield "  make import FILE=/tmp/tags.csv"
    yield (
        "  AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_DEFAULT_REGION=us-east-1 "
        f"aws --endpoint-url {bundle.aws_url} s3 cp /tmp/tags.csv s3://{bundle.bucket}/imports/"
    )
    yield ""


def snippets() -> Iterator[str]:
    """Those of the documentation, as they are pasted into Braze: it calls no address of this machine."""
    yield "To paste into Braze, with the hosts of your ContentApiUrl and IntakeApiUrl for CONTENT_HOST and INTAKE_HOST,"
    yield "your credential's name for bundle and a caller's key for WEBHOOK_KEY. The command beside each renders it as"
    yield "Braze would, with the wallets and segments of this machine:"
    yield ""
    for title, name in _SNIPPETS.items():
        yield f"  {title}: make render TEMPLATE=docs/snippets/{name}"
        yield ""
        text = (ROOT / "docs" / "snippets" / name).read_text(encoding="utf-8")
        yield from (f"    {line}".rstrip() for line in text.splitlines())
        yield ""


def _curl(bundle: LocalBundle, caller: str, url: str, body: str | None = None) -> Iterator[str]:
    line = f"  curl -s -u {caller}:{bundle.callers[caller]} '{url}'"
    if body is not None:
        line += f" \\\n    -H 'Content-Type: application/json' -d '{body}'"
    yield line
