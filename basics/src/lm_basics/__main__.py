"""``python -m lm_basics``: the command ``basics``, as torchrun starts it."""

from lm_basics.commands.main import main

if __name__ == "__main__":
    main()
