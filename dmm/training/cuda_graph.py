"""An update on a GPU as one CUDA graph. The first calls run as usual, the next one is captured, later ones are launched.

An update of a small model is hundreds of kernels of a few microseconds each. The host cannot launch them as fast as the GPU
runs them. A captured function must read and write tensors that stay at the same address, and must not wait for the host.
"""

from collections.abc import Callable

import torch

EAGER_CALLS = 3  # before the capture, so that all buffers exist. These calls are real updates


def capture_cuda_graph(work: Callable[[], None], generator: torch.Generator) -> Callable[[], None]:
    """Returns a function like `work` that launches a CUDA graph from its fourth call on.

    `work` draws random numbers from the CUDA generator and from torch's global one.
    Both may be seeded between two calls, because a launch first copies their seeds and offsets to the GPU.
    """
    stream, graph, calls = torch.cuda.Stream(), torch.cuda.CUDAGraph(), 0
    graph.register_generator_state(generator)

    def call() -> None:
        nonlocal calls
        if calls < EAGER_CALLS:  # on a side stream: a capture requires it of work that autograd has seen before
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                work()
            torch.cuda.current_stream().wait_stream(stream)
        else:
            if calls == EAGER_CALLS:
                with torch.cuda.graph(graph):
                    work()  # captured, not executed
            graph.replay()
        calls += 1

    return call
