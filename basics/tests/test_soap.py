"""SOAP against the paper's algorithm in numpy, against AdamW, and on what it was made for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lm_basics.optim import SOAP, AdamW, AdamWConfig, SOAPConfig

Matrix = NDArray[np.float64]


class SOAPReference:
    """Algorithms 3 and 4 of Vyas et al. (2024), with Adam's bias corrections and AdamW's decay.

    As in the authors' code the first gradient finds the bases and nothing else, and eigenvectors
    are put in the order of their estimated eigenvalues before the QR decomposition. A side that is
    not rotated has the identity for its basis.
    """

    def __init__(self, weight: Matrix, config: SOAPConfig, sides: str) -> None:
        self.w, self.config, self.sides, self.t = weight.copy(), config, sides, 0
        rows, columns = weight.shape
        self.m, self.v = np.zeros((rows, columns)), np.zeros((rows, columns))
        self.left, self.right = np.zeros((rows, rows)), np.zeros((columns, columns))
        self.q_left, self.q_right = np.eye(rows), np.eye(columns)

    def step(self, g: Matrix, bases: Sequence[Matrix] = ()) -> None:
        """Learn from a gradient; the first call may be told the bases that it should find."""
        (beta1, beta2), lr = self.config.betas, self.config.lr
        if self.t > 0:
            self.w -= lr * self.config.weight_decay * self.w
            self.m = beta1 * self.m + (1 - beta1) * g
            rotated_g = self.q_left.T @ g @ self.q_right
            rotated_m = self.q_left.T @ self.m @ self.q_right
            self.v = beta2 * self.v + (1 - beta2) * rotated_g**2
            rotated_n = rotated_m / (np.sqrt(self.v) + self.config.eps)
            step_size = lr * np.sqrt(1 - beta2**self.t) / (1 - beta1**self.t)
            self.w -= step_size * self.q_left @ rotated_n @ self.q_right.T
        self.left = beta2 * self.left + (1 - beta2) * g @ g.T
        self.right = beta2 * self.right + (1 - beta2) * g.T @ g
        if self.t == 0:
            found = [np.linalg.eigh(p)[1][:, ::-1] for p in (self.left, self.right)]
            self._set_bases(*(bases or found))
        elif self.t % self.config.precondition_frequency == 0:
            left, right = self._order(self.left, self.q_left), self._order(self.right, self.q_right)
            new_left = np.linalg.qr(self.left @ self.q_left[:, left])[0]
            new_right = np.linalg.qr(self.right @ self.q_right[:, right])[0]
            if "left" in self.sides:
                self.v = self.v[left]
            if "right" in self.sides:
                self.v = self.v[:, right]
            self._set_bases(new_left, new_right)
        self.t += 1

    def _set_bases(self, left: Matrix, right: Matrix) -> None:
        self.q_left = left if "left" in self.sides else self.q_left
        self.q_right = right if "right" in self.sides else self.q_right

    def _order(self, p: Matrix, q: Matrix) -> NDArray[np.int64]:
        return np.argsort(-np.diag(q.T @ p @ q), kind="stable")


def _settings(**settings: Any) -> SOAPConfig:
    return SOAPConfig(**{"lr": 0.05, "betas": (0.9, 0.8), "eps": 1e-8, **settings})


@pytest.mark.parametrize(
    ("shape", "max_precond_dim", "sides"),
    [
        ((5, 5), 10, "left right"),
        ((4, 7), 10, "left right"),
        ((4, 7), 5, "left"),
        ((7, 4), 4, "right"),
        ((4, 7), 3, ""),
    ],
)
def test_soap_equals_the_papers_algorithm(
    shape: tuple[int, int], max_precond_dim: int, sides: str
) -> None:
    config = _settings(precondition_frequency=3, max_precond_dim=max_precond_dim)
    rng = np.random.default_rng(0)
    start = rng.standard_normal(shape)
    weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer, reference = SOAP([weight], [], config), SOAPReference(start, config, sides)
    if not sides:
        reference.t = 1  # Adam needs no gradient to find a basis.
    scales = np.outer(np.geomspace(1, 30, shape[0]), np.geomspace(5, 1, shape[1]))
    for step in range(12):
        gradient = rng.standard_normal(shape) * scales + 0.3 * reference.w
        weight.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        # A single gradient has no say in the eigenvectors that it is orthogonal to: there any
        # basis is right, and the reference takes the same.
        is_short = step == 0 and sides == "left right" and shape[0] != shape[1]
        state = optimizer.state[weight]
        names = ("left_basis", "right_basis") if is_short else ()
        reference.step(gradient, [state[name].numpy().copy() for name in names])
        np.testing.assert_allclose(weight.detach().numpy(), reference.w, rtol=1e-8, atol=1e-10)


def test_the_first_bases_are_eigenvectors_and_later_ones_come_near_them() -> None:
    rng = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(6, 6, dtype=torch.float64))
    scales = torch.tensor([9.0, 7.0, 5.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    turned = torch.linalg.qr(torch.randn(6, 6, generator=rng, dtype=torch.float64)).Q
    optimizer = SOAP([weight], [], _settings(precondition_frequency=1, betas=(0.9, 0.999)))

    def off_diagonal(name: str) -> float:
        state = optimizer.state[weight]
        d = state[f"{name}_basis"].mT @ state[name] @ state[f"{name}_basis"]
        assert torch.equal(d.diag().argsort(descending=True), torch.arange(6)) or name == "right"
        return ((d - d.diag().diag()).norm() / d.norm()).item()

    for step in range(200):
        noise = torch.randn(6, 6, generator=rng, dtype=torch.float64)
        weight.grad = turned @ (scales[:, None] * noise)
        optimizer.step()
        if step == 0:
            assert off_diagonal("left") < 1e-10
            assert off_diagonal("right") < 1e-10
            assert torch.equal(weight, torch.zeros_like(weight))
    assert off_diagonal("left") < 0.01
    basis = optimizer.state[weight]["left_basis"]
    torch.testing.assert_close(basis.mT @ basis, torch.eye(6, dtype=torch.float64))


@pytest.mark.parametrize("max_precond_dim", [0, 10])
def test_with_identities_for_bases_it_is_adamw(max_precond_dim: int) -> None:
    config = _settings(max_precond_dim=max_precond_dim, precondition_frequency=100)
    torch.manual_seed(0)
    start = torch.randn(4, 6)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    soap = SOAP([ours], [], config)
    adamw = AdamW([theirs], lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)
    if max_precond_dim:
        ours.grad = torch.randn(4, 6)
        soap.step()
        soap.state[ours].update(left_basis=torch.eye(4), right_basis=torch.eye(6))
    for _ in range(10):
        ours.grad = theirs.grad = torch.randn(4, 6)
        soap.step()
        adamw.step()
    torch.testing.assert_close(ours, theirs)
    assert (soap.state[ours].keys() == adamw.state[theirs].keys()) is (max_precond_dim == 0)


def test_soap_is_the_same_in_a_rotated_space_and_adam_is_not() -> None:
    """Rotate weights and gradients: the path of SOAP is rotated as well."""
    torch.manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q for _ in range(2))
    gradients = torch.randn(8, 5, 5, dtype=torch.float64)

    def path(name: str, *, is_rotated: bool) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.zeros(5, 5, dtype=torch.float64))
        config = _settings(precondition_frequency=2)
        optimizer = SOAP([weight], [], config) if name == "soap" else AdamW([weight], lr=0.05)
        for gradient in gradients:
            weight.grad = u @ gradient @ v if is_rotated else gradient.clone()
            optimizer.step()
        return weight.detach()

    plain, rotated = (path("soap", is_rotated=is_rotated) for is_rotated in (False, True))
    torch.testing.assert_close(u @ plain @ v, rotated)
    plain, rotated = (path("adamw", is_rotated=is_rotated) for is_rotated in (False, True))
    assert (u @ plain @ v - rotated).abs().max() > 0.01


def test_soap_beats_adam_where_the_hessian_is_rotated_and_badly_conditioned() -> None:
    torch.manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(12, 12)).Q for _ in range(2))
    a, b = u * torch.logspace(0, -1.5, 12), v * torch.logspace(0, -1.5, 12)
    start = torch.randn(12, 12)

    def final_loss(lr: float, *, is_soap: bool) -> float:
        weight = torch.nn.Parameter(start.clone())
        config = SOAPConfig(lr=lr, weight_decay=0.0, precondition_frequency=5)
        adam = AdamW([weight], lr, config.betas, weight_decay=0.0)
        optimizer = SOAP([weight], [], config) if is_soap else adam
        loss = torch.zeros(())
        for step in range(201):
            optimizer.param_groups[0]["lr"] = lr * (1 - step / 201)
            optimizer.zero_grad()
            loss = (a.mT @ weight @ b).square().sum()
            loss.backward()
            optimizer.step()
        return loss.item()

    rates = (0.01, 0.03, 0.1, 0.3)
    soap = min(final_loss(lr, is_soap=True) for lr in rates)
    adam = min(final_loss(lr, is_soap=False) for lr in rates)
    assert soap < adam / 10


def test_blocks_that_start_as_the_identity_find_their_bases_later() -> None:
    weight = torch.nn.Parameter(torch.ones(4, 4))
    optimizer = SOAP([weight], [], _settings())
    weight.grad = torch.zeros(4, 4)
    optimizer.step()
    assert not optimizer.state[weight]
    weight.grad = torch.randn(4, 4)
    optimizer.step()
    d = optimizer.state[weight]["left_basis"].mT @ weight.grad
    torch.testing.assert_close(d @ d.mT, (d @ d.mT).diag().diag(), rtol=1e-4, atol=1e-4)


def test_other_parameters_follow_adamw() -> None:
    ours, theirs = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    others = AdamWConfig(lr=0.02, betas=(0.8, 0.9))
    soap = SOAP([], [{"params": [ours], "weight_decay": 0.0}], SOAPConfig(others=others))
    adamw = AdamW([theirs], lr=0.02, betas=(0.8, 0.9), weight_decay=0.0)
    for _ in range(3):
        ours.grad = theirs.grad = torch.randn(5)
        soap.step()
        adamw.step()
    assert torch.equal(ours, theirs)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="precondition_frequency must be positive, got 0"):
        SOAPConfig(precondition_frequency=0)
    with pytest.raises(ValueError, match="max_precond_dim must not be negative, got -1"):
        SOAPConfig(max_precond_dim=-1)
    with pytest.raises(ValueError, match="lr must not be negative"):
        SOAPConfig(lr=-1.0)
