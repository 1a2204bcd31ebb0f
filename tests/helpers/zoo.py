"""Networks drawn at random from a grammar of layers: ours, torch's, snnTorch's, SpikingJelly's and Norse's."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.peers import library
from tsnn_uq.checks import InputError
from tsnn_uq.coding import Coding
from tsnn_uq.networks import Linear, OverTime
from tsnn_uq.neurons import LIF
from tsnn_uq.quantization import ternarize
from tsnn_uq.uncertainty import DropConnectLinear, Dropout, make_stochastic, set_generator

UNITS, STEPS, CLASSES = 8, 4, 3


class Apply(nn.Module):
    """A function, and the first thing it returns."""

    def __init__(self, function: Callable[[Any], Any], *modules: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        returned = self.function(x)
        return returned[0] if isinstance(returned, tuple) else returned


class Residual(nn.Module):
    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x.clone())


class Functional(nn.Module):
    """Dropout by a function, beside a BatchNorm that must not train."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p, self.norm = p, nn.BatchNorm1d(UNITS)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x.flatten(0, -2)).reshape(x.shape)
        return functional.dropout(normed, self.p, self.training)


class Literal(nn.Module):
    """Dropout by a function whose probability is no number of the module."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.4, training=self.training)


class Path(nn.Module):
    """Drops whole inputs, along the first axis."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = x.new_empty(len(x), *[1] * (x.dim() - 1)).bernoulli_(1 - self.drop_prob)
        return x * keep / (1 - self.drop_prob)


