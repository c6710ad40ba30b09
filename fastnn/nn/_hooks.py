"""Forward hooks: what a module runs before and after its own forward once somebody has asked for it."""

import itertools
from collections.abc import Callable

_ids = itertools.count()


class RemovableHandle:
    """What registering a hook returns: `remove()` takes the hook away again; as a context manager, at the block's end.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.Identity()
    >>> with layer.register_forward_hook(lambda module, args, output: output * 2):
    ...     layer(fnn.tensor([1.0])).tolist()
    [2.0]
    >>> layer(fnn.tensor([1.0])).tolist()
    [1.0]
    """

    def __init__(self, module, before: bool, key: int):
        self._module = module
        self._before = before
        self._key = key

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        module, self._module = self._module, None
        if module is None or module._hooks is None:
            return
        hooks = module._hooks
        (hooks.before if self._before else hooks.after).pop(self._key, None)
        if not hooks.before and not hooks.after:
            module._hooks = None  # the module's calls are plain again

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.remove()


class Hooks:
    """The hooks of one module, in the order they run."""

    def __init__(self):
        self.before: dict[int, tuple[Callable, bool]] = {}
        self.after: dict[int, tuple[Callable, bool]] = {}

    def add(self, module, hook: Callable, before: bool, with_kwargs: bool, prepend: bool) -> RemovableHandle:
        name = "register_forward_pre_hook" if before else "register_forward_hook"
        if not callable(hook):
            raise TypeError(f"{name}: hook must be callable, got {type(hook).__name__}")
        hooks = self.before if before else self.after
        key = next(_ids)
        entry = {key: (hook, with_kwargs)}
        renewed = entry | hooks if prepend else hooks | entry
        if before:
            self.before = renewed
        else:
            self.after = renewed
        return RemovableHandle(module, before, key)

    def call(self, module, args: tuple, kwargs: dict):
        """Run the pre-hooks, the forward and the hooks; what a hook returns takes the place of what it was given."""
        for hook, with_kwargs in tuple(self.before.values()):
            if with_kwargs:
                result = hook(module, args, kwargs)
                if result is not None:
                    if not isinstance(result, tuple) or len(result) != 2:
                        raise TypeError(
                            "forward pre-hook: with_kwargs=True wants None or (args, kwargs), "
                            f"got {type(result).__name__}"
                        )
                    args, kwargs = result
            else:
                result = hook(module, args)
                if result is not None:
                    args = result if isinstance(result, tuple) else (result,)
        output = module.forward(*args, **kwargs)
        for hook, with_kwargs in tuple(self.after.values()):
            result = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
            if result is not None:
                output = result
        return output
