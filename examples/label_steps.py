"""Label each step: where words end in a text without spaces. The text is Python's language reference.

python examples/label_steps.py
"""

from pydoc_data.topics import topics

import numpy as np

from gru_native import losses, nn, optim
from gru_native.train import Sequences, Trainer


def labelled(words):
    """Return the codes of the characters of some words, and whether each is the last of its word."""
    ends = np.cumsum([len(word) for word in words]) - 1
    codes = np.array([min(ord(character), 127) for character in "".join(words)])
    return codes, np.isin(np.arange(len(codes)), ends).astype(int)


words = " ".join(topics.values()).split()
pieces = [labelled(words[start : start + 30]) for start in range(0, len(words), 30)]
x, y = zip(*pieces[200:], strict=True)
x_test, y_test = zip(*pieces[:200], strict=True)

model = nn.Sequential(
    nn.Embedding(128, 32, seed=0),
    nn.GRU(32, 64, bidirectional=True, seed=1),
    nn.Linear(128, 2, seed=2),
)
trainer = Trainer(model, losses.CrossEntropyLoss(), optim.Adam(model, lr=5e-3), max_norm=1.0)
trainer.fit(Sequences(x, y, batch_size=32, per_step=True, shuffle=True), steps=600)
found = [logits.argmax(axis=1) for logits in model.predict(x_test)]  # of logits (T, 2) each
print("".join(chr(code) + " " * end for code, end in zip(x_test[0], found[0], strict=True)))
print(f"accuracy {np.mean(np.concatenate(found) == np.concatenate(y_test)):.3f}")
print(f"if no word ended: {np.mean(np.concatenate(y_test) == 0):.3f}")
