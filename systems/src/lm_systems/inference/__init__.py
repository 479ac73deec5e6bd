"""Generation: the protocol, a batched engine with a key-value cache, and adapters."""
