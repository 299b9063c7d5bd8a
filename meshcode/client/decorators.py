"""A network declared from classes: `@processor` on a class, `@socket` and `@plug` on its methods.

    @processor(name="shop", gitrepo="/srv/shop", module="shop.orders", concurrency=2)
    class Shop(ProcessorBase):
        @plug(name="priced", target="bill.write", queue={"name": "bills"})
        @socket(name="shop.price", queue={"name": "orders"})
        def price(order): ...

        def greeting(self):
            return "hello"

    Shop().price({"id": 1})     # a call of the mesh
    Shop().greeting()           # runs here

The body of such a method is never sent anywhere: the mesh runs the function of that name in the
module of the repository.  Everything is found or added, so importing twice changes nothing; what is
there and differs is refused with both values, and then nothing of the class is declared.  When it
is declared, `declaring.py` says.
`docs/objects.md` is the guide.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from meshcode.client.client import Client
from meshcode.client.declaring import Declaration, declare, offer
from meshcode.client.objects.asking import Wanted, warn_unused
from meshcode.client.objects.base import name_of
from meshcode.client.objects.processor import Processor
from meshcode.client.objects.socket import Socket, SocketRecord
from meshcode.client.objects.topology import Deployment, Gate, Network, Node, Plug
from meshcode.errors import BadRequest

if TYPE_CHECKING:
    from meshcode.client.flows.composition import Signature

C = TypeVar("C", bound=type)
_Options = dict[str, Any]
_Wants = Callable[[], Sequence[Wanted]]


class ProcessorBase:
    """The base of decorated classes; it adds `declare`."""

    @classmethod
    def declare(cls, client: Client | None = None) -> None:
        """Declare now what was not declared when the class was made.

        Args:
            client: whose node is asked; without it the process-wide one.

        Raises:
            NoNode: no node answers.
            MeshError: something was refused; the text names class and method.
        """
        declaration = cls.__dict__.get(_DECLARATION)
        if isinstance(declaration, Declaration):
            declare(declaration, client)


class Remote:
    """A method that is a function of the mesh: on an instance it is its `Socket`.

    `__wrapped__` is the function as it was written, which runs here.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self.method = function.__name__
        self.socket: _Options | None = None
        self.plugs: list[_Options] = []
        self.gates: list[_Options] = []
        self.task = function.__name__
        self.module: str | None = None
        self.declaration: Declaration | None = None
        self._callable: Socket | None = None

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else self.remote()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function in the mesh, as an instance does."""
        return self.remote()(*args, **kwargs)

    def p(self, /, *args: Any, **kwargs: Any) -> Signature:
        """A signature for a flow, as `Socket.p`."""
        return self.remote().p(*args, **kwargs)

    def remote(self) -> Socket:
        """The socket of it; declared first if it was not yet.

        Raises:
            BadRequest: it is of no class with `@processor`, so nothing of it is ever declared.
            NoNode: no node answers.
            MeshError: the declaration was refused, or no socket has the task.
        """
        if self.declaration is None and (self.socket or self.plugs or self.gates):
            raise _alone(self)
        if self.declaration is not None and not self.declaration.is_done:
            declare(self.declaration)
        if self._callable is None:
            if self.socket is None:
                self._callable = Socket(task=self.task, module=self.module)
            else:
                spread = bool(self.socket["loadbalanced"])
                self._callable = Socket(self.socket["name"], loadbalanced=spread)
        return self._callable


def _remote(function: Callable[..., Any] | Remote) -> Remote:
    if isinstance(function, Remote):
        return function
    if isinstance(function, property) or not hasattr(function, "__name__"):
        raise BadRequest(
            f"a method is decorated, a function that is called, not a {type(function).__name__}:"
            f" {function!r:.80}; nothing was declared"
        )
    return Remote(function)


def _alone(method: Remote) -> BadRequest:
    """The error of a method that no class declares."""
    if method.socket is not None:
        what, name = "socket", method.socket["name"]
        other = f", or call the socket as it is declared elsewhere: Socket({name!r})"
    else:
        kind, rows = ("plug", method.plugs) if method.plugs else ("gate", method.gates)
        what, name, other = kind, rows[0]["name"], ""
    return BadRequest(
        f"{method.method!r} is @{what}({name!r}), and of no class with @processor, which would"
        f" declare it; nothing was declared or called; write it into such a class{other}",
        kind=what, name=name,
    )  # fmt: skip


def _named(decorator: str, name: Any) -> None:
    """Refuse a decorator that was written without its parentheses: it got what it decorates."""
    if not isinstance(name, str):
        raise BadRequest(
            f"@{decorator} stands without its name: write @{decorator}(name=...), not"
            f" @{decorator} alone; it was given {name!r:.80}; nothing was declared"
        )


# Methods.


def socket(
    name: str, processor: Any = None, task: str | None = None, queue: Any = None,
    loadbalanced: bool = False, **options: Any,
) -> Callable[[Any], Remote]:  # fmt: skip
    """A method is a socket: calling it on an instance is a call of the mesh.

    Args:
        name: of the socket.
        processor: another one than that of the class.
        task: the function of the module, when it is not named as the method.
        queue: a `Queue`, a name, or `{"name": ..., option: ...}`.
        loadbalanced: calls are spread over all sockets with the task and module; see `Socket`.
        options: as `Socket` takes them.
    """
    _named("socket", name)

    def decorate(function: Any) -> Remote:
        method = _remote(function)
        if method.socket is not None:
            raise BadRequest(
                f"method {method.method!r} is socket {method.socket['name']!r} already, so it"
                f" cannot be {name!r} too; write another method; nothing was declared"
            )
        method.socket = {
            "name": name, "processor": processor, "task": task, "queue": queue,
            "loadbalanced": loadbalanced, **options,
        }  # fmt: skip
        return method

    return decorate


def plug(
    name: str, target: Any, queue: Any = None, argument: str | None = None, **options: Any
) -> Callable[[Any], Remote]:
    """The outcome of the method's socket becomes an argument of `target`.

    Args:
        name: of the plug.
        target: a `Socket` or a name; it is declared already, or in the same class.
        queue: a `Queue`, a name, or `{"name": ..., option: ...}`.
        argument: the parameter of the target that it fills.
        options: as `Plug` takes them.
    """
    _named("plug", name)
    return partial(_add, "plugs", {
        "name": name, "target": target, "queue": queue, "argument": argument, **options,
    })  # fmt: skip


def gate(
    name: str, mode: str | None = None, socket: Any = None, plug: Any = None, **options: Any
) -> Callable[[Any], Remote]:
    """A condition on the plug of a method.

    Args:
        name: of the gate.
        mode: "open", "closed" or "task".
        socket: who decides, for "task".
        plug: which plug, when the method has several, or none.
        options: as `Gate` takes them.
    """
    _named("gate", name)
    return partial(_add, "gates", {
        "name": name, "mode": mode, "socket": socket, "plug": plug, **options,
    })  # fmt: skip


def _add(what: str, options: _Options, function: Any) -> Remote:
    method = _remote(function)
    getattr(method, what).insert(0, options)  # The decorator written first is applied last.
    return method


def task(name: str | None = None, module: str | None = None) -> Callable[[Any], Remote]:
    """Which function a method stands for.

    Without `@socket` nothing is declared: a call goes to any socket with the task.

    Args:
        name: of the function; without it the name of the method.
        module: of the function, when it is not that of the class; only without `@socket`.
    """

    def decorate(function: Any) -> Remote:
        method = _remote(function)
        method.task = name or method.task
        method.module = module
        return method

    return decorate


# Classes.

_DECLARATION = "__mesh_declaration__"
# Decorators that were written and are not applied yet, each with the frame it stands in: those of
# one class are all written before the first is applied.  One that is never applied goes by itself.
_written: WeakKeyDictionary[_OfClass, int] = WeakKeyDictionary()


class _OfClass:
    """A decorator of a class.  When the last one of a class was applied, the class is declared."""

    def __init__(self, apply: Callable[[type, Declaration], None]) -> None:
        self._apply = apply
        _written[self] = id(sys._getframe(2))

    def __call__(self, cls: C) -> C:
        frame = _written.pop(self, None)
        declaration = cls.__dict__.get(_DECLARATION)
        if not isinstance(declaration, Declaration):
            declaration = Declaration(cls.__qualname__)
            setattr(cls, _DECLARATION, declaration)
        self._apply(cls, declaration)
        if all(other != frame for other in _written.values()):
            offer(declaration)
        return cls


def processor(
    name: str, module: str | None = None, gitrepo: Any = None, deployment: Any = None,
    **options: Any,
) -> Callable[[C], C]:  # fmt: skip
    """A class is a processor; its methods are sockets, with plugs and gates.

    Args:
        name: of the processor.
        module: Python module with the tasks.
        gitrepo: git repository with the module.
        deployment: CPUs for it: a name, `{"name", "hostname", "cpus"}`, or True for one named as
            the processor.  Without `cpus`, as many as `concurrency`.
        options: as `Processor` takes them, for instance `concurrency` or `branch`.

    Raises:
        MeshError: the model refused something; the text names class and method.
    """
    _named("processor", name)

    def decorate(cls: type, declaration: Declaration) -> None:
        given = {"module": module, "gitrepo": gitrepo, **options}
        declaration.add(lambda: Processor._wanted(name, **given))
        if deployment:
            _add_deployment(declaration, name, deployment, options)
        methods = _methods(cls, declaration)
        # Sockets first, so that a plug may lead to a method that is written below it.
        for method in methods:
            if method.socket is None:
                method.module = method.module or module
            else:
                declaration.add(_socket_part(method, method.socket, name), method.method)
        for method in methods:
            for edge in method.plugs:
                declaration.add(_plug_part(method, edge), method.method)
            for condition in method.gates:
                declaration.add(_gate_part(method, condition), method.method)

    return _OfClass(decorate)


def _methods(cls: type, declaration: Declaration) -> list[Remote]:
    """The methods of a class that are its own to declare, in the order in which they stand."""
    found = {}
    for base in reversed(cls.__mro__):
        for attribute, value in vars(base).items():
            if isinstance(value, Remote) and value.declaration in (None, declaration):
                found[attribute] = value
    for method in found.values():
        method.declaration = declaration
    return list(found.values())


def _socket_part(method: Remote, given: _Options, owner: str) -> _Wants:
    options = {k: v for k, v in given.items() if k not in ("name", "loadbalanced")}
    options["processor"] = options["processor"] or owner
    options["task"] = options["task"] or method.task
    return lambda: SocketRecord._wanted(given["name"], **options)


def _plug_part(method: Remote, given: _Options) -> _Wants:
    options = {k: v for k, v in given.items() if k != "name"}
    if options.get("source") is None:
        options["source"] = method.socket["name"] if method.socket else None

    def wants() -> Sequence[Wanted]:
        if options["source"] is None:
            raise BadRequest(
                f"plug {given['name']!r} is on a method that is no socket; add @socket to it, or"
                " give source; nothing was changed"
            )
        return Plug._wanted(given["name"], **options)

    return wants


def _gate_part(method: Remote, given: _Options) -> _Wants:
    options = {k: v for k, v in given.items() if k != "name"}

    def wants() -> Sequence[Wanted]:
        if options["plug"] is None:
            if len(method.plugs) != 1:
                raise BadRequest(
                    f"gate {given['name']!r} is on a method with {len(method.plugs)} plugs, it"
                    " needs 1; give plug; nothing was changed"
                )
            options["plug"] = method.plugs[0]["name"]
        return Gate._wanted(given["name"], **options)

    return wants


def _add_deployment(
    declaration: Declaration, owner: str, given: Any, options: Mapping[str, Any]
) -> None:
    if isinstance(given, Mapping):
        wanted = dict(given)
    else:
        wanted = {} if given is True else {"name": name_of(given)}
    name = wanted.pop("name", owner)
    cpus = options.get("concurrency") or options.get("workers")
    wanted = {"processor": owner, "cpus": cpus, **wanted}
    if wanted.get("host") is None and wanted.get("hostname") is None:
        declaration.deployments.append(name)
    declaration.add(lambda: Deployment._wanted(name, **wanted))


def node(name: str, hostname: str | None = None, **options: Any) -> Callable[[C], C]:
    """A class has a declared node; its deployment, if it names no host, goes to that host.

    Args:
        name: of the node.
        hostname: where it is to run.
        options: as `Node` takes them.
    """
    _named("node", name)

    def decorate(_cls: type, declaration: Declaration) -> None:
        declaration.nodes.append(name)
        declaration.add(lambda: Node._wanted(name, hostname=hostname, **options))
        if declaration.network is not None:
            declaration.add(_put_in_network(name, declaration.network))
        for deployment in declaration.deployments:
            declaration.add(_put_on_node(deployment, hostname or name))

    return _OfClass(decorate)


def network(name: str, **options: Any) -> Callable[[C], C]:
    """A class is of a network: its declared nodes are put into it.

    Args:
        name: of the network.
        options: as `Network` takes them.
    """
    _named("network", name)

    def decorate(_cls: type, declaration: Declaration) -> None:
        declaration.network = name
        declaration.add(lambda: Network._wanted(name, **options))
        for there in declaration.nodes:
            declaration.add(_put_in_network(there, name))

    return _OfClass(decorate)


def agent(name: str, hostname: str | None = None, **options: Any) -> Callable[[C], C]:
    """Of the original.  Nothing is declared: a node that runs is its own agent.

    Args:
        name: not used.
        hostname: not used.
        options: not used.
    """
    del hostname, options

    def decorate(_cls: type, _declaration: Declaration) -> None:
        warn_unused("class", f"@agent({name!r})", "a node that runs is its own agent")

    return _OfClass(decorate)


def worker(name: str, **options: Any) -> Callable[[C], C]:
    """Of the original.  Nothing is declared: a processor says how many workers it has.

    Args:
        name: not used.
        options: not used.
    """
    del options

    def decorate(_cls: type, _declaration: Declaration) -> None:
        why = "@processor(concurrency=N), or its deployments, say how many there are"
        warn_unused("class", f"@worker({name!r})", why)

    return _OfClass(decorate)


def _put_in_network(node_name: str, name: str) -> _Wants:
    """Only a node without a network: another one is refused, with both."""
    return lambda: [Wanted(Node.kind, node_name, {"network": name}, there="fill")]


def _put_on_node(deployment: str, host: str) -> _Wants:
    """Only a deployment that may be anywhere; a host that was said since stays."""
    return lambda: [Wanted(Deployment.kind, deployment, {"host": host}, there="leave")]
