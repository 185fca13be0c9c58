"""From a name in a config to a network that takes sounds out of a mixture."""

import difflib
import inspect
from importlib import import_module

from torch import nn

from steps.models.config import SeparatorConfig

CLASSES = {
    "conv_tasnet": ("steps.models.conv_tasnet", "ConvTasNet"),
    "dprnn_tasnet": ("steps.models.dprnn", "DPRNNTasNet"),
    "dptnet": ("steps.models.dptnet", "DPTNet"),
    "sudormrf": ("steps.models.sudormrf", "SuDORMRFNet"),
    "sudormrf_improved": ("steps.models.sudormrf", "SuDORMRFImprovedNet"),
    "blstm_mask": ("steps.models.blstm_mask", "BlstmMask"),
    "voicefilter": ("steps.models.voicefilter", "VoiceFilter"),
    "demucs": ("steps.models.demucs", "Demucs"),
    "dccrn": ("steps.models.dccrn", "DCCRNet"),
    "dcunet": ("steps.models.dcunet", "DCUNet"),
    "nsnet2": ("steps.models.nsnet2", "NSNet2"),
    "gtcrn": ("steps.models.gtcrn", "GTCRN"),
    "fast_enhancer": ("steps.models.fast_enhancer", "FastEnhancer"),
}


def build_separator(config: SeparatorConfig, sources: int) -> nn.Module:
    """The network that `config` names: mixtures (N, T) of any length -> (N, S, T) with S = `sources`.

    Those in CONDITIONED take the embedding (N, E) of the talker to be extracted besides. Raises ValueError for sizes
    that the architecture does not have or cannot take.
    """
    module, name = CLASSES[config.architecture]
    chosen = getattr(import_module(module), name)
    known = [name for name in inspect.signature(chosen).parameters if name != "n_src"]
    for key in config.sizes:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"model.sizes: {config.architecture} has no '{key}'; {hint}")
    return chosen(sources, **config.sizes)


def can_stream(model: nn.Module) -> bool:
    """Whether `model.streamer()` gives for chunks what the network gives for whole files."""
    return getattr(model, "causal", False) and hasattr(model, "streamer")


CONDITIONED = ("voicefilter",)  # architectures that extract one talker, told which by an embedding
