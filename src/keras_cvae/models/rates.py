"""Learning rates that a run goes on with."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_cvae")
class Later(keras.optimizers.schedules.LearningRateSchedule):
    """Starts another schedule at a later step: a warm restart (Loshchilov & Hutter 2017).

    Args:
        schedule: What is begun, as at its step 0.
        start: The optimizer's step at which it begins.
    """

    def __init__(self, schedule: Any, start: int):
        self.schedule, self.start = schedule, int(start)

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "int32")
        return self.schedule(ops.maximum(step - self.start, 0))

    def get_config(self) -> dict[str, Any]:
        return {
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "start": self.start,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Later":
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["start"])
