"""The loss that a configuration of speaker recognition asks for, and its margin over the training."""

from steps.losses.config import SpeakerLossConfig
from steps.losses.ge2e import Ge2e
from steps.losses.margin import MarginSoftmax, Softmax, SpeakerLoss, lowered, rotated
from steps.losses.sphereface2 import SphereFace2

FINAL_GAP = 1e-3  # of the margin, that is missing just before the end of its rise


def build_speaker_loss(config: SpeakerLossConfig, num_classes: int, embedding_dim: int) -> SpeakerLoss:
    """The module, with fresh weights, for `num_classes` speakers (with speed perturbation, three for each).

    GE2E knows no classes, and takes neither number.
    """
    if config.kind == "softmax":
        return Softmax(num_classes, embedding_dim)
    if config.kind == "sphereface2":
        return SphereFace2(
            num_classes,
            embedding_dim,
            scale=config.scale,
            exponent=config.exponent,
            positive_weight=config.positive_weight,
            margin_type=config.margin_type,
        )
    if config.kind in ("ge2e_softmax", "ge2e_contrast"):
        return Ge2e(contrast=config.kind == "ge2e_contrast")
    return MarginSoftmax(
        num_classes,
        embedding_dim,
        {"am": lowered, "aam": rotated}[config.kind],
        scale=config.scale,
        subcenters=config.subcenters,
        inter_topk=config.inter_topk,
        inter_topk_penalty=config.inter_topk_penalty,
    )


def margin_at(config: SpeakerLossConfig, progress_in_epochs: float) -> float:
    """The margin after so many epochs, fractions included (0 at the first batch).

    0 before `margin_start_epoch`, `margin` from `margin_end_epoch` on; between them, at the share x of that time,
    margin * (1 - 0.001^x): fast at first, half of it after a tenth of the time, 0.999 of it at the end. This is the
    rise of wespeaker's MarginScheduler, which counts epochs from 1: 20 and 40 there are 19 and 39 here.
    """
    if progress_in_epochs >= config.margin_end_epoch:
        return config.margin
    if progress_in_epochs <= config.margin_start_epoch:
        return 0.0
    share = (progress_in_epochs - config.margin_start_epoch) / (config.margin_end_epoch - config.margin_start_epoch)
    return config.margin * (1 - FINAL_GAP**share)
