"""Small texts and the directories made of them, shared by the tests of steps/graph."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.graph import lang
from steps.graph.config import LangConfig
from steps.graph.lexicon import Lexicon
from steps.graph.units import Units

COMMANDS = ["打开 客厅 的 灯", "关 灯", "打开 空调", "把 客厅 的 空调 关 了", "明天 天气 怎么样"]


@pytest.fixture
def commands() -> list[str]:
    """Mandarin sentences with spaces between words."""
    return list(COMMANDS)


@pytest.fixture
def supervisions(tmp_path: Path) -> Callable[[str, list[str]], Path]:
    """Writes texts as a Lhotse manifest and returns its path; the directory has spaces and Chinese in it."""

    def write(name: str, texts: list[str]) -> Path:
        path = tmp_path / "数据 a b" / f"supervisions_{name}.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps({"id": f"u{i}", "text": text}) + "\n" for i, text in enumerate(texts))
        return path

    return write


@pytest.fixture
def make_units(tmp_path: Path) -> Callable[..., Units]:
    """Makes a lang directory (tmp_path / "lang") from texts and values of LangConfig."""

    def make(texts: list[str], lexicon: Lexicon | None = None, extra: list[str] | None = None, **values) -> Units:
        return lang.prepare(LangConfig(**values), texts, extra or [], lexicon, tmp_path / "lang")

    return make
