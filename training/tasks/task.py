"""The contract between a training loop and what it trains."""

from typing import Any, Protocol

from torch import Tensor, nn


class Task(Protocol):
    """A network with its data and losses.

    A batch depends on nothing but the task's construction and the number of the iteration. So a run that was killed
    goes on with the very batches it would have seen.
    """

    modules: nn.ModuleDict
    """All that is learnt or remembered: `network`, and a criterion with state (`oim`) where there is one."""

    def batch(self, iteration: int) -> Any:
        """The batch of one iteration, on the CPU. May be called from another thread, ahead of time."""
        ...

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Named scalar losses of a batch, whose sum is minimised. Moves the batch to the network's device."""
        ...

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that learn; frozen layers are left out."""
        ...
