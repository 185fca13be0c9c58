"""Recognise a split: run the network once, and every search that decode.methods asks for.

Writes a directory with hyp_<system>.txt, ref.txt, utt2spk, nbest.jsonl and stats.json. Split over jobs,
each writes a directory of its own, and steps.score_cer puts them together. The configuration comes from
the checkpoint; key=value overrides it.
"""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steps.decoding import engine, posteriors, searches
from steps.decoding.stats import decoding_stats
from steps.graph.units import Units
from steps.inference.cost import Stopwatch
from steps.tasks.config import AsrConfig
from utils import atomic, cli, config, provenance


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    chosen = engine.resolve(args.engine)
    options = {name: getattr(args, name) for name in ("job", "num_jobs", "device", "save_posteriors", "overrides")}
    inputs = [path for path in (args.checkpoint, args.posteriors, args.cuts, args.lang, args.graph) if path]
    with provenance.make(args.out, {**options, "engine": chosen}, inputs) as out:
        if out is not None:
            out.mkdir()
            _decode(args, chosen, out)


def _decode(args: argparse.Namespace, chosen: str, out: Path) -> None:
    watch = Stopwatch()
    asr, device, facts, batches = _from_network(args, watch) if args.checkpoint else _from_file(args)
    units = Units.load(args.lang)
    methods = searches.choose_methods(asr.decode, units.kind, bool(args.graph))
    graph, words = None, []
    if any(method.startswith("graph") for method in methods):
        graph, words = engine.load_graph(args.graph, chosen, device), searches.read_words(args.graph)
    suite = searches.Searches(methods, asr.decode, units, graph, words)
    with posteriors.keeping(args.save_posteriors, {**facts, "config": config.to_dict(asr)}) as keep:
        for batch in batches:
            suite(batch)
            keep(batch)
    suite.write(out)
    stats = {"job": args.job, "num_jobs": args.num_jobs, **decoding_stats(suite, watch, facts)}
    atomic.write_json(out / "stats.json", {**stats, "decode": config.to_dict(asr.decode)})
    logging.info("%d utterances, %.0f s of audio: %s", stats["utterances"], stats["audio_seconds"], args.out)


def _from_network(args: argparse.Namespace, watch: Stopwatch) -> tuple[AsrConfig, Any, dict[str, Any], Iterator]:
    """The configuration, the device, what to remember of the model, and its posteriors of the job's cuts."""
    if not args.cuts:
        raise ValueError("--checkpoint needs --cuts: data/<corpus>/cuts_<split>.jsonl.gz")
    from steps.decoding import network  # what needs torch and lhotse is not needed to search stored posteriors
    from steps.inference import device as devices
    from steps.tasks.asr import load_model

    device = devices.pick_device(args.device)
    model, trained = load_model(args.checkpoint, device)
    asr = config.override(trained, args.overrides)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    facts = {"parameters": parameters, "device": devices.device_name(device), "checkpoint": str(args.checkpoint)}
    cuts = network.read_cuts(args.cuts, args.job, args.num_jobs)
    return asr, device, facts, network.network_batches(model, cuts, asr.decode.batch_seconds, device, watch)


def _from_file(args: argparse.Namespace) -> tuple[AsrConfig, Any, dict[str, Any], Iterator]:
    stored = posteriors.PosteriorFile(args.posteriors)
    facts = {name: value for name, value in stored.facts.items() if name != "config"}
    asr = config.override(config.from_dict(AsrConfig, stored.facts["config"]), args.overrides)
    device = "cpu" if args.device == "auto" else args.device
    return asr, device, facts, stored.batches(args.job, args.num_jobs, asr.decode.batch_seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="steps.decode_asr", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, help="model, as steps.average_checkpoints writes it")
    source.add_argument("--posteriors", type=Path, help="file of --save-posteriors, instead of a model and cuts")
    parser.add_argument("--cuts", type=Path, help="cuts with features: data/<corpus>/cuts_<split>.jsonl.gz")
    parser.add_argument("--lang", type=Path, required=True, help="lang directory that the model was trained with")
    parser.add_argument("--graph", type=Path, help="HLG.fst, with words.txt beside it")
    parser.add_argument("--out", type=Path, required=True, help="directory to write, such as exp/x/decode_test/JOB")
    parser.add_argument("--job", type=int, default=1, help="which share of the utterances, from 1")
    parser.add_argument("--num-jobs", type=int, default=1, help="into how many shares they are split")
    parser.add_argument("--engine", default="auto", help="of graph searches: k2, openfst, or auto (k2 if it imports)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ..., or auto (a GPU if there is one)")
    parser.add_argument("--save-posteriors", type=Path, help="also write the log-posteriors to this .npz")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as decode.search_beam=20")
    return parser


if __name__ == "__main__":
    cli.run(main)
