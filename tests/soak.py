"""A soak: random harms at random moments of toy sweeps, until the time is over. `make soak MINUTES=60 SEED=7`.

A round sweeps the toy table in a new DMM_HOME. It draws one to three turns. In each turn the command is given, and harms come:
kills, signals, outages, a second sweep, damage to files. Then the same command is given until it exits with 0, and what its
errors say is done. At the end table.md and table.csv must have the bytes of an undisturbed sweep, MLflow must have each trial
once, no process may be left, and no command may have printed a traceback.

`make soak SEED=7 ROUND=13` repeats one round. The seed and the number of the round decide the profile, the store, the harms and
their moments. A moment is a share of the time that an undisturbed sweep takes on this machine, or some time after the n-th
line of output or the n-th change of a file. A replay cannot repeat the races of the processes: which instruction is
interrupted, which of two trials is ahead, and which files exist when one is chosen.
"""

import argparse
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from helpers.harms import PROFILES, Harm, Round, clock, damage, draw
from helpers.reacher import write_reacher_file
from helpers.sweep_process import (
    FILES,
    TOY,
    calm,
    each_trial_is_one_finished_run,
    environment,
    family,
    free_port,
    kill_tree,
    start_command,
    start_mlflow,
)

SIZE = {"DMM_TOY_SEEDS": "2", "DMM_TOY_UPDATES": "90"}
TRIALS = 4
ATTEMPTS = 8  # of the command, after the last harm
COMMAND_SECONDS = 1200  # for one command. Beyond it the command hangs
DRAIN_SECONDS = 180  # for the processes that a killed driver left
CODES = {0, 1, 2, 130}
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGINT twice": signal.SIGINT}
VICTIMS = {"a trial": "ray::ImplicitFunc", "a worker": "ray::RayTrainWorker", "an actor": "ray::RolloutActor"}


@dataclass
class Soak:
    """What all rounds share."""

    place: Path
    expected: dict[bool, tuple[dict[str, bytes], float]] = field(default_factory=dict)  # by two workers or not
    struck: Counter = field(default_factory=Counter)

    def undisturbed(self, profile: str) -> tuple[dict[str, bytes], float]:
        """The table of a sweep that nothing harms, and its seconds. Two workers sum in another order than one."""
        pair = profile == "two workers"
        if pair not in self.expected:
            place, began = Path(tempfile.mkdtemp(prefix="undisturbed-", dir=self.place)), time.monotonic()
            found = calm(self.place / "reacher.hdf5", place, *profile_words(place, profile), **SIZE)
            self.expected[pair] = found, time.monotonic() - began
        return self.expected[pair]


def profile_words(place: Path, profile: str) -> list[str]:
    """The option of a profile."""
    (place / "profile.toml").write_text(PROFILES[profile])
    return ["--profile", "profile.toml"]


