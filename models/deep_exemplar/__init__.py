"""Deep Exemplar (CVPR 2019): exemplar video colorization by semantic correspondence."""
