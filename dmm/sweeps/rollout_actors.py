"""Rollout actors: parallel Ray actors that roll out batches of episodes."""

from collections.abc import Iterable

import ray
import torch
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from dmm.config import Trial
from dmm.models import DecisionModel
from dmm.rollouts.history import StateStatistics
from dmm.rollouts.rollout import EpisodeBatch, RolloutResult, rollout_batch
from dmm.sweeps.nodes import check_code
from dmm.sweeps.place import Place
from dmm.training.fit import init_model

ACTOR_SECONDS = 30  # an evaluation waits this long for its first actor. Then it rolls out its episodes itself


def rollout_with_weights(
    weights: dict[str, torch.Tensor], trial: Trial, statistics: StateStatistics, batch: EpisodeBatch
) -> RolloutResult:
    """Rolls out one batch of episodes with a copy of a model on the CPU."""
    model = init_model(trial)
    model.load_state_dict(weights)
    return rollout_batch(model, trial, statistics, batch)


@ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=3)
class RolloutActor:
    """Rolls out batches of episodes. It keeps no state, so a retry gives the same bits."""

    def __init__(self) -> None:
        torch.set_num_threads(1)

    def ready(self) -> None:
        """Answers once the actor is placed."""

    def rollout(
        self,
        weights: dict[str, torch.Tensor],
        trial: Trial,
        returns_id: str,
        place: Place,
        statistics: StateStatistics,
        batch: EpisodeBatch,
    ) -> RolloutResult:
        """Rolls out one batch of the trial with this second id. Raises RuntimeError if dmm's code differs here."""
        check_code(trial, returns_id)
        place.enter()
        return rollout_with_weights(weights, trial, statistics, batch)


class RolloutPool:
    """Distributes the batches of an evaluation over actors. The result does not depend on which actor takes which batch.

    Inside a Tune trial, the actors take the bundles of the trial's placement group. The placement group of a Ray Train
    worker has no free bundles, so there the actors are placed `anywhere`. The pool does not wait for an actor that finds no
    place. Otherwise two sweeps on one cluster, each with half of the actors that it needs, would wait for ever.
    """

    def __init__(self, actors: int, place: Place, *, anywhere: bool = False) -> None:
        self.place = place
        strategy = PlacementGroupSchedulingStrategy(None) if anywhere else None  # pyright: ignore[reportArgumentType]
        self.actors = [RolloutActor.options(scheduling_strategy=strategy).remote() for _ in range(actors)]
        self.pending = {actor.ready.remote(): actor for actor in self.actors}

    def __call__(
        self, model: DecisionModel, trial: Trial, statistics: StateStatistics, work: list[EpisodeBatch]
    ) -> Iterable[RolloutResult]:
        """Rolls out batches. Returns their results in order."""
        values = {name: value.cpu() for name, value in model.state_dict().items()}
        free = self.placed()
        if not free:
            return [rollout_with_weights(values, trial, statistics, batch) for batch in work]
        weights, running, done = ray.put(values), {}, {}
        for index, batch in enumerate(work):
            if not free:
                (ready,), _ = ray.wait(list(running))
                position, actor = running.pop(ready)
                done[position] = ray.get(ready)
                free.append(actor)
            actor = free.pop()
            running[actor.rollout.remote(weights, trial, trial.returns_id, self.place, statistics, batch)] = (
                index,
                actor,
            )
        done |= {position: ray.get(reference) for reference, (position, _) in running.items()}
        return [done[index] for index in range(len(work))]

    def placed(self) -> list:
        """The actors that are placed. If there is none yet, this waits up to ACTOR_SECONDS for the first."""
        if len(self.pending) == len(self.actors):
            ray.wait(list(self.pending), timeout=ACTOR_SECONDS)
        arrived = ray.wait(list(self.pending), num_returns=len(self.pending), timeout=0)[0] if self.pending else []
        for reference in arrived:
            del self.pending[reference]
        return [actor for actor in self.actors if actor not in self.pending.values()]

    def close(self) -> None:
        """Ends the actors."""
        for actor in self.actors:
            ray.kill(actor)  # pyright: ignore[reportArgumentType]  Ray types a handle in two ways
