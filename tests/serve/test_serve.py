"""The server, as its clients meet it: the library's answers, in its words, within bounds."""

import asyncio
import base64
import io
import json
import os
import signal
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from keras_cvae import MLP, ConditionalVAE, KnownPart
from keras_cvae.inference import drawing
from keras_cvae.serve import Limits, create_app
from keras_cvae.serve.answering import Answering
from keras_cvae.serve.answering import asked as refusing
from keras_cvae.serve.batching import Batcher
from keras_cvae.serve.limits import BusyError
from keras_cvae.serve.running import server

pytest.importorskip("fastapi")
from fastapi import HTTPException
from fastapi.testclient import TestClient

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
POST = {"type": "http", "method": "POST", "path": "/v1/generate"}


def small(**arguments):
    own = {"x_shape": (4, 4, 1), "condition": ["cat", "dog"], "latent_dim": 2, "seed": 0}
    return ConditionalVAE(**{"backbone": MLP((8,))} | own | arguments)


@pytest.fixture(scope="module")
def model():
    return small(prior="conditional")


@pytest.fixture(scope="module")
def client(model):
    app = create_app(model, limits=Limits(draws=32, rows=4, body=20_000), warm=False)
    with TestClient(app) as client:
        yield client


@pytest.fixture(scope="module")
def x(model):
    return model.generate("cat", 3, seed=1)


def post(client, path, **body):
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client, path, status=422, **body):
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()["detail"]


def test_draws_are_those_of_the_model(client, model):
    drawn = post(client, "generate", condition="dog", n=3, seed=5, temperature=0.5)
    assert drawn["shape"] == [3, 4, 4, 1]
    np.testing.assert_allclose(drawn["x"], model.generate("dog", 3, 0.5, seed=5), **CLOSE)
    mixed = post(client, "generate", condition={"cat": 0.5, "dog": 0.5}, seed=5, output="sample")
    expected = model.generate({"cat": 0.5, "dog": 0.5}, seed=5, output="sample")
    np.testing.assert_array_equal(mixed["x"], expected)


def test_other_forms_of_an_answer(client, model):
    expected = model.generate("dog", 2, seed=5)
    packed = post(client, "generate", condition="dog", n=2, seed=5, format="base64")
    x = np.frombuffer(base64.b64decode(packed["x"]), "<f4").reshape(packed["shape"])
    np.testing.assert_allclose(x, expected, **CLOSE)
    pictures = post(client, "generate", condition="dog", n=2, seed=5, format="png")["x"]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[1]))))
    np.testing.assert_allclose(image, 255 * expected[1, ..., 0], atol=0.51)


def test_read_and_restyled(client, model, x):
    given = {"x": x.tolist(), "condition": "cat"}
    np.testing.assert_allclose(
        post(client, "encode", **given)["z"], model.encode(x, "cat"), **CLOSE
    )
    one = post(client, "encode", x=x[0].tolist(), condition="cat", sample=True, seed=3)["z"]
    np.testing.assert_allclose(one, model.encode(x[:1], "cat", sample=True, seed=3), **CLOSE)
    again = post(client, "restyle", **given, to="dog")["x"]
    np.testing.assert_allclose(again, model.restyle(x, "cat", "dog"), **CLOSE)


def test_likelihoods(client, model, x):
    x = (x > 0.5).astype("float32")
    said = post(client, "log_prob", x=x.tolist(), condition="cat", num_samples=20, seed=2)
    found = model.log_prob(x, "cat", 20, 2)
    np.testing.assert_allclose(said["log_prob"], found.log_prob, **CLOSE)
    np.testing.assert_allclose(said["standard_error"], found.standard_error, **CLOSE)


