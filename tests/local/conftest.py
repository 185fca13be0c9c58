"""Small corpora on disk."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 16000


def tone_bursts(seconds: float = 1.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Something that rises and falls as speech does: bursts of a tone over faint noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    envelope = np.clip(np.sin(2 * np.pi * 4 * time), 0, 1)
    return 0.3 * envelope * np.sin(2 * np.pi * 220 * time) + 1e-3 * rng.standard_normal(len(time))


def write_audio(path: Path, samples: np.ndarray | None = None, rate: int = RATE, **options) -> Path:
    """Writes audio, a second of `tone_bursts` by default, and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone_bursts(rate=rate) if samples is None else samples, rate, **options)
    return path


@pytest.fixture
def audio():
    """The function `write_audio`."""
    return write_audio


@pytest.fixture
def bursts():
    """The function `tone_bursts`."""
    return tone_bursts


@pytest.fixture
def kaldi_corpus(tmp_path: Path) -> Path:
    """A Kaldi corpus of two utterances a split in a folder whose name has a space and Chinese characters."""
    corpus = tmp_path / "我的 语音"
    for number, split in enumerate(("train", "dev", "test")):
        rows = {"wav.scp": [], "text": [], "utt2spk": []}
        for utterance in (1, 2):
            id = f"spk{number}-{utterance}"
            write_audio(corpus / "wav 文件" / f"{id}.wav")
            rows["wav.scp"].append(f"{id} wav 文件/{id}.wav")
            rows["text"].append(f"{id} 打开 客厅 的 灯 {utterance}")
            rows["utt2spk"].append(f"{id} spk{number}")
        for name, lines in rows.items():
            file = corpus / split / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return corpus


@pytest.fixture
def aishell_corpus(tmp_path: Path) -> Path:
    """A corpus laid out as AISHELL-1: two speakers in train, one in dev and test, two utterances each."""
    corpus, lines = tmp_path / "aishell 语料", []
    for speaker, split in (("S0002", "train"), ("S0003", "train"), ("S0724", "dev"), ("S0764", "test")):
        for number in (121, 122):
            id = f"BAC009{speaker}W{number:04d}"
            write_audio(corpus / "data_aishell/wav" / split / speaker / f"{id}.wav")
            lines.append(f"{id} 而  对 楼市 ａbc {number - 120}")
    transcript = corpus / "data_aishell/transcript/aishell_transcript_v0.8.txt"
    transcript.parent.mkdir(parents=True)
    transcript.write_text("\n".join(lines) + "\n", encoding="utf-8")
    lexicon = corpus / "resource_aishell/lexicon.txt"
    lexicon.parent.mkdir(parents=True)
    lexicon.write_text("SIL sil\n而 ee er2\n对  d ui4\n对 d ui4\n", encoding="utf-8")
    return corpus
