"""Looking at tokenizers: on one text side by side, in a report, token by token in a browser."""
