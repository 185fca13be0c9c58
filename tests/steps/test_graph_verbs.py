"""prepare_lang, train_ngram and compile_graph as run.sh calls them."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from steps import compile_graph, prepare_lang, train_ngram
from steps.graph.lexicon import read_symbols
from utils.provenance import StaleOutputError

TRAIN = ["打开客厅的灯", "关灯", "打开空调", "把空调关了", "今天天气怎么样"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Manifests, a configuration and more text, in a path with a space and Chinese."""
    folder = tmp_path / "数 据"
    folder.mkdir()
    for split, texts in {"train": TRAIN, "dev": ["关客厅的灯", "开窗"]}.items():
        with gzip.open(folder / f"supervisions_{split}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "x.yaml").write_text("task: asr\nngram:\n  order: 2\n", encoding="utf-8")
    (folder / "more.txt").write_text("关客厅的灯\n" * 20, encoding="utf-8")
    return folder


def prepare(folder: Path, *more: str) -> None:
    """Runs prepare_lang."""
    inputs = ["--supervisions", f"{folder}/supervisions_train.jsonl.gz", "--config", f"{folder}/x.yaml"]
    prepare_lang.main([*inputs, "--out", f"{folder}/lang", *more])


def train(folder: Path, *more: str) -> None:
    """Runs train_ngram."""
    inputs = ["--supervisions", f"{folder}/supervisions_train.jsonl.gz", "--config", f"{folder}/x.yaml"]
    train_ngram.main([*inputs, "--lang", f"{folder}/lang", "--out", f"{folder}/lm/2gram.arpa", *more])


def build(folder: Path, *more: str) -> None:
    """Runs compile_graph."""
    inputs = ["--lang", f"{folder}/lang", "--lm", f"{folder}/lm/2gram.arpa", "--config", f"{folder}/x.yaml"]
    compile_graph.main([*inputs, "--out", f"{folder}/graph", *more])


def test_from_text_to_graph(folder, caplog):
    with caplog.at_level("INFO"):
        prepare(folder, "--eval-supervisions", f"{folder}/supervisions_dev.jsonl.gz")
        train(folder, "--dev-supervisions", f"{folder}/supervisions_dev.jsonl.gz")
        build(folder)
    assert "2 sentences: 1 of 7 tokens are <unk>" in caplog.text  # 窗
    assert "unknown words 1" in caplog.text and "perplexity" in caplog.text
    assert sorted(path.name for path in (folder / "graph").iterdir()) == [
        "HLG.fst", "graph.json", "tokens.txt", "words.txt",
    ]  # fmt: skip
    assert "窗" not in read_symbols(folder / "lang" / "tokens.txt")


def test_a_second_run_does_nothing_and_other_settings_stop(folder, caplog):
    for run in (prepare, train, build):
        run(folder)
    outputs = [folder / "lang/tokens.txt", folder / "lm/2gram.arpa", folder / "graph/HLG.fst"]
    before = [path.stat().st_mtime_ns for path in outputs]
    with caplog.at_level("INFO"):
        for run in (prepare, train, build):
            run(folder)
    assert caplog.text.count("is up to date") == 3
    assert [path.stat().st_mtime_ns for path in outputs] == before
    for run, change in ((prepare, "lang.min_count=2"), (train, "ngram.order=3"), (build, "graph.branches=3")):
        with pytest.raises(StaleOutputError, match=change.split(".")[1].split("=")[0]):
            run(folder, change)


def test_extra_text_changes_the_model(folder, caplog):
    prepare(folder)
    with caplog.at_level("INFO"):
        train(folder, "--dev-supervisions", f"{folder}/supervisions_dev.jsonl.gz")
        (folder / "lm/2gram.arpa").unlink()
        extra = ["--extra-text", f"{folder}/more.txt"]
        train(folder, *extra, "--dev-supervisions", f"{folder}/supervisions_dev.jsonl.gz")
    without, with_it = (
        float(line.split("perplexity ")[1].split(",")[0]) for line in caplog.messages if "perplexity" in line
    )
    assert with_it < 0.8 * without


@pytest.mark.parametrize("verb", ["prepare_lang", "train_ngram", "compile_graph"])
def test_help_and_missing_inputs(verb, root, folder):
    command = [sys.executable, "-m", f"steps.{verb}"]
    shown = subprocess.run([*command, "--help"], cwd=root, capture_output=True, text=True)
    assert shown.returncode == 0 and "--config" in shown.stdout and "key=value" in shown.stdout
    inputs = {
        "prepare_lang": ["--supervisions", f"{folder}/none.jsonl.gz"],
        "train_ngram": ["--supervisions", f"{folder}/none.jsonl.gz", "--lang", f"{folder}/lang"],
        "compile_graph": ["--lang", f"{folder}/none.jsonl.gz", "--lm", f"{folder}/lm"],
    }[verb]
    failed = subprocess.run(
        [*command, *inputs, "--config", f"{folder}/x.yaml", "--out", f"{folder}/out"],
        cwd=root, capture_output=True, text=True,
    )  # fmt: skip
    assert failed.returncode == 1 and "none.jsonl.gz does not exist" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_no_torch_is_loaded(root):
    code = (
        "import sys, steps.prepare_lang, steps.train_ngram, steps.compile_graph, steps.graph.units;"
        "sys.exit('torch' in sys.modules or 'lhotse' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
