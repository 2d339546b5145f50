"""Python's cyclic garbage collector, paused where hundreds of thousands of objects are made that live on.

It looks at all living objects again and again while their number grows. A timeline and what the checker remembers of it
have no cycles, so reference counts free all of it, and the collector finds nothing: on 100 rounds of 66 satellites it
took a third of the checker's time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """No collection inside; left as it was found, whatever happens."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
