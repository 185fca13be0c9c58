"""What a decoding job cost."""

from typing import Any

from steps.decoding.searches import Searches
from steps.inference.cost import Stopwatch, peak_memory


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
