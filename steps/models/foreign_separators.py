"""Which of our networks another toolkit's checkpoint is for, and with which sizes.

Parameter names are the same by design, so the weights go over as they are.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from torch import Tensor

from steps.models.inert_pickle import Named
from steps.models.separators import CLASSES

ASTEROID = {
    "ConvTasNet": "conv_tasnet",
    "DPRNNTasNet": "dprnn_tasnet",
    "DPTNet": "dptnet",
    "SuDORMRFNet": "sudormrf",
    "SuDORMRFImprovedNet": "sudormrf_improved",
    "DCCRNet": "dccrn",
    "DCUNet": "dcunet",
}
ASTEROID_FIXED: dict[str, tuple[Any, ...]] = {  # arguments that ours may lack, and the values with which they can
    "fb_name": ("free", "FreeFB"),
    "encoder_activation": ("relu", "linear", None),  # SuDoRM-RF's, decided by the class
}
ASTEROID_SOURCES = {"dccrn": 1, "dcunet": 1}  # where n_src is not said
UNNEEDED = ("sample_rate", "in_chan", "n_freqs", "n_src")
DENOISER = (  # arguments of its Demucs, in their order
    *("chin", "chout", "hidden", "depth", "kernel_size", "stride", "causal", "resample"),
    *("growth", "max_hidden", "normalize", "glu", "rescale", "floor", "sample_rate"),
)
GTCRN_KEY, DEMUCS_KEY = "erb.erb_fc.weight", "lstm.lstm.weight_ih_l0"


class ForeignSeparator(NamedTuple):
    """A network of ours for a checkpoint: what the checkpoint does not say of it is None, or not among the sizes."""

    architecture: str | None
    sizes: dict[str, Any]
    sources: int | None
    weights: dict[str, Tensor]


def as_separator(loaded: Mapping[str, Any]) -> ForeignSeparator:
    """From what `load_foreign` gives: checkpoints of asteroid, denoiser and GTCRN, and weights by themselves.

    Raises ValueError for a network that we do not have, or an argument of it that ours does not take.
    """
    if "model_name" in loaded:
        return _of_asteroid(loaded)
    package = loaded["model"] if _is_package(loaded.get("model")) else loaded
    if _is_package(package):  # a checkpoint of training has the best weights beside those of the last epoch
        best = loaded.get("best_state")
        return _of_denoiser(package, best if isinstance(best, dict) and best else package["state"])
    if "SuDORMRF" in str(loaded.get("module", "")) or "SudoRmRf" in str(loaded.get("module", "")):
        raise ValueError(
            f"a pickled {loaded['module']}: SuDoRM-RF as its authors publish it has another decoder than asteroid's "
            "SuDORMRFNet, which is what we have; take weights that were trained with asteroid"
        )
    content: Any = loaded
    for key in ("state_dict", "model", "best_state", "state"):
        if isinstance(loaded.get(key), dict):
            content = loaded[key]
            break
    return _of_weights(tensors(content))


def tensors(values: Any) -> dict[str, Tensor]:
    """The weights by name, without the `module.` that parallel training puts before each.

    Raises ValueError where something else is among them.
    """
    if not isinstance(values, dict) or not values:
        raise ValueError("the file has no weights where they would be")
    odd = [str(key) for key, value in values.items() if not isinstance(key, str) or not isinstance(value, Tensor)]
    if odd:
        shown = ", ".join(odd[:5])
        raise ValueError(f"expected tensors by name; no such are {shown}{' ...' if len(odd) > 5 else ''}")
    wrapped = all(name.startswith("module.") for name in values)
    return {name.removeprefix("module.") if wrapped else name: value for name, value in values.items()}


def _is_package(value: Any) -> bool:
    """Whether it is how denoiser keeps a network: its class, its arguments, its weights."""
    return isinstance(value, dict) and isinstance(value.get("class"), Named) and "state" in value


def _of_asteroid(loaded: Mapping[str, Any]) -> ForeignSeparator:
    name, arguments = loaded["model_name"], loaded.get("model_args")
    if name not in ASTEROID:
        raise ValueError(f"asteroid's {name!r:.60} is no network that we have; those are {', '.join(ASTEROID)}")
    if not isinstance(arguments, dict):
        raise ValueError(f"asteroid's {name} without model_args; take a file of model.serialize()")
    architecture = ASTEROID[name]
    known = arguments_of(architecture)
    sizes = {}
    for key, value in arguments.items():
        if key in known:
            sizes[key] = plain(f"{name}'s {key}", value)
        elif key not in UNNEEDED and value is not None and value not in ASTEROID_FIXED.get(key, ()):
            raise ValueError(f"asteroid's {name} with {key}={value!r:.60}, which our {architecture} does not have")
    sources = arguments.get("n_src", ASTEROID_SOURCES.get(architecture))
    return ForeignSeparator(architecture, sizes, sources, tensors(loaded.get("state_dict")))


def _of_denoiser(package: Mapping[str, Any], weights: Any) -> ForeignSeparator:
    kind = package["class"].name
    if not kind.endswith(".Demucs"):
        raise ValueError(f"a network of the class {kind}, which we do not have; expected denoiser.demucs.Demucs")
    given = dict(zip(DENOISER, package.get("args") or (), strict=False))
    given.update(package.get("kwargs") or {})
    known = arguments_of("demucs")
    sizes = {"normalize": True}  # denoiser's default
    for key, value in given.items():
        if key in known:
            sizes[key] = plain(f"Demucs's {key}", value)
        elif key not in DENOISER:
            raise ValueError(f"denoiser's Demucs with {key!r:.60}, which ours does not have")
    return ForeignSeparator("demucs", sizes, 1, tensors(weights))


def _of_weights(weights: dict[str, Tensor]) -> ForeignSeparator:
    """Weights by themselves tell denoiser's Demucs by their names and shapes, and GTCRN; others say nothing."""
    if GTCRN_KEY in weights:
        return ForeignSeparator("gtcrn", {}, 1, weights)
    if DEMUCS_KEY not in weights or "encoder.0.2.weight" not in weights:
        return ForeignSeparator(None, {}, None, weights)
    layers = [weights[name] for index in range(len(weights)) if (name := f"encoder.{index}.0.weight") in weights]
    widths = [len(layer) for layer in layers]
    sizes = {
        "hidden": widths[0],
        "depth": len(layers),
        "kernel_size": layers[0].shape[2],
        "causal": f"{DEMUCS_KEY}_reverse" not in weights,
        "glu": len(weights["encoder.0.2.weight"]) == 2 * widths[0],
        "normalize": True,
        "growth": widths[1] / widths[0] if len(widths) > 1 else 2.0,
    }
    if widths[-1] < widths[0] * sizes["growth"] ** (len(widths) - 1):
        sizes["max_hidden"] = widths[-1]
    return ForeignSeparator("demucs", sizes, 1, weights)


def arguments_of(architecture: str) -> list[str]:
    """What our network's sizes can be."""
    module, name = CLASSES[architecture]
    return [key for key in inspect.signature(getattr(import_module(module), name)).parameters if key != "n_src"]


def plain(what: str, value: Any) -> Any:
    """The value, if a YAML can hold it. Raises ValueError for an object."""
    if not isinstance(value, str | int | float | bool | None):
        raise ValueError(f"{what} is {value!r:.60}; expected a number or text")
    return value
