"""Reading text, and cutting it into words."""

import gzip
import itertools

import pytest

from steps.graph import text
from steps.graph.text import Segmenter


def test_supervisions_are_read_with_spaces_normalised(supervisions):
    path = supervisions("train", ["  打开  客厅 ", "", "A B"])
    assert list(text.read_supervisions(path)) == ["打开 客厅", "", "A B"]


def test_a_bad_manifest_names_the_line(tmp_path):
    path = tmp_path / "supervisions_x.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write('{"text": "a"}\n{"id": "b"}\n')
    with pytest.raises(ValueError, match=r"supervisions_x.jsonl.gz, line 2: expected a supervision"):
        list(text.read_supervisions(path))
    path.write_bytes(gzip.compress(b'{"text": "a"}\n' * 1000)[:-12])
    with pytest.raises(ValueError, match=r"supervisions_x.jsonl.gz: not readable"):
        list(text.read_supervisions(path))


def test_sentences_of_a_plain_file(tmp_path):
    path = tmp_path / "more.txt"
    path.write_bytes("你好 吗\r\n\r\n再见\n".encode())
    assert list(text.read_sentences(path)) == ["你好 吗", "再见"]
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"more.txt: not readable as UTF-8"):
        list(text.read_sentences(path))


def test_spaces_that_touch_chinese_go():
    assert text.drop_chinese_spaces(" 打开 TV 的 BLUE TOOTH 𠀀 ") == "打开TV的BLUE TOOTH𠀀"


def test_script():
    assert text.is_chinese("〇龘豈𠀀") and not text.is_chinese("") and not text.is_chinese("T恤")
    assert text.mostly_chinese(["我 用 IT"]) is False  # two letters of each: not more
    assert text.mostly_chinese(["我们 用 IT"]) and not text.mostly_chinese(["12 点 钟"])


def all_cuts(chunk: str):
    """Every way to cut a string."""
    for n in range(len(chunk)):
        for places in itertools.combinations(range(1, len(chunk)), n):
            yield [chunk[a:b] for a, b in itertools.pairwise((0, *places, len(chunk)))]


@pytest.mark.parametrize("chunk", ["南京市长江大桥", "大江大河", "京京长江南市", "市市", "江长"])
def test_fewest_words_by_brute_force(chunk):
    vocabulary = {"南京", "南京市", "市长", "长江", "江大桥", "大桥", "大", "江", "长江大桥", "河"}
    cuts = [
        cut for cut in all_cuts(chunk) if all(word in vocabulary or len(word) == 1 for word in cut)
    ]  # a single character may be outside

    def cost(cut):
        return sum(w not in vocabulary for w in cut), len(cut), [-len(w) for w in cut]

    assert Segmenter(vocabulary)(chunk) == min(cuts, key=cost)


def test_spaces_and_other_scripts_stay_together():
    segment = Segmenter({"打开", "客厅", "T恤"})
    assert segment("打开客厅 T恤 HELLO打开X恤 ok") == ["打开", "客厅", "T恤", "HELLO", "打开", "X", "恤", "ok"]
    assert Segmenter(())("你好 ab") == ["你", "好", "ab"]