class Arena:
    """The folder of a round, with all that runs in it."""

    def __init__(self, soak: Soak, place: Path, drawn: Round) -> None:
        self.soak, self.place, self.drawn, self.home = soak, place, drawn, place / "home"
        self.expected, self.seconds = soak.undisturbed(drawn.profile)
        place.mkdir()
        self.words = profile_words(place, drawn.profile)
        self.port, self.server, self.served_again = free_port(), None, None
        self.sent: set[int] = set()  # signals of the turn
        self.logs: list[Path] = []
        if drawn.served:
            self.server = start_mlflow(place / "server", self.port)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}" if self.drawn.served else f"sqlite:///{self.home / 'mlflow.db'}"

    def start(self, *words: str) -> tuple[subprocess.Popen, Path]:
        """Starts a command. Its words go to a log of its own."""
        served = {"MLFLOW_TRACKING_URI": self.uri} if self.drawn.served else {}
        env = environment(self.home, self.soak.place / "reacher.hdf5", **SIZE, **served)
        self.logs.append(log := self.place / f"{len(self.logs):02d}-{words[0]}.log")
        return start_command(env, self.place, log, *words), log

    def end(self, process: subprocess.Popen, log: Path) -> int:
        """Waits for the end of a command and judges it."""
        try:
            code = process.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{log} did not end in {COMMAND_SECONDS} s") from None
        assert code in CODES or -code in self.sent, f"{log}: exit code {code}"
        assert "Traceback" not in log.read_text(), f"{log}: a traceback"
        return code

    def give(self, *words: str) -> tuple[int, str]:
        """A command, to its end, with its output."""
        process, log = self.start(*words)
        return self.end(process, log), log.read_text()

    def alive(self) -> list[psutil.Process]:
        """The processes that commands of this round have started."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get("DMM_HOME", "").startswith(f"{self.place}/") and process.status() != "zombie":
                    found.append(process)
        return found

    def drain(self) -> None:
        """Waits until no process is left."""
        end = time.monotonic() + DRAIN_SECONDS
        while left := self.alive():
            assert time.monotonic() < end, f"left over: {[process.cmdline() for process in left]}"
            time.sleep(0.5)

    def turn(self, harms: list[Harm]) -> None:
        """Gives the command once. The harms come at their moments, or never if the command is over."""
        self.sent, began = set(), time.monotonic()
        driver, log = self.start("sweep", TOY, *self.words)
        commands = [(driver, log)]
        due: dict[Harm, Callable[[], bool]] = {
            harm: clock(harm.moment, self.home, log, self.seconds) for harm in harms if harm.moment.what != "end"
        }
        while driver.poll() is None and time.monotonic() - began < COMMAND_SECONDS:
            for harm in [harm for harm, is_due in due.items() if is_due()]:
                if self.strike(harm, driver, commands):
                    del due[harm]
            if self.served_again and time.monotonic() > self.served_again:
                self.serve()
            time.sleep(0.005)
        for command in commands:
            self.end(*command)
        self.serve()
        for harm in harms:
            if harm.moment.what == "end":
                self.drain()
                self.strike(harm, driver, commands)

    def serve(self) -> None:
        """Starts MLflow's server again after an outage."""
        if self.served_again:
            self.server, self.served_again = start_mlflow(self.place / "server", self.port), None

    def strike(self, harm: Harm, driver: subprocess.Popen, commands: list) -> bool:
        """Does a harm. False if there is no victim yet."""
        how, _, whom = harm.kind.partition(" of ")
        if harm.kind == "second sweep":
            commands.append(self.start("sweep", TOY, *self.words))
        elif harm.kind == "outage":
            kill_tree(self.server.pid)
            self.served_again = time.monotonic() + harm.dice * self.seconds
        elif harm.kind == "move DMM_HOME":
            if not self.home.exists():  # the sweep was stopped before it made one
                return False
            self.home = self.home.rename(self.place / f"home{len(self.logs)}")
        elif how in SIGNALS:
            victims = [psutil.Process(driver.pid)] if whom in ("", "the driver") else self.alive()
            if whom in VICTIMS:
                victims = family(driver.pid, VICTIMS[whom])
                victims = victims[int(harm.dice * len(victims)) :][:1]
            for victim in victims:
                with suppress(psutil.Error):
                    victim.send_signal(SIGNALS[how])
            if how == "SIGINT twice":
                time.sleep(harm.dice)
                with suppress(psutil.Error):
                    victims[0].send_signal(signal.SIGINT)
            if not victims:
                return False
            self.sent.add(SIGNALS[how])
        elif not damage(self.home, *harm.kind.split(), harm.dice):
            return False
        self.soak.struck[harm.kind] += 1
        return True

    def finish(self) -> None:
        """Gives the command until it exits with 0, and does what its errors say. Then everything must be right."""
        self.sent = set()
        for _ in range(ATTEMPTS):
            code, said = self.give("sweep", TOY, *self.words)
            if code == 0:
                break
            assert self.remedy(said), f"{self.logs[-1]}: no way out"
        assert code == 0, f"{self.logs[-1]}: still no success"
        words = ("report", TOY, "--format", "md,csv")
        code, said = self.give(*words)
        if code and self.remedy(said):
            code, said = self.give(*words)
        assert code == 0, f"{self.logs[-1]}: no report"
        for name in FILES:
            found = (self.place / "reports/toy" / name).read_bytes()
            assert found == self.expected[name], f"{self.place / 'reports/toy' / name} differs"
        each_trial_is_one_finished_run(self.uri, TRIALS)
        self.drain()

    def remedy(self, said: str) -> bool:
        """Does what a failed command says. False if it says nothing."""
        again = ("the same command runs failed trials again", "the same command may succeed later")
        done = [words for words in again if words in said]
        for command in re.findall(r"Move it away: (mv .+?)\. ", said):
            subprocess.run(shlex.split(command), check=True)
            done.append("mv of mlflow.db")
        for folder in set(re.findall(r"trials/([0-9a-f]{16})[^\n]*(?:its folder|trials/\1) away", said)):
            with suppress(FileNotFoundError):
                (self.home / "trials" / folder).rename(self.place / f"away-{len(self.logs)}-{folder}")
            done.append("a trial's folder away")
        if "--retrain trains" in said and "--retrain" not in self.words:
            self.words = [*self.words, "--retrain"]
            done.append("--retrain")
        if "`dmm sync" in said or "dmm sync" in said and "not in MLflow" in said:
            code, said = self.give("sync", TOY)
            done.append("sync")
            return code == 0 or self.remedy(said)
        self.soak.struck.update(f"remedy: {name}" for name in done)
        return bool(done)

    def close(self) -> None:
        """Ends what is left."""
        for process in self.alive():
            with suppress(psutil.Error):
                process.kill()
        if self.server and self.server.poll() is None:
            kill_tree(self.server.pid)


