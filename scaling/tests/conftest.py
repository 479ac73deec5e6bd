"""Fixtures: recorded tables, made-up laws and the runs that they would give."""

from pathlib import Path

import numpy as np
import pytest

from lm_basics.model_config import TransformerConfig, uniform_transformer
from lm_scaling.laws.parametric import ParametricLaw
from lm_scaling.laws.points import ScalingPoint

# Recorded tables of real runs lie beside the repository where there are any.
TABLES = Path(__file__).parents[3] / "shared" / "data" / "scaling"


@pytest.fixture(scope="session")
def tables() -> Path:
    if not TABLES.is_dir():
        pytest.skip(f"needs the recorded runs in {TABLES}")
    return TABLES


@pytest.fixture
def law() -> ParametricLaw:
    """The rounded law of Hoffmann et al. (2022)."""
    return ParametricLaw(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)


@pytest.fixture
def tiny_law() -> ParametricLaw:
    """A law whose terms matter at a million parameters, as runs of seconds show them."""
    return ParametricLaw(E=2.0, A=60.0, B=400.0, alpha=0.33, beta=0.42)


@pytest.fixture
def tiny_model() -> TransformerConfig:
    return uniform_transformer(
        vocab_size=32, context_length=16, d_model=16, num_layers=1, num_heads=2, d_ff=32
    )


def grid_points(
    law: ParametricLaw,
    sizes: tuple[float, ...],
    tokens: tuple[float, ...],
    *,
    noise: float = 0.0,
    seed: int = 0,
) -> list[ScalingPoint]:
    """Return one run per size and token count, with normal noise on the loss."""
    generator = np.random.default_rng(seed)
    return [
        ScalingPoint.from_run(
            parameters=n, tokens=d, loss=law.predict(n, d) + noise * generator.standard_normal()
        )
        for n in sizes
        for d in tokens
    ]
