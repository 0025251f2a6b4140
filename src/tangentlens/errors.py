"""The exceptions of tangentlens: each says what is wrong, where, and what to do about it."""


class TangentlensError(Exception):
    """Base of every error that tangentlens raises on purpose.

    Args:
        what: what is wrong, in one sentence.
        where: the module, parameter, file or key at fault; empty where the sentence already names it.
        remedy: what the reader can do about it.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(f"{what}{f' [{where}]' if where else ''}{f' {remedy}' if remedy else ''}")


class InvalidInputError(TangentlensError, ValueError):
    """An argument, a configuration or a file given by the user cannot be used."""


class UnsupportedModelError(TangentlensError, ValueError):
    """The model has a part whose kernel would be undefined or silently wrong."""


class NumericalError(TangentlensError, ArithmeticError):
    """A computation met NaN or infinity, or could not reach what was asked of it."""


class OutOfMemoryError(TangentlensError, MemoryError):
    """A computation does not fit into memory, even in its smallest pieces.

    Args:
        needed: bytes that would do, where that is known.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", needed: int | None = None) -> None:
        self.needed = needed
        super().__init__(what, where=where, remedy=remedy)


class MissingExtraError(TangentlensError, ImportError):
    """An optional dependency is not installed; the message names the extra."""


class StoreError(TangentlensError, OSError):
    """A run folder cannot be written or read."""


class NotStoredError(StoreError):
    """A run is whole but does not hold what is asked of it; an older version did not store it, perhaps.

    Args:
        missing: what the run does not hold: "the array overlap.sum".
    """

    def __init__(self, missing: str) -> None:
        self.missing = missing
        super().__init__(f"the run does not hold {missing}", remedy="Run the experiment again.")
