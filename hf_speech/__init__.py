"""Speech classifiers on the Hugging Face stack: who speaks, emotion, age.

How to read this package, in the order an utterance travels through it:

    audio       bytes or path -> mono float32 waveform; only the wanted crop is read
    data        rows -> batches: readers, split rules, checks, decoding in the collator
    models      batch -> frames -> vector -> logits, loss (one flat folder, travels to the Hub)
    training    model + batches -> checkpoints
    inference   model + rows -> logits, embeddings
    metrics     predictions -> numbers with intervals
    hub         run + numbers -> card
    cli         the command `hf-speech`
"""
