"""The models, in one flat folder that travels to the Hub: it imports torch, transformers and its siblings only."""
