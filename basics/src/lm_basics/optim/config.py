"""The settings of the optimizers, and of nothing that computes: no torch is needed to read them."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class AdamWConfig:
    """AdamW's settings."""

    lr: float = 3e-3
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of the first and second moments."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.1
    """Decay of matrices, as a fraction of the learning rate per step; vectors do not decay."""

    def __post_init__(self) -> None:
        check_adamw(self.lr, self.betas, self.eps, self.weight_decay)


@dataclass(frozen=True, kw_only=True, slots=True)
class MuonConfig:
    """Muon's settings, and AdamW's for everything that is not a hidden matrix."""

    lr: float = 0.02
    """Peak learning rate of the hidden matrices."""
    momentum: float = 0.95
    """Decay rate of the momentum."""
    iterations: int = 5
    """Newton-Schulz iterations a step."""
    weight_decay: float = 0.0
    """Decay of the hidden matrices, as a fraction of the learning rate per step."""
    others: AdamWConfig = field(default_factory=AdamWConfig)
    """The rule for embeddings, output head, routers and vectors."""

    def __post_init__(self) -> None:
        if self.lr < 0 or self.weight_decay < 0:
            raise ValueError(f"lr={self.lr} and weight_decay={self.weight_decay} must be >= 0")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {self.momentum}")
        if self.iterations <= 0:
            raise ValueError(f"iterations must be positive, got {self.iterations}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SOAPConfig:
    """SOAP's settings, and AdamW's for everything that is not a hidden matrix."""

    lr: float = 3e-3
    """Peak learning rate of the hidden matrices."""
    betas: tuple[float, float] = (0.95, 0.95)
    """Decay rates of the momentum, and of second moments and preconditioners."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.1
    """Decay of the hidden matrices, as a fraction of the learning rate per step."""
    precondition_frequency: int = 10
    """Steps between two updates of the eigenbases."""
    max_precond_dim: int = 10_000
    """Longest side that is rotated; a longer one keeps its own basis."""
    others: AdamWConfig = field(default_factory=AdamWConfig)
    """The rule for embeddings, output head, routers and vectors."""

    def __post_init__(self) -> None:
        check_adamw(self.lr, self.betas, self.eps, self.weight_decay)
        if self.precondition_frequency <= 0:
            raise ValueError(
                f"precondition_frequency must be positive, got {self.precondition_frequency}"
            )
        if self.max_precond_dim < 0:
            raise ValueError(f"max_precond_dim must not be negative, got {self.max_precond_dim}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SGDConfig:
    """Stochastic gradient descent's settings."""

    lr: float = 0.1
    """Peak learning rate."""
    momentum: float = 0.9
    """Decay rate of the sum of past gradients; 0 keeps none."""
    weight_decay: float = 0.0
    """Decay of matrices, as a fraction of the learning rate per step; vectors do not decay."""

    def __post_init__(self) -> None:
        check_sgd(self.lr, self.momentum, self.weight_decay)


OptimizerConfig = AdamWConfig | MuonConfig | SOAPConfig | SGDConfig


def check_adamw(lr: float, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
    """Raise ``ValueError`` where a setting makes no sense."""
    if lr < 0:
        raise ValueError(f"lr must not be negative, got {lr}")
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must lie in [0, 1), got {betas}")
    if eps < 0 or weight_decay < 0:
        raise ValueError(f"eps={eps} and weight_decay={weight_decay} must not be negative")


def check_sgd(lr: float, momentum: float, weight_decay: float) -> None:
    """Raise ``ValueError`` where a setting makes no sense."""
    if lr < 0 or weight_decay < 0:
        raise ValueError(f"lr={lr} and weight_decay={weight_decay} must not be negative")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
