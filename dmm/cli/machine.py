"""`dmm bench` and `dmm doctor`: the speed of this machine, and its software."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def bench(
    what: Annotated[
        str, typer.Argument(help="sample, scan, train, rollout, trials, growth, or all (without growth).")
    ] = "all",
    out: Annotated[Path, typer.Option(help="Folder of bench.md and bench.csv.")] = Path("reports/bench"),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    quick: Annotated[bool, typer.Option(help="Smoke test: two rounds, small sizes.")] = False,
) -> None:
    """Times this code beside other implementations (extra `bench`), in interleaved rounds. Example: `dmm bench scan`."""
    from dmm.bench import bench

    paths = bench(what, out, device, quick, say=lambda text: print(text, flush=True))
    print("\n".join(str(path) for path in paths))


@app.command()
def doctor() -> None:
    """Shows versions, devices, active kernels and DMM_HOME. Example: `dmm doctor`."""
    import torch

    from dmm.base import provenance
    from dmm.base.paths import home
    from dmm.kernels import active

    for name, value in provenance.versions().items():
        print(f"{name:<14} {value}")
    print(f"machine        {provenance.machine()}")
    print(f"DMM_HOME       {home()}")
    for device in ["cpu"] + (["cuda"] if torch.cuda.is_available() else []):
        print(f"scan on {device:<6} {active(device)}")
