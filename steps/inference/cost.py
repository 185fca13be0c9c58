"""What a run costs: seconds of its parts, and memory."""

import contextlib
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator


class Stopwatch:
    """Sums wall-clock seconds by name in `seconds`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Adds the time of the `with` body to `seconds[name]`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


def peak_memory() -> dict[str, int]:
    """Bytes that this process took at most: {"host": of main memory, "gpu": where one was used}."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = {"host": most if sys.platform == "darwin" else most * 1024}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        peak["gpu"] = torch.cuda.max_memory_allocated()
    return peak
