"""Training of one model.

fit.py         the training loop, one for every architecture: learning rate, when to evaluate, when to save
state.py       everything that a run needs to continue with the same bits
ddp.py         several workers that train one model
cuda_graph.py  an update on a GPU as one CUDA graph
"""
