"""An optimizer whose state is spread over the processes (ZeRO stage 1, Rajbhandari et al., 2020).

Each process keeps the state of its share of the parameters, updates these, and then gives them to
the others. The gradients are whole everywhere before, as ``DDP`` leaves them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lm_basics.optim.optimizer import Optimizer
from lm_systems.parallel.collectives import Collectives, wait_all


class ShardedOptimizer(Optimizer):
    """Any optimizer, with the state of each parameter in one process alone.

    Its groups hold all parameters, so that schedules and clipping see what they are used to.
    ``state_dict`` and ``load_state_dict`` have the form of the optimizer inside; all processes have
    to call the former.
    """

    def __init__(
        self,
        params: Iterable[Any],
        optimizer_cls: Callable[..., torch.optim.Optimizer],
        *,
        collectives: Collectives | None = None,
        **kwargs: Any,
    ) -> None:
        """Share the parameters out.

        Args:
            params: Parameters or groups of them, the same in all processes.
            optimizer_cls: Makes the optimizer inside.
            collectives: Of which processes; None means all.
            kwargs: Its settings.
        """
        # Made on a parameter that is dropped: a process may own none, and settings are checked.
        local = optimizer_cls([torch.zeros(0, requires_grad=True)], **kwargs)
        self._share_out(params, local, collectives)

    @classmethod
    def from_optimizer(
        cls, optimizer: torch.optim.Optimizer, *, collectives: Collectives | None = None
    ) -> "ShardedOptimizer":
        """Return the sharded form of an optimizer, which is used inside from now on.

        Raises:
            ValueError: It has a state already.
        """
        if optimizer.state:
            raise ValueError("shard an optimizer before its first step: this one has a state")
        sharded = cls.__new__(cls)
        sharded._share_out(
            [dict(group) for group in optimizer.param_groups], optimizer, collectives
        )
        return sharded

    def _share_out(
        self,
        params: Iterable[Any],
        local: torch.optim.Optimizer,
        collectives: Collectives | None,
    ) -> None:
        self.collectives = collectives or Collectives()
        self._local = local
        local.param_groups.clear()
        self._loads = [0] * self.collectives.size
        self._owners: dict[Tensor, int] = {}
        super().__init__(params, local.defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Share out the parameters of one more group; each goes where there is least so far."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for parameter in group["params"]:
            owner = min(range(self.collectives.size), key=self._loads.__getitem__)
            self._owners[parameter] = owner
            self._loads[owner] += parameter.numel() if parameter.requires_grad else 0
        self._local.param_groups.append({**group, "params": self._own(group)})

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Update the own parameters, then let every process have all of them.

        Args:
            closure: Computes the loss and its gradients anew.
            kwargs: For the optimizer inside.
        """
        self._pass_settings_on()
        loss = self._local.step(closure, **kwargs)
        trained = [one for one in self._owners if one.requires_grad]
        with torch.no_grad():
            wait_all([self.collectives.broadcast(one, self._owners[one]) for one in trained])
        # Autograd cannot see these writes by itself.
        torch.autograd.graph.increment_version(trained)
        return loss

    def update(self) -> None:
        """Do one step without a closure."""
        self.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all parameters, gathered from the processes, in every one."""
        numbered = self._numbered()
        states: dict[int, dict[str, Any]] = {}
        own = {
            number: {name: _describe(one) for name, one in self._local.state[parameter].items()}
            for number, parameter in numbered.items()
            if parameter in self._local.state
        }
        for owner, described in enumerate(self.collectives.gather_objects(own)):
            for number, state in described.items():
                local = self._local.state[numbered[number]] if number in own else {}
                states[number] = {
                    name: self._share(one, local.get(name), owner, numbered[number].device)
                    for name, one in state.items()
                }
        numbers = {parameter: number for number, parameter in numbered.items()}
        groups = [
            {**group, "params": [numbers[one] for one in group["params"]]}
            for group in self.param_groups
        ]
        return {"state": dict(sorted(states.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the own part of what ``state_dict`` returned, here or for any number of processes.

        Raises:
            ValueError: It is of other parameters, or of another kind of optimizer.
        """
        own, whole = self._local.param_groups, self.param_groups
        # The optimizer inside checks and converts, with all parameters as in one process.
        for local, group in zip(own, whole, strict=True):
            local["params"] = group["params"]
        try:
            self._local.load_state_dict(state_dict)
        finally:
            loaded = self._local.param_groups
            for local, group in zip(loaded, whole, strict=True):
                group.update({name: one for name, one in local.items() if name != "params"})
                local["params"] = self._own(group)
        for parameter in [one for one in self._local.state if not self._is_own(one)]:
            del self._local.state[parameter]

    def _own(self, group: Mapping[str, Any]) -> list[Tensor]:
        return [one for one in group["params"] if self._is_own(one)]

    def _is_own(self, parameter: Tensor) -> bool:
        return self._owners[parameter] == self.collectives.rank

    def _numbered(self) -> dict[int, Tensor]:
        """Return the parameters by their place, as torch numbers them."""
        return dict(enumerate(one for group in self.param_groups for one in group["params"]))

    def _pass_settings_on(self) -> None:
        for group, local in zip(self.param_groups, self._local.param_groups, strict=True):
            local.update({name: one for name, one in group.items() if name != "params"})

    def _share(self, described: Any, own: Any, owner: int, device: torch.device) -> Any:
        """Return a value of the state, a tensor as its owner has it."""
        if not isinstance(described, _TensorLike):
            return described
        tensor = own if isinstance(own, Tensor) else described.empty(device)
        return self.collectives.broadcast(tensor, owner).wait()


class _TensorLike:
    """Shape and type of a tensor that another process has."""

    def __init__(self, tensor: Tensor) -> None:
        self.shape, self.dtype, self.device = tensor.shape, tensor.dtype, tensor.device.type

    def empty(self, device: torch.device) -> Tensor:
        """Return one like it, beside the parameter or on the CPU as there."""
        place = torch.device("cpu") if self.device == "cpu" else device
        return torch.empty(self.shape, dtype=self.dtype, device=place)


def _describe(value: Any) -> Any:
    return _TensorLike(value) if isinstance(value, Tensor) else value
