"""The endpoints of a `ConditionalVAE`."""

import base64
import functools
import io
from typing import Any

import numpy as np
from fastapi import APIRouter

from keras_cvae.errors import whole
from keras_cvae.inference.steps import Work
from keras_cvae.serve.answering import Answering, answer, asked
from keras_cvae.serve.door import Direct
from keras_cvae.serve.schemas import Drawn, Encoded, LogProbs, requests
from keras_cvae.trees import count

KNOWN = 4096  # conditions, of those that were asked for last, that need no second check
LONG = 100  # characters of one that is not kept


def routes(model: Any, answering: Answering) -> APIRouter:
    """The endpoints that this model can answer."""
    router, limits = APIRouter(prefix="/v1", route_class=Direct), answering.limits
    completes, conditional = model.condition.knows_part, bool(model.condition.width)
    picture = len(model.x_shape) == 3 and model.x_shape[-1] in (1, 3)
    kinds = requests(limits, _examples(model, "png" if picture else "array"))

    remembered = functools.lru_cache(KNOWN, typed=True)(model.asked_for)

    def drawable(condition: Any, n: int) -> Any:
        """Canonical conditions; more draws than there may be are refused before they are made."""
        plain = isinstance(condition, str | int | float | None) and len(str(condition)) < LONG
        canonical = (remembered if plain else model.asked_for)(condition)
        conditions = 1 if canonical is None else count(canonical)
        whole("n times the number of conditions", conditions * n, 1, limits.draws)
        return canonical

    def examples(x: Any, name: str = "x") -> np.ndarray:
        array = _array(x, name)
        array = array[None] if array.shape == model.x_shape else array
        if array.shape[1:] != model.x_shape:
            raise ValueError(
                f"{name} has the shape {array.shape}. Expected {model.x_shape} for one example, or "
                f"{('n', *model.x_shape)}.".replace("'", "")
            )
        whole(f"the number of examples in {name}", len(array), 1, limits.rows)
        return array

    def told(format: str) -> None:
        if format == "png" and not picture:
            raise ValueError(
                f"format: received 'png', but x has the shape {model.x_shape}, which is no picture."
            )

    async def drawn(work: Work, format: str) -> bytes:
        x = await answering.batched(work)
        return await answer(lambda: {"x": _written(x, format), "shape": x.shape}, x.size)

    if not completes:

        @router.post("/generate", response_model=Drawn, summary="Draw x for a condition.")
        async def generate(
            request: kinds.Generate,  # type: ignore[name-defined]
        ) -> bytes:
            with asked():
                told(request.format)
                work = model.to_draw(
                    drawable(request.condition, request.n),
                    request.n,
                    request.temperature,
                    request.seed,
                    output=request.output,
                    guidance=request.guidance,
                )
            return await drawn(work, request.format)

    if completes:

        @router.post("/complete", response_model=Drawn, summary="Draw what is unknown of x.")
        async def complete(
            request: kinds.Complete,  # type: ignore[name-defined]
        ) -> bytes:
            with asked():
                told(request.format)
                x = model.holes(examples(request.x), request.mask)
                work = model.to_draw(
                    drawable(x, request.n),
                    request.n,
                    request.temperature,
                    request.seed,
                    output=request.output,
                )
            return await drawn(work, request.format)

    if model.latent_dim:

        @router.post("/encode", response_model=Encoded, summary="z for each x.")
        async def encode(
            request: kinds.Encode,  # type: ignore[name-defined]
        ) -> bytes:
            with asked():
                work = model.to_encode(
                    examples(request.x),
                    _condition(model, request.condition),
                    sample=request.sample,
                    seed=request.seed,
                )
            z = await answering.batched(work)
            return await answer(lambda: {"z": np.ascontiguousarray(z)}, z.size)

    if model.latent_dim and conditional and not completes:

        @router.post("/restyle", response_model=Drawn, summary="The same style, another condition.")
        async def restyle(
            request: kinds.Restyle,  # type: ignore[name-defined]
        ) -> bytes:
            with asked():
                told(request.format)
                work = model.to_restyle(examples(request.x), request.condition, request.to)
            return await drawn(work, request.format)

    @router.post("/log_prob", response_model=LogProbs, summary="log p(x | condition) in nats.")
    async def log_prob(
        request: kinds.LogProb,  # type: ignore[name-defined]
    ) -> bytes:
        with asked():
            x = examples(request.x)
            condition = _condition(model, request.condition)
            model.to_encode(x, condition)  # refuses what it does not know
        found = await answering.alone(
            lambda: model.log_prob(x, condition, request.num_samples, request.seed)
        )
        return await answer(
            lambda: {
                "log_prob": np.ascontiguousarray(found.log_prob),
                "standard_error": np.ascontiguousarray(found.standard_error),
            }
        )

    return router


def about(model: Any) -> dict[str, Any]:
    """What the model is, for `GET /v1/model`."""
    spec = model.condition.spec
    return {
        "x_shape": list(model.x_shape),
        "latent_dim": model.latent_dim,
        "likelihood": type(model.likelihood).__name__,
        "condition": spec.to_json(),
        "condition_in_words": spec.summary(),
        "example": _shown(model),
        "classes": list(spec.classes.names) if spec.classes else None,
        "completes": model.condition.knows_part,
        "card": model.card.model_dump(mode="json") if model.card else None,
    }


def _array(value: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(value, "float32")
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            f"{name} cannot be read as an array of numbers. Expected nested lists of equal lengths."
        ) from None


def _condition(model: Any, condition: Any) -> Any:
    """A condition as the verbs take it: a known part is itself an array of numbers."""
    if condition is None or not model.condition.knows_part:
        return condition
    return _array(condition, "condition")


def _written(x: np.ndarray, format: str) -> Any:
    if format == "array":
        return np.ascontiguousarray(x)
    if format == "base64":
        return base64.b64encode(np.ascontiguousarray(x, "<f4").tobytes()).decode()
    return [_png(image) for image in x]


def _png(image: np.ndarray) -> str:
    from PIL import Image

    grey = np.round(255 * np.clip(np.nan_to_num(image), 0, 1)).astype("uint8")
    content = io.BytesIO()
    Image.fromarray(grey[..., 0] if grey.shape[-1] == 1 else grey).save(content, "png")
    return base64.b64encode(content.getvalue()).decode()


def _shown(model: Any) -> Any:
    """A condition for an example, in values that JSON has."""
    shown = model.condition.example()
    return shown if isinstance(shown, str | int | float | list | dict | None) else str(shown)


def _examples(model: Any, format: str) -> dict[str, Any]:
    """A body for each kind of request."""
    shown, blank = _shown(model), np.zeros(model.x_shape).tolist()
    drawing = {"n": 4, "seed": 0, "format": format}
    known = blank if model.condition.knows_part else shown
    given = {"x": blank} if known is None else {"x": blank, "condition": known}
    return {
        "Generate": {"condition": shown} | drawing,
        "Complete": {"x": blank} | ({"mask": "left"} if _any_part(model) else {}) | drawing,
        "Restyle": given | {"to": shown, "format": format},
        "Encode": given,
        "LogProb": given,
    }


def _any_part(model: Any) -> bool:
    return model.condition.knows_part and model.condition.spec.fixed is None
