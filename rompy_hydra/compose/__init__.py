"""Everything that imports Hydra or OmegaConf: from files and overrides to plain, checked data."""
