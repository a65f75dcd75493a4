"""`--processes`: what the command starts, joins and says; not the processes themselves."""

import os
import sys
from types import SimpleNamespace

import pytest
import typer

from keras_cvae import devices
from keras_cvae.cli import app, main, processes
from keras_cvae.runs import processes as many


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No scheduler has started this process, whatever machine the tests run on."""
    for name in (*many._STARTERS, many._WATCHED, "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "_exit", sys.exit)


@pytest.fixture
def second(monkeypatch):
    """This process is the second one of two."""
    monkeypatch.setenv(many._COUNT, "2")
    monkeypatch.setattr(many, "join", lambda processes: None)
    monkeypatch.setattr(devices, "_place", (1, 2))
    for console in (app.out, app.err):
        monkeypatch.setattr(console, "quiet", False)


def words(said):
    return " ".join(said.split())


def test_the_command_is_started_as_often_as_it_is_asked_for(cvae, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(many, "spawn", lambda *given: started.append(given) or 3)
    asked = ("train", "digits", "--processes", 2, "--out", "a run")
    assert cvae(*asked).code == 3
    module = [sys.executable, "-m", "keras_cvae_command"]
    assert started == [([*module, *map(str, asked)], 2, "first")]
    assert not list(tmp_path.iterdir())
    script = tmp_path / "cvae"
    script.touch()
    monkeypatch.setattr(sys, "argv", [str(script), "train"])
    assert processes._command() == [sys.executable, str(script), "train"]
    monkeypatch.setattr(sys, "argv", ["keras_cvae/__main__.py", "train"])
    assert processes._command() == [sys.executable, "-m", "keras_cvae", "train"]


@pytest.mark.parametrize("saved", [True, False])
def test_one_that_ends_is_named_with_how_to_go_on(cvae, tmp_path, monkeypatch, saved):
    def spawn(command, count, signals):
        raise many.EndedError(1, count, -9, "out of paper")

    run = SimpleNamespace(checkpoint=tmp_path / "c", resume_command="cvae train digits --resume")
    monkeypatch.setattr(many, "spawn", spawn)
    monkeypatch.setattr(processes.Run, "open", lambda folder: run)
    if saved:
        run.checkpoint.touch()
    said = cvae("train", "digits", "--processes", 2)
    assert said.code == 1
    assert "Process 1 of 2 (counted from 0) has ended, by SIGKILL" in said.err
    assert "out of paper" in said.err
    how = "Continue with: cvae train digits --resume --processes 2" if saved else "Nothing was sav"
    assert how in words(said.err)


def test_without_a_run_there_is_nothing_to_go_on_with(tmp_path):
    assert processes._to_go_on(None, 2) == ""
    assert processes._to_go_on(tmp_path, 2) == ""


def test_only_the_first_of_those_that_joined_speaks(cvae, second):
    said = cvae("evaluate", "nowhere", "--processes", 2)
    assert sys.stdout.name == os.devnull
    sys.stdout.close()
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("Error: 'nowhere' does not exist")  # what goes wrong, each says
    assert app.out.quiet
    with pytest.raises(typer.Exit):
        processes.first_alone()


@pytest.mark.parametrize(
    ("watched", "error", "code", "message"),
    [
        (True, "Address already in use", many.AGAIN, ""),
        (False, "Address already in use", 1, "The processes do not find each other: Address"),
        (True, "Timed out.\nat 0x12", 1, "do not find each other: Timed out."),
    ],
)
def test_who_is_not_found_is_tried_again_or_named(
    cvae, second, monkeypatch, watched, error, code, message
):
    def join(count):
        raise RuntimeError(error)

    followed = []
    monkeypatch.setattr(many, "join", join)
    monkeypatch.setattr(many, "follow", lambda: followed.append(True))
    if watched:
        monkeypatch.setenv(many._WATCHED, "1")
    said = cvae("train", "digits", "--processes", 2)
    assert said.code == code
    assert message in words(said.err)
    assert "0x12" not in said.err
    assert bool(followed) == watched


def test_the_first_writes_the_others_nowhere(tmp_path, monkeypatch):
    with processes.written_by_the_first(tmp_path) as folder:
        assert folder == tmp_path
    monkeypatch.setattr(devices, "_place", (1, 2))
    with processes.written_by_the_first(tmp_path) as folder:
        assert folder.parent.is_dir()
        assert folder.parent != tmp_path
    assert not folder.parent.exists()


def test_who_has_lost_the_others_says_so_and_ends(second, capsys, monkeypatch):
    with pytest.raises(SystemExit) as end:
        processes.end_without_the_others(RuntimeError("Gloo: closed\nat 0x12"))
    assert end.value.code == many.LOST
    said = capsys.readouterr().err
    assert words(said) == (
        "Error: Process 1 of 2 (counted from 0) has lost the others: Gloo: closed"
    )
    monkeypatch.setenv(many._WATCHED, "1")  # who started it says so
    with pytest.raises(SystemExit):
        processes.end_without_the_others(RuntimeError("Gloo: closed"))
    assert capsys.readouterr().err == ""


def test_an_accident_of_one_of_many_is_shown_and_ends_it(second, monkeypatch, capsys):
    def broken(**_):
        raise RuntimeError("an accident")

    monkeypatch.setattr(main, "app", broken)
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 1
    assert "RuntimeError: an accident" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {many._COUNT: "2", many._INDEX: "1", many._JOB: "a:1,b:1"},
            (("a:1", 2, 1), {"devices": None}),
        ),
        (
            {many._COUNT: "2", many._INDEX: "1", many._JOB: "a:1", many._WATCHED: "1"},
            (("a:1", 2, 1), {"devices": [1]}),
        ),
        ({"SLURM_STEP_NUM_TASKS": "2"}, ((), {"method": None})),
        ({"PMI_SIZE": "2"}, ((), {"method": "mpi4py"})),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "x"}, ((), {"method": None})),
    ],
    ids=["variables", "spawned", "slurm", "mpich", "open mpi"],
)
def test_the_others_are_found_as_whoever_started_them_says(monkeypatch, environment, expected):
    asked = []
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(devices, "join", lambda *args, **more: asked.append((args, more)))
    monkeypatch.setattr(devices, "_place", (1, 2))
    many.join(2)
    assert asked == [expected]
    with pytest.raises(ValueError, match=r"--processes 3: the job has 2. Expected as many"):
        many.join(3)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train digits --dry-run --processes 2", "--dry-run measures one process"),
        ("evaluate adult --processes 2", "which tables need none of"),
        ("generate adult --processes 2", "for pictures, vectors and signals, not for tables"),
        ("train digits --processes 0", "greater than or equal to 1"),
    ],
)
def test_what_one_process_does_is_not_shared(cvae, command, message):
    said = cvae(*command.split())
    assert said.code in (1, 2)
    assert message in words(said.err.replace("│", " "))
