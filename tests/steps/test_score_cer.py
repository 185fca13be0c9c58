"""From decoded pieces to results.json, RESULTS.md and comparisons, with figures computed by hand."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from steps import compare_results, score_cer, write_results
from steps.metrics import pieces
from steps.tasks.config import AsrConfig
from utils import config as config_file

# Two speakers; greedy search makes 1 substitution and 1 deletion in 10 characters of test.
REFS = {"A1": "打开灯", "A2": "关门", "B1": "打开窗户", "B2": "好"}
GREEDY = {"A1": "打开等", "A2": "关门", "B1": "打开窗", "B2": "好"}
LISTS = {
    key: [
        {"text": GREEDY[key], "acoustic": -1.0, "graph": -4.0, "words": 2},
        {"text": REFS[key], "acoustic": -3.0, "graph": -3.0, "words": 2},
    ]
    for key in REFS
}


def write_piece(folder: Path, ids: list[str], job: int, num_jobs: int) -> None:
    """What steps.decode_asr leaves of the utterances `ids`."""
    folder.mkdir(parents=True)
    pieces.write_text(folder / "ref.txt", {key: REFS[key] for key in ids})
    pieces.write_text(folder / "utt2spk", {key: f"speaker{key[0]}" for key in ids})
    pieces.write_text(folder / "hyp_ctc_greedy.txt", {key: GREEDY[key] for key in ids})
    rows = [json.dumps({"id": key, "hyps": LISTS[key]}, ensure_ascii=False) for key in ids]
    (folder / "nbest.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    stats = {
        "job": job, "num_jobs": num_jobs, "utterances": len(ids), "audio_seconds": 2.0 * len(ids), "engine": "openfst",
        "seconds": {"features": 0.1, "network": 0.3, "ctc_greedy": 0.02, "graph_nbest": 0.5},
        "peak_memory": {"host": 1000 + job}, "partial": {"graph_nbest": 1}, "parameters": 1234567, "device": "CPU X",
        "checkpoint": "averaged.pt", "decode": {"nbest": 50},
    }  # fmt: skip
    (folder / "stats.json").write_text(json.dumps(stats))


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    """A decoded run: test in two pieces, dev in one directory."""
    data, folder = tmp_path / "data", tmp_path / "exp dir" / "conformer"
    data.mkdir()
    (data / "supervisions_train.jsonl.gz").write_bytes(gzip.compress(b'{"id": "x"}\n'))
    folder.mkdir(parents=True)
    config = config_file.load(AsrConfig, None, ["task=asr", "seed=7", f"data.dir={data}", "score.resamples=500"])
    config_file.dump(config, folder / "config.yaml")
    write_piece(folder / "decode_test" / "1", ["B2", "A1"], 1, 2)
    write_piece(folder / "decode_test" / "2", ["A2", "B1"], 2, 2)
    write_piece(folder / "decode_dev", list(REFS), 1, 1)
    stages = folder / ".stages"
    stages.mkdir()
    for number, title, state in ((4, "train", "done"), (6, "infer", "done"), (7, "score", "running")):
        record = {"stage": number, "title": title, "state": state, "start": "", "end": "", "seconds": 10.5 * number}
        (stages / f"{number:02d}.json").write_text(json.dumps(record))
    return folder


def run(exp: Path, *more: str) -> dict:
    arguments = {"exp": exp, "dev": exp / "decode_dev", "test": exp / "decode_test"}
    paths = [word for name, path in arguments.items() for word in (f"--{name}", str(path))]
    score_cer.main([*paths, "--corpus", "mini", "--command", "./run.sh --corpus mini", *more])
    return json.loads((exp / "results.json").read_text(encoding="utf-8"))


def test_results(exp: Path, capsys: pytest.CaptureFixture) -> None:
    found = run(exp)
    facts = {key: found[key] for key in ("task", "corpus", "split", "exp", "command", "seed", "utterances", "speakers")}
    assert facts == {
        "task": "asr", "corpus": "mini", "split": "test", "exp": "conformer", "command": "./run.sh --corpus mini",
        "seed": 7, "utterances": 4, "speakers": 2,
    }  # fmt: skip
    assert found["manifest_hash"] == hashlib.sha256(b'train\n{"id": "x"}\n').hexdigest()[:12]
    assert found["parameters"] == 1234567
    assert found["audio_seconds"] == 8.0
    assert found["peak_memory"] == {"host": 1002}
    assert found["training_seconds"] == 42.0
    assert [stage["stage"] for stage in found["stages"]] == [4, 6]
    assert found["bootstrap"] == {"level": 0.95, "resamples": 500, "by": "utterance", "groups": 4}

    greedy, nbest = found["systems"]
    assert greedy["name"] == "ctc_greedy"
    cer = greedy["metrics"]["cer"]
    # Of 256 draws of four utterances 16 have no error, and 1 has nothing but A1, the worst.
    assert (cer["value"], cer["low"], cer["unit"]) == (20.0, 0.0, "%")
    assert 30.0 <= cer["high"] <= 33.34
    assert greedy["errors"] == {"insertions": 0, "deletions": 1, "substitutions": 1, "tokens": 10, "total": 2}
    assert greedy["metrics"]["rtf"]["value"] == pytest.approx((0.1 + 0.3 + 0.02) * 2 / 8)
    assert nbest["metrics"]["rtf"]["value"] == pytest.approx((0.1 + 0.3 + 0.5) * 2 / 8)
    assert nbest["partial"] == 2
    # The second of each list is right, and better when the graph counts more than twice; 2.0 is a tie.
    assert nbest["metrics"]["cer"]["value"] == 20.0
    assert nbest["dev"]["metrics"]["cer"]["value"] == 20.0
    assert nbest["chosen"] == {"graph_scale": 1.0, "word_bonus": 0.0}

    printed = capsys.readouterr().out
    assert printed == (exp / "score" / "summary.txt").read_text(encoding="utf-8")
    row = next(line for line in printed.splitlines() if line.startswith("ctc_greedy"))
    interval = f"0.00-{cer['high']:.2f}"
    assert row.split() == ["ctc_greedy", "20.00", interval, "0", "1", "1", "0.1050", "20.00"]
    assert str(exp / "results.json") in printed


def test_weights_are_chosen_on_dev_and_applied_to_test(exp: Path) -> None:
    found = run(exp, "score.graph_scales=[1.0,2.5]", "score.word_bonuses=[0.0]")
    nbest = found["systems"][1]
    assert nbest["chosen"] == {"graph_scale": 2.5, "word_bonus": 0.0}
    assert [row["errors"] for row in nbest["sweep"]] == [2, 0]
    assert nbest["metrics"]["cer"]["value"] == 0.0
    assert pieces.read_text(exp / "score" / "test" / "graph_nbest" / "hyp.txt") == REFS
    assert (exp / "score" / "sweep.tsv").read_text().splitlines()[1:] == ["1\t0\t2", "2.5\t0\t0"]


def test_weights_do_not_look_at_test(exp: Path) -> None:
    """With dev's references exchanged for greedy's hypotheses, dev prefers greedy, whatever test would like."""
    pieces.write_text(exp / "decode_dev" / "ref.txt", GREEDY)
    nbest = run(exp, "score.graph_scales=[1.0,2.5]", "score.word_bonuses=[0.0]")["systems"][1]
    assert nbest["chosen"]["graph_scale"] == 1.0
    assert nbest["dev"]["metrics"]["cer"]["value"] == 0.0
    assert nbest["metrics"]["cer"]["value"] == 20.0


def test_word_error_rate(exp: Path) -> None:
    greedy = run(exp, "score.unit=word")["systems"][0]
    assert greedy["metrics"]["wer"]["value"] == 50.0
    assert greedy["errors"]["tokens"] == 4


def test_files_of_a_system(exp: Path) -> None:
    run(exp)
    folder = exp / "score" / "test" / "ctc_greedy"
    names = {"errors.txt", "hyp.txt", "per_speaker.tsv", "per_utterance.jsonl"}
    assert {path.name for path in folder.iterdir()} == names
    rows = [json.loads(line) for line in (folder / "per_utterance.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["id"], row["speaker"], row["errors"]) for row in rows] == [
        ("A1", "speakerA", 1), ("A2", "speakerA", 0), ("B1", "speakerB", 1), ("B2", "speakerB", 0),
    ]  # fmt: skip


def test_pieces_are_merged_beside_themselves(exp: Path) -> None:
    run(exp)
    merged = exp / "decode_test"
    assert pieces.read_text(merged / "ref.txt") == REFS
    assert (merged / "hyp_ctc_greedy.txt").read_text(encoding="utf-8").splitlines()[0] == "A1 打开等"
    assert len((merged / "nbest.jsonl").read_text(encoding="utf-8").splitlines()) == 4
    assert json.loads((merged / "stats.json").read_text())["seconds"]["network"] == 0.6


def test_scoring_again_scores_nothing_and_says_the_same(exp: Path, capsys: pytest.CaptureFixture) -> None:
    run(exp)
    first, before = capsys.readouterr().out, (exp / "score" / "results.json").stat().st_mtime_ns
    (exp / "results.json").unlink()
    run(exp)
    assert capsys.readouterr().out == first
    assert (exp / "score" / "results.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="made differently: option config"):
        run(exp, "score.unit=word")


def test_missing_and_surplus_utterances_are_named(exp: Path) -> None:
    path = exp / "decode_test" / "1" / "hyp_ctc_greedy.txt"
    pieces.write_text(path, {"A1": "", "C9": "多"})
    with pytest.raises(ValueError, match=r"decode_test, ctc_greedy: 1 utterances \(B2\) are missing"):
        run(exp)
    pieces.write_text(path, {"A1": "", "B2": "", "C9": "多"})
    with pytest.raises(ValueError, match=r"decode_test, ctc_greedy: 1 utterances \(C9\) have no reference"):
        run(exp)


def test_pieces_that_are_not_all_there_are_named(exp: Path) -> None:
    folder = exp / "decode_test"
    (folder / "2").rename(folder / "aside")
    with pytest.raises(ValueError, match=r"of 2 jobs \[2\] left nothing"):
        run(exp)
    write_piece(folder / "2", ["A1"], 2, 2)
    with pytest.raises(ValueError, match=r"1 utterances \(A1\) also in another piece"):
        run(exp)
    stats = json.loads((folder / "2" / "stats.json").read_text())
    (folder / "2" / "stats.json").write_text(json.dumps({**stats, "num_jobs": 5}))
    with pytest.raises(ValueError, match="another number of jobs"):
        run(exp)
    with pytest.raises(FileNotFoundError, match=r"nowhere has no stats\.json and no pieces"):
        pieces.merge(exp / "nowhere")


def test_pieces_of_more_jobs_before_are_left_out(exp: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_piece(exp / "decode_test" / "3", ["A1"], 3, 3)
    assert run(exp)["utterances"] == 4
    assert "pieces [3] are of an earlier run" in caplog.text


def test_dev_and_test_need_the_same_systems(exp: Path) -> None:
    (exp / "decode_dev" / "hyp_ctc_greedy.txt").rename(exp / "decode_dev" / "hyp_graph_1best.txt")
    with pytest.raises(ValueError, match="dev has the systems graph_1best, graph_nbest, test ctc_greedy, graph_nbest"):
        run(exp)


def test_no_reference_text_at_all(exp: Path) -> None:
    for folder in (exp / "decode_test" / "1", exp / "decode_test" / "2"):
        pieces.write_text(folder / "ref.txt", dict.fromkeys(pieces.read_text(folder / "ref.txt"), ""))
    with pytest.raises(ValueError, match="no reference has any text"):
        run(exp)


def test_results_page(exp: Path, tmp_path: Path) -> None:
    first = run(exp)
    second = {**first, "exp": "another", "corpus": "aishell", "training_seconds": 7500}
    other = tmp_path / "other.json"
    other.write_text(json.dumps(second), encoding="utf-8")
    pages = []
    for order in ([exp / "results.json", other], [other, exp / "results.json"]):
        write_results.main([*map(str, order), "--out", str(tmp_path / "RESULTS.md")])
        pages.append((tmp_path / "RESULTS.md").read_text(encoding="utf-8"))
    assert pages[0] == pages[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in pages[0].splitlines() if line[:1] == "|"]
    assert [row[:4] for row in rows[2:6]] == [
        ["another", "aishell", "test", "ctc_greedy"], ["another", "aishell", "test", "graph_nbest"],
        ["conformer", "mini", "test", "ctc_greedy"], ["conformer", "mini", "test", "graph_nbest"],
    ]  # fmt: skip
    assert rows[2][4:6] == ["CER %", "**20.00**"]
    assert rows[2][7:] == ["0", "1", "1", "0.1050", "20.00"]
    assert rows[8][:3] == ["another", "1,234,567", "2 h 05 min"]
    assert "```\n./run.sh --corpus mini\n```" in pages[0]
    with pytest.raises(ValueError, match=r"other\.json: not JSON"):
        other.write_text("{")
        write_results.main([str(other), "--out", str(tmp_path / "RESULTS.md")])


def test_comparison(exp: Path, capsys: pytest.CaptureFixture) -> None:
    run(exp, "score.graph_scales=[2.5]", "score.word_bonuses=[0.0]")
    capsys.readouterr()
    files = [exp / "score" / "test" / system / "per_utterance.jsonl" for system in ("graph_nbest", "ctc_greedy")]
    compare_results.main([*map(str, files), "--resamples", "3000"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("A 0.00 %")
    assert lines[1].startswith("B 20.00 %")
    assert re.fullmatch(r"A - B -20\.00 %, 95 % interval -3\d\.\d\d to [+-]0\.00", lines[2])
    # In 1 of 16 draws there is no utterance with an error, and neither is better.
    assert float(lines[3].removeprefix("probability that A is better than B: ")) == pytest.approx(31 / 32, abs=0.02)