def run(soak: Soak, seed: int, number: int) -> bool:
    """Runs a round, and says what it drew and whether all was right. A round that fails keeps its folder."""
    drawn, place = draw(seed, number), soak.place / f"round-{number}"
    turns = " | ".join("; ".join(map(str, harms)) for harms in drawn.turns)
    print(f"round {number}: {drawn.profile}, {'server' if drawn.served else 'sqlite'}: {turns}", flush=True)
    began = time.monotonic()
    try:
        soak.undisturbed(drawn.profile)
    except AssertionError as error:  # for example, Ray does not start in 30 s on a machine that is too busy
        print(f"round {number}: FAILED: the undisturbed sweep: {str(error)[-500:]}", flush=True)
        return False
    arena = Arena(soak, place, drawn)
    try:
        for harms in drawn.turns:
            arena.turn(harms)
        arena.finish()
    except (AssertionError, pytest.fail.Exception, OSError, ValueError) as error:
        last = arena.logs[-1].read_text()[-3000:] if arena.logs else ""
        print(
            f"round {number}: FAILED: {error}\n{last}\nreplay: make soak SEED={seed} ROUND={number}; files: {place}",
            flush=True,
        )
        return False
    else:
        print(f"round {number}: ok, {time.monotonic() - began:.0f} s", flush=True)
        shutil.rmtree(place)
        return True
    finally:
        arena.close()


def main() -> None:
    """Runs rounds until the time is over, or one round. Exit code 1 if one fails."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a script's background it is ignored, also by commands
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--round", type=int)
    options = parser.parse_args()
    soak = Soak(Path(tempfile.mkdtemp(prefix="soak-")))
    write_reacher_file(soak.place / "reacher.hdf5")
    print(f"seed {options.seed}, in {soak.place}", flush=True)
    end, number, failed = time.monotonic() + 60 * options.minutes, 0, []
    while options.round is None and time.monotonic() < end or number == 0:
        number = options.round or number + 1
        if not run(soak, options.seed, number):
            failed.append(number)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(soak.struck.items()))
    print(f"{number if options.round is None else 1} rounds; {kinds}; failed rounds: {failed or 'none'}")
    if not failed:
        shutil.rmtree(soak.place)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
