"""Models as files that run without Keras: ONNX, and TensorFlow's SavedModel."""

from keras_cvae.exports.exporting import FORMATS, Exported, export
from keras_cvae.exports.graphs import SUMMARIES, TOLERANCE, ExportError

__all__ = ["FORMATS", "SUMMARIES", "TOLERANCE", "ExportError", "Exported", "export"]
