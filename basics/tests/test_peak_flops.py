import pytest
import torch

from lm_basics.peak_flops import find_peak_flops, listed_peak, measure_matmul

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA B200", 2250),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
    ],
)
def test_gpus_are_listed_by_the_words_of_their_names(name: str, teraflops: int) -> None:
    peak = listed_peak(name)
    assert peak is not None
    assert peak.flops_per_s == teraflops * 1e12
    assert peak.source.startswith("data sheet of ")


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3 MIG 1g.10gb", "GeForce GTX 1080", "H1000"])
def test_slices_and_unknown_gpus_are_not(name: str) -> None:
    assert listed_peak(name) is None


def test_a_measured_peak_is_that_of_a_product_and_changes_no_random_state() -> None:
    state = torch.get_rng_state()
    peak = find_peak_flops(CPU, torch.float32)
    assert peak.source == "measured product of 1,024 x 1,024 matrices"
    # Anything that runs this test does more than 0.1 and less than 100,000 GFLOP/s.
    assert 1e8 < peak.flops_per_s < 1e14
    assert measure_matmul(CPU, torch.float32, size=64) > 0
    assert torch.equal(state, torch.get_rng_state())
