"""Module: a callable that finds its own parameters, buffers and sub-modules.

They are found by looking through the instance's attributes for Parameters and Modules when somebody asks, so there is
no registry to keep in step, attribute reads in `forward` are plain, and forgetting `super().__init__()` breaks nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from .._checks import flag
from .._ops import Tensor, call_module, zero_grads
from ._hooks import Hooks, RemovableHandle
from ._parameter import Parameter
from ._state import LoadResult, load

# Of any module's attributes and hooks: what is read off them (a `_plan`) holds as long as this number stands.
changes = 0


class Module:
    """Base class of everything with parameters: layers, losses, whole networks.

    Write `__init__` and `forward`; assign layers and `Parameter`s to attributes, and the module knows them. Names,
    `state_dict` keys and order are PyTorch's.

    Notes
    -----
    A Python list or dict of modules is not looked into: use `ModuleList` and `ModuleDict`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> class Net(fnn.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.hidden = fnn.nn.Linear(3, 4, activation="relu")
    ...         self.out = fnn.nn.Linear(4, 1)
    ...     def forward(self, x):
    ...         return self.out(self.hidden(x))
    >>> net = Net()
    >>> net(fnn.zeros(2, 3)).shape
    (2, 1)
    >>> [name for name, _ in net.named_parameters()]
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    """

    training: bool = True
    _hooks: Hooks | None = None
    _buffers: Mapping[str, bool] = MappingProxyType({})  # name -> persistent

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Tell type checkers that buffers and sub-modules are there; at run time it would slow every miss."""

    def __init__(self) -> None:
        pass

    def forward(self, *args, **kwargs):
        """Compute the output; every subclass writes its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    __call__ = call_module

    def __setattr__(self, name: str, value: Any) -> None:
        global changes
        old = self.__dict__.get(name)
        if old is not None:
            kind: type | None = Parameter if isinstance(old, Parameter) else Module if isinstance(old, Module) else None
            if kind is None and name in self._buffers:
                kind = Tensor
            if kind is not None and value is not None and not isinstance(value, kind):
                raise TypeError(
                    f"{type(self).__name__}.{name} is a {kind.__name__}: cannot assign {type(value).__name__} "
                    f"({kind.__name__} or None expected)"
                )
        object.__setattr__(self, name, value)
        changes += 1  # behind the change: a plan from between counts as old

    def __delattr__(self, name: str) -> None:
        global changes
        object.__delattr__(self, name)
        changes += 1
        if name in self._buffers:
            object.__setattr__(self, "_buffers", {k: v for k, v in self._buffers.items() if k != name})

    # ----- what it owns -----

    def _check_new_name(self, function: str, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{function}: name must be a string, got {type(name).__name__}")
        if not name or "." in name:
            raise KeyError(f"{function}: name must not be empty and must have no dot, got {name!r}")
        owned = isinstance(self.__dict__.get(name), Parameter | Module) or name in self._buffers
        if hasattr(self, name) and not owned:
            raise KeyError(f"{function}: {type(self).__name__} already has an attribute {name!r}")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Set attribute `name` to a Parameter, or to None for one that is absent on purpose.

        Raises
        ------
        KeyError
            If the name is empty, has a dot, or is taken by something else.
        TypeError
            If `param` is neither a Parameter nor None.
        """
        self._check_new_name("register_parameter", name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"register_parameter: {name!r} must be a Parameter or None, got {type(param).__name__}")
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Set attribute `name` to a Tensor that belongs to the state but is not trained (running means and the like).

        Parameters
        ----------
        name : str
            The attribute.
        tensor : Tensor or None
            Its value; None keeps it out of the state dict.
        persistent : bool
            False keeps it out of the state dict.

        Raises
        ------
        KeyError
            If the name is empty, has a dot, or is taken by something else.
        TypeError
            If `tensor` is neither a Tensor nor None.

        Examples
        --------
        >>> import fastnn as fnn
        >>> module = fnn.nn.Module()
        >>> module.register_buffer("steps", fnn.tensor([0]))
        >>> list(module.state_dict())
        ['steps']
        """
        self._check_new_name("register_buffer", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"register_buffer: {name!r} must be a Tensor or None, got {type(tensor).__name__}")
        setattr(self, name, tensor)
        object.__setattr__(self, "_buffers", {**self._buffers, name: bool(persistent)})

    def add_module(self, name: str, module: "Module | None") -> None:
        """Set attribute `name` to a sub-module (or None).

        Raises
        ------
        KeyError
            If the name is empty, has a dot, or is taken by something else.
        TypeError
            If `module` is neither a Module nor None.
        """
        self._check_new_name("add_module", name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: {name!r} must be a Module or None, got {type(module).__name__}")
        setattr(self, name, module)

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """Yield `(name, module)` of the modules directly inside, each once."""
        seen = set()
        for name, value in tuple(self.__dict__.items()):
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator["Module"]:
        """Yield the modules directly inside, each once."""
        for _, module in self.named_children():
            yield module

    def _named_members(self, prefix: str, seen: set | None) -> Iterator[tuple[str, "Module"]]:
        if seen is not None:
            if id(self) in seen:
                return
            seen.add(id(self))
        yield prefix, self
        for name, value in tuple(self.__dict__.items()):
            if isinstance(value, Module):
                yield from value._named_members(f"{prefix}.{name}" if prefix else name, seen)

    def named_modules(self, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, "Module"]]:
        """Yield `(dotted name, module)` of this module (named by `prefix`) and all modules inside, depth first."""
        return self._named_members(prefix, set() if remove_duplicate else None)

    def get_submodule(self, target: str) -> "Module":
        """Return the module of a dotted name, as `named_modules` gives them; "" is this one.

        Raises
        ------
        AttributeError
            If there is none of that name.
        """
        found = dict(self.named_modules(remove_duplicate=False)).get(target)
        if found is None:
            raise AttributeError(f"{type(self).__name__} has no module {target!r}")
        return found

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter of a dotted name, as `named_parameters` gives them.

        Raises
        ------
        AttributeError
            If there is none of that name.
        """
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path).__dict__.get(name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}")
        return found

    def modules(self) -> Iterator["Module"]:
        """Yield this module and all modules inside, each once."""
        for _, module in self.named_modules():
            yield module

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        for name, value in tuple(self.__dict__.items()):
            if isinstance(value, Parameter):
                yield name, value

    def _own_buffers(self, persistent_only: bool = False) -> Iterator[tuple[str, Tensor]]:
        for name, persistent in self._buffers.items():
            value = self.__dict__.get(name)
            if value is not None and (persistent or not persistent_only):
                yield name, value

    def _named_tensors(self, own: Callable, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix, remove_duplicate) if recurse else [(prefix, self)]:
            for name, tensor in own(module):
                if remove_duplicate and id(tensor) in seen:
                    continue
                seen.add(id(tensor))
                yield (f"{path}.{name}" if path else name), tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield `(dotted name, parameter)`; a shared parameter once, under its first name."""
        return self._named_tensors(Module._own_parameters, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters, each once.

        Examples
        --------
        >>> import fastnn as fnn
        >>> sum(p.numel() for p in fnn.nn.Linear(3, 4).parameters())
        16
        """
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield `(dotted name, buffer)`."""
        return self._named_tensors(Module._own_buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    # ----- state -----

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        """Every name of the state with its live tensor; shared ones under each of their names, as in PyTorch."""
        for path, module in self._named_members("", None):
            dot = f"{path}." if path else ""
            for name, parameter in module._own_parameters():
                yield dot + name, parameter
            for name, buffer in module._own_buffers(persistent_only=True):
                yield dot + name, buffer

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Return the parameters and persistent buffers by dotted name, detached, sharing their memory.

        Examples
        --------
        >>> import fastnn as fnn
        >>> {name: value.shape for name, value in fnn.nn.Linear(3, 4).state_dict().items()}
        {'weight': (4, 3), 'bias': (4,)}
        """
        return {prefix + name: tensor.detach() for name, tensor in self._state()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy values into the parameters and buffers; everything is checked before anything is touched.

        Parameters
        ----------
        state_dict : mapping
            Name to Tensor, ndarray or anything `numpy.asarray` understands (a PyTorch state dict too).
        strict : bool
            Whether the names must agree exactly. Shapes and types must agree either way.

        Returns
        -------
        LoadResult
            `missing_keys` and `unexpected_keys`: empty lists when `strict`.

        Raises
        ------
        ValueError
            If names are missing or unexpected, or a value has the wrong shape or type: the message lists all of them.
        TypeError
            If `state_dict` is not a mapping.

        Examples
        --------
        >>> import fastnn as fnn
        >>> a, b = fnn.nn.Linear(3, 4), fnn.nn.Linear(3, 4)
        >>> b.load_state_dict(a.state_dict())
        LoadResult(missing_keys=[], unexpected_keys=[])
        >>> bool((a.weight == b.weight).all())
        True
        """
        return load(self, state_dict, strict)

    # ----- modes -----

    def train(self, mode: bool = True) -> "Module":
        """Switch this module and all inside to training behaviour (Dropout drops); returns the module."""
        mode = flag("train", "mode", mode)
        for module in self.modules():
            if module.training is not mode:
                module.training = mode
        return self

    def eval(self) -> "Module":
        """Switch this module and all inside to evaluation behaviour; returns the module."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> "Module":
        """Say for every parameter whether it gets a gradient; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def freeze(self) -> "Module":
        """Make the module final, for serving: evaluation mode, read-only parameters and buffers, weights packed once.

        Writing into a frozen parameter and asking it for a gradient are refused. Copies (`copy.deepcopy`, pickle) are
        not frozen: who sends a network to other processes freezes it there. Returns the module. Results may differ from
        those before in the last bits: packed weights are multiplied by few rows, and by images, in another order.

        Examples
        --------
        >>> import fastnn as fnn
        >>> layer = fnn.nn.Linear(3, 2).freeze()
        >>> layer.weight.requires_grad
        False
        """
        for tensor in (*self.parameters(), *self.buffers()):
            tensor.freeze_()  # floats; counters stay as they are
        for module in self.modules():
            # Instances of a class share the keys of their dicts; CPython 3.11 searches such a dict at each read of an
            # attribute, while in one of the instance's own it knows the place. Cells: 1,200 instructions of 10,800.
            object.__setattr__(module, "__dict__", {**module.__dict__})
        return self.eval()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros."""
        zero_grads(list(self.parameters()), set_to_none)

    def apply(self, fn: Callable[["Module"], Any]) -> "Module":
        """Call `fn` on every module inside, then on this one; returns the module.

        Examples
        --------
        >>> import fastnn as fnn
        >>> net = fnn.nn.Sequential(fnn.nn.Linear(2, 2), fnn.nn.ReLU())
        >>> _ = net.apply(lambda m: print(type(m).__name__))
        Linear
        ReLU
        Sequential
        """
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, dtype) -> "Module":
        """Convert every floating-point parameter and buffer to float32 or float64, in place; returns the module.

        "cpu" leaves it as it is.

        Raises
        ------
        ValueError
            If `dtype` is none of these.
        """
        if isinstance(dtype, str) and dtype == "cpu":
            return self
        try:
            known = np.dtype(dtype) in (np.float32, np.float64)
        except TypeError:  # the name of a device, say
            known = False
        if not known:
            raise ValueError(
                f"{type(self).__name__}.to: float32 or float64 (or 'cpu', the only device) expected, got {dtype!r}"
            )
        dtype = np.dtype(dtype)
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.data.dtype.kind == "f" and tensor.data.dtype != dtype:
                grad = None if tensor.grad is None else tensor.grad.detach().to(dtype)
                frozen = not tensor.data.flags.writeable
                Tensor.__init__(tensor, tensor.data.astype(dtype), requires_grad=tensor.requires_grad)
                if frozen:
                    tensor.freeze_()
                tensor.grad = grad
        return self

    def float(self) -> "Module":
        """Convert to float32; see `to`."""
        return self.to(np.float32)

    def cpu(self) -> "Module":
        """Return the module: there is no other device."""
        return self

    def double(self) -> "Module":
        """Convert to float64; see `to`.

        Examples
        --------
        >>> import fastnn as fnn
        >>> fnn.nn.Linear(2, 2).double().weight.dtype
        dtype('float64')
        """
        return self.to(np.float64)

    # ----- hooks -----

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before each forward; what it returns (unless None) takes the arguments' place.

        Parameters
        ----------
        hook : callable
            `hook(module, args)`, or `hook(module, args, kwargs) -> None or (args, kwargs)` when `with_kwargs`.
        prepend : bool
            Run before the hooks that are there already.
        with_kwargs : bool
            Give the hook the keyword arguments too.

        Returns
        -------
        RemovableHandle
            Its `remove()` takes the hook away.

        Raises
        ------
        TypeError
            If `hook` is not callable.
        """
        return self._add_hook(hook, True, with_kwargs, prepend)

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after each forward; what it returns (unless None) is the new output.

        When `with_kwargs`, it is called with (module, args, kwargs, output). All else is as for
        `register_forward_pre_hook`.

        Examples
        --------
        >>> import fastnn as fnn
        >>> layer = fnn.nn.Linear(3, 4)
        >>> handle = layer.register_forward_hook(lambda module, args, output: print(output.shape))
        >>> _ = layer(fnn.zeros(2, 3))
        (2, 4)
        >>> handle.remove()
        """
        return self._add_hook(hook, False, with_kwargs, prepend)

    def _add_hook(self, hook: Callable, before: bool, with_kwargs: bool, prepend: bool) -> RemovableHandle:
        hooks = self._hooks or Hooks()
        handle = hooks.add(self, hook, before, with_kwargs, prepend)
        self._hooks = hooks
        return handle

    # ----- text -----

    def extra_repr(self) -> str:
        """Return what stands between the brackets in the printed form; subclasses write their own."""
        return ""

    def __repr__(self) -> str:
        lines = [(f"({name}): " + repr(module).replace("\n", "\n  ")) for name, module in self._repr_children()]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        body = "\n  ".join([extra, *lines] if extra else lines)
        return f"{type(self).__name__}(\n  {body}\n)"

    def _repr_children(self) -> list[tuple[str, "Module"]]:
        return [(name, value) for name, value in self.__dict__.items() if isinstance(value, Module)]


def plain(modules: Iterable[Module], kinds: Iterable[type]) -> bool:
    """Whether each module is of its very kind, with no hooks and no `forward` of its own.

    What computes the work of several modules in one pass asks this before every call. A loop over all of them: a method
    asked for each is a third slower, and this stands in the way of every token that is generated.
    """
    for module, kind in zip(modules, kinds):
        if type(module) is not kind or module._hooks is not None or "forward" in module.__dict__:
            return False
    return True
