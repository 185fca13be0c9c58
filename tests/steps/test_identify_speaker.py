"""steps.enroll_speakers and steps.identify_speaker, with a small x-vector that was never trained.

A voice is noise that swings between two spectra of its own. Their difference survives the removal of the mean, any
convolution with a nonlinearity sees it, and a back end fitted on such voices tells them apart.
"""

import json

import numpy as np
import pytest
import soundfile
import torch
from lhotse import Recording

from steps import enroll_speakers, identify_speaker
from steps.backend import gallery as gallery_room
from steps.backend.calibration import Calibration
from steps.backend.chain import Backend
from steps.backend.config import BackendConfig
from steps.backend.decision import Decision
from steps.backend.extraction import Extraction
from steps.backend.gallery import Gallery
from steps.backend.recognizer import Recognizer
from steps.metrics.thresholds import threshold_table
from steps.metrics.verification import error_curve
from steps.models.config import ExtractorConfig
from steps.models.speaker import SpeakerModel
from steps.tasks.config import SpeakerConfig
from steps.tasks.speaker import new_extractor
from steps.training.checkpoint import save_checkpoint
from utils import atomic, config

RATE = 16000
TRAIN, DEV, UTTERANCES = 24, 24, 4
NAMES = {"张三": 100, "Zoë Müller": 101, "李四": 102}  # speakers that neither train nor dev has
DEFAULTS = SpeakerConfig(task="speaker", model=ExtractorConfig("xvector", embedding_dim=24, channels=24))


def voice(speaker, take, seconds=1.0):
    """(samples,): the take's own noise and its own swing."""
    spectra = np.random.default_rng([speaker, 0]).normal(scale=2.0, size=(2, 12))
    rng = np.random.default_rng([speaker, take, 1])
    noise = np.fft.rfft(rng.normal(size=round(seconds * RATE)))
    bands = np.linspace(0, 11, len(noise))
    both = [
        np.fft.irfft(noise * np.exp(np.interp(bands, np.arange(12), one)), round(seconds * RATE)) for one in spectra
    ]
    time = np.arange(len(both[0])) / RATE
    swing = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(2.5, 3.5) * time + rng.random()))
    wave = swing * both[0] / both[0].std() + (1 - swing) * both[1] / both[1].std()
    return (0.05 * wave).astype(np.float32)


