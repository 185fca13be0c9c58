"""Export a trained model to ONNX.

The graph is run in onnxruntime and compared with the model at several lengths; one that differs is not kept. What the
model is comes from the checkpoint's configuration:

  task: speaker        features to embeddings, for sherpa-onnx; --backend adds the calibration and the thresholds
  task: separation     mixtures to sources, waveforms both, for steps.run_onnx
  task: enhancement    the same with one source

--int8 writes separators and enhancers with weights of 8 bits as well, and says what that costs in SI-SDR on the
recordings of --mixtures. --streaming writes one step of an enhancer that can stream, with its states as inputs and
outputs: for networks on spectra what sherpa-onnx streams as it is (its `gtcrn`), for Demucs what the head of
steps/export/streaming.py describes.
"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from utils import cli, provenance

if TYPE_CHECKING:
    from steps.export.graph import Agreement


def main(argv: list[str] | None = None) -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="steps.export_onnx", description=__doc__, formatter_class=form)
    parser.add_argument("--checkpoint", type=Path, required=True, help="model, as stages 4 and 5 write it")
    parser.add_argument("--backend", type=Path, help="of a speaker model: EXP/score/backend of stage 7")
    parser.add_argument("--out", type=Path, required=True, help="ONNX file to write, such as EXP/model.onnx")
    parser.add_argument("--language", default="zh", help="of the training speech, for the metadata (default zh)")
    parser.add_argument("--int8", type=Path, metavar="OUT", help="of a separator or enhancer: second file, with 8 bits")
    parser.add_argument("--mixtures", type=Path, help="folder of audio to measure 8 bits on: data/.../mixtures_x/mix")
    parser.add_argument("--streaming", type=Path, metavar="OUT", help="of an enhancer that can stream: one step of it")
    parser.add_argument("--streaming-int8", type=Path, metavar="OUT", help="the same with 8 bits, of one on spectra")
    args = parser.parse_args(argv)
    if (args.int8 is None) != (args.mixtures is None):
        parser.error("--int8 and --mixtures go together")

    if args.streaming_int8 and not args.streaming:
        parser.error("--streaming-int8 is made of what --streaming OUT writes: give both")

    inputs = [args.checkpoint, *([args.backend] if args.backend else [])]
    with provenance.make(args.out, {"language": args.language}, inputs) as out:
        if out is not None:
            _export(args, out)
    if args.int8:
        with provenance.make(args.int8, {}, [args.out, args.mixtures]) as out:
            if out is not None:
                _export_int8(args, out)
    if args.streaming and _export_streaming(args) and args.streaming_int8:
        with provenance.make(args.streaming_int8, {}, [args.streaming]) as out:
            if out is not None:
                _export_streaming_int8(args, out)


def _export(args: argparse.Namespace, out: Path) -> None:
    from steps.training.checkpoint import load_checkpoint  # torch: not needed to find that all is done

    task = load_checkpoint(args.checkpoint).get("config", {}).get("task")
    if task == "speaker" and (args.backend is None or args.int8):
        raise ValueError(
            f"{args.checkpoint} is a speaker model: it needs --backend EXP/score/backend, and has no --int8"
        )
    if task in ("separation", "enhancement") and args.backend:
        raise ValueError(f"{args.checkpoint} is a model of {task}, which has no back end: leave --backend out")
    match task:
        case "speaker":
            from steps.export.speaker import export_speaker

            found = export_speaker(args.checkpoint, args.backend, out, args.language)
        case "separation" | "enhancement":
            from steps.export.separation import export_separator

            found = export_separator(args.checkpoint, out)
        case "ivector":
            raise ValueError(
                f"{args.checkpoint} holds i-vectors, which are no network and have no ONNX graph: "
                f"steps.enroll_speakers and steps.identify_speaker use it as it is"
            )
        case _:
            known = "speaker, separation and enhancement"
            raise ValueError(f"{args.checkpoint} is a model of task '{task}'; those of {known} can be exported")
    _say(args.out, out, found)


def _export_int8(args: argparse.Namespace, out: Path) -> None:
    from steps.export.separation import export_int8, read_mixtures

    value = export_int8(args.out, out, read_mixtures(args.mixtures, args.out))
    size = out.stat().st_size / 1e6
    logging.info("%s: %.1f MB; SI-SDR %.1f dB against float32, median", args.int8, size, value)


def _export_streaming(args: argparse.Namespace) -> bool:
    """Whether there is a streaming form of the network, which is written then."""
    import torch

    from steps.models.demucs import Demucs
    from steps.models.separators import can_stream
    from steps.models.streaming_stft import CausalStftNetwork
    from steps.tasks.enhancement import load_enhancer

    model, config = load_enhancer(args.checkpoint, torch.device("cpu"))
    rate, architecture = config.mixtures.sampling_rate, config.model.architecture
    on_spectra = isinstance(model, CausalStftNetwork)
    reason = "" if can_stream(model) else f"{architecture} has no streaming form"
    if on_spectra and 2 * model.stft.hop != model.stft.n_fft:
        reason = f"sherpa-onnx streams hops of half a window alone, not {model.stft.hop} of {model.stft.n_fft}"
    if reason:
        logging.warning("%s: %s: %s is not written", args.checkpoint, reason, args.streaming)
        return False
    if args.streaming_int8 and not on_spectra:
        raise ValueError(f"--streaming-int8 is of networks on spectra; leave it out for {architecture}")
    with provenance.make(args.streaming, {}, [args.checkpoint]) as out:
        if out is None:
            return True
        if on_spectra:
            from steps.export.sherpa_enhancement import export_sherpa

            found = export_sherpa(model, out, rate, architecture)
        else:
            from steps.export.streaming import export_streaming_demucs

            assert isinstance(model, Demucs), "the one other network with a streamer"
            found = export_streaming_demucs(model, out, rate)
        _say(args.streaming, out, found)
    return True


def _export_streaming_int8(args: argparse.Namespace, out: Path) -> None:
    from steps.export.sherpa_enhancement import export_sherpa_int8

    value = export_sherpa_int8(args.streaming, out)
    logging.info("%s: %.1f MB; SNR %.1f dB against float32", args.streaming_int8, out.stat().st_size / 1e6, value)


def _say(name: Path, out: Path, found: "Agreement") -> None:
    logging.info(
        "%s: %.1f MB; in onnxruntime cosine %.7f and largest difference %.1e of the largest value",
        name, out.stat().st_size / 1e6, found.cosine, found.relative,
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
