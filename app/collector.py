"""Python's garbage collector, in processes that stay."""

import gc


def spare() -> None:
    """Modules and schema stay for good: looking through all of them for garbage takes longer
    than many requests, and costs a push a quarter of its time. A request makes a few thousand
    objects, so it collects every few."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
