"""The run-time type checker of the test suites: beartype, with PEP 484's numeric tower.

``float`` accepts an ``int``, as every static checker and every reader takes it to.
"""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
