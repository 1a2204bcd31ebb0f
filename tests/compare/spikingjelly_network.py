"""A SpikingJelly network, trained without us on images of three channels, against its ternary versions."""

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tsnn_uq.compare import quantize_and_compare

torch.manual_seed(0)
labels = torch.arange(160) % 3
images = 0.5 * torch.rand(160, 3, 4, 4) + 0.1 * nn.functional.one_hot(labels)[..., None, None]  # a colour each class
data = TensorDataset(images, labels)
train, validation, test = (torch.utils.data.Subset(data, range(*span)) for span in ((0, 80), (80, 110), (110, 160)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        hidden = (layer.Conv2d(3, 6, 3, padding=1), layer.BatchNorm2d(6), neuron.LIFNode())
        self.layers = nn.Sequential(*hidden, layer.Flatten(), layer.Dropout(0.3), layer.Linear(96, 3))
        functional.set_step_mode(self, "m")

    def forward(self, x):
        return self.layers(x.expand(3, *x.shape))  # [T, N, 3]


net = Net()
optimizer = torch.optim.Adam(net.parameters(), 1e-2)
for _ in range(12):
    for x, y in DataLoader(train, 20, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x).mean(0), y).backward()
        optimizer.step()
        functional.reset_net(net)
comparison = quantize_and_compare(
    net, train=train, validation=validation, test=DataLoader(test, 20), foreign={"noise": torch.rand(40, 3, 4, 4)},
    methods=["post-training", "direct"], epochs=1, samples=4, generator=torch.Generator().manual_seed(0), out="mine"
)  # fmt: skip
