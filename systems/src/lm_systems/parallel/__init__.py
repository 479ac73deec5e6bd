"""Many processes: what they send each other, what it costs, and how long it takes here."""
