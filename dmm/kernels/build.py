"""The C++ files. They are built at their first use, stored in torch's extension cache, and called by ctypes without the GIL.

The library is compiled for this processor. Its file name has a hash of the processor's flags, so machines may share the
folder. A process that finds no library builds one in its own folder and then renames it. So there is no lock to wait for.
"""

import ctypes
import logging
import os
import platform
import sysconfig
from functools import cache
from hashlib import sha256
from pathlib import Path
from shutil import which
from subprocess import SubprocessError
from tempfile import TemporaryDirectory

import torch

SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]


class Sizes(ctypes.Structure):
    """The struct Sizes of scan.cpp."""

    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "T", "D", "N")]


class CompiledScan(torch.autograd.Function):
    """`scan.reference` in float32 on a CPU. Only the inputs are saved for the gradient."""

    @staticmethod
    def forward(ctx, *inputs):
        (batch, T, D), N = inputs[0].shape, inputs[3].shape[1]
        shapes = (
            [(batch, T, D)] * 3 + [(D, N)] + [(batch, T, N)] * 2 + [(D,)]
        )  # with other shapes C++ would read past the end
        assert [tuple(value.shape) for value in inputs] == shapes, [tuple(value.shape) for value in inputs]
        inputs = [value.contiguous() for value in inputs]
        ctx.save_for_backward(*inputs)
        y = torch.empty_like(inputs[0])
        call("dmm_scan", *inputs, None, y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_y):
        gradients = [torch.empty_like(value) for value in ctx.saved_tensors]
        call("dmm_scan_gradient", *ctx.saved_tensors, grad_y.contiguous(), None, *gradients)
        return tuple(gradients)


def resume(*inputs, h=None) -> tuple[torch.Tensor, torch.Tensor]:
    """`scan.resume` in float32 on a CPU, without a gradient. Returns y and the new state."""
    (batch, _, D), N = inputs[0].shape, inputs[3].shape[1]
    h = inputs[0].new_zeros(batch, D, N) if h is None else h.clone(memory_format=torch.contiguous_format)
    assert h.shape == (batch, D, N), h.shape
    inputs, y = [value.contiguous() for value in inputs], torch.empty(inputs[0].shape)
    call("dmm_scan", *inputs, None, y, *[None] * 7, h)
    return y, h


def call(function: str, *tensors) -> None:
    """Calls a function of scan.cpp. The tensors are in the order of the struct Tensors."""
    addresses = (ctypes.c_void_p * 17)(*(value if value is None else value.data_ptr() for value in tensors))
    getattr(library()[0], function)(Sizes(*tensors[0].shape, tensors[3].shape[1]), addresses)


@cache
def library() -> tuple[ctypes.CDLL | None, str]:
    """The compiled kernels, or None and the reason why they are missing."""
    try:
        return ctypes.CDLL(str(built())), ""
    except (ImportError, OSError, RuntimeError, SubprocessError) as error:  # no compiler, no ninja, no folder ...
        lines = (str(error) or repr(error)).splitlines()
        reason = next((line for line in lines if "error:" in line), lines[0])
        logging.getLogger(__name__).warning(
            "the C++ kernels cannot be built, and the PyTorch scan is several times slower: %s", reason
        )
        return None, reason


def built() -> Path:
    """The path of the shared library for these sources and this processor. Compiles it if it does not exist.

    Raises FileNotFoundError if there is no C++ compiler.
    """
    # at import it warns of a missing nvcc, which is not needed here
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils import cpp_extension

    compiler = cpp_extension.get_cxx_compiler()
    key = sha256(repr(([source.read_text() for source in SOURCES], FLAGS, compiler, processor())).encode()).hexdigest()[
        :16
    ]
    folder = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root()).resolve() / "dmm"
    path = folder / f"kernels-{key}{cpp_extension.LIB_EXT}"
    if not path.exists():
        if not which(compiler):
            raise FileNotFoundError(f"no C++ compiler {compiler!r}; CXX may name another")
        folder.mkdir(parents=True, exist_ok=True)
        # pip installs ninja there. It is on PATH only in an activated environment
        scripts = sysconfig.get_path("scripts")
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), scripts])
        with TemporaryDirectory(dir=folder) as own:
            made = cpp_extension.load(
                "dmm_kernels",
                [str(source) for source in SOURCES],
                extra_cflags=FLAGS,
                build_directory=own,
                with_cuda=False,
                is_python_module=False,
            )
            os.replace(str(made), path)
    return path


def processor() -> tuple[str, ...]:
    """The properties of this processor that -march=native uses."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = (line for line in lines if line.startswith(("flags", "Features")))
    return platform.machine(), next(flags, platform.processor())
