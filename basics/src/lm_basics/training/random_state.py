"""The state of the random generators that a training step may draw from."""

import random
from typing import Any

import numpy as np
import torch


class RandomState:
    """The global generators of Python, NumPy and torch, there on the CPU and on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state_dict(self) -> dict[str, Any]:
        """Return where the generators stand."""
        numpy_state = dict(np.random.get_state(legacy=False))  # noqa: NPY002
        numpy_state["state"] = {
            "key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "pos": numpy_state["state"]["pos"],
        }
        state: dict[str, Any] = {
            "python": random.getstate(),
            "torch": torch.get_rng_state(),
            "numpy": numpy_state,
        }
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the generators where they stood; a device that has none of its own is left out."""
        version, words, next_gauss = state_dict["python"]
        random.setstate((version, tuple(words), next_gauss))
        torch.set_rng_state(state_dict["torch"])
        numpy_state = dict(state_dict["numpy"])
        key = numpy_state["state"]["key"].numpy().astype(np.uint32)
        numpy_state["state"] = {"key": key, "pos": numpy_state["state"]["pos"]}
        np.random.set_state(numpy_state)  # noqa: NPY002
        if self.device.type == "cuda" and "cuda" in state_dict:
            torch.cuda.set_rng_state(state_dict["cuda"], self.device)
