"""How a broken promise of the crash kit is told."""


class CrashViolationError(AssertionError):
    """A crash or a failed operation broke a promise of the store.

    Attributes:
        model: which crash model or failure found it.
        program: the operations.
        point: where in them.
        problem: what was found.
    """

    def __init__(self, *, model: str, program: str, point: str, problem: str) -> None:
        super().__init__(model, program, point, problem)
        self.model = model
        self.program = program
        self.point = point
        self.problem = problem

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, self.args

    def __str__(self) -> str:
        return f"{self.problem}\n  program  {self.program}\n  crash    {self.model}, {self.point}"


def _rebuild(model: str, program: str, point: str, problem: str) -> CrashViolationError:
    return CrashViolationError(model=model, program=program, point=point, problem=problem)
