"""Makes a lang directory from training text: the tokens, the graph's words and their pronunciations.

Nothing but the training text (and, for the graph's words, text given for the language model) decides what is in
the vocabulary; evaluation text is only counted against it.
"""

import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from steps.graph.config import LangConfig
from steps.graph.lexicon import BACKOFF, BOS, EOS, EPS, UNK, Lexicon, Pronunciation, disambiguate, write_symbols
from steps.graph.pronounce import Pronouncer
from steps.graph.text import Segmenter, drop_chinese_spaces, has_spaces, mostly_chinese
from steps.graph.units import BLANK, Units, spell

Speller = Callable[[str], list[Pronunciation]]  # a word's pronunciations, none where it cannot be spelled
RESERVED = {EPS, UNK, BACKOFF, BOS, EOS, BLANK}


def prepare(
    config: LangConfig, sentences: Sequence[str], extra: Sequence[str], lexicon: Lexicon | None, out: Path
) -> Units:
    """Writes the lang directory `out` and returns its units.

    `sentences` is the training text; the words of `extra` join the graph's words where the tokens of the training
    text can spell them; `lexicon` is the corpus's. Raises ValueError where these do not suffice for `config`.
    """
    if not any(sentences):
        raise ValueError("the training text is empty: no vocabulary can be made from it")
    out.mkdir(parents=True, exist_ok=True)
    keep_spaces = config.spaces == "keep" or (config.spaces == "auto" and not mostly_chinese(sentences))
    words = _kind_of_words(config, sentences, lexicon, keep_spaces)
    if config.units == "bpe":
        tokens, speller = _train_bpe(config, sentences, keep_spaces, out)
    elif config.units == "char":
        tokens, speller = _characters(config, sentences, keep_spaces)
    else:
        tokens, speller = _phones(config, sentences, lexicon)
    pronunciations = Lexicon()
    if words == "token":
        for token in tokens:
            pronunciations.add(token, [token])
    else:
        _add_words(pronunciations, speller, lexicon, sentences)
        known = {token for _, spelled in pronunciations.entries for token in spelled}
        _add_words(pronunciations, _within(speller, known), lexicon, extra)
    info: dict[str, object] = {"units": config.units, "words": words, "spaces": keep_spaces}
    if config.units == "phone":
        info["had_lexicon"] = lexicon is not None
        info["g2p"] = {key: value for key, value in asdict(config).items() if key.startswith("g2p")}
    return _write(out, tokens, pronunciations, info, sentences)


def count_unknown(units: Units, sentences: Sequence[str]) -> str:
    """One line on how much of `sentences` the vocabulary lacks, for the log."""
    unk = units.tokens.index(UNK)
    tokens = [token for sentence in sentences for token in units.encode(sentence)]
    words = [word for sentence in sentences for word in units.words(sentence)]
    outside = Counter(word for word in words if word not in units.lexicon or word == UNK)
    return (
        f"{len(sentences)} sentences: {sum(token == unk for token in tokens)} of {len(tokens)} tokens are {UNK}; "
        f"{outside.total()} of {len(words)} words of the graph ({len(outside)} different) are not in words.txt"
    )


def _kind_of_words(config: LangConfig, sentences: Sequence[str], lexicon: Lexicon | None, keep_spaces: bool) -> str:
    """Whether the graph's words are tokens or words; refuses words where the text shows none."""
    if config.units == "phone":
        if config.words == "token":
            raise ValueError("lang.words=token: a graph of phones needs words; use lang.words=word")
        return "word"
    if config.words == "auto":
        return "word" if keep_spaces else "token"
    if config.words == "word" and not keep_spaces:
        if config.units == "bpe":
            raise ValueError("lang.words=word: pieces of Chinese text cross its words; use lang.words=token")
        if lexicon is None and not has_spaces(sentences):
            raise ValueError("lang.words=word: the text has no spaces; give --lexicon, or use lang.words=token")
    return config.words


def _characters(config: LangConfig, sentences: Sequence[str], spaces: bool) -> tuple[list[str], Speller]:
    counts = Counter("".join(spell(sentence, spaces) for sentence in sentences))
    tokens = sorted(character for character, count in counts.items() if count >= config.min_count)
    known = set(tokens)

    def speller(word: str) -> list[Pronunciation]:
        spelled = tuple(spell(word, spaces))
        return [spelled] if known.issuperset(spelled) else []

    return tokens, speller


