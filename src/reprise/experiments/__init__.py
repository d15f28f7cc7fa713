"""From a config to a finished run folder: configuration, grid, training, evaluation, status."""
