"""Work on a stream in a few threads, results in the stream's order, with a bounded window."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def in_order(work: Callable[[A], B], things: Iterable[A], *, workers: int = 2) -> Iterator[B]:
    """Yield `work(thing)` for each thing, in order; at most `2 * workers` results wait in memory.

    An exception of `work` is raised where its result would have been; what is still waiting is given up.
    """
    stream = iter(things)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="flywheel-raw")
    waiting: deque[Future[B]] = deque(pool.submit(work, thing) for thing in islice(stream, 2 * workers))
    try:
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, thing) for thing in islice(stream, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