def _train_bpe(config: LangConfig, sentences: Sequence[str], spaces: bool, out: Path) -> tuple[list[str], Speller]:
    """Trains sentencepiece with <blk> and <unk> at 0 and 1; the vocabulary may come out smaller than asked for."""
    import sentencepiece

    text = sentences if spaces else [drop_chinese_spaces(sentence) for sentence in sentences]
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text),
            model_writer=written,
            model_type=config.bpe_type,
            vocab_size=config.vocab_size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            add_dummy_prefix=spaces,
            **{"pad_id": 0, "pad_piece": BLANK, "unk_id": 1, "unk_piece": UNK, "unk_surface": UNK},
            **{"bos_id": -1, "eos_id": -1},
            num_threads=1,  # the same text gives the same model
            minloglevel=2,
        )
    except RuntimeError as error:
        characters = len(set("".join(text)))
        raise ValueError(
            f"lang.vocab_size={config.vocab_size}: sentencepiece cannot train on text with {characters} "
            f"different characters: {str(error).strip()}"
        ) from error
    (out / "bpe.model").write_bytes(written.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    if model.vocab_size() != config.vocab_size:
        logging.info("lang.vocab_size=%d: the text gives %d pieces", config.vocab_size, model.vocab_size())

    def speller(word: str) -> list[Pronunciation]:
        ids = model.encode(word)
        return [] if 1 in ids else [tuple(model.id_to_piece(ids))]

    return [model.id_to_piece(i) for i in range(2, model.vocab_size())], speller


def _phones(config: LangConfig, sentences: Sequence[str], lexicon: Lexicon | None) -> tuple[list[str], Speller]:
    if lexicon is None and config.g2p == "none":
        raise ValueError("lang.units=phone: give --lexicon, or lang.g2p=pypinyin or espeak to make one")
    pronouncer = Pronouncer(config, lexicon)
    found = {phone for word in _distinct_words(lexicon, sentences) for phones in pronouncer(word) for phone in phones}
    if not found:
        raise ValueError(
            f"lang.units=phone: no word of the training text has a pronunciation; with lang.g2p={config.g2p} "
            "the lexicon has to have them (lang.g2p=espeak reads words that are not Chinese)"
        )
    return sorted(found - RESERVED), pronouncer


def _distinct_words(lexicon: Lexicon | None, sentences: Sequence[str]) -> list[str]:
    spaced = lexicon is None and has_spaces(sentences)
    segment = str.split if spaced else Segmenter(lexicon.words if lexicon else ())
    return sorted({word for sentence in sentences for word in segment(sentence)} - RESERVED)


def _add_words(pronunciations: Lexicon, speller: Speller, lexicon: Lexicon | None, sentences: Sequence[str]) -> None:
    for word in _distinct_words(lexicon, sentences):
        for tokens in speller(word):
            pronunciations.add(word, tokens)


def _within(speller: Speller, known: set[str]) -> Speller:
    return lambda word: [tokens for tokens in speller(word) if known.issuperset(tokens)]


def _write(out: Path, tokens: list[str], lexicon: Lexicon, info: dict[str, object], sentences: Sequence[str]) -> Units:
    write_symbols(out / "tokens.txt", [BLANK, UNK, *tokens])
    write_symbols(out / "words.txt", [EPS, *lexicon.words, UNK, BACKOFF, BOS, EOS])
    lexicon.write(out / "lexicon.txt")
    (out / "lang.json").write_text(json.dumps(info))
    units, unk = Units.load(out), 1
    ids = Counter(i for sentence in sentences for i in units.encode(sentence))
    if ids[unk]:
        # the model learns <unk>, so the graph may find it
        lexicon.add(UNK, [UNK])
        lexicon.write(out / "lexicon.txt")
    counts = {
        "size": len(tokens) + 2,
        "words_in_graph": len(lexicon),
        "disambiguation_symbols": disambiguate(lexicon)[1] + 1,
        "training_sentences": len(sentences),
        "training_tokens": ids.total(),
        "training_unknown_tokens": ids[unk],
    }
    text = json.dumps({**info, **counts}, indent=2, ensure_ascii=False)
    (out / "lang.json").write_text(text + "\n", encoding="utf-8")
    return Units.load(out)
