"""The public functions, for scripts and notebooks. `import dmm` offers them as dmm.train, dmm.load and so on.

names.py     names that exist: models, tasks, datasets, tables. Also load_dataset
trials.py    train: one trial in this process
trained.py   load: a trained model, from DMM_HOME or from an exported folder
policy.py    a trained model that acts in a user's own loop
episodes.py  rollout: episodes of a policy, and a video of the first one
video.py     frames of an episode as GIF or MP4
results.py   load_results: a table's evaluations as a DataFrame
export.py    a trained model in a folder of its own
"""