def test_completions():
    model = small(condition=KnownPart((4, 4, 1)))
    x = np.zeros((4, 4, 1), "float32")
    holes = x.tolist()
    holes[0][0][0] = None
    with TestClient(create_app(model, warm=False)) as client:
        drawn = post(client, "complete", x=holes, n=2, seed=1)["x"]
        gaps = np.where(np.arange(16).reshape(4, 4, 1) == 0, np.nan, x)
        np.testing.assert_allclose(drawn, model.complete(gaps, n=2, seed=1), **CLOSE)
        drawn = post(client, "complete", x=x.tolist(), mask="left", seed=1)["x"]
        np.testing.assert_allclose(drawn, model.complete(x, "left", seed=1), **CLOSE)
        assert "Did you mean" in refused(client, "complete", x=x.tolist(), mask="lefft")
        assert client.post("/v1/generate", json={}).status_code == 404
        assert client.get("/v1/model").json()["completes"]


def test_what_the_model_is(client, model):
    about = client.get("/v1/model").json()
    assert about["classes"] == ["cat", "dog"]
    assert about["x_shape"] == [4, 4, 1]
    assert about["limits"]["draws"] == 32
    assert client.get("/healthz").json() == {"status": "ok"}
    assert "/v1/generate" in client.get("/").text
    api = client.get("/openapi.json").json()
    schemas = api["components"]["schemas"]
    assert schemas["Generate"]["properties"]["n"]["maximum"] == 32
    for name in ("Generate", "Encode", "Restyle", "LogProb"):
        path = {"LogProb": "log_prob"}.get(name, name.lower())
        assert client.post(f"/v1/{path}", json=schemas[name]["examples"][0]).status_code == 200


def test_what_is_counted(client):
    post(client, "generate", condition="cat", n=4)
    counted = client.get("/metrics").text
    assert 'cvae_requests_total{path="/v1/generate",status="200"}' in counted
    assert "cvae_step_rows_bucket" in counted


def test_refusals_are_in_the_words_of_the_library(client, model, x):
    with pytest.raises(ValueError, match="Did you mean") as library:
        model.generate("dgo")
    assert refused(client, "generate", condition="dgo") == str(library.value)
    with pytest.raises(ValueError, match="sum") as library:
        model.generate({"cat": 0.5, "dog": 0.9})
    assert refused(client, "generate", condition={"cat": 0.5, "dog": 0.9}) == str(library.value)
    assert "dropout" in refused(client, "generate", condition="cat", guidance=2)
    wrong = refused(client, "encode", x=[[1, 2]], condition="cat")
    assert wrong == "x has the shape (1, 2). Expected (4, 4, 1) for one example, or (n, 4, 4, 1)."
    assert "equal lengths" in refused(client, "encode", x=[[1, 2], [3]], condition="cat")
    assert "NaN" in refused(client, "encode", x=_holes(x), condition="cat")
    assert refused(client, "generate", n="many") == (
        'n: received "many", expected a valid integer, unable to parse string as an integer.'
    )
    assert refused(client, "generate", tempperature=1) == "Unknown field 'tempperature'."
    assert refused(client, "encode", condition="cat") == "x is missing."
    broken = client.post("/v1/generate", content=b"{", headers={"content-type": "application/json"})
    assert (broken.status_code, broken.json()["detail"][:20]) == (422, "The body is no JSON:")


def _holes(x):
    x = x.tolist()
    x[0][0][0][0] = None
    return x


@pytest.mark.parametrize(
    "condition",
    [
        [],
        {},
        True,
        1e300,
        -1,
        [[[]]],
        {"cat": None},
        {"a": {"b": []}},
        [None],
        "\u2603",
        [0] * 99,
    ],
)
def test_whatever_stands_for_a_condition_is_no_accident(client, condition):
    answer = client.post("/v1/generate", json={"condition": condition})
    assert answer.status_code in (200, 422)


