"""Many runs: over folds and grids, on this machine or on a cluster."""