class Noise(nn.Module):
    """Adds noise in every mode, of a shape that a function says."""

    def __init__(self, shape: Callable[[Tensor], Any], generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.shape, self.generator = shape, generator

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.3 * torch.randn(self.shape(x), generator=self.generator)


class InPlace(nn.Module):
    """Writes on its input."""

    def forward(self, x: Tensor) -> Tensor:
        x -= 0.3
        x /= 0.7
        return x


class Remembers(nn.Module):
    """Counts its calls in a buffer and keeps what it saw in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.seen = (torch.zeros(1), [torch.zeros(1)])

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen[0].add_(x.sum())
        self.seen[1].append(x)
        return x


class DroppedWeights(nn.Module):
    """A dropout on weights: one mask for all inputs."""

    def __init__(self, drop: nn.Module) -> None:
        super().__init__()
        self.linear, self.drop = nn.Linear(UNITS, UNITS), drop

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.drop(self.linear.weight), self.linear.bias)


class Steps(nn.Module):
    """Layers that keep state, called step by step: [T, N, units] or [N, units] in, [T, N, units] out."""

    def __init__(self, body: nn.Module, timed: bool) -> None:
        super().__init__()
        self.body, self.timed = body, timed

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.body(step) for step in (x if self.timed else [x] * STEPS)])


@dataclass
class Animal:
    """A network of the zoo.

    Attributes:
        network: the network.
        inputs: what it takes.
        options: of `mc_predict`.
        random: its modules that training mode makes random.
        resets: what puts its state to rest.
    """

    network: nn.Module = field(default_factory=nn.Module)
    inputs: Tensor = field(default_factory=lambda: torch.zeros(0))
    options: dict[str, Any] = field(default_factory=dict)
    random: list[nn.Module] = field(default_factory=list)
    resets: list[Callable[[], object]] = field(default_factory=list)

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Context in which the network's random modules, and nothing else, are in training mode."""
        self.network.eval()
        for module in self.random:
            module.training = True
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(True)

    @torch.no_grad()
    def loop(self, samples: int, batch_size: int) -> Tensor:
        """Probabilities [S, N, C] of passes one after the other, each on fresh copies of blocks of the inputs."""
        axis, output = self.options.get("batch_dim", 0), self.options.get("output", lambda outputs: outputs)
        drawn = []
        with self.alive(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            set_generator(self.network, torch.Generator().manual_seed(7))
            for _ in range(samples):
                blocks = []
                for block in self.inputs.split(batch_size, axis):
                    self.rest()
                    blocks.append(output(self.network(block.clone())).to(torch.get_default_dtype()))
                outputs = torch.cat(blocks, -2)
                drawn.append((outputs.mean(0) if outputs.dim() == 3 else outputs).softmax(-1))
        self.network.eval()
        return torch.stack(drawn)

    def rest(self) -> None:
        for reset in self.resets:
            reset()


class Zoo:
    """Draws a network, layer by layer.

    Args:
        seed: of all choices.
    """

    def __init__(self, seed: int) -> None:
        self.choice = random.Random(seed)
        self.animal = Animal()
        self.seed = seed

    def draw(self) -> Animal:
        """The first network drawn that runs on its inputs."""
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # dropout between the layers of a network of one, and libraries' own
            torch.manual_seed(self.seed)
            while True:
                self.animal = Animal()
                kind = self.choice.choice(["flat", "flat", "time", "time", "images", "norse", "loop"])
                self._finish(getattr(self, f"_{kind}")(), kind)
                try:
                    self.animal.loop(1, 256)
                except (AttributeError, TypeError, InputError):  # Norse's tuples, rates that are no probabilities
                    continue
                return self.animal

    def _finish(self, layers: list[nn.Module], kind: str) -> None:
        animal, choice = self.animal, self.choice
        if kind == "norse":
            return
        if choice.random() < 0.3:
            cut = choice.randrange(1, len(layers))
            layers = [nn.Sequential(*layers[:cut]), nn.Sequential(*layers[cut:])]
        network: nn.Module = nn.Sequential(*layers)
        if choice.random() < 0.3:
            network = Apply(network, network)
        animal.network = network
        plain = [name for name, module in network.named_modules() if type(module) in (nn.Linear, Linear)]
        called = [name for name in plain if "linear" not in name and ".parts" not in name and "encoder" not in name]
        if plain and choice.random() < 0.3:
            ternarize(network, layers=choice.sample(plain, 1))
        if called and choice.random() < 0.25:
            layer = network.get_submodule(choice.choice(called))
            make_stochastic(
                layer, choice.choice(["dropout", "dropconnect"]), p=0.3, mask=choice.choice(["fixed", "per-step"])
            )
            animal.random += [
                module for module in layer.modules() if module is not layer and hasattr(module, "generators")
            ]
            animal.resets.append(lambda: [one.reset() for one in layer.modules() if hasattr(one, "held")])
        if choice.random() < 0.15:
            network.register_forward_pre_hook(lambda _, given: (given[0] + 0.1 * torch.randn_like(given[0]),))

    def _flat(self) -> list[nn.Module]:
        self.animal.inputs = torch.rand(6, UNITS)
        blocks = self._blocks(["torch", "torch", "own", "flat"], 5)
        return [*blocks, nn.Linear(UNITS, CLASSES)]

    def _images(self) -> list[nn.Module]:
        self.animal.inputs = torch.rand(6, 2, 6, 6)
        make = [
            lambda: nn.Conv2d(2, 2, 3, padding=1),
            lambda: nn.ConvTranspose2d(2, 2, 3, padding=1),
            lambda: self.random(nn.Dropout2d(0.3, inplace=self.coin())),
            lambda: self.random(nn.Dropout(0.3, inplace=self.coin())),
            lambda: self.random(nn.FeatureAlphaDropout(0.3)),
            lambda: self.normed(nn.BatchNorm2d(2)),
            lambda: nn.InstanceNorm2d(2),
            lambda: nn.ReLU(inplace=self.coin()),
            lambda: self.random(Path(0.3)),
            lambda: Noise(lambda x: x.shape),
        ]
        blocks = [self.choice.choice(make)() for _ in range(4)]
        pool = nn.FractionalMaxPool2d(2, output_size=2) if self.choice.random() < 0.2 else nn.AvgPool2d(3)
        return [nn.Conv2d(2, 2, 1), *blocks, pool, nn.Flatten(), nn.Linear(8, CLASSES)]

    def _time(self) -> list[nn.Module]:
        choice, animal = self.choice, self.animal
        head: list[nn.Module] = []
        if choice.random() < 0.3:
            animal.inputs = torch.rand(6, UNITS)
            kind = choice.choice(["constant", "rate"])
            head = [Coding(kind, steps=STEPS)]
        else:
            animal.inputs, animal.options = torch.rand(STEPS, 6, UNITS), {"batch_dim": 1}
            if choice.random() < 0.3:
                animal.inputs = torch.rand(1, 6, UNITS).expand(STEPS, 6, UNITS)
            if choice.random() < 0.3:
                head = [self.spiking("encoding", "PoissonEncoder")]
        blocks = self._blocks(["torch", "own", "time", "time", "spikingjelly", "snntorch"], 5)
        return [*head, *blocks, choice.choice([nn.Linear, Linear])(UNITS, CLASSES)]

    def _loop(self) -> list[nn.Module]:
        self.animal.inputs = torch.rand(6, UNITS)
        body = nn.Sequential(*self._blocks(["torch", "own", "flat", "snntorch step", "spikingjelly step"], 4))
        return [Steps(body, timed=False), nn.Linear(UNITS, CLASSES)]

    def _norse(self) -> list[nn.Module]:
        norse = library("norse.torch")
        parameters = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(500.0))
        lift = norse.Lift
        make = [
            lambda: lift(nn.Linear(UNITS, UNITS)),
            lambda: lift(norse.LIFBoxCell(parameters)),
            lambda: norse.LIF(),
            lambda: lift(self.random(nn.Dropout(0.3))),
            lambda: self.random(nn.Dropout(0.3, inplace=self.coin())),
            lambda: nn.ReLU(inplace=self.coin()),
            lambda: Noise(lambda x: x.shape),
        ]
        blocks = [self.choice.choice(make)() for _ in range(4)]
        animal = self.animal
        animal.inputs = 5 * torch.rand(STEPS, 6, UNITS)
        animal.options = {"batch_dim": 1, "output": lambda returned: returned[0]}
        animal.network = norse.SequentialState(*blocks, lift(nn.Linear(UNITS, CLASSES)))
        return []

    def _blocks(self, groups: list[str], count: int) -> list[nn.Module]:
        blocks = []
        for _ in range(count):
            group = self.choice.choice(groups)
            blocks.append(self.choice.choice(getattr(self, "_makers_" + group.replace(" ", "_")))(self))
        return blocks

    def coin(self) -> bool:
        return self.choice.random() < 0.5

    def random(self, module: nn.Module) -> nn.Module:
        """Note that a module is random in training mode."""
        self.animal.random.append(module)
        return module

    def normed(self, norm: Any) -> nn.Module:
        """A BatchNorm with statistics of its own."""
        if norm.running_mean is not None:
            norm.running_mean.uniform_(-0.5, 0.5)
            norm.running_var.uniform_(0.5, 1.5)
        return norm

    def stateful(self, module: Any) -> nn.Module:
        """Note that a module of snnTorch or SpikingJelly has to be put to rest."""
        self.animal.resets.append(getattr(module, "reset_mem", None) or module.reset)
        return module

    def spiking(self, place: str, name: str, *args: Any, **options: Any) -> Any:
        """A layer of SpikingJelly that takes all steps at once."""
        library("spikingjelly")
        from spikingjelly.activation_based import encoding, layer, neuron

        module = getattr({"encoding": encoding, "layer": layer, "neuron": neuron}[place], name)(*args, **options)
        if hasattr(module, "step_mode") and "step_mode" not in options:
            module.step_mode = "m"
        return module

    def attention(self) -> nn.Module:
        attention = self.random(nn.MultiheadAttention(UNITS, 2, dropout=self.choice.choice([0.0, 0.3])))
        return Apply(lambda x: attention(x, x, x), attention)

    def transformer(self) -> nn.Module:
        encoder = nn.TransformerEncoderLayer(UNITS, 2, 8, dropout=0.3, batch_first=self.coin())
        self.animal.random += [encoder.dropout, encoder.dropout1, encoder.dropout2, encoder.self_attn]
        if not encoder.self_attn.batch_first:
            return encoder
        return Apply(lambda x: encoder(x.transpose(0, 1)).transpose(0, 1), encoder)

    def recurrent(self) -> nn.Module:
        kind = self.choice.choice([nn.LSTM, nn.GRU, nn.RNN])
        layer = self.random(kind(UNITS, UNITS, self.choice.choice([1, 2]), dropout=self.choice.choice([0.0, 0.4])))
        return Apply(layer, layer)

    def spiking_recurrent(self) -> nn.Module:
        library("spikingjelly")
        from spikingjelly.activation_based import rnn

        kind = self.choice.choice([rnn.SpikingLSTM, rnn.SpikingGRU, rnn.SpikingVanillaRNN])
        layer = self.random(kind(UNITS, UNITS, 2, dropout_p=0.4, invariant_dropout_mask=self.coin()))
        return Apply(layer, layer)

    def leaky(self) -> nn.Module:
        return self.stateful(library("snntorch").Leaky(beta=0.7, threshold=0.4, init_hidden=True))

    _makers_torch = (
        lambda self: nn.Linear(UNITS, UNITS),
        lambda self: nn.Linear(UNITS, UNITS),
        lambda self: nn.ReLU(inplace=self.coin()),
        lambda self: nn.Sigmoid(),
        lambda self: nn.LayerNorm(UNITS),
        lambda self: self.random(nn.Dropout(0.3, inplace=self.coin())),
        lambda self: self.random(nn.AlphaDropout(0.3, inplace=self.coin())),
        lambda self: self.random(nn.FeatureAlphaDropout(0.3)),
        lambda self: DroppedWeights(self.random(nn.Dropout(0.3))),
    )
    _makers_own = (
        lambda self: Residual(nn.Linear(UNITS, UNITS), self.random(nn.Dropout(0.3, inplace=self.coin()))),
        lambda self: self.random(Functional(0.3)),
        lambda self: self.random(Literal()),
        lambda self: self.random(Path(0.3)),
        lambda self: Noise(lambda x: x.shape),
        lambda self: Noise(lambda x: ()),
        lambda self: Noise(lambda x: x.shape, torch.Generator().manual_seed(3)),
        lambda self: InPlace(),
        lambda self: Remembers(),
    )
    _makers_flat = (
        lambda self: self.normed(nn.BatchNorm1d(UNITS)),
        lambda self: nn.BatchNorm1d(UNITS, track_running_stats=False),
        lambda self: self.random(nn.Dropout1d(0.3)),
        lambda self: nn.Sequential(nn.Unflatten(1, (2, 4)), nn.Conv1d(2, 2, 3, padding=1), nn.Flatten()),
        lambda self: nn.Sequential(nn.Unflatten(1, (2, 4)), nn.ConvTranspose1d(2, 2, 3, padding=1), nn.Flatten()),
        lambda self: Apply(lambda x: x - x.mean(0)),
    )
    _makers_time = (
        lambda self: LIF(),
        lambda self: Linear(UNITS, UNITS),
        lambda self: self.random(Dropout(0.3, self.choice.choice(["fixed", "per-step"]))),
        lambda self: self.random(DropConnectLinear(UNITS, UNITS, p=0.3, per_input=self.coin())),
        lambda self: OverTime(self.normed(nn.BatchNorm1d(UNITS))),
        lambda self: OverTime(self.random(nn.Dropout(0.3, inplace=self.coin()))),
        lambda self: self.attention(),
        lambda self: self.transformer(),
        lambda self: self.recurrent(),
        lambda self: self.random(nn.Dropout1d(0.3)),
    )
    _makers_spikingjelly = (
        lambda self: self.stateful(self.spiking("neuron", "LIFNode", tau=2.0, v_threshold=0.3)),
        lambda self: self.spiking("layer", "Linear", UNITS, UNITS),
        lambda self: self.stateful(self.random(self.spiking("layer", "Dropout", 0.3))),
        lambda self: self.spiking("layer", "SeqToANNContainer", nn.Linear(UNITS, UNITS), self.random(nn.Dropout(0.3))),
        lambda self: self.spiking_recurrent(),
    )
    _makers_spikingjelly_step = (
        lambda self: self.stateful(self.spiking("neuron", "LIFNode", tau=2.0, v_threshold=0.3, step_mode="s")),
        lambda self: self.stateful(self.random(self.spiking("layer", "Dropout", 0.3, step_mode="s"))),
    )
    _makers_snntorch = (lambda self: Steps(nn.Sequential(nn.Linear(UNITS, UNITS), self.leaky()), timed=True),)
    _makers_snntorch_step = (lambda self: self.leaky(),)
