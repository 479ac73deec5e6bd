"""Fast versions of the operations in `lm_basics.nn.ops`, each beside its reference."""
