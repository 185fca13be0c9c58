"""Several processes through torchrun: they agree on every weight, and resume."""

import os
import subprocess
import sys
import textwrap

import torch

from steps.training.checkpoint import load_checkpoint

WORKER = """
    import sys, pathlib, torch
    sys.path[:0] = {path!r}
    import importlib.util
    spec = importlib.util.spec_from_file_location("toy", {conftest!r})
    toy = importlib.util.module_from_spec(spec); spec.loader.exec_module(toy)
    from steps.training.dist import join_world, leave_world
    from steps.training.trainer import Trainer

    config = toy.ToyConfig()
    config.training.epochs = int(sys.argv[2])
    world = join_world()
    trainer = Trainer(toy.ToyTask(config), pathlib.Path(sys.argv[1]), world)
    if len(sys.argv) > 3:
        config.training.epochs = 3
        original = trainer._train_step
        def dying(group, meter):
            if trainer.step == int(sys.argv[3]):
                raise SystemExit(9)
            return original(group, meter)
        trainer._train_step = dying
    trainer.fit()
    leave_world(world)
"""


def torchrun(tmp_path, root, folder, *args: object, ranks: int = 2):
    script = tmp_path / "worker.py"
    conftest = root / "tests" / "steps" / "training" / "conftest.py"
    script.write_text(textwrap.dedent(WORKER.format(path=[str(root)], conftest=str(conftest))))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    command += [str(script), str(folder), *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_two_ranks_resume_bit_for_bit_and_stay_two(tmp_path, root):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert torchrun(tmp_path, root, whole, 3).returncode == 0
    assert torchrun(tmp_path, root, cut, 3, 7).returncode != 0, "the run must have died at step 7"
    refused = torchrun(tmp_path, root, cut, 3, ranks=1)
    assert refused.returncode != 0 and "2 processes trained it, now there are 1" in refused.stderr
    assert torchrun(tmp_path, root, cut, 3).returncode == 0
    expected = load_checkpoint(whole / "checkpoints" / "epoch-003.pt")
    resumed = load_checkpoint(cut / "checkpoints" / "epoch-003.pt")
    assert expected["step"] == resumed["step"]
    for name, value in expected["model"].items():
        assert torch.equal(value, resumed["model"][name]), name
