"""The grammar of the mini corpus, its pronunciations and its voices."""

import random

import pytest

from local.mini_lexicon import lexicon, phones, readings, spelled_for_speech
from local.mini_plan import MiniConfig, make_noise_plan, make_plan
from local.mini_text import number, sentence, sentences, small_number, spelled, vocabulary
from local.mini_voices import VARIANTS, voices

SPLITS = ("train", "dev", "test")


@pytest.fixture(scope="module")
def plan():
    return make_plan(MiniConfig())


def test_numbers_are_read_as_in_mandarin() -> None:
    read = {0: "零", 10: "十", 15: "十五", 40: "四十", 99: "九十九", 100: "一 百", 105: "一 百 零 五"}
    read |= {110: "一 百 一十", 218: "两 百 一十八", 230: "两 百 三十", 1000: "一 千", 1006: "一 千 零 六"}
    read |= {1060: "一 千 零 六十", 1100: "一 千 一 百", 2222: "两 千 两 百 二十二", 9015: "九 千 零 一十五"}
    assert {value: number(value) for value in read} == read
    assert len({number(value) for value in range(10_000)}) == 10_000
    assert (small_number(20), spelled("1057")) == ("二十", "幺 零 五 七")
    with pytest.raises(ValueError, match="counts from 0 to 9999"):
        number(10_000)


def test_size_of_the_corpus(plan) -> None:
    texts = [recording.text for recording in plan]
    assert len(set(texts)) == len(texts) >= 2000
    assert 180 <= len({char for text in texts for char in text} - {" "}) <= 260
    assert len({recording.voice for recording in plan}) >= 60
    assert all(text == " ".join(text.split()) and "{" not in text for text in texts)
    assert not {char for text in texts for char in text if char.isascii()} - {" "}, "digits are words"


def test_splits_share_neither_sentences_nor_voices_nor_variants(plan) -> None:
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        for what in ("text", "speaker", "id", "voice"):
            values = [{getattr(r, what) for r in plan if r.split == split} for split in (one, other)]
            assert values[0].isdisjoint(values[1]), (one, other, what)
        names = [{v for group in VARIANTS[split].values() for v in group.split()} for split in (one, other)]
        assert names[0].isdisjoint(names[1])


def test_train_has_every_word_of_dev_and_test(plan) -> None:
    words = {split: {w for r in plan if r.split == split for w in r.text.split()} for split in SPLITS}
    assert words["dev"] | words["test"] <= words["train"] <= set(vocabulary())


def test_plan_is_keyed_by_seed_and_id(plan) -> None:
    assert make_plan(MiniConfig()) == plan
    other = make_plan(MiniConfig(seed=1))
    assert [r.id for r in other] == [r.id for r in plan] == sorted(r.id for r in plan)
    assert sum(a.text == b.text for a, b in zip(plan, other, strict=True)) < 20
    assert sum(a.snr == b.snr for a, b in zip(plan, other, strict=True)) < 20
    assert plan[0].id == "BAC009S0001W0121" and plan[-1].speaker == "S0066"
    heard = {(voice, text) for n in make_noise_plan(MiniConfig(), plan) for voice, t in n.talkers for text in t}
    train = [r for r in plan if r.split == "train"]
    assert heard and {voice for voice, _ in heard} <= {r.voice for r in train}
    assert {text for _, text in heard} <= {r.text for r in train}


def test_too_many_sentences_are_refused() -> None:
    with pytest.raises(ValueError, match="dev: the grammar has no 10 sentences more"):
        sentences({"train": 1, "dev": 10}, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"snr": [20.0, 10.0]}, "snr is"), ({"t60": [0.0, 0.3]}, "above 0"), ({"level": [1.0]}, "level is")],
)
def test_impossible_conditions_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MiniConfig(**settings)


def test_voices_differ_and_are_mixed() -> None:
    for split in SPLITS:
        chosen = voices(split, 2 * sum(len(group.split()) for group in VARIANTS[split].values()), 0)
        assert len(set(chosen)) == len(chosen)
        assert {voice.gender for voice in chosen[:3]} == {"M", "F"}
    assert voices("dev", 3, 0) == voices("dev", 4, 0)[:3] != voices("dev", 3, 1)


def test_syllables_become_the_phones_of_aishell() -> None:
    # From the second and third lines of B11_374 in THCHS-30, quoted in Lhotse's recipe, but for er and ri.
    pinyin = "xu2 xi1 jun1 xiao1 wen2 hua2 yong3 li4 wang2 yu3 luo4 ying1 ye3 bei4 zhi4 shi2 wu3 nian2 you3"
    expected = "x v2 x i1 j vn1 x iao1 uu un2 h ua2 ii iong3 l i4 uu uang2 vv v3 l uo4 ii ing1 ii ie3 b ei4 zh ix4 "
    expected += "sh ix2 uu u3 n ian2 ii iu3"
    assert " ".join(phone for syllable in pinyin.split() for phone in phones(syllable)) == expected
    pinyin, expected = (
        "si4 er4 ri4 an4 yuan2 yue4 gui4 le5 lv4",
        "s iy4 ee er4 r iz4 aa an4 vv van2 vv ve4 g ui4 l e5 l v4",
    )
    assert " ".join(phone for syllable in pinyin.split() for phone in phones(syllable)) == expected


def test_lexicon_has_every_word_with_as_many_syllables_as_characters() -> None:
    lines = lexicon(vocabulary())
    assert lines[:2] == ["SIL sil", "<SPOKEN_NOISE> sil"]
    found = {}
    for line in lines[2:]:
        word, *sounds = line.split()
        assert len(sounds) == 2 * len(word), line
        assert all(final[-1] in "12345" for final in sounds[1::2]), line
        assert not any(initial[-1].isdigit() for initial in sounds[::2]), line
        found.setdefault(word, []).append(sounds)
    assert found.keys() == set(vocabulary())
    assert found["调到"] == [["t", "iao2", "d", "ao4"]]
    assert len(found["一"]) == 2
    assert readings("银行") == ("yin2 hang2",) and readings("的") == ("de5",)


def test_sandhi_of_one() -> None:
    assert spelled_for_speech("一 百 一十五 元") == "yi4 bai3 yi1shi2wu3 yuan2"
    assert spelled_for_speech("十 点 一刻 买 一 张 票") == "shi2 dian3 yi2ke4 mai3 yi4 zhang1 piao4"
    assert spelled_for_speech("一 月 一 号") == "yi1 yue4 yi1 hao4"


def test_a_slot_has_no_value_twice_in_a_sentence() -> None:
    rng = random.Random(0)
    pairs = [text.split() for text in (sentence(rng) for _ in range(3000)) if text.startswith("从 ")]
    assert len(pairs) > 50
    assert all(words[1] != words[3] for words in pairs), "never from a place to itself"
