"""Take over a network that separates or enhances speech from another toolkit: its weights become this run's model.

Reads asteroid's files (model.pth, pytorch_model.bin), denoiser's (dns48-....th, best.th, checkpoint.th), GTCRN's .tar,
and any state_dict whose names are those of the YAML's architecture, and writes EXP/checkpoints/averaged.pt and
EXP/config.yaml, with which the stages after training go on. Nothing that the file contains is run. The architecture and
its sizes are the file's where it tells them, otherwise the YAML's; model.architecture and model.sizes.* on the command
line win over both. Files of denoiser that are weights alone do not tell model.sizes.stride and resample.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from steps.tasks.config import load_config
from utils import cli, provenance
from utils import config as config_file


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="steps.import_separator", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the other toolkit's file of weights")
    parser.add_argument("--config", type=Path, required=True, help="YAML of task separation or enhancement")
    parser.add_argument("--exp", type=Path, required=True, help="directory of the run to begin")
    parser.add_argument("--sources", type=int, help="outputs of the network, if not as many as the YAML has speakers")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as model.sizes.normalize=causal")
    args = parser.parse_args(argv)

    config = load_config(args.config, args.overrides)
    if config.task not in ("separation", "enhancement"):
        raise ValueError(f"{args.config} is of task {config.task}; expected separation or enhancement")
    from steps.models.foreign import load_foreign
    from steps.models.foreign_separators import as_separator
    from steps.tasks.mixture_task import source_count

    found = as_separator(load_foreign(args.weights))
    config = merged(config, found, args.sources, args.overrides)
    values = config_file.to_dict(config)
    output = args.exp / "checkpoints" / "averaged.pt"
    with provenance.make(
        output, {"model": values["model"], "sources": source_count(config)}, [args.weights]
    ) as temporary:
        if temporary is None:
            return
        from steps.training.checkpoint import save_checkpoint

        save_checkpoint(temporary, {"model": checked(args.weights, found.weights, config), "config": values})
        config_file.dump(config, args.exp / "config.yaml")
    logging.info("%s has the weights of %s: %s %s", output, args.weights, config.model.architecture, config.model.sizes)


def merged(config: Any, found: Any, wanted: int | None, overrides: list[str]) -> Any:
    """The config with what the file tells of its network, where the command line does not say otherwise.

    Raises ValueError where the number of outputs is not the one that the config, or `wanted`, has.
    """
    from steps.tasks.mixture_task import source_count

    said = {text.partition("=")[0] for text in overrides}
    values = config_file.to_dict(config)
    model = values["model"]
    if found.architecture and found.architecture != model["architecture"]:
        if "model.architecture" in said:
            raise ValueError(f"the file is of a {found.architecture}, not of a {model['architecture']}")
        model.update(architecture=found.architecture, sizes={})
    told = {key: value for key, value in found.sizes.items() if f"model.sizes.{key}" not in said}
    explicit = {key: value for key, value in config.model.sizes.items() if f"model.sizes.{key}" in said}
    model["sizes"] = {**model["sizes"], **told, **explicit}
    expected = wanted or source_count(config)
    if found.sources not in (None, expected):
        raise ValueError(f"the file's network has {found.sources} outputs, expected {expected}; see --sources")
    if config.task == "separation" and expected != source_count(config):
        values["mixtures"]["speakers"] = expected
    elif expected != source_count(config):
        raise ValueError(f"a network for enhancement has one output; got --sources {expected}")
    return config_file.from_dict(type(config), values)


def checked(file: Path, weights: dict[str, Any], config: Any) -> dict[str, Any]:
    """The weights as a checkpoint of ours has them. Raises ValueError unless they are the config's network's."""
    from steps.models.separators import build_separator
    from steps.tasks.mixture_task import source_count

    model = build_separator(config.model, source_count(config))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        faults = [line.strip() for line in str(error).splitlines()[1:]]
        shown = " ".join(faults[:3])[:500]
        raise ValueError(
            f"{file} is no {config.model.architecture} of model.sizes={config.model.sizes} with {source_count(config)} "
            f"output(s): {shown}"
        ) from error
    return model.state_dict()


if __name__ == "__main__":
    cli.run(main)
