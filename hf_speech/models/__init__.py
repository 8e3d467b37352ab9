"""The models, in one flat folder that travels to the Hub: it imports torch, transformers and its siblings only.

configuration  what a model is made of            frames    samples, frames, seconds
encoder        waveform -> frames                 padding   parts of encoders, made blind to padding
pooling        frames -> vector                   heads     vector -> logits
losses         logits, labels -> loss             modeling  the models themselves
conversion     stock checkpoints -> ours          registry  names, and the error that lists them
"""
