"""What the tests of several rooms build on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from steps.graph import hlg, lang, ngram
from steps.graph.config import GraphConfig, LangConfig, NgramConfig
from steps.graph.lexicon import BACKOFF, EPS, read_symbols
from steps.graph.units import Units


@pytest.fixture(scope="session")
def make_language() -> Callable[[Path, Sequence[str]], Units]:
    """A function that writes `folder`/lang and `folder`/graph for the sentences (characters, a trigram)."""

    def make(folder: Path, sentences: Sequence[str]) -> Units:
        units = lang.prepare(LangConfig(), sentences, [], None, folder / "lang")
        symbols = read_symbols(folder / "lang" / "words.txt")
        vocabulary = [symbol for symbol in symbols if symbol not in (EPS, BACKOFF)]
        model = ngram.estimate([units.words(sentence) for sentence in sentences], vocabulary, NgramConfig())
        model.write_arpa(folder / "3gram.arpa")
        hlg.compile_graph(folder / "lang", folder / "3gram.arpa", GraphConfig(), folder / "graph")
        return units

    return make


@pytest.fixture(scope="session")
def talkers(tmp_path_factory) -> Path:
    """data/<corpus> with cuts of train, dev and test (3 speakers of 3 utterances each), noises, rooms, and levels."""
    import numpy as np
    import soundfile
    from lhotse import CutSet, Recording, RecordingSet
    from lhotse.supervision import SupervisionSegment

    from steps import measure_levels

    folder = tmp_path_factory.mktemp("talkers")
    rng = np.random.default_rng(0)

    def record(name: str, wave: np.ndarray) -> Recording:
        soundfile.write(folder / f"{name}.wav", wave.astype(np.float32), 16000, subtype="PCM_16")
        return Recording.from_file(folder / f"{name}.wav")

    for split in ("train", "dev", "test"):
        cuts = []
        for speaker in range(3):
            for number in range(3):
                time = np.arange(int(rng.uniform(1.2, 2.2) * 16000)) / 16000
                voice = np.sin(2 * np.pi * (120 + 60 * speaker + 5 * number) * time) * (1 + np.sin(6 * time))
                wave = 0.1 * rng.uniform(0.3, 1.0) * voice + 0.01 * rng.standard_normal(len(time))
                cut = record(f"{split}-{speaker}-{number}", wave).to_cut()
                segment = SupervisionSegment(cut.id, cut.id, 0.0, cut.duration, text="一", speaker=f"{split}{speaker}")
                cut.supervisions = [segment]
                cuts.append(cut)
        CutSet.from_cuts(cuts).to_file(folder / f"cuts_{split}.jsonl.gz")
    noises = [record(f"noise-{k}", 0.05 * rng.standard_normal(16000 * (2 + 12 * (k == 0)))) for k in range(4)]
    RecordingSet.from_recordings(noises).to_file(folder / "recordings_noise.jsonl.gz")
    decay = np.exp(-np.arange(4800) / 800)
    rooms = [record(f"rir-{k}", np.r_[np.zeros(40), 0.5, 0.1 * decay * rng.standard_normal(4800)]) for k in range(4)]
    RecordingSet.from_recordings(rooms).to_file(folder / "recordings_rir.jsonl.gz")
    measure_levels.main(["--data", str(folder)])
    return folder
