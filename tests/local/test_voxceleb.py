"""VoxCeleb's folders and lists."""

import gzip
from pathlib import Path

import pytest
from lhotse import SupervisionSet

from local import voxceleb
from local.speaker_choices import Choices

ONE = Choices(dev_speakers=1)


@pytest.fixture
def corpus(tmp_path: Path, audio) -> Path:
    """Both corpora as they are unpacked: VoxCeleb1 as WAV in two folders, VoxCeleb2 as FLAC beside its AAC."""
    root = tmp_path / "vox celeb"
    for folder, speaker in [("vox1_dev", 10001), ("vox1_dev", 10002), ("vox1_test", 10270), ("vox1_test", 10309)]:
        for number in (1, 2):
            audio(root / folder / f"wav/id{speaker}/x-Y_{speaker}/0000{number}.wav")
    for part, speaker in [("dev", 12), ("dev", 15), ("dev", 9272), ("vox2_test", 17)]:
        file = audio(root / "voxceleb2" / part / f"aac/id{speaker:05d}/video/00001.flac")
        file.with_suffix(".m4a").write_bytes(b"packed")
    (root / "meta").mkdir()
    rows = ["1 {0}/00001.wav {0}/00002.wav", "0 {0}/00001.wav {1}/00001.wav", "0 {1}/00002.wav {0}/00001.wav"]
    names = ("id10270/x-Y_10270", "id10309/x-Y_10309")
    (root / "meta/veri_test2.txt").write_text("".join(row.format(*names) + "\n" for row in rows))
    return root


def speakers(out: Path, split: str) -> set[str]:
    return {s.speaker for s in SupervisionSet.from_file(out / f"supervisions_{split}.jsonl.gz")}


def test_training_on_the_second(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    voxceleb.main(["--corpus-dir", str(corpus), "--out-dir", str(out), "--dev-speakers", "1"])
    train, dev = speakers(out, "train"), speakers(out, "dev")
    assert train | dev == {"id00012", "id00015", "id09272"} and len(dev) == 1, "its test speakers are left out"
    test = {s.id: s for s in SupervisionSet.from_file(out / "supervisions_test.jsonl.gz")}
    assert set(test) == {f"id{s}-x-Y_{s}-0000{n}" for s in (10270, 10309) for n in (1, 2)}
    assert test["id10309-x-Y_10309-00002"].custom == {"session": "x-Y_10309"}
    assert gzip.decompress((out / "trials_test.txt.gz").read_bytes()).decode().splitlines() == [
        "id10270-x-Y_10270-00001 id10270-x-Y_10270-00002 target",
        "id10270-x-Y_10270-00001 id10309-x-Y_10309-00001 nontarget",
        "id10309-x-Y_10309-00002 id10270-x-Y_10270-00001 nontarget",
    ]
    assert (out / "enrolments_test.txt").read_text().splitlines() == [
        "id10270-x-Y_10270-00001 id10270-x-Y_10270-00001",
        "id10309-x-Y_10309-00002 id10309-x-Y_10309-00002",
    ]


def test_training_on_the_first_or_both(corpus: Path, tmp_path: Path, caplog) -> None:
    other, same = "0 id10001/x-Y_10001/00001.wav {}", "1 id10002/x-Y_10002/00001.wav {}"
    lines = [line.format("id10002/x-Y_10002/00002.wav") for line in (other, same)]
    (corpus / "list_test_hard2.txt").write_text("\n".join(lines))
    voxceleb.prepare(corpus, tmp_path / "second", choices=ONE)
    assert len(gzip.decompress((tmp_path / "second/trials_test_hard.txt.gz").read_bytes()).splitlines()) == 2
    assert "id10002-x-Y_10002-00001 id" in (tmp_path / "second/enrolments_test_hard.txt").read_text()
    assert speakers(tmp_path / "second", "test") == {"id10001", "id10002", "id10270", "id10309"}
    for train, expected in (("voxceleb1", {"id10001", "id10002"}), ("both", {"id00012", "id10001", "id10002"})):
        voxceleb.prepare(corpus, tmp_path / train, choices=ONE, train=train)
        assert expected <= speakers(tmp_path / train, "train") | speakers(tmp_path / train, "dev")
        assert not (tmp_path / train / "trials_test_hard.txt.gz").exists()
        assert speakers(tmp_path / train, "test") == {"id10270", "id10309"}
    assert "its lists of all speakers are left out" in caplog.text


def test_what_is_missing_is_said(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="given with a password on application"):
        voxceleb.main(["--download", "--corpus-dir", str(tmp_path / "nowhere")])
    with pytest.raises(FileNotFoundError, match="no folders wav/id10001"):
        voxceleb.scan(tmp_path / "nowhere", ONE)
    (corpus / "voxceleb2/dev/aac/id00015/video/00001.flac").unlink()
    with pytest.raises(ValueError, match=r"00001\.m4a is AAC, which cannot be read here .*ffmpeg -i"):
        voxceleb.scan(corpus, ONE)
    (corpus / "meta/veri_test2.txt").rename(corpus / "meta/veri_test.txt")
    with pytest.raises(FileNotFoundError, match=r"has no veri_test2\.txt, the cleaned trials"):
        voxceleb.scan(corpus, ONE, "voxceleb1")
    (corpus / "voxceleb2").rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match="has no speakers of voxceleb2"):
        voxceleb.scan(corpus, ONE, "voxceleb2")
