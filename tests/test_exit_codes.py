"""Errors of the machine as one line: 2 for what the user can mend, 1 for what failed."""

import errno
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from helpers.rights import without_override

from dmm import cli
from dmm.base import provenance
from dmm.base.errors import explain, user_name
from dmm.base.paths import home, write_atomic
from dmm.cli import catalogue
from dmm.data import cache, inventory
from dmm.trials import run


def ends(monkeypatch, capsys, *words: str) -> tuple[int, str]:
    """The exit code and the one line of a command that ends in an error."""
    monkeypatch.setattr(sys, "argv", ["dmm", *words])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return ended.value.code, lines[0]


@pytest.mark.parametrize("under", ["", "a/b"])
def test_a_home_that_is_a_file_or_under_one_is_refused(under, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "file" / under))
    for words in (("status", "quickstart"), ("run", "quickstart", "DT"), ("sweep", "quickstart")):
        code, said = ends(monkeypatch, capsys, *words)
        assert code == 2 and f"{tmp_path / 'file'} is a file" in said


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EACCES, 2),
        (errno.EROFS, 2),
        (errno.ENOSPC, 2),
        (errno.EDQUOT, 2),
        (errno.EFBIG, 2),
        (errno.EIO, 1),
        (errno.ESTALE, 1),
    ],
)
def test_an_error_of_the_disk_is_one_line_with_its_path(number, code, monkeypatch, capsys, tmp_path):
    def fails():
        raise OSError(number, os.strerror(number), str(tmp_path / "file"))

    monkeypatch.setattr(inventory, "inventory", fails)
    assert ends(monkeypatch, capsys, "data", "list")[0] == code
    monkeypatch.setattr(inventory, "inventory", lambda: write_atomic(tmp_path / "x" / "y", b""))
    with without_override():
        tmp_path.chmod(0o500)
        found, said = ends(monkeypatch, capsys, "data", "list")
        tmp_path.chmod(0o700)
    assert found == 2 and f"Permission denied: {tmp_path / 'x'}. {tmp_path} belongs to" in said


def test_a_home_that_does_not_exist_and_cannot_be_made_is_one_line(tmp_path, monkeypatch, capsys):
    tmp_path.chmod(0o500)
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "new"))
    with without_override():
        code, said = ends(monkeypatch, capsys, "sweep", "quickstart")
    tmp_path.chmod(0o700)
    assert code == 2 and f"{tmp_path} belongs to {user_name(os.getuid())}" in said


def test_a_deleted_current_folder_is_named_before_anything_is_loaded(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert ends(monkeypatch, capsys, "list") == (2, "error: the current folder was deleted; go to another one: cd")


def test_the_middle_of_a_very_long_error_is_left_out(monkeypatch, capsys):
    code, said = ends(monkeypatch, capsys, "show", "quickstart", "--seeds", "9" * 9000)
    assert code == 2 and len(said) < 4100 and said.endswith("it takes whole numbers with commas: 0,1,2")
    longest = ends(monkeypatch, capsys, "data", "download", "d4rl/none")[1]  # a list of names is whole
    assert len(longest) > 2000 and " ... " not in longest


def test_a_user_without_a_home_folder_is_told_so(monkeypatch, capsys):
    monkeypatch.setenv("DMM_HOME", "~nobody-has-this-name/dmm")
    code, said = ends(monkeypatch, capsys, "status", "quickstart")
    assert code == 2 and "HOME names a user's home folder" in said


def test_a_user_without_a_name_is_a_number():
    assert user_name(4_242_424) == "4242424"
    error = PermissionError(errno.EACCES, "Permission denied", "/")
    assert explain(error).startswith("Permission denied: /. It belongs to root (drwx")


def test_a_training_that_diverges_ends_with_1(tiny_trial, monkeypatch, capsys):
    broken = replace(tiny_trial, training=replace(tiny_trial.training, learning_rate=1e30, warmup=1))
    monkeypatch.setattr("dmm.cli.trials.choose_trial", lambda *words: broken)
    monkeypatch.setattr("dmm.trials.progress.run_with_bar", lambda trial, **options: run.run(trial))
    code, said = ends(monkeypatch, capsys, "run", "quickstart", "DT")
    assert code == 1 and "the loss is nan" in said


def test_a_full_disk_ends_a_run_with_2_and_its_path(tiny_trial, monkeypatch, capsys):
    home().mkdir(exist_ok=True)
    mounted = ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(home())]
    if os.geteuid() or subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        monkeypatch.setattr("dmm.cli.trials.choose_trial", lambda *words: tiny_trial)
        monkeypatch.setattr("dmm.trials.progress.run_with_bar", lambda trial, **options: run.run(trial))
        code, said = ends(monkeypatch, capsys, "run", "quickstart", "DT")
    finally:
        subprocess.run(["umount", "-l", str(home())], check=True)
    assert code == 2 and "No space left on device" in said and str(home()) in said


@pytest.mark.parametrize("words", [["--version"], ["sweep", "--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_ends_early_is_no_traceback(words, unbuffered):
    process = subprocess.Popen(
        [sys.executable, "-m", "dmm", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_is_full_is_one_line(unbuffered):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "dmm", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert (ended.returncode, ended.stderr) == (2, "error: No space left on device\n")


def test_the_commit_of_another_users_checkout_is_known(monkeypatch):
    here = provenance.commit()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert provenance.commit() == here


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9.09 TiB for an array"),
        MemoryError(),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.\nframe #0"
        ),
    ],
)
def test_too_little_memory_is_one_line(monkeypatch, capsys, error):
    def work():
        raise error

    monkeypatch.setattr(catalogue, "sections", work)
    code, said = ends(monkeypatch, capsys, "list")
    assert code == 1 and said.startswith("error: not enough memory: ")


def test_other_errors_of_the_program_keep_their_traceback(monkeypatch, capsys):
    def work():
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(catalogue, "sections", work)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        ends(monkeypatch, capsys, "list")


def test_a_cache_that_may_not_be_listed_is_an_error(monkeypatch, capsys):
    def refuse(place):
        raise PermissionError(errno.EACCES, "Permission denied", str(place))

    monkeypatch.setattr(cache.os, "listdir", refuse)
    code, said = ends(monkeypatch, capsys, "data", "verify")
    assert code == 2 and "cache" in said
