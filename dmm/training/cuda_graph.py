"""Work on a GPU without the host in between: some calls as they are, then the same work replay as one CUDA graph.

A small model's update is hundreds of kernels of a few microseconds each, which a host cannot launch as fast as a GPU runs
them. What is replay must read and write tensors that stay where they are, and ask nothing of the host.
"""

from collections.abc import Callable

import torch

EAGER = 3  # calls before the recording, so that all buffers exist: real ones, no call is lost


def capture_cuda_graph(work: Callable[[], None], generator: torch.Generator) -> Callable[[], None]:
    """`work`, which draws from a CUDA generator (and torch's global one), as a graph from its fourth call on."""
    stream, graph, calls = torch.cuda.Stream(), torch.cuda.CUDAGraph(), 0
    graph.register_generator_state(generator)

    def call() -> None:
        nonlocal calls
        if calls < EAGER:  # on a stream of their own, as recording asks of what autograd has run before
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                work()
            torch.cuda.current_stream().wait_stream(stream)
        else:
            if calls == EAGER:
                with torch.cuda.graph(graph):
                    work()  # recorded, not done
            graph.replay()
        calls += 1

    return call
