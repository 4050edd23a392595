"""Training of one model.

fit.py         the training loop, one for every architecture: when to evaluate, when to save
optimizer.py   AdamW, the parameters that decay, and the learning rate
state.py       everything that a run needs to continue with the same bits
ddp.py         several workers that train one model
cuda_graph.py  an update on a GPU as one CUDA graph
"""
