"""Environments of other software: made once under the ignored `.venv-peers`, one for each."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERAS = ("tensorflow-cpu==2.21.0", "keras==3.15.1")
PYTHAE = ("torch==2.13.0", "pythae==0.1.2")  # torch first: one build, chosen here


def python(name: str, requirements: tuple[str, ...]) -> Path:
    """The interpreter of the environment `name`, with these installed one after the other."""
    folder = ROOT / ".venv-peers" / name
    interpreter, done = folder / "bin" / "python", folder / "requirements.json"
    if not done.is_file() or json.loads(done.read_text()) != list(requirements):
        print(f"Installing {', '.join(requirements)} (once)", file=sys.stderr)
        venv.create(folder, with_pip=True)
        for requirement in requirements:
            command = [interpreter, "-m", "pip", "install", "--quiet", requirement]
            subprocess.run(command, check=True)
        done.write_text(json.dumps(requirements))
    return interpreter


def measure(
    interpreter: Path | str, script: str, *arguments: object, environment: dict | None = None
) -> dict:
    """What `script` prints as its last line of standard output, JSON."""
    command = [str(interpreter), script, *map(str, arguments)]
    answer = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
    )
    return json.loads(answer.stdout.splitlines()[-1])
