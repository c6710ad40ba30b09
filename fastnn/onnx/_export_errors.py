"""The error of what cannot be exported."""


class ExportError(ValueError):
    """A module does something that an ONNX graph cannot say; the message names the module and the operation.

    Examples
    --------
    >>> import fastnn as fnn
    >>> issubclass(fnn.onnx.ExportError, ValueError)
    True
    """
