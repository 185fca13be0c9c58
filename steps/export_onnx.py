"""Export a trained model to ONNX.

The graph is run in onnxruntime and compared with the model at several lengths; one that differs is not kept. What the
model is comes from the checkpoint's configuration:

  task: speaker    features to embeddings, for sherpa-onnx; --backend adds the calibration and the thresholds
"""

import argparse
import logging
from pathlib import Path

from utils import cli, provenance


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="steps.export_onnx", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="model, as stages 4 and 5 write it")
    parser.add_argument("--backend", type=Path, required=True, help="EXP/score/backend of stage 7")
    parser.add_argument("--out", type=Path, required=True, help="ONNX file to write, such as EXP/model.onnx")
    parser.add_argument("--language", default="zh", help="of the training speech, for the metadata (default zh)")
    args = parser.parse_args(argv)

    with provenance.make(args.out, {"language": args.language}, [args.checkpoint, args.backend]) as out:
        if out is not None:
            _export(args, out)


def _export(args: argparse.Namespace, out: Path) -> None:
    from steps.training.checkpoint import load_checkpoint  # torch: not needed to find that all is done

    match load_checkpoint(args.checkpoint).get("config", {}).get("task"):
        case "speaker":
            from steps.export.speaker import export_speaker

            found = export_speaker(args.checkpoint, args.backend, out, args.language)
        case "ivector":
            raise ValueError(
                f"{args.checkpoint} holds i-vectors, which are no network and have no ONNX graph: "
                f"steps.enroll_speakers and steps.identify_speaker use it as it is"
            )
        case task:
            raise ValueError(f"{args.checkpoint} is a model of task '{task}'; those of task speaker can be exported")
    logging.info(
        "%s: %.1f MB; in onnxruntime cosine %.7f and largest difference %.1e of the largest value",
        args.out, out.stat().st_size / 1e6, found.cosine, found.relative,
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
