"""Threads for what waits on the network, and one thread that decides."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

from shared.errors import BundleError

Result = TypeVar("Result")

_Task = tuple[Callable[[], Any], Callable[[Any], None]]


class Crew:
    """Runs work in threads of its own, as many as there is work at a time, and what follows from it in the caller's.

    So what several pieces of work come to is put together by one thread, which needs no locks for it.
    """

    def __init__(self) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[Callable[[Any], None], Any, BaseException | None]] = SimpleQueue()
        self._threads = 0
        self.under_way = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in range(self._threads):
            self._tasks.put(None)

    def start(self, work: Callable[[], Result], then: Callable[[Result | BundleError], None]) -> None:
        """Has `work` done; `then` gets what it returned, or the `BundleError` it raised."""
        self.under_way += 1
        self._tasks.put((work, then))
        if self.under_way > self._threads:
            self._threads += 1
            Thread(target=self._work, daemon=True).start()

    def go_on(self, timeout_seconds: float | None) -> None:
        """Waits for work to end, but no longer than that, and does what follows; any other error is raised here."""
        with suppress(Empty):
            then, result, error = self._done.get(timeout=timeout_seconds)
            self.under_way -= 1
            if error is not None:
                raise error
            then(result)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            work, then = task
            try:
                self._done.put((then, work(), None))
            except BundleError as expected:
                self._done.put((then, expected, None))
            except BaseException as error:  # carried over and raised there
                self._done.put((then, None, error))
