"""Ray for a sweep: its own on this machine, or the cluster at RAY_ADDRESS. What can go wrong is found before Ray starts.

Ray itself would try for minutes, in C++ code that no signal ends.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from dmm.base.text_tables import one_line

REACH_SECONDS = 5  # in which the head of a cluster must answer
SESSION = "/session_2026-01-31_12-00-00_000000_{}/sockets/plasma_store"  # Ray's longest socket, with a process id
WAY_OUT = "unset RAY_ADDRESS to run on this machine, or submit a job with `dmm submit`"


def ray_address() -> str:
    """The address of the cluster: "local" is a Ray of this sweep's own, "auto" the cluster that runs on this machine."""
    return os.environ.get("RAY_ADDRESS") or "local"


def check_ray() -> None:
    """Raises ValueError in seconds if Ray cannot start on this machine, or if RAY_ADDRESS is not that of a living cluster."""
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # a token is no news
    if ray_address() == "local":
        check_temporary_folder()
    else:
        check_head(ray_address())


def check_temporary_folder() -> None:
    """Makes a socket where Ray makes its own. Raises ValueError if that is not possible."""
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "RAY_TMPDIR")
    given = os.environ.get(variable, "/tmp")
    if not given.startswith("/") and variable == "RAY_TMPDIR":  # Ray would put it before its own names as it is
        raise ValueError(
            f"RAY_TMPDIR is {given!r}; it takes the whole path of a folder of this machine, for example /tmp"
        )
    folder = Path(given).absolute() / "ray"
    probe = f"{folder}/{os.getpid()}".ljust(len(f"{folder}{SESSION.format(os.getpid())}"), "_")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(probe)
    except OSError as error:
        raise ValueError(
            f"Ray cannot keep its sockets in {folder}: {error.strerror or error}; set RAY_TMPDIR to a writable folder of this "
            "machine with a short path, for example /tmp"
        ) from None
    finally:
        with suppress(OSError):
            os.unlink(probe)


def check_head(address: str) -> None:
    """Raises ValueError if no head answers at an address, or if this machine is not one of its cluster's nodes."""
    said = f"RAY_ADDRESS is {address!r}"
    if "://" in address:
        raise ValueError(
            f"{said}, and a sweep cannot run through a client; submit it as a job with `dmm submit`, or run it on a node of "
            "the cluster with RAY_ADDRESS=auto"
        )
    # Ray has no public function for this. The dependency ray<2.61 pins these
    import grpc
    from ray._private.authentication import authentication_token_setup as tokens
    from ray._private.gcs_utils import create_gcs_channel
    from ray._private.services import canonicalize_bootstrap_address, find_node_ids
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
    from ray.exceptions import AuthenticationError

    try:
        place = canonicalize_bootstrap_address(address)
        tokens.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        tokens.ensure_token_if_auth_enabled(create_token_if_missing=False)
    except AuthenticationError as error:
        raise ValueError(f"{said}: {str(error).splitlines()[0]}") from None
    except (ConnectionError, ValueError, OSError) as error:
        raise ValueError(f"{said}: {error}; it takes HOST:PORT of a cluster's head. {WAY_OUT}") from None
    with cast(grpc.Channel, create_gcs_channel(str(place))) as channel:
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            found = stub.GetAllNodeInfo(gcs_service_pb2.GetAllNodeInfoRequest(), timeout=REACH_SECONDS)
        except grpc.RpcError as error:
            code, reason = error.code(), " ".join(str(error.details()).split())  # pyright: ignore
            if code == grpc.StatusCode.UNAUTHENTICATED:
                raise ValueError(
                    f"{said}: its head wants another token; export RAY_AUTH_MODE=token and the head's token as "
                    "RAY_AUTH_TOKEN"
                ) from None
            raise ValueError(
                f"{said}: no head of Ray answers at {place} in {REACH_SECONDS} s ({reason}); {WAY_OUT}"
            ) from None
    alive = {node.node_id.hex() for node in found.node_info_list if node.state == 0}
    if alive.isdisjoint(find_node_ids()):
        raise ValueError(
            f"{said}: the head answers, and this machine is none of its {len(alive)} living nodes; run the sweep on one of "
            "them, or submit a job with `dmm submit`"
        )


@contextmanager
def ray_running(variables: dict[str, str]) -> Iterator[None]:
    """Starts Ray, or connects to the cluster, for the block. Workers get the variables. Raises ValueError where it fails."""
    import ray

    if ray.is_initialized():
        yield
        return
    address = ray_address()
    try:
        ray.init(
            address,
            runtime_env={"env_vars": variables},
            log_to_driver=False,
            logging_level=logging.WARNING,
            include_dashboard=False if address == "local" else None,
        )
    except Exception as error:  # Ray has no class of its own for a node that does not start in 30 s
        ray.shutdown()
        raise ValueError(
            f"Ray does not start at {address}: {one_line(str(error))} If this machine is very busy, the same command may "
            "succeed later"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
