"""What a decoding job cost."""

import resource
import sys
from typing import Any

from steps.decoding.searches import Searches
from steps.decoding.stopwatch import Stopwatch


def decoding_stats(searches: Searches, watch: Stopwatch, facts: dict[str, Any]) -> dict[str, Any]:
    """JSON-able: utterances, audio_seconds, engine, seconds of every part, memory, partial hypotheses, `facts`.

    `watch` has timed the features and the network. Memory is in bytes, at its peak.
    """
    return {
        "utterances": len(searches.utterances),
        "audio_seconds": round(sum(utterance.seconds for utterance in searches.utterances), 3),
        "engine": searches.graph.name if searches.graph else None,
        "seconds": {name: round(value, 3) for name, value in {**watch.seconds, **searches.watch.seconds}.items()},
        "peak_memory": peak_memory(),
        "partial": dict(searches.partial),
        **facts,
    }


def peak_memory() -> dict[str, int]:
    """Bytes that this process took at most: {"host": of main memory, "gpu": where one was used}."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = {"host": most if sys.platform == "darwin" else most * 1024}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.max_memory_allocated() > 0:
        peak["gpu"] = torch.cuda.max_memory_allocated()
    return peak
