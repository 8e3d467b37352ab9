"""Frames of any layer of an encoder, from one pass over recordings.

encoders    a model, or a checkpoint of a self-supervised encoder -> frames of several of its layers at once
passes      rows -> the frames of each, or their statistics, in memory that does not grow with the rows
kept        statistics of all layers, kept: a killed pass goes on
probes      what is fitted on them: linear classifiers and regressions, and a learned sum of layers
embed       the same, or embeddings, of many recordings into a folder: `hf-speech embed`
recordings  which recordings those are
formats     the files: Parquet, or Kaldi's ark and scp
folder      which of them are whole, and of which model and data
options     what the command can be told
"""
