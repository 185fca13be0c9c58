"""GE2E against a loop over utterances and speakers; the batches that it takes."""

import math

import pytest
import torch

from steps.losses.ge2e import Ge2e, centroid_cosines

P, M, E = 3, 4, 5
LABELS = torch.tensor([7, 2, 5]).repeat_interleave(M)


def by_hand(embeddings, weight, bias, contrast):
    """(loss, index of the nearest centroid for each utterance) from eq. 4 to 10 of the paper."""
    unit = [[v / v.norm() for v in speaker] for speaker in embeddings.view(P, M, E)]
    total, nearest = 0.0, []
    for j in range(P):
        for i in range(M):
            similarity = []
            for k in range(P):
                members = [unit[k][m] for m in range(M) if not (k == j and m == i)]
                centroid = sum(members) / len(members)
                cosine = (unit[j][i] @ centroid / centroid.norm()).item()
                similarity.append(weight * cosine + bias)
            nearest.append(similarity.index(max(similarity)))
            if contrast:
                chances = [1 / (1 + math.exp(-s)) for s in similarity]
                total += 1 - chances[j] + max(chances[k] for k in range(P) if k != j)
            else:
                total += -similarity[j] + math.log(sum(math.exp(s) for s in similarity))
    return total, nearest


@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_loss_equals_a_loop(contrast, seed):
    torch.manual_seed(seed)
    embeddings = 2 * torch.randn(P * M, E, dtype=torch.float64)
    module = Ge2e(contrast).double()
    module.bias.data.fill_(-1.5)
    module.weight.data.fill_(math.log(math.expm1(4.0)))  # w = 4
    expected, nearest = by_hand(embeddings, 4.0, -1.5, contrast)
    loss, predictions = module(embeddings, LABELS, 0.2)
    assert loss.item() == pytest.approx(expected, rel=1e-10)
    assert predictions.tolist() == [[7, 2, 5][k] for k in nearest]


def test_an_utterance_is_not_in_its_own_centroid():
    """Two utterances of a speaker at right angles: the cosine to the own centroid is theirs, 0, not 0.71."""
    embeddings = torch.eye(4).view(2, 2, 4)
    cosine = centroid_cosines(embeddings)
    assert cosine.shape == (4, 2)
    torch.testing.assert_close(cosine, torch.zeros(4, 2))


def test_length_does_not_matter_and_every_speaker_counts():
    torch.manual_seed(0)
    embeddings, module = torch.randn(P * M, E, dtype=torch.float64), Ge2e().double()
    longer = embeddings * torch.rand(P * M, 1, dtype=torch.float64).add(0.5)
    torch.testing.assert_close(module(longer, LABELS, 0.0)[0], module(embeddings, LABELS, 0.0)[0])
    order = torch.arange(P * M).view(P, M).flip(0).flatten()
    torch.testing.assert_close(module(embeddings[order], LABELS[order], 0.0)[0], module(embeddings, LABELS, 0.0)[0])


def test_weight_starts_at_ten_and_stays_positive():
    module = Ge2e()
    assert torch.nn.functional.softplus(module.weight).item() == pytest.approx(10.0, abs=1e-5)
    assert module.bias.item() == -5.0
    module.weight.data.fill_(-20.0)
    wrong = torch.eye(4)[[0, 1, 0, 1]]  # each utterance is nearer to the other speaker: the best w would be negative
    loss, _ = module(wrong, torch.tensor([0, 0, 1, 1]), 0.0)
    loss.backward()
    assert torch.isfinite(module.weight.grad)
    assert torch.nn.functional.softplus(module.weight).item() > 0


@pytest.mark.parametrize(
    "labels",
    [[0, 0, 0, 0], [0, 1, 2, 3], [0, 1, 0, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0, 0]],
    ids=["one speaker", "one utterance each", "not together", "unequal", "a speaker twice"],
)
def test_other_batches_are_refused(labels):
    with pytest.raises(ValueError, match="GE2E needs batches of 2 or more speakers with 2 or more utterances each"):
        Ge2e()(torch.randn(len(labels), E), torch.tensor(labels), 0.0)
