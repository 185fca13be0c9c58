"""Back ends as a whole: each chain against its parts, and data that chains must not stumble over."""

from pathlib import Path

import numpy as np
import pytest

from steps.backend.chain import Backend
from steps.backend.config import CHAINS, BackendConfig
from steps.backend.lda import Lda
from steps.backend.normalisation import as_norm, s_norm
from steps.backend.plda import TwoCovariancePlda

SIZE = 12
CONFIG = BackendConfig(lda_dim=6, top_n=10)


def speech(speakers: int, utterances: int, seed: int, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Speakers differ in half of the dimensions, utterances in all of them; the mean is far from zero."""
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(speakers, size)) * (np.arange(size) < size // 2) * 2 + 5
    vectors = np.repeat(points, utterances, axis=0) + generator.normal(size=(speakers * utterances, size))
    return vectors.astype(np.float32), np.repeat([f"S{n:03d}" for n in range(speakers)], utterances)


def trials(models: int = 7) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Models of 1, 2 and 3 utterances, tests (K, E), and which trials are targets (M, K)."""
    vectors, speakers = speech(models, 6, seed=1)
    own = [vectors[speakers == name] for name in np.unique(speakers)]
    enrolments = [part[: 1 + n % 3] for n, part in enumerate(own)]
    return enrolments, np.concatenate([part[3:] for part in own]), np.repeat(np.eye(models), 3, axis=1) > 0


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def by_hand(name: str) -> np.ndarray:
    """Scores of `trials` with each step written out."""
    vectors, speakers = speech(40, 8, seed=0)
    mean = vectors.astype(float).mean(axis=0)
    lda = Lda.fit(vectors - mean, speakers, 6).projection if name.startswith("lda") else np.eye(SIZE)
    embedded = [unit((part - mean) @ lda) for part in (vectors, *trials()[0], trials()[1])]
    train, enrol, tests = embedded[0], embedded[1:-1], embedded[-1]
    cohort = unit(np.array([train[speakers == name].mean(axis=0) for name in np.unique(speakers)]))
    counts, means = np.array([len(part) for part in enrol]), np.array([part.mean(axis=0) for part in enrol])
    if "plda" in name.split("_"):
        plda = TwoCovariancePlda.fit(train, speakers, CONFIG.plda_iterations)
        scores, sides = plda.score(means, counts, tests), [plda.score(means, counts, cohort)]
        sides += [plda.score(cohort, np.ones(len(cohort), int), tests).T]  # the cohort as models
    else:
        scores, sides = unit(means) @ tests.T, [unit(means) @ cohort.T, tests @ cohort.T]
    if name.endswith("as_norm"):
        return as_norm(scores, *sides, top_n=10)
    return s_norm(scores, *sides) if name.endswith("s_norm") else scores


@pytest.mark.parametrize("name", CHAINS)
def test_each_chain_is_its_steps(name: str, tmp_path: Path) -> None:
    backend = Backend.fit(name, *speech(40, 8, seed=0), CONFIG)
    enrolments, tests, targets = trials()
    scores = backend.score(enrolments, tests)
    assert scores.shape == (7, 21) and scores.dtype == np.float32
    np.testing.assert_allclose(scores, by_hand(name), atol=2e-3)
    assert np.mean(scores[targets][:, None] > scores[~targets]) > 0.85
    backend.save(tmp_path / "back.end")
    again = Backend.load(tmp_path / "back.end")
    assert again.name == name
    np.testing.assert_array_equal(again.score(enrolments, tests), scores)


def test_names_are_all_combinations() -> None:
    assert len(set(CHAINS)) == 12
    assert {"cosine", "lda_s_norm", "plda_as_norm", "lda_plda", "lda_plda_as_norm"} < set(CHAINS)
    with pytest.raises(ValueError, match="unknown back end 'svm'; expected one of cosine, cosine_s_norm"):
        Backend.fit("svm", *speech(3, 2, seed=0), CONFIG)
    with pytest.raises(ValueError, match=r"backend.chains: .* got 'svm'"):
        BackendConfig(chains=["cosine", "svm"])


def test_renaming_changes_the_normalisation_only() -> None:
    plain = Backend.fit("lda_plda", *speech(40, 8, seed=0), CONFIG)
    fitted = Backend.fit("lda_plda_as_norm", *speech(40, 8, seed=0), CONFIG)
    enrolments, tests, _ = trials()
    np.testing.assert_array_equal(
        plain.renamed("lda_plda_as_norm").score(enrolments, tests), fitted.score(enrolments, tests)
    )
    with pytest.raises(ValueError, match="lda_plda cannot become lda_as_norm"):
        plain.renamed("lda_as_norm")


def test_a_trial_does_not_depend_on_the_others() -> None:
    enrolments, tests, _ = trials()
    for name in CHAINS:
        backend = Backend.fit(name, *speech(40, 8, seed=0), CONFIG)
        whole = backend.score(enrolments, tests)
        np.testing.assert_allclose(backend.score(enrolments[4:5], tests[9:11]), whole[4:5, 9:11], atol=1e-4)


def test_gain_and_order_of_embeddings_do_not_matter_to_cosine() -> None:
    vectors, speakers = speech(40, 8, seed=0)
    enrolments, tests, _ = trials()
    shuffled = np.random.default_rng(3).permutation(len(vectors))
    for name in ("cosine_as_norm", "lda_plda_s_norm"):
        one = Backend.fit(name, vectors, speakers, CONFIG).score(enrolments, tests)
        other = Backend.fit(name, 100 * vectors[shuffled], speakers[shuffled], CONFIG)
        np.testing.assert_allclose(other.score([100 * part[::-1] for part in enrolments], 100 * tests), one, atol=2e-3)


def test_more_enrolment_is_surer() -> None:
    backend = Backend.fit("plda", *speech(200, 8, seed=0), CONFIG)
    vectors, speakers = speech(50, 9, seed=4)
    own = vectors.reshape(50, 9, SIZE)
    margins = []
    for count in (1, 3, 8):
        scores = backend.score([part[:count] for part in own], own[:, 8])
        margins.append(scores.diagonal().mean() - scores[~np.eye(50, dtype=bool)].mean())
    assert margins[0] < margins[1] < margins[2]
    assert len(speakers) == 450


def test_speakers_with_one_utterance() -> None:
    vectors, speakers = speech(10, 3, seed=0)
    single = np.arange(30).astype(str)
    enrolments, tests, _ = trials()
    cosine = Backend.fit("cosine_as_norm", vectors, single, CONFIG)
    assert cosine.cohort.shape == (30, SIZE)
    assert np.isfinite(cosine.score(enrolments, tests)).all()
    for name in ("lda", "plda", "lda_plda_s_norm"):
        with pytest.raises(ValueError, match="30 utterances of 30 speakers; score these with cosine"):
            Backend.fit(name, vectors, single, CONFIG)
        some = np.append(speakers[:-1], "another")
        assert np.isfinite(Backend.fit(name, vectors, some, CONFIG).score(enrolments, tests)).all()


def test_fewer_speakers_than_dimensions_and_fewer_utterances(caplog: pytest.LogCaptureFixture) -> None:
    vectors, speakers = speech(5, 2, seed=0, size=40)
    tests, _ = speech(3, 4, seed=1, size=40)
    for name in CHAINS:
        backend = Backend.fit(name, vectors, speakers, BackendConfig(lda_dim=20, top_n=3))
        assert backend.cohort.shape == (5, 4 if name.startswith("lda") else 40)
        assert np.isfinite(backend.score([tests[:1], tests[4:6]], tests)).all()
    assert "LDA to 4 dimensions, not 20: 5 speakers" in caplog.text


def test_cohort_is_drawn_by_seed() -> None:
    vectors, speakers = speech(40, 8, seed=0)

    def cohort(**options: int) -> np.ndarray:
        return Backend.fit("cosine", vectors, speakers, BackendConfig(**options)).cohort

    whole = cohort()
    few = cohort(cohort_speakers=15, seed=1)
    assert few.shape == (15, SIZE)
    assert {row.tobytes() for row in few} < {row.tobytes() for row in whole}
    np.testing.assert_array_equal(few, cohort(cohort_speakers=15, seed=1))
    assert not np.array_equal(few, cohort(cohort_speakers=15, seed=2))
    single = unit(vectors - vectors.mean(axis=0)).reshape(40, 8, SIZE)
    drawn = cohort(cohort_utterances=1)
    distance = np.abs(single - drawn[:, None]).max(axis=2).min(axis=1)
    assert distance.max() < 1e-5  # one utterance of each, the speakers in order
    np.testing.assert_allclose(cohort(cohort_utterances=8), whole, atol=1e-6)


def test_adaptation_moves_to_another_domain() -> None:
    enrolments, tests, targets = trials()
    shift = np.linspace(-8, 8, SIZE).astype(np.float32)
    other, _ = speech(60, 5, seed=5)
    for name in ("cosine_s_norm", "lda_plda"):
        backend = Backend.fit(name, *speech(40, 8, seed=0), CONFIG)
        moved = [part + shift for part in enrolments], tests + shift
        lost, adapted = backend.score(*moved), backend.adapt(other + shift, CONFIG).score(*moved)
        ratio = [(s[targets].mean() - s[~targets].mean()) / s[~targets].std() for s in (lost, adapted)]
        assert ratio[1] > ratio[0] + 0.5
    with pytest.raises(ValueError, match="at least two embeddings"):
        backend.adapt(other[:1], CONFIG)


def test_silence_has_no_direction() -> None:
    backend = Backend.fit("cosine_as_norm", *speech(40, 8, seed=0), CONFIG)
    enrolments, tests, _ = trials()
    tests[2] = backend.mean.astype(np.float32)
    assert not backend.renamed("cosine").score(enrolments, tests)[:, 2].any()
    assert np.isfinite(backend.score(enrolments, tests)).all()


def test_cohort_means_are_quality_measures() -> None:
    backend = Backend.fit("cosine", *speech(40, 8, seed=0), CONFIG)
    enrolments, tests, _ = trials()
    models, others = backend.cohort_means(enrolments, tests)
    assert models.shape == (7,) and others.shape == (21,)
    cosines = unit(tests - backend.mean) @ backend.cohort.T
    np.testing.assert_allclose(others, np.sort(cosines, axis=1)[:, -10:].mean(axis=1), atol=1e-5)


def test_what_cannot_be_scored_is_named() -> None:
    backend = Backend.fit("cosine", *speech(10, 3, seed=0), CONFIG)
    enrolments, tests, _ = trials()
    broken = tests.copy()
    broken[4, 2] = np.nan
    for case, message in (
        ((enrolments, broken), "test embeddings: row 4 is not finite"),
        (([enrolments[0], tests[:, :5]], tests), r"embeddings of model 1: expected shape \(n, 12\), got \(21, 5\)"),
        (([enrolments[0], tests[:0]], tests), "model 1 has no enrolment embeddings"),
        (([], tests), "model 0 has no enrolment embeddings"),
    ):
        with pytest.raises(ValueError, match=message):
            backend.score(*case)
    with pytest.raises(ValueError, match="got 3 training embeddings of 2 speakers"):
        Backend.fit("cosine", tests[:3], ["a", "b"], CONFIG)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npz"
    np.savez(path, vectors=np.ones(3))
    with pytest.raises(ValueError, match=r"embeddings\.npz holds no back end that this version reads"):
        Backend.load(path)
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match="holds no back end"):
        Backend.load(path)
    with pytest.raises(FileNotFoundError):
        Backend.load(tmp_path / "missing.npz")
