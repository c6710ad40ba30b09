"""How the losses of single elements become one number."""


def check_reduction(function: str, reduction: str, allowed: tuple[str, ...] = ("mean", "sum", "none")) -> None:
    if reduction not in allowed:
        raise ValueError(f"{function}: reduction must be one of {', '.join(allowed)}, got {reduction!r}")


def reduced(loss, reduction: str):
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss
