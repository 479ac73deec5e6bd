"""What tests of every unit share: the pytest plugin, processes and tolerances."""
