"""The meeting point of a Ray Train group: the one address that is announced. Torch itself would listen on all addresses."""

import os
import socket
import sys

import ray
from ray.train.torch import TorchConfig
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]


class AnnouncedTorchConfig(TorchConfig):
    """Ray's TorchConfig, with a group that listens at the announced address only. On a local cluster that is loopback."""

    @property
    def backend_cls(self):
        """The class that Ray uses to start a group."""
        return AnnouncedBackend


class AnnouncedBackend(TorchConfig().backend_cls):
    """Ray's backend. It sets the address before torch listens."""

    def on_start(self, worker_group, backend_config) -> None:
        """Prepares the workers and starts their process group."""
        worker_group.execute(listen_where_announced)
        super().on_start(worker_group, backend_config)


def listen_where_announced() -> None:
    """Prepares one worker."""
    # torch 2.13 has no public way to do this. A function hides the module of the same name. tests/test_group.py checks it
    sys.modules["torch.distributed.rendezvous"].TCPStore = announced_store
    if ray.util.get_node_ip_address() == "127.0.0.1" and sys.platform == "linux":
        os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


def announced_store(host_name: str, port: int, is_master: bool, **options) -> TCPStore:
    """A TCPStore. Its master listens on `host_name` only."""
    if is_master:
        family = socket.AF_INET6 if ":" in host_name else socket.AF_INET
        options["master_listen_fd"] = socket.create_server((host_name, port), family=family).detach()
    return TCPStore(host_name, port, is_master=is_master, **options)