def write(path, *waves, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(waves), rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def make_model(path, seed):
    """A checkpoint as steps.average_checkpoints writes it."""
    torch.manual_seed(seed)
    model = SpeakerModel(new_extractor(DEFAULTS))
    save_checkpoint(path, {"model": model.state_dict(), "config": config.to_dict(DEFAULTS)})


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A folder with averaged.pt, other.pt and backend/, as stages 5 and 7 leave them."""
    exp = tmp_path_factory.mktemp("实验 one")
    make_model(exp / "averaged.pt", 1)
    make_model(exp / "other.pt", 2)
    placeholder = Backend("cosine", np.zeros(24), None, None, np.zeros((0, 24), np.float32), 2)
    deploy(exp / "backend", placeholder, Calibration(1.0, 0.0, np.zeros(0), np.zeros(0), 0.01), [])
    recognizer = Recognizer(exp / "averaged.pt", exp / "backend", "cpu")
    speakers = np.repeat(np.arange(TRAIN + DEV), UTTERANCES)
    vectors = []
    for number, speaker in enumerate(speakers):
        features = recognizer.fbank.extract(torch.from_numpy(voice(speaker, number)), RATE)
        vectors.append(recognizer.window_embeddings(features.unsqueeze(0), "x")[0])
    vectors, train = np.array(vectors), speakers < TRAIN
    backend = Backend.fit("lda", vectors[train], speakers[train].astype(str), BackendConfig(lda_dim=12))
    dev, who = vectors[~train], speakers[~train]
    labels = np.where(np.triu(np.ones((len(who), len(who))), 1) > 0, who[:, None] == who, -1).astype(np.int8)
    scores = backend.score(list(dev[:, None]), dev)
    calibration = Calibration.fit(scores, labels)
    table = threshold_table(error_curve(calibration.apply(scores), labels), [0.1, 0.01, 0.001])
    deploy(exp / "backend", backend, calibration, table)
    return exp


def deploy(folder, backend, calibration, table):
    folder.mkdir(exist_ok=True)
    backend.save(folder / "backend.npz")
    rows = [row.to_dict() for row in table]
    decision = {"chain": backend.name, "calibration": calibration.to_dict(), "thresholds": rows}
    atomic.write_json(folder / "decision.json", json.loads(json.dumps(decision)))


@pytest.fixture
def verbs(experiment, tmp_path):
    """Functions enroll(...) and identify(...) with the options that they share filled in."""

    def options(gallery, checkpoint):
        paths = {"--checkpoint": experiment / checkpoint, "--backend": experiment / "backend", "--gallery": gallery}
        return [str(word) for pair in paths.items() for word in pair] + ["--device", "cpu"]

    def enroll(*words, gallery=tmp_path / "my 声纹.npz", checkpoint="averaged.pt"):
        enroll_speakers.main(options(gallery, checkpoint) + [str(word) for word in words])
        return Gallery.load(gallery)

    def identify(*words, gallery=tmp_path / "my 声纹.npz", checkpoint="averaged.pt"):
        identify_speaker.main(options(gallery, checkpoint) + [str(word) for word in words])

    return enroll, identify


def enroll_all(enroll, folder):
    for name, speaker in NAMES.items():
        files = [write(folder / f"{name} {take}.wav", voice(speaker, take, 1.0 + 0.5 * take)) for take in range(3)]
        gallery = enroll("--speaker", name, *files)
    return gallery


def answers(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_speakers_are_named_and_strangers_are_not(verbs, tmp_path, capsys):
    enroll, identify = verbs
    gallery = enroll_all(enroll, tmp_path)
    assert list(gallery.speakers) == list(NAMES)
    assert gallery.speakers["张三"].files == [str(tmp_path / f"张三 {take}.wav") for take in range(3)]
    np.testing.assert_allclose(gallery.speakers["张三"].seconds, [1.0, 1.5, 2.0], atol=0.2)
    known = [write(tmp_path / "test" / f"新 {name}.wav", voice(speaker, 7)) for name, speaker in NAMES.items()]
    strangers = [write(tmp_path / "test" / f"stranger{n}.flac", voice(200 + n, 0)) for n in range(8)]
    identify("--json", *known, *strangers)
    found = answers(capsys)
    assert [answer["file"] for answer in found] == [str(path) for path in [*known, *strangers]]
    assert [answer["name"] for answer in found] == [*NAMES] + [None] * 8
    assert {answer["decision"] for answer in found[3:]} == {"unknown"}
    for answer in found:
        assert (answer["score"] >= answer["threshold"]) == (answer["decision"] == "accepted")
        assert answer["second_score"] <= answer["score"]
        assert answer["seconds"] == pytest.approx(1.0, abs=0.2)
    identify("--fpir", "0.1", known[0], strangers[0])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [len(line) for line in lines] == [7, 7]
    assert lines[0][1:3] == ["张三", "张三"]
    assert lines[1][1] == "unknown"
    assert float(lines[0][4]) == pytest.approx(found[0]["threshold"], abs=0.01)  # 1 - 0.9^(1/3) = 0.034, so FAR 0.01


def test_scores_do_not_depend_on_rate_or_company(verbs, tmp_path, capsys):
    enroll, identify = verbs
    enroll_all(enroll, tmp_path)
    wave = voice(100, 9)
    finer = np.fft.irfft(np.fft.rfft(wave), 2 * len(wave)) * 2
    files = [write(tmp_path / "a.wav", wave), write(tmp_path / "b.wav", finer.astype(np.float32), rate=2 * RATE)]
    identify("--json", *files)
    identify("--json", files[0])
    same, resampled, alone = answers(capsys)
    assert same == alone
    assert resampled["name"] == "张三"
    assert resampled["score"] == pytest.approx(same["score"], abs=0.3)


def test_bad_audio_stops_an_enrolment_but_not_an_identification(verbs, tmp_path, capsys):
    enroll, identify = verbs
    enroll_all(enroll, tmp_path)
    good = write(tmp_path / "good.wav", voice(101, 8))
    bad = {
        "no speech (silence": write(tmp_path / "silence.wav", np.zeros(RATE, np.float32)),
        "no speech (0.20 s": write(tmp_path / "short.wav", voice(100, 0)[: RATE // 5]),
        "2 channels": write(tmp_path / "stereo.wav", np.stack([voice(100, 0)] * 2, axis=1)),
        "no samples": write(tmp_path / "empty.wav", np.zeros(0, np.float32)),
        "a sample at 0.00 s is not": write(tmp_path / "nan.wav", np.full(RATE, np.nan, np.float32)),
        "there is no such file": tmp_path / "missing.wav",
        "no audio that can be read": tmp_path / "text.wav",
    }
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(SystemExit) as stopped:
        identify("--json", *bad.values(), good)
    assert stopped.value.code == identify_speaker.UNDECIDED
    *found, last = answers(capsys)
    assert last["name"] == "Zoë Müller"
    for answer, (reason, path) in zip(found, bad.items(), strict=True):
        assert answer["decision"] == "none"
        assert answer["file"] == str(path)
        assert answer["reason"].startswith(reason)
        with pytest.raises(ValueError, match=rf"new is not enrolled: .*{path.name}"):
            enroll("--speaker", "new", good, path)
    with pytest.raises(SystemExit):
        identify(bad["2 channels"])
    assert "\tno decision: 2 channels" in capsys.readouterr().out


def test_two_voices_are_refused(verbs, tmp_path, caplog):
    enroll, _ = verbs
    files = [write(tmp_path / f"{take}.wav", voice(100, take)) for take in range(3)]
    other = write(tmp_path / "other.wav", voice(102, 0))
    with pytest.raises(ValueError, match=r"two voices: .*other\.wav does not match .*0\.wav, .*1\.wav, .*2\.wav"):
        enroll("--speaker", "张三", *files, other)
    both = write(tmp_path / "both.wav", voice(100, 5, 5.0), voice(102, 5, 4.0))
    with pytest.raises(ValueError, match=r"two voices in .*both\.wav: [345] of 8 windows .* the first [45] s into"):
        enroll("--speaker", "张三", files[0], both)
    long = write(tmp_path / "long.wav", voice(100, 5, 9.0))
    assert len(enroll("--speaker", "张三", files[0], long).speakers["张三"].files) == 2
    assert len(enroll("--speaker", "两人", "--accept-mixed", other, both).speakers["两人"].files) == 2
    enroll("--speaker", "again", *files[1:])
    assert "again sounds like 张三, who is enrolled already" in caplog.text
    assert "两人 sounds like" not in caplog.text


def test_replace_list_and_remove(verbs, tmp_path, capsys):
    enroll, _ = verbs
    gallery = enroll_all(enroll, tmp_path)
    path = str(tmp_path / "my 声纹.npz")
    file = write(tmp_path / "neu.wav", voice(100, 20))
    with pytest.raises(ValueError, match="张三 is enrolled already; --replace"):
        enroll("--speaker", "张三", file)
    after = enroll("--speaker", "张三", "--replace", file)
    assert after.speakers["张三"].files == [str(file)]
    np.testing.assert_array_equal(after.speakers["李四"].vectors, gallery.speakers["李四"].vectors)
    with pytest.raises(ValueError, match=r"neu\.wav is given twice"):
        enroll("--speaker", "d", file, file)
    enroll_speakers.main(["--gallery", path, "--remove", "Zoë Müller"])
    enroll_speakers.main(["--gallery", path, "--list"])
    assert [line.split("\t")[:2] for line in capsys.readouterr().out.splitlines()] == [["张三", "1"], ["李四", "3"]]


def test_a_gallery_of_another_model_is_refused(verbs, tmp_path):
    enroll, identify = verbs
    mine = enroll_all(enroll, tmp_path).model
    file = write(tmp_path / "x.wav", voice(100, 20))
    for use in (identify, lambda *words, **how: enroll("--speaker", "new", *words, **how)):
        with pytest.raises(ValueError, match=rf"made with model {mine}, but the checkpoint is model \w{{16}}: .*again"):
            use(file, checkpoint="other.pt")
    other = enroll("--speaker", "new", file, checkpoint="other.pt", gallery=tmp_path / "other.npz").model
    assert other != mine


def test_an_embedding_is_that_of_the_extraction(experiment, tmp_path):
    path = write(tmp_path / "x.wav", voice(100, 20, 1.3))
    extraction = Extraction(experiment / "averaged.pt", "cpu")
    expected = extraction.run([Recording.from_file(path).to_cut()]).vectors[0]
    recognizer = Recognizer(experiment / "averaged.pt", experiment / "backend", "cpu")
    found = recognizer.embedding(recognizer.listen(path))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32
    features = recognizer.listen(path).features
    alone = recognizer.window_embeddings(features[None, 20:60], "x")
    many = recognizer.window_embeddings(features[20:60].expand(70, -1, -1), "x")  # more than a batch
    np.testing.assert_allclose(many, np.repeat(alone, 70, axis=0), atol=1e-5)


def test_back_ends_of_other_make_are_told_apart(experiment, verbs, tmp_path, capsys, caplog):
    enroll, identify = verbs
    gallery = enroll_all(enroll, tmp_path)
    backend = Backend.load(experiment / "backend" / "backend.npz")
    decision = Decision.load(experiment / "backend")
    deploy(tmp_path / "b", backend, Calibration(2.0, 1.0, np.zeros(0), np.zeros(0), 0.01), decision.table)
    file = write(tmp_path / "x.wav", voice(100, 20))
    identify(file, "--backend", tmp_path / "b")  # the embeddings are as good as before
    assert "was made with another back end" in caplog.text
    assert enroll("--backend", tmp_path / "b", "--speaker", "new", file).backend != gallery.backend
    deploy(tmp_path / "b", backend.renamed("lda_s_norm"), decision.calibration, decision.table)
    atomic.write_json(
        tmp_path / "b" / "decision.json", json.loads((experiment / "backend" / "decision.json").read_text())
    )
    with pytest.raises(ValueError, match=r"decision\.json is of lda, backend\.npz of lda_s_norm"):
        identify(file, "--backend", tmp_path / "b")
    deploy(tmp_path / "b", Backend("cosine", np.zeros(9), None, None, np.zeros((0, 9)), 2), decision.calibration, [])
    with pytest.raises(ValueError, match=r"of embeddings of 9 numbers, .* makes 24"):
        identify(file, "--backend", tmp_path / "b")


def test_what_the_table_does_not_support_is_refused_with_what_it_does(verbs, tmp_path):
    enroll, identify = verbs
    enroll_all(enroll, tmp_path)
    with pytest.raises(ValueError, match=r"FAR of 0\.001 needs 30000 .*take one of 0\.1, 0\.01"):
        identify("--far", "0.001", tmp_path / "x.wav")
    with pytest.raises(ValueError, match=r"FPIR of 0\.01 with 3 speakers .*--fpir 0\.0298 \(a FAR of 0\.01\)"):
        identify("--fpir", "0.01", tmp_path / "x.wav")


def test_many_are_enrolled_from_kaldi_files(verbs, tmp_path, caplog):
    enroll, _ = verbs
    utt2spk, scp = tmp_path / "train" / "utt2spk", tmp_path / "train" / "wav.scp"
    for name, speaker in (("a", 100), ("b", 101)):
        for take in range(2):
            write(tmp_path / f"with space/{name}-{take}.wav", voice(speaker, take))
    write(tmp_path / "with space" / "c-0.wav", np.zeros(RATE, np.float32))
    ids = [f"{name}-{take}" for name in "abc" for take in range(2) if (name, take) != ("c", 1)]
    scp.parent.mkdir()
    scp.write_text("".join(f"{id}\twith space/{id}.wav\n" for id in ids), encoding="utf-8")
    utt2spk.write_text("".join(f"{id}  {id[0]}\n" for id in ids), encoding="utf-8")
    with pytest.raises(ValueError, match=r"^c is not enrolled: c-0: no speech"):
        enroll("--utt2spk", utt2spk, "--wav-scp", scp)
    found = Gallery.load(tmp_path / "my 声纹.npz")
    assert {name: speaker.files for name, speaker in found.speakers.items()} == {
        "a": ["a-0", "a-1"],
        "b": ["b-0", "b-1"],
    }
    scp.write_text("a-0 sox x |\n", encoding="utf-8")
    utt2spk.write_text("a-0 d\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is a command, which is not run"):
        enroll("--utt2spk", utt2spk, "--wav-scp", scp)
    utt2spk.write_text("a-1 d\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"a-1 of .*utt2spk has no file in .*wav\.scp"):
        enroll("--utt2spk", utt2spk, "--wav-scp", scp)


def test_enrolling_waits_for_its_turn(verbs, tmp_path, monkeypatch):
    enroll, _ = verbs
    file = write(tmp_path / "x.wav", voice(100, 0))
    monkeypatch.setattr(gallery_room.editing.__wrapped__, "__defaults__", ("", "", 0.1))
    with gallery_room._turn(tmp_path / "my 声纹.npz", 1.0), pytest.raises(ValueError, match="another process has held"):
        enroll("--speaker", "张三", file)
    assert list(enroll("--speaker", "张三", file).speakers) == ["张三"]


@pytest.mark.parametrize("words", [[], ["--speaker", "a"], ["--utt2spk", "x"], ["x.wav"], ["--utt2spk", "x", "y.wav"]])
def test_options_that_do_not_go_together_are_refused(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        enroll_speakers.main(["--gallery", "g.npz", "--checkpoint", "a", "--backend", "b", *words])
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err
