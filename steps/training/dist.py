"""One process or many: what torchrun says, and sums over all ranks."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model on its device, with gradients averaged over the ranks if there are several."""
        model = model.to(self.device)
        if self.size == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def sum(self, values: list[float]) -> list[float]:
        """Each value added up over the ranks."""
        if self.size == 1:
            return values
        # MPS and the like have no float64; the ranks of a world are all on GPUs or all on CPUs.
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return total.tolist()

    def gather(self, items: list[Any]) -> list[Any]:
        """The items of all ranks, in order of rank."""
        if self.size == 1:
            return items
        lists: list[list[Any]] = [[] for _ in range(self.size)]
        torch.distributed.all_gather_object(lists, items)
        return [item for one in lists for item in one]


def join_world() -> World:
    """The process group that torchrun's environment describes (nccl on GPUs, gloo otherwise), or a world of one."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    if size > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(rank, size, device)


def leave_world(world: World) -> None:
    """Ends the process group, if there is one."""
    if world.size > 1:
        torch.distributed.destroy_process_group()
