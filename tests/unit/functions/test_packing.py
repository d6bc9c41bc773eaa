"""How rows are packed must not change unnoticed: a file that is being read is gone on with by the next release."""

from __future__ import annotations

from hashlib import sha256

from bulk.parcels import PACKING, Label, Packer, Parcel
from member_lists.reading import Grain
from shared.queues import body_of

# Of the parcels below, for each packing there was. If yours is another, raise PACKING and add it.
FINGERPRINTS = {1: "9eb21552a86c59f0"}


def parcels() -> list[Parcel]:
    """Rows of a few labels, short and long, in more than one parcel by number and by size."""
    packer = Packer("csv-1")
    labels = [
        Label("user_id", ("gold",), 60),
        Label("external_id", ("silver", "vip"), None),
        Label("user_id", tuple(f"tag {number} of a long list" for number in range(40)), 86_400),
    ]
    made = []
    for line in range(2, 3_000):
        kind = 2 if line % 97 == 0 else line // 1_200
        full = packer.add(line, f"member-{line * 7919 % 100_003:0{5 + line % 30}d}", labels[kind])
        if full is not None:
            made.append(full)
    rest = packer.rest()
    assert rest is not None
    return [*made, rest]


def test_the_packing_has_a_number_and_another_packing_another_one() -> None:
    texts = [body_of(parcel) for parcel in parcels()]
    grain = repr(Grain())

    found = sha256("\n".join([grain, *texts]).encode()).hexdigest()[:16]

    assert found == FINGERPRINTS[PACKING], "the parcels are others than before: raise PACKING (bulk/parcels.py)"
    assert max(FINGERPRINTS) == PACKING
