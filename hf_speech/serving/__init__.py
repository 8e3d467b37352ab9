"""Models for serving: a classifier as an ONNX file that needs nothing of this package, and its use without torch.

How to read it:

    facts       what a file says of itself: rate, tasks, labels, precision
    graph       a model -> the graph of an ONNX file, raw waveforms in, the front end inside
    exactness   whether the file says what torch says, at lengths from 0.5 to 20 s, alone and padded
    smaller     the file in 8 bits, or half precision
    export      all of it: `hf-speech export`
    session     a file -> what it says of waveforms (without torch)
    predict     a file + recordings -> labels, as `hf_speech.inference` gives them (without torch)
"""