def test_what_is_over_a_bound_is_refused_with_the_bound(client, x):
    assert "32" in refused(client, "generate", condition="cat", n=33)
    assert "at most 32" in refused(client, "generate", condition=["cat"] * 11, n=3)
    assert "at most 4" in refused(client, "encode", x=np.zeros((5, 4, 4, 1)).tolist())
    assert "20000 bytes" in refused(client, "encode", 413, x=[0.0] * 20_000)
    parts = (b"[0.0," * 1000 for _ in range(10))  # without a length
    endless = client.post("/v1/encode", content=parts)
    assert endless.status_code == 413


def test_time_is_bounded(model, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(ConditionalVAE, "log_prob", lambda *args, **kwargs: gate.wait())
    app = create_app(model, limits=Limits(seconds=0.05, queue=1), warm=False)
    with TestClient(app) as client:
        body = {"x": np.zeros((4, 4, 1)).tolist(), "condition": "cat"}
        try:
            assert "more than 0.05 seconds" in refused(client, "log_prob", 503, **body)
        finally:
            gate.set()


def test_requests_that_come_together_are_computed_together(model):
    seen, gate = [], threading.Event()
    batcher = Batcher(model, 64, 1000, lambda requests, rows: seen.append((requests, rows)))
    answer = batcher.weights.answer
    batcher.weights.answer = lambda work, at_most: (gate.wait(), answer(work, at_most))[1]
    works = [model.to_generate("cat" if i % 2 else "dog", 2, seed=i) for i in range(20)]
    futures = [batcher.submit(work) for work in works]
    other = batcher.submit(model.to_generate("cat", seed=0, output="sample"))
    gate.set()
    for i, future in enumerate(futures):
        expected = model.generate("cat" if i % 2 else "dog", 2, seed=i)
        np.testing.assert_allclose(future.result(300), expected, **CLOSE)
    assert other.result(300).shape == (1, 4, 4, 1)
    batcher.close()
    assert len(seen) <= 3
    assert sum(requests for requests, _ in seen) == 21
    with pytest.raises(BusyError, match="closing"):
        batcher.submit(works[0])


def test_no_more_waits_than_may(model):
    gate = threading.Event()
    batcher = Batcher(model, 8, 10)
    batcher.weights.answer = lambda work, at_most: (gate.wait(), work.inputs["noise"])[1]
    work = model.to_generate("cat", 5)
    batcher.submit(work)  # is computed; the others wait
    while batcher._rows:
        time.sleep(0.001)
    batcher.submit(work)
    batcher.submit(work)
    with pytest.raises(BusyError, match="more than 10"):
        batcher.submit(work)
    gate.set()
    batcher.close()


def test_who_has_gone_is_not_answered(model):
    gate, asked = threading.Event(), []
    batcher = Batcher(model, 4, 100)
    answer = batcher.weights.answer
    batcher.weights.answer = lambda work, most: (gate.wait(), asked.append(1), answer(work, most))[
        2
    ]
    work = model.to_generate("cat", 3)
    computed = batcher.submit(work)
    while batcher._rows:
        time.sleep(0.001)
    waiting, last = batcher.submit(work), batcher.submit(work)
    assert computed.cancel()
    assert waiting.cancel()
    gate.set()
    assert last.result(300).shape == (3, 4, 4, 1)
    batcher.close()
    assert len(asked) == 2


def test_who_comes_to_a_full_house_may_come_again(client, monkeypatch):
    def full(self, work, future):
        raise BusyError("Enough wait.")

    monkeypatch.setattr(Batcher, "add", full)
    answer = client.post("/v1/generate", json={"condition": "cat"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"] == "Enough wait."


def test_what_takes_long_waits_in_one_line_of_bounded_length():
    async def ask():
        gate, answering = threading.Event(), Answering(Limits(queue=1), None)
        first = asyncio.create_task(answering.alone(gate.wait))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="1 requests of this kind wait, and there may be 1"):
            await answering.alone(gate.wait)
        gate.set()
        assert await first
        assert await answering.alone(lambda: 3) == 3
        answering.close()

    asyncio.run(ask())


def test_an_example_that_fails_keeps_no_server_from_opening(caplog):
    async def broken():
        raise ArithmeticError("no memory")

    async def warm():
        answering = Answering(Limits(), None)
        await answering.warm([broken])
        answering.close()
        return answering.ready

    assert asyncio.run(warm())
    assert "An example could not be answered." in caplog.text
    assert "no memory" in caplog.text


def test_a_step_that_fails_fails_for_those_who_asked(model):
    def broken(model, inputs):
        raise ArithmeticError("no memory")

    batcher = Batcher(model, 8, 10)
    future = batcher.submit(model.to_generate("cat")._replace(step=broken))
    with pytest.raises(ArithmeticError, match="no memory"):
        future.result()
    assert len(batcher.submit(model.to_generate("cat")).result(300)) == 1
    batcher.close()


def test_many_threads(model):
    with TestClient(create_app(model, warm=False)) as client, ThreadPoolExecutor(8) as threads:
        seeds = range(24)
        drawn = list(
            threads.map(lambda s: post(client, "generate", condition="cat", seed=s), seeds)
        )
    for seed, one in zip(seeds, drawn, strict=True):
        np.testing.assert_allclose(one["x"], model.generate("cat", seed=seed), **CLOSE)


def test_restyle_is_one_step(model):
    assert model.to_restyle(np.zeros((1, 4, 4, 1)), "cat", "dog").step is drawing.restyled


def test_what_was_compiled_before_it_is_ready(model):
    app = create_app(model, limits=Limits(at_once=2))
    with TestClient(app) as client:
        while (said := client.get("/healthz")).status_code == 503:
            assert said.json() == {"status": "compiling"}
            time.sleep(0.01)
        assert said.json() == {"status": "ok"}
        compiled = set(model.programs._compiled)
        post(client, "generate", condition="cat", seed=1)
        post(client, "generate", condition=["cat", "dog"], seed=1)
        assert model.programs._compiled == compiled


def test_what_is_under_way_is_finished_after_sigterm(model, monkeypatch):
    """With the server that the command runs, and the signal itself."""
    started, gate = threading.Event(), threading.Event()
    found = model.log_prob(np.zeros((1, 4, 4, 1)), "cat", 5)
    monkeypatch.setattr(
        ConditionalVAE, "log_prob", lambda *_: (started.set(), gate.wait(300), found)[-1]
    )
    limits = Limits(seconds=300)
    running = server(create_app(model, limits=limits, warm=False), "127.0.0.1", 0, limits)
    said, refusals = [], []

    def act():
        try:
            while not running.started:
                time.sleep(0.005)
            port = running.servers[0].sockets[0].getsockname()[1]
            body = {"x": np.zeros((4, 4, 1)).tolist(), "condition": "cat"}
            with ThreadPoolExecutor(1) as thread:
                answer = thread.submit(_asked, port, "log_prob", body)
                started.wait(300)
                os.kill(os.getpid(), signal.SIGTERM)
                while not refusals:  # the door closes first
                    try:
                        socket.create_connection(("127.0.0.1", port), 300).close()
                    except ConnectionRefusedError as refusal:
                        refusals.append(refusal)
                    time.sleep(0.005)
                gate.set()
                said.append(answer.result(300))
        finally:
            gate.set()
            running.should_exit = True

    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        actor = threading.Thread(target=act)
        actor.start()
        running.run()  # the signal is raised again at its end
        actor.join(300)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    assert said[0]["log_prob"] == pytest.approx(found.log_prob.tolist(), rel=1e-5)


def _asked(port, path, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/{path}",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def test_a_body_that_never_ends_is_given_up(model):
    async def ask():
        sent = []
        app = create_app(model, limits=Limits(seconds=0.02), warm=False)
        scope = {"type": "http", "method": "POST", "path": "/v1/generate", "headers": []}
        parts = iter([{"type": "http.request", "body": b"{", "more_body": True}])

        async def receive():
            for part in parts:
                return part
            return await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        await app(scope, receive, send)
        return sent

    start, body = asyncio.run(ask())
    assert start["status"] == 408
    assert "more than 0.02 seconds" in json.loads(body["body"])["detail"]


def test_who_leaves_before_the_end_gets_nothing(model):
    left, sent = [{"type": "http.request", "body": b"{", "more_body": True}], []

    async def receive():
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    app = create_app(model, warm=False)
    asyncio.run(app({**POST, "headers": []}, receive, send))
    assert not sent


def test_who_asks_whether_to_send_is_told_before_it_does(model):
    sent = []

    async def receive():
        raise AssertionError("nothing has been sent")

    async def send(message):
        sent.append(message)

    app = create_app(model, limits=Limits(body=4_000), warm=False)
    headers = [(b"content-length", b"30000"), (b"expect", b"100-continue")]
    asyncio.run(app({**POST, "headers": headers}, receive, send))
    assert sent[0]["status"] == 413


def test_what_no_verb_takes_is_refused_in_words():
    with pytest.raises(HTTPException) as error, refusing():
        None + 1  # noqa: B018
    assert (error.value.status_code, error.value.detail[:20]) == (422, "The request holds a ")


def test_vectors_have_no_pictures():
    with TestClient(create_app(small(x_shape=(6,)), warm=False)) as client:
        said = refused(client, "generate", condition="cat", format="png")
    assert said == "format: received 'png', but x has the shape (6,), which is no picture."


@pytest.mark.parametrize("said", [True, False])
def test_who_sends_too_much_hears_why(model, said):
    """A refused body is read to its end, else its client would hear of a broken connection."""
    parts = [b"[0.0," * 200] * 30
    left = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    left.append({"type": "http.request"})
    length = [(b"content-length", str(1000 * 30).encode())] if said else []
    sent = []

    async def receive():
        return left.pop(0)

    async def send(message):
        sent.append(message)

    app = create_app(model, limits=Limits(body=4_000), warm=False)
    scope = {"type": "http", "method": "POST", "path": "/v1/generate", "headers": length}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 413
    assert "4000 bytes" in json.loads(sent[1]["body"])["detail"]
    assert not left


@pytest.mark.further
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"NaN",
        b"\xff\xfe{",
        b"{" * 10_000,
        b'{"condition": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"condition": ' + b'{"cat":' * 1_500 + b"1" + b"}" * 1_500 + b"}",
        b'{"condition": NaN}',
        b'{"condition": "cat", "seed": 1e400}',
        b'{"condition": "cat", "temperature": NaN}',
        b'{"condition": "cat", "n": ' + b"9" * 5_000 + b"}",
        b'{"condition": ' + b"9" * 5_000 + b"}",
        b'{"condition": "\\ud800"}',
        b'{"condition": "\\u0000"}',
        '{"condition": "\u202eكلب\U0001f415"}'.encode(),
        b'{"condition": "cat", "condition": "cow"}',
        b'{"__class__": "os.system"}',
    ],
)
@pytest.mark.parametrize("path", ["generate", "encode", "restyle", "log_prob"])
def test_garbage_is_refused_in_words(client, path, body):
    answer = client.post(f"/v1/{path}", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert 0 < len(answer.json()["detail"]) < 1000


def test_a_body_of_another_kind(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; b=\xff"):
        answer = client.post(
            "/v1/generate", content=b"{}", headers={"content-type": kind.encode("latin-1")}
        )
        assert answer.status_code == 415
        assert answer.json()["detail"].endswith("Expected content-type: application/json.")
    said = {"content-type": "Application/JSON; charset=utf-8"}
    assert client.post("/v1/generate", content=b'{"condition": "cat"}', headers=said).is_success
    assert client.get("/v1/generate").status_code == 405
