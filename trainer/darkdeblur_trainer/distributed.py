"""Several processes that share one run (``torchrun``, DistributedDataParallel)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from napari_darkdeblur.errors import DarkDeblurError
from napari_darkdeblur.restore import DeviceError, choose_device

Result = TypeVar("Result")

# Groups that this process has left. DDP's reducer holds the group, too; were it the last to let
# go, it would wait for gloo's threads while it holds the interpreter's lock, and they wait for
# that lock to let go of their tensors. So a reference outlives every reducer.
_left: list[Any] = []


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that share a run, seen from one of them.

    Parameters
    ----------
    rank : int
        Number of this process, from 0; rank 0 logs, validates and saves.
    world_size : int
        Number of processes in the group.
    device : torch.device
        Device on which this process trains.
    """

    rank: int
    world_size: int
    device: torch.device
    # Messages go by gloo, whatever gradients go by: they must not wait for the GPU, and they
    # may have to wait for hours while rank 0 decodes images.
    _messages: Any = None

    @classmethod
    def single(cls, device: torch.device) -> ProcessGroup:
        """Return the group of a process that trains alone on a device."""
        return cls(0, 1, device)

    @classmethod
    def join(cls, device: str) -> ProcessGroup:
        """Join the processes that ``torchrun`` started; without it, be a group of one.

        Parameters
        ----------
        device : str
            ``"auto"`` (CUDA where there is one), ``"cuda"`` or ``"cpu"``; for a single process
            also one GPU by number. Of several processes on a host, each takes the GPU of its
            local rank.

        Returns
        -------
        ProcessGroup
            The group, to be used as a context manager that leaves it at the end.

        Raises
        ------
        DeviceError
            There is no such device, or training does not work on it.
        """
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        chosen = choose_device(device)
        if chosen.type not in ("cuda", "cpu"):
            raise DeviceError(f"Training works on CUDA devices and CPUs, not on {device!r}.")
        if world_size == 1:
            return cls.single(chosen)
        if chosen.type == "cuda":
            if device not in ("auto", "cuda"):
                raise DeviceError(
                    f"Device {device!r} would be shared by all {world_size} processes; with "
                    "--device cuda each takes its own."
                )
            chosen = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
            torch.cuda.set_device(chosen)
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        messages = dist.new_group(backend="gloo", timeout=timedelta(days=1))
        return cls(dist.get_rank(), world_size, chosen, messages)

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(self, *error: object) -> None:
        if self.world_size > 1:
            _left.append((dist.group.WORLD, self._messages))
            dist.destroy_process_group()

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process logs, validates and saves."""
        return self.rank == 0

    def shard(self, batch_size: int) -> range:
        """Return the positions in a global batch of the samples that this rank computes."""
        each = batch_size // self.world_size
        return range(self.rank * each, (self.rank + 1) * each)

    def wrap_ddp(self, network: nn.Module) -> nn.Module:
        """Return the network with its gradients averaged over ranks; itself for a single rank."""
        if self.world_size == 1:
            return network
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False)

    def all_reduce_mean(self, values: Tensor) -> Tensor:
        """Return a tensor averaged over ranks."""
        if self.world_size > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.world_size
        return values

    def all_reduce_max(self, value: int) -> int:
        """Return the largest value of all ranks."""
        if self.world_size == 1:
            return value
        shared = torch.tensor(value)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX, group=self._messages)
        return int(shared)

    def on_rank_zero(self, action: Callable[[], Result]) -> Result:
        """Run a function on rank 0 and return its result on every rank.

        Parameters
        ----------
        action : callable
            Function without arguments whose result can be pickled.

        Raises
        ------
        DarkDeblurError
            What the function raised on rank 0, on every rank: none is left waiting.
        """
        if self.world_size == 1:
            return action()
        outcome: list[Any] = [None, None]
        if self.is_rank_zero:
            try:
                outcome[0] = action()
            except DarkDeblurError as error:
                outcome[1] = error
            except Exception as error:
                outcome[1] = DarkDeblurError(f"The first process failed: {error!r}.")
                dist.broadcast_object_list(outcome, src=0, group=self._messages)
                raise
        dist.broadcast_object_list(outcome, src=0, group=self._messages)
        result, problem = outcome
        if problem is not None:
            raise problem
        return cast(Result, result)
