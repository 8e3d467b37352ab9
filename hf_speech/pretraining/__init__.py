"""Speech -> an encoder that is adapted to it, before it is fine-tuned.

spans         which frames are hidden, and among which others one has to be told
objectives    the losses, of tensors alone
collator      batches that say which frames are hidden
model         what every model that learns here is
contrastive   wav2vec 2.0: a hidden frame is told from others by its quantised features
prediction    HuBERT, P-TAPT: of which clusters a hidden frame is
labelled      P-TAPT's first phase: the label of an utterance in each of its frames
rows          the rows that are learnt from, none of which is tested on
origins       of which labels its clusters, or what it began with, know
tasks         for each objective its rows, its model and its batches
fields        what a run of pretraining can be told
trainer       the Trainer: losses in parts, an end to a collapse
run           `hf-speech pretrain`

spool, clusters                 frames on the disk -> centroids for several numbers of clusters
frame_labels                    the cluster of each frame, in files
cluster_folder                  what it writes is all there or none of it
cluster_options, cluster_rows   all of it: `hf-speech cluster`
stages                          pretraining and clustering before a run of `hf-speech train`, on its training rows
"""
