"""Where the files of a model lie, found without torch: a wrong path is told before its import."""

from pathlib import Path

from lm_basics.tokenizer.tokenizer_json import TOKENIZER_FILE

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
MODEL_FOLDER_NAME = "model"
"""Where the folder of a training run has its model."""


def find_model_folder(folder: Path | str) -> Path:
    """Return the folder itself, or the model inside of it where it is that of a training run."""
    folder = Path(folder)
    inside = folder / MODEL_FOLDER_NAME
    has_own = (folder / WEIGHTS_NAME).exists()
    return inside if not has_own and (inside / CONFIG_NAME).is_file() else folder


def find_text_model(folder: Path | str, tokenizer: Path | str | None = None) -> tuple[Path, Path]:
    """Return the folders of a model and of its tokenizer.

    Args:
        folder: A run, a model folder or a Hugging Face folder.
        tokenizer: Folder of the tokenizer, for a model that was saved without.

    Raises:
        FileNotFoundError: A folder is missing, or does not hold what it should.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"there is no folder {folder} with a model")
    folder = find_model_folder(folder)
    if not (folder / CONFIG_NAME).is_file():
        raise FileNotFoundError(f"{folder} holds no model: it has no {CONFIG_NAME}")
    tokens = Path(tokenizer or folder)
    if not (tokens / TOKENIZER_FILE).is_file():
        hint = ": give a folder by --tokenizer" if tokenizer is None else ""
        raise FileNotFoundError(f"{tokens} holds no {TOKENIZER_FILE}{hint}")
    return folder, tokens
