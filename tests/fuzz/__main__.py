"""`make fuzz EXAMPLES=500`: a long run, other requests each time. The exit status is 1 when a contract was broken."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from pathlib import Path

from infra.local.bundle import BundleSettings, LocalBundle
from tests.fuzz.run import DESCRIPTIONS, PUT_OFF_PERCENT, fuzz

EXAMPLES = 200


def main() -> int:
    """Fuzzes both APIs, prints the report and the answers counted. SEED repeats a run."""
    examples = int(os.environ.get("EXAMPLES") or EXAMPLES)
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    print(f"{examples} examples, SEED={seed}", flush=True)
    failed = False
    with (
        tempfile.TemporaryDirectory() as scratch,
        LocalBundle(BundleSettings(state_dir=Path(scratch), latency_scale=0)) as bundle,
    ):
        for api in DESCRIPTIONS:
            outcome = fuzz(bundle, api, Path(scratch), examples, seed)
            print(outcome.report)
            for operation, statuses in sorted(outcome.statuses().items()):
                print(f"{operation:70} {', '.join(f'{status}: {statuses[status]}' for status in sorted(statuses))}")
            print(f"{outcome.put_off_percent:.2f} % were told to come again; at most {PUT_OFF_PERCENT:g} % may be\n")
            failed = failed or outcome.failed or outcome.put_off_percent > PUT_OFF_PERCENT
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
