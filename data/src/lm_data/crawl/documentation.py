"""Documentation pages of the Python standard library, rendered by pydoc."""

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

RENDERER = Path(__file__).with_name("render_pydoc.py")
TIME_LIMIT_S = 300.0


def list_modules() -> list[str]:
    """Return the modules of ``texts/modules.txt``, the most useful ones first.

    Their import does nothing visible, and their pages hold no data of the machine, such as the
    version of a linked library or the time zone.
    """
    listed = resources.files("lm_data.crawl") / "texts" / "modules.txt"
    return listed.read_text(encoding="utf-8").split()


def render_documentation(num_modules: int) -> dict[str, str]:
    """Return the HTML pages of the first modules of the list, by module name.

    Raises:
        ValueError: More modules are asked for than the list holds.
        RuntimeError: The renderer failed; the message holds the end of its error output.
    """
    modules = list_modules()
    if not 0 <= num_modules <= len(modules):
        raise ValueError(f"num_modules={num_modules} is not between 0 and {len(modules)}")
    if num_modules == 0:
        return {}
    # -P, -s, -S and -E keep the folder, the user's packages and the variables of the caller out.
    # Standard input carries the names, which keeps them off the command line and its length limit.
    result = subprocess.run(
        [sys.executable, "-P", "-s", "-S", "-E", "-X", "utf8", str(RENDERER)],
        input=json.dumps(modules[:num_modules]),
        capture_output=True,
        encoding="utf-8",
        timeout=TIME_LIMIT_S,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"pydoc could not render the modules: {result.stderr[-500:]}")
    return json.loads(result.stdout)
