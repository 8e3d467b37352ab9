"""Unlabelled speech -> an encoder that is adapted to it.

spans         which frames are hidden, and among which others one has to be told
objectives    the losses, of tensors alone
contrastive   wav2vec 2.0: a hidden frame is told from others by its quantised features
collator      batches that say which frames are hidden
"""
