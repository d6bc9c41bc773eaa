"""What `run` prints: addresses, commands to paste, and the snippets a marketer puts into Braze."""

from __future__ import annotations

import json
from collections.abc import Iterator

from infra.local.bundle import LocalBundle
from infra.local.settings import CAMPAIGN_ID, SEGMENT_ID

_TAG_BODY = {"tags": ["braze_test"], "ttl": 2592000}


def guide(bundle: LocalBundle) -> str:
    """The whole text, ready to print."""
    return "\n".join(["", *_addresses(bundle), *_commands(bundle), *_snippets(bundle)])


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


def _snippets(bundle: LocalBundle) -> Iterator[str]:
    content, intake = bundle.content_url, bundle.intake_url
    yield "In Braze (there with the https addresses of your deployment, credential bundle = the caller above):"
    yield ""
    yield "  Wallet by POST, which keeps member ids out of URLs:"
    yield ""
    yield """    {% capture body %}{"user_id":"{{${user_id}}}","culture":"{{${language}}}","limit":3}{% endcapture %}"""
    yield f"    {{% connected_content {content}/wallet"
    yield "       :method post :basic_auth bundle :content_type application/json :body {{body}} :save wallet %}"
    yield "    {% if wallet.ok %}You have {{wallet.available_points}} points and {{wallet.offer_count}} offers."
    yield "    {% else %}{% abort_message('no wallet') %}{% endif %}"
    yield ""
    yield "  Wallet by GET:"
    yield ""
    yield f"    {{% connected_content {content}/wallet/{{{{${{user_id}}}}}}?limit=3 :basic_auth bundle :save wallet %}}"
    yield ""
    yield "  Segment size:"
    yield ""
    yield f"    {{% connected_content {content}/segments/{SEGMENT_ID}/size?min=1000 :basic_auth bundle :save crowd %}}"
    yield "    {% if crowd.meets_min %}Join {{crowd.size_text}} others.{% endif %}"
    yield ""
    yield "  Webhook campaign that tags its audience at SessionM:"
    yield ""
    yield f"    Webhook URL      {intake}/priv/v1/apps/{bundle.sessionm.core_api_key}/users/{{{{${{user_id}}}}}}/tags"
    yield "    HTTP method      POST"
    yield "    Request headers  Content-Type: application/json"
    yield f"                     Authorization: {bundle.authorization('braze-webhook')}"
    yield f"    Request body     {json.dumps(_TAG_BODY, separators=(',', ':'))}   (raw text)"
    yield ""


def _curl(bundle: LocalBundle, caller: str, url: str, body: str | None = None) -> Iterator[str]:
    line = f"  curl -s -u {caller}:{bundle.callers[caller]} '{url}'"
    if body is not None:
        line += f" \\\n    -H 'Content-Type: application/json' -d '{body}'"
    yield line
