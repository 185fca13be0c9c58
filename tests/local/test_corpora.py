"""The published corpora: each layout is read, and another is refused with what was expected."""

from pathlib import Path

import numpy as np
import pytest
from lhotse import RecordingSet, SupervisionSet

from local import aishell, aishell2, command, musan, noise_dir, thchs30
from local.problems import BadDataError


def texts(out: Path, split: str) -> dict[str, tuple[str, str]]:
    supervisions = SupervisionSet.from_file(out / f"supervisions_{split}.jsonl.gz")
    return {s.id: (s.speaker, s.text) for s in supervisions}


def test_aishell(aishell_corpus: Path, tmp_path: Path) -> None:
    aishell.main(["--corpus-dir", str(aishell_corpus), "--out-dir", str(tmp_path / "data")])
    assert texts(tmp_path / "data", "train") == {
        "BAC009S0002W0121": ("S0002", "而 对 楼市 ABC 1"),
        "BAC009S0002W0122": ("S0002", "而 对 楼市 ABC 2"),
        "BAC009S0003W0121": ("S0003", "而 对 楼市 ABC 1"),
        "BAC009S0003W0122": ("S0003", "而 对 楼市 ABC 2"),
    }
    assert (tmp_path / "data/lexicon.txt").read_text() == "SIL sil\n而 ee er2\n对 d ui4\n"
    assert [p.name for p in (tmp_path / "data").glob("bad*")] == []


def test_aishell_says_what_lhotse_says(aishell_corpus: Path, tmp_path: Path) -> None:
    from lhotse.recipes import prepare_aishell

    theirs = prepare_aishell(aishell_corpus)
    aishell.prepare(aishell_corpus, tmp_path / "data")
    for split in ("train", "dev", "test"):
        ours = SupervisionSet.from_file(tmp_path / f"data/supervisions_{split}.jsonl.gz")
        expected = sorted(theirs[split]["supervisions"], key=lambda s: s.id)
        for mine, other in zip(ours, expected, strict=True):
            assert mine.text.replace(" ", "") == other.text
            assert (mine.id, mine.speaker, mine.duration, mine.language, mine.channel) == (
                other.id,
                other.speaker,
                other.duration,
                other.language,
                other.channel,
            )
        recordings = RecordingSet.from_file(tmp_path / f"data/recordings_{split}.jsonl.gz")
        assert list(recordings) == sorted(theirs[split]["recordings"], key=lambda r: r.id)


def test_aishell_in_the_folder_that_lhotse_makes(aishell_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "download").mkdir()
    aishell_corpus.rename(tmp_path / "download/aishell")
    assert len(aishell.scan(tmp_path / "download").utterances) == 8


def test_aishell_half_unpacked(aishell_corpus: Path) -> None:
    train = aishell_corpus / "data_aishell/wav/train"
    train.rename(aishell_corpus / "elsewhere")
    (train.parent / "S0002.tar.gz").touch()
    with pytest.raises(FileNotFoundError, match=r"unpack the \.tar\.gz archives"):
        aishell.scan(aishell_corpus)
    with pytest.raises(FileNotFoundError, match="expected the folder with data_aishell/ and resource_aishell/"):
        aishell.scan(aishell_corpus / "data_aishell")


def test_aishell2(audio, tmp_path: Path) -> None:
    root = tmp_path / "corpus" / "AISHELL-2"
    lines = {"data": ("IC0001W0001", "C0001"), "dev": ("ID0001W0001", "D0001"), "test": ("IT0001W0001", "T0001")}
    for folder, (id, speaker) in lines.items():
        audio(root / "iOS" / folder / "wav" / speaker / f"{id}.wav")
        transcript = root / "iOS" / folder / "trans.txt"
        transcript.write_text(f"{id}\t听Yesterday once-more，在不断'拉I'm\n", encoding="utf-8")
    aishell2.prepare(tmp_path / "corpus", tmp_path / "data")
    aishell2.prepare(root, tmp_path / "data 2")
    assert texts(tmp_path / "data", "train") == {"IC0001W0001": ("C0001", "听YESTERDAY ONCE MORE在不断拉I'M")}
    assert texts(tmp_path / "data 2", "test").keys() == {"IT0001W0001"}
    (root / "iOS/dev/trans.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no trans\.txt in .*iOS/dev"):
        aishell2.scan(root)
    with pytest.raises(ValueError, match="given on application"):
        aishell2.main(["--download", "--corpus-dir", str(tmp_path / "nowhere")])


