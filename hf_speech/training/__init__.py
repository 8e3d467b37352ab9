"""Model and batches to checkpoints: arguments, Trainer, freezing, the run."""
