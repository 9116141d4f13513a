"""Errors that a user of the command line can mend: each is one line that says what is wrong and what to do.

UserError
  ConfigError      a recipe or config is wrong
  DataError        image data cannot be found, fetched or read
  RunDirError      a run folder is in the way, or is not one
  CheckpointError  weights cannot be read or do not fit
  TrainingError    a run cannot go on
  WriteError       a file cannot be written
  EvaluationError  a published model does not reproduce its record
  ExportError      a model cannot become a bundle
"""


class UserError(Exception):
    """Base of all of them."""


class ConfigError(UserError):
    """The message names the key, the value and what is allowed."""


class DataError(UserError):
    """The message says where, what was expected and what to do."""


class RunDirError(UserError):
    """The message names the folder and the remedy."""


class CheckpointError(UserError):
    """The message names the file, the reason and the remedy."""


class TrainingError(UserError):
    """The message says what happened and what to do."""


class WriteError(UserError):
    """The message names the file, the reason and the remedy."""


class EvaluationError(UserError):
    """The message names the metrics and both values, or what of a record is not understood."""


class ExportError(UserError):
    """The message says where the ONNX graph is not the network, and by how much, or what is missing."""
