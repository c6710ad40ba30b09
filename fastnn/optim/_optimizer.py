"""What all optimizers share: parameter groups, state, and one kernel call per group and step.

A kernel call moves all parameters of a *cohort*: those of a group that have taken the same number of steps. As long as
every parameter gets a gradient every time, a group is one cohort; a parameter that is left out of a step is split off,
so that its step count, and with it Adam's bias correction, stays its own, as in PyTorch.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from .._checks import number
from .._ops import OptimizerStep, Tensor, from_numpy, zero_grads
from .._tape import enable_grad


class _Cohort:
    """Parameters that have taken the same number of steps, and the kernel call that moves them."""

    __slots__ = ("kernel", "params", "step")

    def __init__(self, kind: str, params: list[Tensor], step: int = 0):
        self.params = params
        self.kernel = OptimizerStep(kind, params)
        self.step = step


def check_number(optimizer: str, name: str, value: Any, below: float = math.inf, positive: bool = False) -> None:
    """Raise unless `value` is a finite number from 0 up to, but without, `below`."""
    number(optimizer, name, value)
    if not 0 <= value < below or (positive and value == 0):
        bounds = "positive" if positive else "not negative" if below == math.inf else f"in [0, {below})"
        raise ValueError(f"{optimizer}: {name} must be {bounds}, got {value}")


def _complete(params: list[Tensor]) -> bool:
    """Whether every parameter has a gradient."""
    for p in params:  # noqa: SIM110 (all() over a generator takes twice as long)
        if p.grad is None:
            return False
    return True


class Optimizer:
    """Base class of the optimizers, and of your own: write ``step`` and keep what it needs in ``state[p]``.

    Attributes
    ----------
    param_groups : list of dict
        Each holds "params" and the hyperparameters, which may be changed between steps.
    state : dict
        Of an optimizer of your own: a dict for each parameter, empty at first. The others keep theirs out of sight.

    Examples
    --------
    >>> import fastnn as fnn
    >>> class Sign(fnn.optim.Optimizer):
    ...     def __init__(self, params, lr=0.5):
    ...         super().__init__(params, {"lr": lr})
    ...     def step(self):
    ...         with fnn.no_grad():
    ...             for group in self.param_groups:
    ...                 for p in group["params"]:
    ...                     p -= group["lr"] * p.grad.sign()
    >>> p = fnn.ones(2, requires_grad=True)
    >>> (p * fnn.tensor([3.0, -3.0])).sum().backward()
    >>> Sign([p]).step()
    >>> p.tolist()
    [0.5, 1.5]
    """

    _kind = ""  # of the kernel; none in an optimizer of somebody else's
    _names: Mapping[str, str] = {}  # PyTorch's names for the kernel's arrays m, v, mean, most

    def __init__(self, params: Iterable, defaults: dict[str, Any]) -> None:
        name = type(self).__name__
        if isinstance(params, Tensor | str | Mapping | set):
            raise TypeError(f"{name}: params must be an iterable of Tensors or dicts in a fixed order")
        groups = list(params)
        if not groups:
            raise ValueError(f"{name}: params is empty")
        if not isinstance(groups[0], Mapping):
            groups = [{"params": groups}]
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._cohorts: list[list[_Cohort]] = []
        for group in groups:
            self.add_param_group(group)

    def _check(self, group: Mapping[str, Any]) -> None:
        """Raise if a hyperparameter of the group is out of bounds."""

    def _run(self, kernel, step: int, group: Mapping[str, Any]) -> None:
        """Move the kernel's parameters by their gradients; `step` counts from 1."""
        raise NotImplementedError

    def _keeps(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Return which of the kernel's arrays (m, v, mean, most) are in use under these hyperparameters."""
        return ()

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with hyperparameters of their own.

        Parameters
        ----------
        group : dict
            "params" (a Tensor or an iterable of them) and any hyperparameters; the others are the optimizer's defaults.

        Raises
        ------
        TypeError, ValueError
            If it has no "params", something in there is no leaf Tensor of floats, a parameter is there twice, or a
            hyperparameter is unknown or out of bounds.
        """
        name = type(self).__name__
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f"{name}: a parameter group must be a dict with 'params'")
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        seen = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: params must be Tensors, got {type(p).__name__}")
            if not p.is_leaf or p.data.dtype.kind != "f":
                raise ValueError(
                    f"{name}: can only optimize leaf Tensors of floats, got {p.dtype}, is_leaf={p.is_leaf}"
                )
            if id(p) in seen:
                raise ValueError(f"{name}: a parameter of shape {p.shape} is given twice")
            seen.add(id(p))
        extra = [key for key in group if key not in self.defaults and key not in ("params", "initial_lr", "name")]
        if extra:
            raise TypeError(f"{name}: unknown hyperparameters {', '.join(extra)}; expected {', '.join(self.defaults)}")
        full = {**self.defaults, **group, "params": params}
        self._check(full)
        self.param_groups.append(full)
        self._cohorts.append(self._gather([(p, 0) for p in params]))

    def _gather(self, steps: list[tuple[Tensor, int]]) -> list[_Cohort]:
        """Make cohorts of parameters with their step counts; their state is zero. None without a kernel."""
        if not self._kind:
            return []
        cohorts: dict[int, list[Tensor]] = {}
        for p, step in steps:
            cohorts.setdefault(step, []).append(p)
        return [_Cohort(self._kind, params, step) for step, params in cohorts.items()]

    def step(self, closure: Callable | None = None):
        """Move every parameter that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            Called first, with recording on; computes the loss and its gradients.

        Returns
        -------
        object
            What the closure returned, else None.
        """
        if not self._kind:
            raise NotImplementedError(f"{type(self).__name__}: an optimizer of your own needs a method step()")
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group, cohorts in zip(self.param_groups, self._cohorts):
            for cohort in cohorts:
                if not _complete(cohort.params):
                    cohorts = self._split(cohorts)
                    break
            for cohort in cohorts:
                if cohort.params[0].grad is not None:
                    cohort.step += 1
                    self._run(cohort.kernel, cohort.step, group)
        return loss

    def _split(self, cohorts: list[_Cohort]) -> list[_Cohort]:
        """Split cohorts until in each all parameters or none have a gradient; changes the list it is given."""
        split = []
        for cohort in cohorts:
            lack = [p.grad is None for p in cohort.params]
            if all(lack) or not any(lack):
                split.append(cohort)
                continue
            for side in (False, True):
                members = [i for i, lacks in enumerate(lack) if lacks is side]
                part = _Cohort(self._kind, [cohort.params[i] for i in members], cohort.step)
                for name, arrays in cohort.kernel.state.items():
                    part.kernel.state[name] = [arrays[i] for i in members]
                split.append(part)
        cohorts[:] = split
        return cohorts

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros."""
        for group in self.param_groups:
            zero_grads(group["params"], set_to_none)

    # ----- state -----

    def state_dict(self) -> dict[str, Any]:
        """Return hyperparameters and state in PyTorch's layout; the arrays share memory with the optimizer.

        Returns
        -------
        dict
            "state": parameter number -> {"step": ..., "exp_avg": Tensor, ...}; "param_groups": the groups, with numbers
            for the parameters.
        """
        state: dict[int, dict[str, Any]] = {}
        groups = []
        first = 0
        for group, cohorts in zip(self.param_groups, self._cohorts):
            numbers = {id(p): first + i for i, p in enumerate(group["params"])}
            first += len(numbers)
            groups.append({**group, "params": list(numbers.values())})
            state |= {numbers[id(p)]: self.state[p] for p in group["params"] if p in self.state}
            keeps = self._keeps(group)
            for cohort in cohorts:
                for i, p in enumerate(cohort.params if cohort.step else ()):
                    kept = cohort.kernel.state
                    arrays = {self._names[k]: from_numpy(kept[k][i]) for k in keeps if k in kept}
                    state[numbers[id(p)]] = {"step": cohort.step, **arrays}
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over hyperparameters and state (copied); everything is checked before anything is touched.

        Parameters
        ----------
        state_dict : mapping
            From `state_dict` of an optimizer of the same class, or of PyTorch's optimizer of the same name.

        Raises
        ------
        ValueError
            If the groups, shapes or hyperparameters do not fit.
        """
        name = type(self).__name__
        try:
            saved, state = list(state_dict["param_groups"]), dict(state_dict["state"])
            sizes = [len(group["params"]) for group in saved]
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{name}.load_state_dict: not a state dict of an optimizer") from None
        own_sizes = [len(group["params"]) for group in self.param_groups]
        if sizes != own_sizes:
            raise ValueError(f"{name}.load_state_dict: groups of {sizes} parameters; expected {own_sizes}")
        groups = [self._loaded_group(own, new) for own, new in zip(self.param_groups, saved)]
        if not self._kind:
            numbers = [number for group in saved for number in group["params"]]
            params = [p for group in groups for p in group["params"]]
            self.state = defaultdict(dict, {p: deepcopy(state[n]) for p, n in zip(params, numbers) if n in state})
            state = {}
        checked = [
            [
                self._loaded_state(p, state.get(number, {}), number, group)
                for p, number in zip(group["params"], old["params"])
            ]
            for group, old in zip(groups, saved)
        ]
        for i, (group, entries) in enumerate(zip(groups, checked)):
            self.param_groups[i].clear()  # the same dict, as schedulers and callers may hold it
            self.param_groups[i].update(group)
            self._cohorts[i] = self._filled(group["params"], entries)

    def _filled(self, params: list[Tensor], entries: list[tuple[int, dict[str, np.ndarray]]]) -> list[_Cohort]:
        """Make cohorts of parameters with their (step, arrays by the kernel's names), which are copied."""
        cohorts = self._gather([(p, step) for p, (step, _) in zip(params, entries)])
        arrays = {id(p): values for p, (_, values) in zip(params, entries)}
        for cohort in cohorts:
            for key in self._names:
                if all(key in arrays[id(p)] for p in cohort.params):
                    cohort.kernel.state[key] = [arrays[id(p)][key].astype(p.dtype) for p in cohort.params]
        return cohorts

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: kernels hold pointers, so their state goes as arrays in the groups' order."""
        entries = []
        for group, cohorts in zip(self.param_groups, self._cohorts):
            found = {}
            for cohort in cohorts:
                for i, p in enumerate(cohort.params):
                    arrays = {key: kept[i] for key, kept in cohort.kernel.state.items()}
                    found[id(p)] = (cohort.step, arrays)
            entries.append([found[id(p)] for p in group["params"] if id(p) in found])
        return {**self.__dict__, "_cohorts": entries}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        params = [group["params"] for group in self.param_groups]
        self._cohorts = [self._filled(own, entries) for own, entries in zip(params, state["_cohorts"])]

    def _loaded_group(self, own: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        group = {**own, **{key: value for key, value in new.items() if key != "params"}}
        if "betas" in group:
            group["betas"] = tuple(group["betas"])
        self._check(group)
        return group

    def _loaded_state(
        self, p: Tensor, entry: Mapping, number: int, group: Mapping
    ) -> tuple[int, dict[str, np.ndarray]]:
        """Return (step, arrays by the kernel's names) of one parameter."""
        arrays = {}
        for key, public in self._names.items():
            if entry.get(public) is not None:
                value = np.asarray(entry[public])
                if value.shape != p.shape or value.dtype.kind not in "fiu":
                    raise ValueError(
                        f"{type(self).__name__}.load_state_dict: {public} of parameter {number} is {value.dtype} "
                        f"{value.shape}; expected numbers of shape {p.shape}"
                    )
                arrays[key] = value
        step = int(entry.get("step", 1 if arrays else 0))  # PyTorch's SGD keeps no count: only first or later matters
        lacking = [self._names[k] for k in self._keeps(group) if k not in arrays] if step else []
        if lacking or step < 0:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: parameter {number} at step {step} lacks {', '.join(lacking)}"
            )
        return step, arrays

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])
