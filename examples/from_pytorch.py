"""Take over weights from PyTorch: train a network there, and run it here.

The sequences are scikit-learn's handwritten digits, read row by row.

    python examples/from_pytorch.py
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gru_native as gn

images, digits = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8).astype("float32") / 16
x, x_test, y, y_test = map(torch.tensor, train_test_split(images, digits, random_state=0))

torch.manual_seed(0)
theirs = torch.nn.ModuleDict({"gru": torch.nn.GRU(8, 64, batch_first=True), "linear": torch.nn.Linear(64, 10)})
optimizer = torch.optim.Adam(theirs.parameters(), lr=1e-2)
for _ in range(100):
    optimizer.zero_grad()
    _, h_n = theirs["gru"](x)
    torch.nn.functional.cross_entropy(theirs["linear"](h_n[-1]), y).backward()
    optimizer.step()

layers = {
    "gru": gn.nn.GRU(8, 64, batch_first=True),
    "last": gn.nn.LastPooling(batch_first=True),
    "linear": gn.nn.Linear(64, 10),
}
ours = gn.nn.Sequential(layers)
ours.load_state_dict(theirs.state_dict())  # the same names, so nothing is renamed

found = ours.predict(x_test)
expected = theirs["linear"](theirs["gru"](x_test)[1][-1]).detach().numpy()
for name, logits in (("accuracy", found), ("PyTorch:", expected)):
    print(f"{name} {np.mean(logits.argmax(axis=1) == y_test.numpy()):.3f}")
print(f"largest difference between logits: {np.abs(found - expected).max():.1e}")
