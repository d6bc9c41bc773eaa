"""A batch of messages as the items they brought, and what is told of it afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import msgspec

from shared.errors import BundleError
from shared.observability import count, logger, narrow
from shared.outcomes import Outcome
from shared.queues import Message, Staying
from trigger_relay.courier import ItemT, Repeated, Results


@dataclass(slots=True)
class Batch(Generic[ItemT]):
    """The items of a batch of messages, and which message each came in; an item may come in several."""

    items: dict[str, ItemT] = field(default_factory=dict)
    messages: dict[str, list[Message]] = field(default_factory=dict)
    unreadable: list[Message] = field(default_factory=list)

    @classmethod
    def of(cls, messages: Sequence[Message], items_in: Callable[[str], Iterable[ItemT]]) -> Batch[ItemT]:
        """`items_in` reads the body of a message; what it cannot read raises `msgspec.DecodeError`."""
        batch = cls()
        for message in messages:
            try:
                items = list(items_in(message.body))
            except (msgspec.DecodeError, RecursionError):
                logger.error("unreadable message", message_id=message.id)
                batch.unreadable.append(message)
                continue
            for item in items:
                batch.items.setdefault(item.id, item)
                batch.messages.setdefault(item.id, []).append(message)
        narrow(item.correlation_id for item in batch.items.values())
        return batch

    def staying(self, results: Results) -> dict[str, Staying]:
        """By its id each message that must stay in the queue, for as long as the item in it that waits longest."""
        staying = {message.id: Staying(message) for message in self.unreadable}
        for item_id, result in results.items():
            if not isinstance(result, BundleError):
                continue
            for message in self.messages[item_id]:
                known = staying.get(message.id, Staying(message))
                staying[message.id] = Staying(message, max(known.wait_seconds, result.retry_after_seconds))
        return staying


def summary(results: Results, counted_as: Mapping[str, str]) -> dict[str, Any]:
    """Counts what became of each item, and returns the same for a line of the log.

    `counted_as` has a metric for each state, for "repeated" and for "postponed".
    """
    settled = Counter(result.state.value for result in results.values() if isinstance(result, Outcome))
    repeated = sum(isinstance(result, Repeated) for result in results.values())
    postponed = Counter(result.code for result in results.values() if isinstance(result, BundleError))
    numbers = {**settled, "repeated": repeated, "postponed": postponed.total()}
    for what, name in counted_as.items():
        if number := numbers.get(what):
            count(name, number)
    return {"settled": dict(settled), "repeated": repeated, "postponed": dict(postponed)}
