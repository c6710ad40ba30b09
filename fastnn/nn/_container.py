"""Containers: modules that hold modules. Sequential runs a layer with what follows it where that saves a pass."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from ._fusion import Run, find_runs, summed
from ._module import Module


class ModuleList(Module):
    """A list of modules that the module holding it knows about.

    Parameters
    ----------
    modules : iterable of Module
        The first ones.

    Raises
    ------
    TypeError
        If something in it is not a Module.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layers = fnn.nn.ModuleList(fnn.nn.Linear(3, 3) for _ in range(2))
    >>> len(layers), list(layers.state_dict())
    (2, ['0.weight', '0.bias', '1.weight', '1.bias'])
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def _checked(self, module: Any) -> Module:
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}: Module expected, got {type(module).__name__}")
        return module

    def _replace_all(self, modules: list[Module]) -> None:
        """Number the modules anew; names that are not numbers are given up."""
        for name, _ in self._repr_children():
            delattr(self, name)
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def _layers(self) -> list[Module]:
        return [module for _, module in self._repr_children()]

    def append(self, module: Module):
        """Add a module at the end; returns the container."""
        number = len(self)
        while str(number) in self.__dict__:  # names given by a dict may be numbers out of order
            number += 1
        setattr(self, str(number), self._checked(module))
        return self

    def extend(self, modules: Iterable[Module]):
        """Add modules at the end; returns the container."""
        for module in [self._checked(module) for module in modules]:
            self.append(module)
        return self

    def __iadd__(self, modules: Iterable[Module]):
        return self.extend(modules)

    def insert(self, index: int, module: Module):
        """Put a module before position `index`; returns the container."""
        layers = self._layers()
        layers.insert(index, self._checked(module))
        self._replace_all(layers)
        return self

    def pop(self, index: int = -1) -> Module:
        """Take a module out and return it."""
        layers = self._layers()
        module = layers.pop(index)
        self._replace_all(layers)
        return module

    def __len__(self) -> int:
        return len(self._repr_children())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers())

    def __getitem__(self, index: int | slice):
        if isinstance(index, slice):
            return type(self)(self._layers()[index])
        return self._layers()[index]

    def __setitem__(self, index: int, module: Module) -> None:
        if isinstance(index, slice):
            raise TypeError(f"{type(self).__name__}: one module at a time can be set, got a slice")
        name = self._repr_children()[index][0]
        setattr(self, name, self._checked(module))

    def __delitem__(self, index: int | slice) -> None:
        layers = self._layers()
        del layers[index]
        self._replace_all(layers)

    def __repr__(self) -> str:
        if not len(self):
            return f"{type(self).__name__}()"
        lines = []
        for text, run in groupby(self._repr_children(), lambda child: repr(child[1])):
            names = [name for name, _ in run]
            head = f"({names[0]}): " if len(names) == 1 else f"({names[0]}-{names[-1]}): {len(names)} x "
            lines.append(head + text.replace("\n", "\n  "))
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


class ModuleDict(Module):
    """A dict of modules that the module holding it knows about.

    Parameters
    ----------
    modules : mapping or iterable of (str, Module)
        The first ones.

    Raises
    ------
    TypeError, KeyError
        If something in it is not a Module; if a key is empty, has a dot or is the name of a method.

    Examples
    --------
    >>> import fastnn as fnn
    >>> heads = fnn.nn.ModuleDict({"price": fnn.nn.Linear(3, 1), "kind": fnn.nn.Linear(3, 4)})
    >>> heads["kind"](fnn.zeros(2, 3)).shape
    (2, 4)
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        self.update(modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace modules."""
        for name, module in modules.items() if isinstance(modules, Mapping) else modules:
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"ModuleDict: Module expected, got {type(module).__name__}")
        self.add_module(name, module)

    def __getitem__(self, name: str) -> Module:
        module = self.__dict__.get(name)
        if not isinstance(module, Module):
            raise KeyError(name)
        return module

    def __delitem__(self, name: str) -> None:
        self[name]  # a KeyError for what is not there
        delattr(self, name)

    def pop(self, name: str) -> Module:
        """Remove a module and return it."""
        module = self[name]
        del self[name]
        return module

    def keys(self) -> list[str]:
        """The names, in the order they were added."""
        return [name for name, _ in self._repr_children()]

    def values(self) -> list[Module]:
        """The modules, in the order they were added."""
        return [module for _, module in self._repr_children()]

    def items(self) -> list[tuple[str, Module]]:
        """Pairs of name and module."""
        return self._repr_children()

    def __len__(self) -> int:
        return len(self._repr_children())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and isinstance(self.__dict__.get(name), Module)


class Sequential(ModuleList):
    """Modules one after the other.

    A `Linear` or `Conv2d` without an activation of its own that is followed by ReLU, ReLU6, GELU, SiLU, Hardswish,
    Sigmoid or Tanh runs with it in one pass, and so does a convolution with a BatchNorm2d (once both are frozen), a
    ReLU and a MaxPool2d(2) behind it, as long as none of them has forward hooks.

    Parameters
    ----------
    *modules : Module
        The modules in order, or one dict of name to module.

    Raises
    ------
    TypeError, KeyError
        If something in it is not a Module; if a name in the dict is empty, has a dot or is the name of a method.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.nn.Sequential(fnn.nn.Linear(3, 8), fnn.nn.ReLU(), fnn.nn.Linear(8, 1))
    >>> net
    Sequential(
      (0): Linear(in_features=3, out_features=8, bias=True)
      (1): ReLU()
      (2): Linear(in_features=8, out_features=1, bias=True)
    )
    >>> net(fnn.zeros(5, 3)).shape
    (5, 1)
    """

    _plan: list[Run] | None = None
    __repr__ = Module.__repr__

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, self._checked(module))
        else:
            self.extend(modules)  # type: ignore[arg-type]

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name != "training":  # whatever it was, the layers may be others now
            object.__setattr__(self, "_plan", None)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        object.__setattr__(self, "_plan", None)

    def __getitem__(self, index):
        if isinstance(index, str):
            raise TypeError(f"{type(self).__name__}: an index must be an int or a slice, got {index!r}")
        if isinstance(index, slice):
            return Sequential(dict(self._repr_children()[index]))
        return super().__getitem__(index)

    def _make_plan(self) -> list[Run]:
        plan = find_runs(self._layers())
        object.__setattr__(self, "_plan", plan)
        return plan

    def forward(self, x):
        """Pass `x` through every module in order."""
        for run in self._plan or self._make_plan():
            x = run(x)
        return x

    def _plus(self, x, residual, activation: str | None):
        """`activation(self(x) + residual)`, in the last layer's pass where that is a convolution."""
        runs = self._plan or self._make_plan()
        for run in runs[:-1]:
            x = run(x)
        return runs[-1].add(x, residual, activation) if runs else summed(x, residual, activation)
