"""The root README and the page about contributing tell the truth."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(str(p.relative_to(ROOT)) for p in ROOT.glob("*/README.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith(("https://", "http://")) or (path.parent / target).exists(), target


def test_ci_runs_what_the_front_page_tells_people_to_type() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    told = set(re.findall(r"uv run ([^`#\n]*[^`#\s])", page))
    # They take minutes, or need what those leave; tests/test_speedrun.py has their parts.
    told -= {"speedrun.py", "speedrun.py laptop --seed 0", "docs/update_readme.py"}
    assert len(told) >= 3
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert [line for line in told if f"uv run {line}" not in ci] == []


def _update_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("update_readme", ROOT / "docs/update_readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SUMMARY = {
    "size": "laptop",
    "seed": 3,
    "total_s": 500.4,
    "stages": {"write_crawl": 4.6, "pretrain": 300.2},
    "documents_in": 601,
    "documents_kept": 326,
    "bytes_per_token": 4.01,
    "parameters": 1_900_000,
    "train_tokens": 4_600_000,
    "train_epochs": 1.44,
    "predicted_val_loss": 4.0,
    "val_loss": 3.9,
    "val_bits_per_byte": 1.3,
    "xz_bits_per_byte": 1.7,
    "ngram_bits_per_byte": 1.28,
    "base_reward": 0.0,
    "sft_reward": 0.2,
    "rl_reward": 0.95,
    "hf_logits_max_diff": 2e-5,
    "peak_bytes": 3 * 2**30,
}
RECEIPT = {
    "git_commit": "0123456789abcdef",
    "git_dirty": True,
    "hardware": {"num_cores": 2, "cpu": "Some CPU"},
    "versions": {"torch": "2.13.0", "python": "3.11.7"},
}


def test_results_are_written_between_the_markers_and_nowhere_else(tmp_path: Path) -> None:
    module = _update_module()
    block = module.render_results(SUMMARY, RECEIPT)
    assert "| model | 1.90M parameters |\n" in block
    assert "| training | 4.60M tokens (1.44 epochs), 4.01 bytes per token |\n" in block
    assert "| loss, predicted and obtained | 4.000 and 3.900 (-2.5%) |" in block
    assert "500 s: write crawl 5, pretrain 300" in block
    assert "speedrun.py laptop --seed 3` at commit 0123456789ab with changes on 2 cores" in block


def test_a_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    run, readme = tmp_path / "run", tmp_path / "README.md"
    run.mkdir()
    (run / "summary.json").write_text(json.dumps(SUMMARY))
    for stage in SUMMARY["stages"]:
        (run / "laptop" / stage).mkdir(parents=True)
        (run / "laptop" / stage / "receipt.json").write_text(json.dumps(RECEIPT))
    module = _update_module()
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="must hold"):
        module.update_readme(run, readme)
    assert readme.read_text() == "no markers"
    readme.write_text(f"before\n{module.BEGIN}\nold\n{module.END}\nafter\n")
    module.update_readme(run, readme)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    module.update_readme(run, readme)
    assert readme.read_text() == text
    other = json.dumps(RECEIPT | {"git_commit": "f" * 40})
    (run / "laptop" / "pretrain" / "receipt.json").write_text(other)
    with pytest.raises(ValueError, match="come from different code"):
        module.update_readme(run, readme)


def test_the_committed_results_come_from_the_command() -> None:
    block = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- results: begin -->")[1]
    assert "`uv run speedrun.py laptop --seed 0` at commit" in block.split("<!-- results: end")[0]
