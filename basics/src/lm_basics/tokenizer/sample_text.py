"""A text that is always there: the reference manual that Python's ``help()`` shows.

It is English prose between fragments of code, about half a megabyte, and part of the standard
library. Its words change a little from one version of Python to the next.
"""

from pydoc_data.topics import topics


def python_manual() -> str:
    """Return the topics of the manual, in the order of their names."""
    return "\n\n".join(topics[name] for name in sorted(topics))
