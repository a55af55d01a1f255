"""ColorMNet (ECCV 2024): memory-based exemplar video colorization."""
