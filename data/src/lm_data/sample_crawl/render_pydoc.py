"""Program that renders modules of the standard library to HTML, run in an interpreter of its own.

It is given module names and writes the name and the page of each as a line of JSON. A fresh
interpreter keeps the pages independent of what the calling process has imported, because pydoc
links to every name that it finds in ``sys.modules``. The program uses the standard library alone.
"""

import importlib
import json
import pydoc
import re
import sys
import warnings

ADDRESS = re.compile(r"(?: |&nbsp;)at(?: |&nbsp;)0x[0-9a-fA-F]{6,}")
FILE_LINK = re.compile(r'<a href="file:[^"]*">[^<]*</a><br>')
LIBRARY_PATH = re.compile(re.escape(sys.base_prefix) + r"[^\s<>\"'&]*")


def render_module(name: str) -> str:
    """Return the module's page without memory addresses and without this machine's paths."""
    module = importlib.import_module(name)
    writer = pydoc.HTMLDoc()
    page = writer.page(f"Python: module {name}", writer.document(module, name))
    page = FILE_LINK.sub("", ADDRESS.sub("", page))
    return LIBRARY_PATH.sub("(built-in)", page)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for module_name in sys.argv[1:]:
        sys.stdout.write(json.dumps([module_name, render_module(module_name)]) + "\n")
        sys.stdout.flush()
