"""Profiles: what fits where, by hand; what cannot be is refused with the arithmetic."""

import pytest

from dmm.sweeps.profile import Profile, check_batches, find_profile, profiles, trials_at_once

NODE = {"CPU": 8, "GPU": 1, "memory": 1e9}


def fit(nodes=(NODE,), **settings) -> int:
    return trials_at_once(Profile(name="made", **settings), nodes)


def test_how_many_trials_are_at_once():
    assert fit() == 8
    assert fit(cpus=3) == 2
    assert fit(rollout_actors=1) == 4
    assert fit(gpus=0.5) == 2 and fit(gpus=0.4) == 2 and fit(gpus=0.1) == 8  # of ten by the GPU, eight by the cores
    assert fit(gpus=1, cpus=4, rollout_actors=4) == 1
    assert fit(workers=2, cpus=2) == 2
    assert fit(concurrency=3) == 3
    three = ({"CPU": 3}, {"CPU": 3}, {"memory": 1e9})
    assert fit(three, cpus=2) == 2 and fit(three, workers=2, cpus=2) == 1  # six CPUs, room for two workers of two
    assert fit(three, workers=2, cpus=2, rollout_actors=2) == 1
    eight = ({"CPU": 64, "GPU": 8},)
    assert fit(eight, workers=8, gpus=1) == 1 and fit(eight, gpus=1, cpus=4, rollout_actors=4) == 8
    assert fit(eight, gpus=2) == 4


@pytest.mark.parametrize(
    ("settings", "nodes", "said"),
    [
        ({"cpus": 4096}, [NODE], "4096 CPU for 1 trial.*8 CPU and 1 GPU on 1 node, room for 0 such workers"),
        ({"gpus": 1}, [{"CPU": 2}], "1 CPU and 1 GPU for 1 trial.*2 CPU and 0 GPU"),
        ({"workers": 2, "rollout_actors": 1}, [{"CPU": 2}], "takes 3 CPU for 1 trial.*1 rollout actors of 1 CPU"),
        ({"cpus": 3}, [{"CPU": 2}] * 2, "has 4 CPU and 0 GPU on 2 nodes, room for 0 such workers"),
        ({"workers": 2, "concurrency": 3}, [{"CPU": 4}], "6 CPU for 3 trials at once.*room for 4.*and 2 such trials"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_arithmetic(settings, nodes, said):
    with pytest.raises(ValueError, match=said):
        fit(nodes, **settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cpu = 1", "unknown setting 'cpu'.*Did you mean 'cpus'"),
        ("workers = 0", "Profile.workers is 0; it must be at least 1"),
        ("gpus = 1.5", "odd.toml: Profile.gpus is 1.5; it takes a part of one GPU, or whole ones"),
        ("workers = 2\ngpus = 0.5", "cannot share a GPU"),
        ("cpus = ", "odd.toml"),
        ('keep = "best"', "unknown value of Profile.keep 'best'; it has all, last, last and best"),
    ],
)
def test_a_wrong_profile_is_refused(tmp_path, text, said):
    path = tmp_path / "odd.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        find_profile(str(path))


def test_more_workers_than_a_batch_has_rows_are_refused(tiny_trial):
    check_batches(Profile(name="made", workers=8), [tiny_trial])
    with pytest.raises(ValueError, match="9 workers; a batch has 8 rows"):
        check_batches(Profile(name="made", workers=9), [tiny_trial])


@pytest.mark.parametrize("name", sorted(profiles()))
def test_profiles_that_ship_are_read_and_fit_somewhere(name):
    profile = find_profile(name)
    assert trials_at_once(profile, [{"CPU": 64, "GPU": 8}] * 4) >= 1
