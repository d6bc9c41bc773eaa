"""How long a function takes to be ready for its first event, against the least that any such function takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from statistics import median

from tests.bench.emulator import Emulator
from tests.bench.figures import Figure
from tests.bench.ground import Ground

# A function's init over the floor's: `import urllib3, boto3` and one boto3 client.
COLD_INIT_RATIO = 1.25

ROUNDS = 9
WITHOUT_BYTECODE = "wallet"

FLOOR = "floor"

Subjects = Mapping[str, Callable[[], AbstractContextManager[Emulator]]]


def figures(ground: Ground) -> Iterator[Figure]:
    """One ratio per HTTP function, with bytecode; for information also the floor itself and one without bytecode."""
    functions = {function.name: function for function in ground.http_functions()}
    plain = f"{WITHOUT_BYTECODE}, no bytecode"
    subjects: Subjects = {
        FLOOR: partial(ground.added_handler, "floor"),
        **{name: partial(ground.emulator, function) for name, function in functions.items()},
        plain: partial(ground.emulator, ground.function(WITHOUT_BYTECODE), bytecode=False),
    }
    inits_ms: dict[str, list[float]] = {name: [] for name in subjects}
    _measure(subjects, inits_ms, rounds=1)
    for samples in inits_ms.values():
        samples.clear()  # the first round brought files into memory and wrote the bytecode of the environment's boto3
    _measure(subjects, inits_ms, ROUNDS)
    if any(_ratio(inits_ms, name) > COLD_INIT_RATIO for name in functions):
        _measure({name: subjects[name] for name in (FLOOR, *functions)}, inits_ms, ROUNDS)

    floor_words = f"fastest of {len(inits_ms[FLOOR])} cold starts, median {median(inits_ms[FLOOR]):.0f} ms"
    yield Figure("cold init, floor", min(inits_ms[FLOOR]), "ms", floor_words)
    for name in (*functions, plain):
        is_shipped = name != plain
        yield Figure(
            f"cold init, {name}",
            _ratio(inits_ms, name),
            "x",
            _in_words(inits_ms, name),
            at_most=COLD_INIT_RATIO if is_shipped else None,
            remark=ground.code.remark,
        )


def _measure(subjects: Subjects, inits_ms: dict[str, list[float]], rounds: int) -> None:
    """Interleaved: a slow minute of the machine falls on every subject, and each takes each place in the order."""
    order = list(subjects)
    for _ in range(rounds):
        for name in order:
            inits_ms[name].append(_init_ms(subjects[name]()))
        order.append(order.pop(0))


def _init_ms(starting: AbstractContextManager[Emulator]) -> float:
    with starting as emulator:
        emulator.invoke(b"{}")  # what the function makes of it does not matter: it is ready before it is asked
        return emulator.init_ms()


def _ratio(inits_ms: dict[str, list[float]], name: str) -> float:
    """Fastest over fastest, not median over median.

    An init is the same work every time, and whatever else the machine does can only add to it. On a busy machine two
    runs' medians of the same thing differed by a fifth, their minima by a twentieth. For the same reason all
    are measured once more when one misses: more samples bring every minimum closer to the truth, whichever it is.
    """
    return min(inits_ms[name]) / min(inits_ms[FLOOR])


def _in_words(inits_ms: dict[str, list[float]], name: str) -> str:
    own, floor = inits_ms[name], inits_ms[FLOOR]
    return (
        f"{min(own):.0f} ms against the floor's {min(floor):.0f} ms, fastest of {len(own)} and {len(floor)}; "
        f"medians {median(own):.0f} and {median(floor):.0f} ms"
    )
