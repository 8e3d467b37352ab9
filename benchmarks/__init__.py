"""What the package costs, measured: each module here is a script that writes one file in `results/`."""
