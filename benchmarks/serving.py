"""The server under load: requests a second and how long they take, against one at a time.

    python benchmarks/serving.py [MODEL] [--clients 1 16 64 256] [--seconds 5] [--format base64]
    python benchmarks/serving.py --preset strong        of a preset, untrained, on 8x8 digits
    python benchmarks/serving.py --soak 600             flat memory under garbage and under work
    python benchmarks/serving.py --schema               schemathesis on the server's own schema
                                                        (pip install schemathesis)

Each client asks for one draw, waits for it, and asks again. Clients and server share the machine,
which costs the server what the clients take; CPU a request is the server's own, whatever else
runs. A minute and a half on two idle cores.

What many clients gain over one is bounded by what a request costs apart from its step: reading,
checking, writing, 0.2 ms or so. A step of one draw takes 0.2 ms in `mnist-dense`, of 64 draws
0.8 ms; where a step of one takes several ms, as in `strong`, batches pay much more.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

CLASSES = "0123456789"
GARBAGE = (
    b"{",
    b"[]",
    b'{"condition": "two"}',
    b'{"condition": {"2": "x"}}',
    b'{"n": 1e9}',
    b'{"condition": [[[[[]]]]]}',
    b'{"condition": 1e400}',
    b'{"seed": -1}',
    b'{"x": "y"}',
    b"\xff\xfe",
    b'{"condition": ' + b"[" * 5000,
)


@contextlib.contextmanager
def serving(model, *flags):
    """Run `cvae serve` on a free port; yield the port and the process."""
    words = [sys.executable, "-m", "keras_cvae_command", "serve", model, "--port", "0", *flags]
    server = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in server.stderr if "running on" in line)
        port = int(line.split("http://")[1].split()[0].rsplit(":")[1])
        threading.Thread(target=server.stderr.read, daemon=True).start()  # else it may fill up
        while True:  # until what it needs is compiled
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz").close()
                break
            time.sleep(0.1)
        yield port, server
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def request(body, path="/v1/generate"):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answer(reader):
    """The status of the next answer, whose body is read."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def client(port, until, times, number, form):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = {"condition": CLASSES[number % 10], "seed": number, "format": form}
    content = request(json.dumps(asked).encode())
    while time.perf_counter() < until:
        started = time.perf_counter()
        writer.write(content)
        status = await answer(reader)
        assert status == 200, status
        times.append(time.perf_counter() - started)
    writer.close()


async def load(port, clients, seconds, form):
    """Requests a second, and the times of each."""
    times = []
    until = time.perf_counter() + seconds
    started = time.perf_counter()
    await asyncio.gather(*(client(port, until, times, i, form) for i in range(clients)))
    return len(times) / (time.perf_counter() - started), sorted(times)


def measure(given):
    with serving(given.model) as (port, server):
        one = None
        print("| clients | requests/s | 50th | 99th | against one | CPU a request | a step |")
        print("|---|---|---|---|---|---|---|")
        for clients in given.clients:
            asyncio.run(load(port, clients, 1.0, given.format))
            before, steps = busy(server), joined(port)
            rate, times = asyncio.run(load(port, clients, given.seconds, given.format))
            one = one or rate
            p50, p99 = statistics.median(times), times[int(0.99 * (len(times) - 1))]
            used = (busy(server) - before) / len(times)
            requests, steps = (now - then for now, then in zip(joined(port), steps, strict=True))
            print(
                f"| {clients} | {rate:.0f} | {1e3 * p50:.1f} ms | {1e3 * p99:.1f} ms | "
                f"{rate / one:.1f} | {1e3 * used:.2f} ms | {requests / steps:.1f} |",
                flush=True,
            )


def joined(port):
    """How many requests steps have answered so far, and how many steps there were."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return tuple(float(values[f"cvae_step_requests_{what}"]) for what in ("sum", "count"))


def untrained(preset, folder):
    """Write a model of a preset, which takes as long as a trained one."""
    from keras_cvae import build_model, load_data
    from keras_cvae.runs.config import load_config

    path = Path(folder) / f"{preset}.keras"
    build_model(load_config(preset), load_data("digits")).save(path)
    return str(path)


def resident(process):
    """Megabytes of memory that a process has."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def busy(process):
    """Seconds that the cores have worked for a process."""
    used = Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")


async def rubbish(port, until):
    """Send what no client should, and count the answers that are the server's fault."""
    wrong = sent = 0
    while time.perf_counter() < until:
        for body in GARBAGE:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(body, ("/v1/generate", "/v1/encode", "/v1/log_prob")[sent % 3]))
            wrong += await answer(reader) >= 500
            sent += 1
            writer.close()
        await asyncio.sleep(0.05)
    return sent, wrong


async def soaked(port, server, seconds, form):
    until, times = time.perf_counter() + seconds, []
    work = [client(port, until, times, i, form) for i in range(16)]
    garbage = asyncio.create_task(rubbish(port, until))
    running = asyncio.gather(*work)
    while time.perf_counter() < until:
        print(f"{len(times)} answered, {resident(server):.0f} MB", flush=True)
        await asyncio.sleep(min(30, seconds / 10))
    await running
    sent, wrong = await garbage
    print(
        f"{len(times)} answered; {sent} of garbage, {wrong} of them with 5xx; "
        f"{resident(server):.0f} MB"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", default="mnist-dense")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--format", default="base64", choices=("array", "base64", "png"))
    parser.add_argument("--soak", type=float, help="For so many seconds.")
    parser.add_argument("--preset", help="Of this preset, on 8x8 digits, in place of MODEL.")
    parser.add_argument("--schema", action="store_true", help="Run schemathesis.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        given.model = untrained(given.preset, folder) if given.preset else given.model
        run(given)


def run(given):
    if given.schema:
        with serving(given.model) as (port, _):
            words = ["schemathesis", "run", f"http://127.0.0.1:{port}/openapi.json"]
            words += ["--checks", "not_a_server_error", "--max-examples", "50"]
            words += ["--request-timeout", "60"]
            sys.exit(subprocess.run(words).returncode)
    if given.soak:
        with serving(given.model) as (port, server):
            asyncio.run(soaked(port, server, given.soak, given.format))
        return
    measure(given)


if __name__ == "__main__":
    main()