def test_thchs30(audio, tmp_path: Path) -> None:
    data = tmp_path / "data_thchs30"
    for split, id in (("train", "A02_000"), ("train", "A11_001"), ("dev", "A11_002"), ("test", "D04_750")):
        audio(data / split / f"{id}.wav")
        (data / "data").mkdir(exist_ok=True)
        (data / "data" / f"{id}.wav.trn").write_text(f"绿 是 l = 阳春 {id[-1]}\nlv4 shi4\nl v4\n", encoding="utf-8")
        (data / split / f"{id}.wav.trn").write_text(f"../data/{id}.wav.trn\n")
    (data / "lm_word").mkdir()
    (data / "lm_word/lexicon.txt").write_text("绿 l v4\n", encoding="utf-8")
    thchs30.prepare(tmp_path, tmp_path / "out")
    assert texts(tmp_path / "out", "train") == {
        "A02_000": ("A02", "绿 是 阳春 0"),
        "A11_001": ("A11", "绿 是 阳春 1"),
    }
    assert texts(tmp_path / "out", "dev") == {"A11_002": ("A11", "绿 是 阳春 2")}
    assert "train and dev share 1 speakers, as published" in (tmp_path / "out/bad_data.tsv").read_text()
    assert (tmp_path / "out/lexicon.txt").read_text() == "绿 l v4\n"
    (data / "data/D04_750.wav.trn").write_bytes("绿".encode("gb18030"))
    (data / "data/A02_000.wav.trn").write_text("")
    with pytest.raises(BadDataError, match="2 problems"):
        thchs30.prepare(tmp_path, tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="no folders data, train, dev, test"):
        thchs30.scan(tmp_path / "out")


def test_noise_becomes_recordings_at_16_khz(audio, bursts, tmp_path: Path) -> None:
    folder, rng = tmp_path / "noise 噪声", np.random.default_rng(0)
    audio(folder / "b/steady hiss.wav", 0.1 * rng.standard_normal(8000))
    audio(folder / "a.flac", bursts(2.0, 48000), 48000)
    audio(folder / "zeros.wav", np.zeros(8000))
    (folder / "readme.txt").write_text("no audio")
    with pytest.raises(BadDataError, match="1 problem in"):
        noise_dir.main(["--corpus-dir", str(folder), "--out-dir", str(tmp_path / "data")])
    noise_dir.prepare(folder, tmp_path / "data", "skip", num_jobs=2)
    noises = RecordingSet.from_file(tmp_path / "data/recordings_noise.jsonl.gz")
    assert [cut.id for cut in noises] == ["noise-a", "noise-b-steady_hiss"]
    assert [cut.load_audio().shape for cut in noises] == [(1, 32000), (1, 8000)]
    assert {cut.sampling_rate for cut in noises} == {16000}
    assert "zeros.wav" in (tmp_path / "data/bad_noise.tsv").read_text()


def test_musan_needs_its_three_parts(audio, tmp_path: Path) -> None:
    for part in ("music", "speech"):
        audio(tmp_path / "musan" / part / "x" / f"{part}-0001.wav")
    with pytest.raises(FileNotFoundError, match=r"has no noise; .*local\.noise_dir"):
        musan.prepare(tmp_path, tmp_path / "data")
    audio(tmp_path / "musan/noise/free-sound/noise-0001.wav")
    musan.prepare(tmp_path, tmp_path / "data")
    ids = [cut.id for cut in RecordingSet.from_file(tmp_path / "data/recordings_noise.jsonl.gz")]
    assert ids == ["noise-music-x-music-0001", "noise-noise-free-sound-noise-0001", "noise-speech-x-speech-0001"]
    with pytest.raises(ValueError, match="no usable noise"):
        noise_dir.prepare(tmp_path / "data", tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="is not a directory"):
        noise_dir.download(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("corpus", "function", "archive"),
    [
        (aishell, "download_aishell", "resource_aishell.tgz"),
        (thchs30, "download_thchs_30", "data_thchs30.tgz"),
        (musan, "download_musan", "musan.tar.gz"),
    ],
)
def test_a_download_that_fails_names_the_way_round_it(corpus, function, archive, tmp_path: Path, monkeypatch) -> None:
    asked = []

    def fail(folder: Path) -> None:
        asked.append(folder)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(f"lhotse.recipes.{function}", fail)
    with pytest.raises(OSError, match=rf"no route to host.*{archive}.* --corpus-dir"):
        corpus.main(["--download", "--corpus-dir", str(tmp_path)])
    assert asked == [tmp_path]


def test_what_is_there_is_not_downloaded(aishell_corpus: Path, monkeypatch) -> None:
    monkeypatch.setattr(command, "fetch", lambda *_: pytest.fail("downloaded again"))
    aishell.main(["--download", "--corpus-dir", str(aishell_corpus)])


@pytest.mark.parametrize("options", [[], ["--corpus-dir", "x"], ["--out-dir", "x"]])
def test_options_that_say_too_little(options: list[str]) -> None:
    with pytest.raises(ValueError, match="--corpus-dir DIR is needed"):
        aishell.main(options)
